"""The middle of an image alone, as the papers' protocol has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import center_crop

from adcli.geometry import Geometry
from adcli.geometry.crop import CentreCrop
from adcli.geometry.roi import RegionOfInterest
from adcli.geometry.views import Views
from adcli.images import prepare

PAPER = CentreCrop((64, 64), (56, 56))
RNG = np.random.default_rng(0)


def views(geometry: Geometry) -> Views:
    return Views(geometry, PAPER.side, None, sigma=0)


@pytest.mark.parametrize(("side", "resized"), [(224, 256), (280, 320), (320, 366)])
def test_the_published_sizes_are_cut_out_of_the_published_ones(side: int, resized: int) -> None:
    assert CentreCrop.around((side, side)) == CentreCrop((resized, resized), (side, side))


@pytest.mark.parametrize("resized", [(64, 64), (61, 70), (57, 56)])
def test_the_middle_is_torchvisions(resized: tuple[int, int]) -> None:
    pixels = RNG.random((*resized, 3)).astype(np.float32)
    theirs = center_crop(torch.from_numpy(pixels).permute(2, 0, 1), [56, 56]).permute(1, 2, 0).numpy()
    assert np.array_equal(CentreCrop(resized, (56, 56)).cut(pixels), theirs)


def test_the_network_sees_the_middle_of_the_resized_image() -> None:
    pixels = RNG.integers(0, 256, (100, 90, 3), np.uint8)
    seen = views(Geometry(crop=PAPER)).of(pixels).input(0)
    assert np.array_equal(seen, prepare(pixels, (64, 64))[4:60, 4:60])


def test_a_patch_score_returns_to_where_its_patch_lies_and_what_was_cut_off_has_none() -> None:
    view = views(Geometry(crop=PAPER)).of(np.zeros((128, 64), np.uint8))
    grid = np.zeros((14, 14), np.float32)
    grid[3, 10] = 1  # input rows 12 to 16 and columns 40 to 44: rows 32 to 40 and columns 44 to 48 of the file
    view.add(0, grid)
    score_map = view.score_map()
    rows, columns = np.nonzero(score_map == score_map.max())
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == (36, 46)
    seen = np.isfinite(score_map)
    assert seen[8:120, 4:60].all() and seen.sum() == 112 * 56


def test_a_region_of_interest_counts_where_the_middle_shows_it() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    geometry = Geometry(roi=RegionOfInterest.of(mask), crop=PAPER)
    view = views(geometry).of(RNG.integers(0, 256, (64, 64), np.uint8))
    view.add(0, np.ones((14, 14), np.float32))
    seen = np.isfinite(view.score_map())
    assert seen[4:60, 4:32].all() and seen.sum() == 56 * 28
    assert geometry.uninspected() == 1 - 56 * 28 / 64**2
    assert view.patches_inside(0, (14, 14)).tolist() == [[True] * 7 + [False] * 7] * 14


def test_what_is_not_looked_at_is_counted_from_the_files_pixels() -> None:
    assert Geometry(crop=CentreCrop.around((224, 224))).uninspected() == 1 - (224 / 256) ** 2
    for size in ((256, 256), (450, 450), (31, 1000)):
        shown = CentreCrop.around((224, 224)).inside(size)
        assert abs(shown.mean() - (224 / 256) ** 2) < 0.04


def test_no_more_is_cut_out_than_there_is() -> None:
    with pytest.raises(ValueError, match="cut out"):
        CentreCrop((64, 64), (65, 64))
