"""S_A against three other ways to compute it, and the regions against S_A."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import area_opening

from adcli.regions import area_score, find_regions
from tests.score_maps import EIGHT, KINDS, make_area, make_map


def by_union_find(score_map: np.ndarray, min_area: int) -> float:
    """Add the pixels one by one from the highest; the value of the one that completes a component is the score."""
    height, width = score_map.shape
    parent: dict[tuple[int, int], tuple[int, int]] = {}
    area: dict[tuple[int, int], int] = {}

    def root(pixel: tuple[int, int]) -> tuple[int, int]:
        while parent[pixel] != pixel:
            pixel = parent[pixel]
        return pixel

    for pixel in sorted(np.ndindex(height, width), key=lambda p: -score_map[p]):
        if score_map[pixel] == -np.inf:
            break
        parent[pixel], area[pixel] = pixel, 1
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                neighbour = (pixel[0] + dy, pixel[1] + dx)
                if neighbour in parent and root(neighbour) != root(pixel):
                    area[root(neighbour)] += area[root(pixel)]
                    parent[root(pixel)] = root(neighbour)
        if area[root(pixel)] >= min_area:
            return float(score_map[pixel])
    return -math.inf


def by_bisection(score_map: np.ndarray, min_area: int) -> float:
    """Bisect over all values; labelling by scipy, which knows nothing of the other library."""
    levels = np.unique(score_map[score_map > -np.inf])

    def fits(level: float) -> bool:
        labels, _ = ndimage.label(score_map >= level, EIGHT)
        return np.bincount(labels.ravel())[1:].max(initial=0) >= min_area

    low, high = -1, levels.size  # low always fits (-1 stands for "everything"), high never does
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(levels[middle]) else (low, middle)
    return float(levels[low]) if low >= 0 else -math.inf


def by_area_opening(score_map: np.ndarray, min_area: int) -> float:
    """The maximum of the area opening, computed on ranks, which bear infinities and are integers."""
    levels, ranks = np.unique(score_map, return_inverse=True)
    ranks = ranks.reshape(score_map.shape)
    # Padding takes the lowest rank, so that nothing but the whole inside can reach it; -inf pixels are no inside.
    ranks = ranks + (0 if levels[0] == -np.inf else 1)
    inside = int((score_map > -np.inf).sum())
    if inside < min_area:
        return -math.inf
    best = int(area_opening(np.pad(ranks, 1), min_area, connectivity=2).max())
    if best == 0:
        return -math.inf
    return float(levels[best - (0 if levels[0] == -np.inf else 1)])


@pytest.mark.parametrize("kind", KINDS)
def test_four_ways_to_compute_the_score_agree_to_the_bit(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(60):
        score_map = make_map(kind, rng)
        min_area = make_area(score_map, rng)
        score = area_score(score_map, min_area)
        assert score == by_union_find(score_map, min_area)
        assert score == by_bisection(score_map, min_area)
        assert score == by_area_opening(score_map, min_area)


@pytest.mark.parametrize("sigma", [0, 2, 8])
@pytest.mark.parametrize("min_area", [2, 30, 700, 9000])
def test_the_score_of_a_larger_map_is_that_of_a_plain_bisection(sigma, min_area):
    score_map = ndimage.gaussian_filter(np.random.default_rng(sigma).normal(size=(150, 201)), sigma).astype(np.float32)
    score_map[:40, :30] = -np.inf
    assert area_score(score_map, min_area) == by_bisection(score_map, min_area)


def test_the_score_of_a_map_drawn_by_hand():
    score_map = np.array(
        [
            [9, 0, 0, 0, 5],
            [0, 8, 0, 0, 5],
            [0, 0, 1, 0, 5],
            [7, 0, 0, 0, 4],
        ],
        np.float32,
    )
    assert area_score(score_map, 1) == 9
    assert area_score(score_map, 2) == 8  # 9 and 8 touch at a corner
    assert area_score(score_map, 3) == 5  # the right column
    assert area_score(score_map, 4) == 4
    assert area_score(score_map, 5) == 0  # 1 joins 9 and 8 only; at 0 all is one
    assert area_score(score_map, 20) == 0
    assert area_score(score_map, 21) == -math.inf


def test_with_a_minimum_area_of_one_the_score_is_the_plain_maximum():
    score_map = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    assert area_score(score_map, 1) == float(score_map.max())


def test_pixels_outside_the_region_of_interest_never_join_or_count():
    score_map = np.full((5, 5), 3, np.float32)
    score_map[2, :] = -np.inf
    assert area_score(score_map, 10) == 3
    assert area_score(score_map, 11) == -math.inf
    assert find_regions(score_map, -math.inf, 11)[1] == []
    assert [region.area_px for region in find_regions(score_map, -math.inf, 10)[1]] == [10, 10]


def test_a_map_with_nothing_inside_scores_minus_infinity():
    score_map = np.full((4, 4), -np.inf, np.float32)
    assert area_score(score_map, 1) == area_score(score_map, 3) == -math.inf


def test_negative_zero_scores_zero():
    flat, hilly = np.full((3, 3), -0.0, np.float32), np.array([[5, -0.0, -1, 5]], np.float32)
    for score in (area_score(flat, 1), area_score(flat, 4), area_score(hilly, 2)):
        assert (score, math.copysign(1, score)) == (0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_turning_mirroring_and_the_memory_layout_do_not_change_the_score(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(20):
        score_map = make_map(kind, rng)
        min_area = make_area(score_map, rng)
        score = area_score(score_map, min_area)
        for same in (score_map.T, score_map[::-1], score_map[:, ::-1], np.asfortranarray(score_map)):
            assert area_score(same, min_area) == score


def test_the_score_follows_a_strictly_increasing_map_of_the_values():
    rng = np.random.default_rng(7)
    for kind in ("noise", "smooth", "ties"):
        for _ in range(20):
            score_map = make_map(kind, rng)
            min_area = make_area(score_map, rng)
            levels, ranks = np.unique(score_map, return_inverse=True)
            stretched = np.cumsum(rng.exponential(size=levels.size)).astype(np.float32)
            score = area_score(score_map, min_area)
            expected = stretched[np.searchsorted(levels, score)] if score > -math.inf else -math.inf
            assert area_score(stretched[ranks].reshape(score_map.shape), min_area) == expected


def test_a_larger_minimum_area_never_raises_the_score():
    score_map = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(40, 40)), 2).astype(np.float32)
    scores = [area_score(score_map, area) for area in range(1, 1602, 50)]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] == -math.inf


def test_the_input_is_left_as_it_was():
    score_map = make_map("smooth", np.random.default_rng(1))
    before = score_map.copy()
    area_score(score_map, 7)
    find_regions(score_map, 0.0, 7)
    assert np.array_equal(score_map, before)


@pytest.mark.parametrize("call", [area_score, lambda score_map, area: find_regions(score_map, 0.0, area)])
def test_nan_wrong_types_and_wrong_areas_are_refused(call):
    good = np.zeros((3, 3), np.float32)
    with_nan = good.copy()
    with_nan[1, 1] = np.nan
    for wrong in (with_nan, good.astype(np.float64), good[0], good[:0]):
        with pytest.raises(ValueError):
            call(wrong, 1)
    with pytest.raises(ValueError):
        call(good, 0)


def test_nan_is_refused_beside_infinities():
    score_map = np.array([[np.inf, np.nan, -np.inf]], np.float32)
    with pytest.raises(ValueError, match="NaN"):
        area_score(score_map, 2)


def test_a_threshold_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="threshold"):
        find_regions(np.zeros((3, 3), np.float32), math.nan, 1)


def slow_regions(score_map: np.ndarray, threshold: float, min_area: int) -> tuple[np.ndarray, list[dict]]:
    """Regions by scipy, in Python's exact comparison of floats."""
    above = np.array([[float(value) > threshold for value in row] for row in score_map])
    labels, count = ndimage.label(above, EIGHT)
    mask, found = np.zeros_like(above), []
    for label in range(1, count + 1):
        ys, xs = np.nonzero(labels == label)
        if len(ys) < min_area:
            continue
        mask[ys, xs] = True
        values = score_map[ys, xs].astype(np.float64)
        found.append(
            {
                "area": len(ys),
                "bbox": (xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1),
                "centroid": (xs.mean(), ys.mean()),
                "max": values.max(),
                "mean": values.mean(),
                "first": (ys[0], xs[0]),
            }
        )
    return mask, sorted(found, key=lambda region: (-region["area"], region["first"]))


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_regions_exactly_when_the_score_is_above_the_threshold(kind):
    rng = np.random.default_rng(100 + KINDS.index(kind))
    for _ in range(40):
        score_map = make_map(kind, rng)
        min_area = make_area(score_map, rng)
        score = area_score(score_map, min_area)
        thresholds = [score, np.nextafter(score, -np.inf), np.nextafter(score, np.inf), 0.1, -math.inf, math.inf, 1e300]
        thresholds += [float(value) for value in rng.choice(score_map.ravel(), 3)]
        for threshold in thresholds:
            mask, regions = find_regions(score_map, float(threshold), min_area)
            assert bool(regions) == (score > threshold)
            assert mask.any() == bool(regions)
            assert mask.sum() == sum(region.area_px for region in regions)


