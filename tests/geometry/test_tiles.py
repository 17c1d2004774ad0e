"""Tiles: they cover the image from border to border, and their maps blend without a seam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from adcli.errors import UsageError
from adcli.geometry import Geometry
from adcli.geometry.tiles import Tiling
from adcli.geometry.views import Views
from adcli.maps import lift

CASES = [(32, 0), (32, 1), (40, 8), (64, 63), (50, 25), (48, 40)]
LENGTHS = (1, 20, 32, 33, 40, 63, 64, 65, 100, 127, 200, 513)


@pytest.mark.parametrize(("tile", "overlap"), CASES)
@pytest.mark.parametrize("length", LENGTHS)
def test_spans_reach_from_border_to_border_and_share_the_overlap(tile: int, overlap: int, length: int) -> None:
    spans = Tiling(tile, overlap).spans(length)
    assert spans[0][0] == 0 and spans[-1][1] == length
    assert all(end - start == min(tile, length) for start, end in spans)
    for (_, before), (start, _) in pairwise(spans):
        assert before - start >= overlap
    if len(spans) > 1:  # one fewer would not do
        assert tile + (len(spans) - 2) * (tile - overlap) < length


@pytest.mark.parametrize(("tile", "overlap"), CASES)
@pytest.mark.parametrize("length", LENGTHS)
def test_shares_sum_to_one_at_every_pixel(tile: int, overlap: int, length: int) -> None:
    tiling = Tiling(tile, overlap)
    total = np.zeros(length)
    for (start, end), share in zip(tiling.spans(length), tiling.shares(length), strict=True):
        assert (share > 0).all()
        total[start:end] += share
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_tiles_share_fades_where_it_ends_inside_the_image_and_not_at_the_border() -> None:
    first, second = Tiling(40, 10).shares(70)
    assert first[0] == 1 and second[-1] == 1
    assert first[-1] < 0.06 and second[0] < 0.06
    np.testing.assert_allclose(np.diff(first[30:]), -0.1, atol=1e-6)  # straight down over the ten shared pixels


@pytest.mark.parametrize(("tile", "overlap"), [(31, 0), (64, 64), (64, -1), (100000, 1)])
def test_impossible_tiles_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(UsageError, match="not possible"):
        Tiling(tile, overlap)


def mapped(pixels: np.ndarray, tiling: Tiling | None, score, size: int = 32) -> np.ndarray:
    """The map of an image where each input's patch scores are score(input)."""
    view = Views(Geometry(tiling=tiling), (size, size), None, sigma=0).of(pixels)
    for number, one in enumerate(view.inputs()):
        view.add(number, score(one))
    return view.score_map()


def test_a_map_of_tiles_has_no_seam() -> None:
    # Patch scores that are the gray values: the map must be the image again, wherever the tiles meet.
    y, x = np.mgrid[:150, :210]
    pixels = (127 + 60 * np.sin(x / 40) + 60 * np.cos(y / 50)).astype(np.uint8)
    score_map = mapped(pixels, Tiling(64, 16), lambda one: np.ascontiguousarray(one[..., 0]))
    assert np.abs(score_map - pixels / 255).max() < 0.02
    steps = np.abs(np.diff(score_map, axis=1)).max(), np.abs(np.diff(score_map, axis=0)).max()
    assert max(steps) < 0.02


def test_tiles_that_disagree_by_a_constant_meet_on_a_ramp() -> None:
    numbers = iter(range(100))
    score_map = mapped(
        np.zeros((64, 112), np.uint8), Tiling(64, 16), lambda one: np.full((8, 8), next(numbers), np.float32)
    )
    np.testing.assert_allclose(score_map[:, :48], 0, atol=1e-6)
    np.testing.assert_allclose(score_map[:, 64:], 1, atol=1e-6)
    np.testing.assert_allclose(np.diff(score_map[0, 48:64]), 1 / 16, atol=1e-5)


def test_one_tile_as_large_as_the_image_is_the_image() -> None:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
    grid = rng.random((8, 8), np.float32)
    assert np.array_equal(mapped(pixels, Tiling(64, 8), lambda one: grid), mapped(pixels, None, lambda one: grid))
    assert np.array_equal(mapped(pixels, None, lambda one: grid), lift(grid, (32, 32), 0, (64, 64)))


def test_every_pixel_of_a_large_image_is_seen_at_its_own_scale() -> None:
    # A single bright pixel in a dark image lights up exactly the tiles that hold it, and the map around it.
    pixels = np.zeros((256, 300), np.uint8)
    pixels[131, 207] = 255
    score_map = mapped(pixels, Tiling(64, 16), lambda one: np.ascontiguousarray(one[..., 0]), size=64)
    assert np.unravel_index(score_map.argmax(), score_map.shape) == (131, 207)
    assert score_map.max() == pytest.approx(1)
    assert np.count_nonzero(score_map) == 1
