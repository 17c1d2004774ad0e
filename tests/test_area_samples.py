"""S_A found from a sample of the pixels is the one that is found without it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from adcli import regions
from adcli.maps import lift
from adcli.regions import area_score, find_regions, row_tops
from adcli.sizes import PixelSize
from tests.score_maps import EIGHT, KINDS, make_area, make_map
from tests.test_region_lengths import by_bisection, make_size
from tests.test_regions import by_union_find


@pytest.fixture
def _samples_of_small_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "_FEW", 15)


def from_the_top(score_map: np.ndarray, size: int | PixelSize, monkeypatch: pytest.MonkeyPatch) -> float:
    """The score by the search that takes no sample."""
    with monkeypatch.context() as patch:
        patch.setattr(regions, "_FEW", score_map.size)
        return area_score(score_map, size)


def make_lifted(rng: np.random.Generator) -> np.ndarray:
    """A map as methods make them: patches, smoothed, of the size of a file."""
    grid = rng.gamma(2, 1, rng.integers(3, 17, 2)).astype(np.float32)
    for _ in range(rng.integers(0, 4)):
        y, x = rng.integers(0, grid.shape)
        grid[y : y + 2, x : x + 3] += rng.uniform(0, 20)
    score_map = lift(grid, (64, 64), float(rng.choice([0, 1, 4])), tuple(rng.integers(129, 400, 2).tolist()))
    if rng.random() < 0.3:
        score_map = np.round(score_map * 4) / np.float32(4)  # ties and plateaus
    if rng.random() < 0.3:
        score_map[: rng.integers(1, 100), rng.integers(0, 100) :] = -np.inf
    return score_map


@pytest.mark.usefixtures("_samples_of_small_maps")
@pytest.mark.parametrize("crowd", [1, 32, 10**6])
@pytest.mark.parametrize("kind", KINDS)
def test_small_maps_score_the_same_from_a_sample_as_pixel_by_pixel(
    kind: str, crowd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "_CROWD", crowd)
    rng = np.random.default_rng([600 + KINDS.index(kind), crowd])
    for _ in range(25):
        score_map = make_map(kind, rng)
        min_area = make_area(score_map, rng)
        assert area_score(score_map, min_area) == by_union_find(score_map, min_area)


@pytest.mark.usefixtures("_samples_of_small_maps")
@pytest.mark.parametrize("kind", KINDS)
def test_lengths_and_widths_too_are_found_from_a_sample(kind: str) -> None:
    rng = np.random.default_rng(700 + KINDS.index(kind))
    for _ in range(15):
        score_map = make_map(kind, rng)
        size = make_size(score_map, rng)
        assert area_score(score_map, size) == by_bisection(score_map, size)


@pytest.mark.parametrize("seed", range(12))
def test_maps_as_methods_make_them_score_the_same_from_a_sample_and_from_the_top(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(6):
        score_map = make_lifted(rng)
        size = make_size(score_map, rng) if rng.random() < 0.3 else PixelSize(make_area(score_map, rng))
        score = area_score(score_map, size)
        assert score == from_the_top(score_map, size, monkeypatch)
        if not (size.length or size.width) and score > -math.inf:
            labels, _ = ndimage.label(score_map >= score, EIGHT)
            assert np.bincount(labels.ravel())[1:].max() >= size.area
            labels, _ = ndimage.label(score_map > score, EIGHT)
            assert np.bincount(labels.ravel())[1:].max(initial=0) < size.area


def test_the_level_of_the_sample_is_mostly_a_little_too_low_where_a_map_is_smooth() -> None:
    rng = np.random.default_rng(1)
    short = 0
    for _ in range(20):
        score_map = lift(rng.gamma(2, 1, (16, 16)).astype(np.float32), (64, 64), 4, (256, 256))
        size = PixelSize(int(rng.integers(2, 3000)))
        window, level = regions._begin_below(score_map, size, row_tops(score_map))
        if window is not None:
            assert level <= area_score(score_map, size)
            short += np.count_nonzero(score_map >= level) < 8 * size.area + 100
    assert short >= 18


@pytest.mark.parametrize("bridge", [0, 5])
def test_what_the_sample_takes_for_one_region_may_be_two(bridge: float) -> None:
    score_map = np.zeros((160, 160), np.float32)
    score_map[40:80, 40:80] = score_map[40:80, 81:121] = 5
    score_map[50, 80] = bridge
    assert area_score(score_map, 1600) == 5
    assert area_score(score_map, 3000) == bridge


def test_tops_handed_over_change_nothing() -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        score_map = make_lifted(rng)
        tops, size = row_tops(score_map), PixelSize(make_area(score_map, rng))
        assert np.array_equal(tops, score_map.max(axis=1))
        score = area_score(score_map, size, tops)
        assert score == area_score(score_map, size)
        threshold = max(score - 0.1, float(np.median(score_map)))
        mask, found = find_regions(score_map, threshold, size, tops=tops)
        expected, also = find_regions(score_map, threshold, size)
        assert np.array_equal(mask, expected) and found == also


@pytest.mark.parametrize("place", [(0, 0), (130, 5), (5, 130), (130, 130), (64, 64)])
def test_nan_anywhere_is_refused_in_the_sample_and_beside_it(place: tuple[int, int]) -> None:
    score_map = np.zeros((131, 131), np.float32)
    score_map[place] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        area_score(score_map, 40)


def test_a_peak_beside_the_sample_is_found() -> None:
    score_map = np.zeros((131, 131), np.float32)
    score_map[128:, 60:] = 7  # the sample has none of the last three rows but one
    assert area_score(score_map, 200) == 7
    assert area_score(score_map, 214) == 0


def test_infinite_scores_are_found_from_a_sample() -> None:
    score_map = np.zeros((200, 200), np.float32)
    score_map[40:80, 40:80] = np.inf
    score_map[100:140, 100:140] = -np.inf
    assert area_score(score_map, 1600) == math.inf
    assert area_score(score_map, 1601) == 0
    assert area_score(score_map, 200 * 200 - 1599) == -math.inf