@pytest.mark.parametrize("kind", KINDS)
def test_regions_are_those_of_a_slow_search(kind):
    rng = np.random.default_rng(200 + KINDS.index(kind))
    for _ in range(25):
        score_map = make_map(kind, rng)
        threshold = float(rng.choice(score_map.ravel())) if rng.random() < 0.7 else 0.1
        min_area = int(rng.integers(1, 6))
        mask, regions = find_regions(score_map, threshold, min_area)
        slow_mask, slow = slow_regions(score_map, threshold, min_area)
        assert mask.dtype == bool
        assert np.array_equal(mask, slow_mask)
        assert [region.area_px for region in regions] == [region["area"] for region in slow]
        assert [region.bbox for region in regions] == [region["bbox"] for region in slow]
        assert [region.max for region in regions] == [region["max"] for region in slow]
        for region, expected in zip(regions, slow, strict=True):
            assert region.centroid == pytest.approx(expected["centroid"])
            assert region.mean == pytest.approx(expected["mean"])


def test_the_comparison_with_the_threshold_is_exact_between_two_float32():
    tenth = np.float32(0.1)  # 0.100000001490116..., above the float64 0.1
    score_map = np.full((2, 2), tenth)
    assert find_regions(score_map, 0.1, 1)[1]
    assert not find_regions(score_map, float(tenth), 1)[1]
    assert not find_regions(score_map, np.nextafter(float(tenth), 1), 1)[1]
    assert find_regions(np.full((2, 2), np.inf, np.float32), 1e300, 1)[1]
    assert find_regions(np.full((2, 2), np.finfo(np.float32).min), -1e300, 1)[1]
    assert not find_regions(np.full((2, 2), np.float32(-1e-45)), -1e-50, 1)[1]


def test_equal_areas_are_ordered_from_the_top_then_from_the_left():
    score_map = np.zeros((7, 7), np.float32)
    score_map[5, 0:2] = score_map[1, 4:6] = score_map[1, 0:2] = 1
    score_map[3, 2:5] = 1
    _, regions = find_regions(score_map, 0.5, 2)
    assert [region.bbox for region in regions] == [(2, 3, 3, 1), (0, 1, 2, 1), (4, 1, 2, 1), (0, 5, 2, 1)]


def test_a_region_is_measured_in_mm2_where_the_pitch_is_known():
    score_map = np.zeros((6, 6), np.float32)
    score_map[1:3, 2:6] = 4
    score_map[2, 5] = 8
    _, [region] = find_regions(score_map, 0, 1, pixel_pitch=0.05)
    assert region.area_px == 8
    assert region.area_mm2 == pytest.approx(0.02)
    assert region.centroid == (3.5, 1.5)
    assert (region.max, region.mean) == (8.0, 4.5)
    assert find_regions(score_map, 0, 1)[1][0].area_mm2 is None


def test_small_components_are_neither_region_nor_mask():
    score_map = np.zeros((5, 9), np.float32)
    score_map[0:3, 0:3] = 2
    score_map[4, 8] = 9
    mask, regions = find_regions(score_map, 1, 2)
    assert [region.area_px for region in regions] == [9]
    assert not mask[4, 8]
