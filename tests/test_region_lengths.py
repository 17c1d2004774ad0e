"""Length and width of regions against distances of all pairs and extents in all directions, and S_A with both."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import pdist

from adcli.regions import area_score, find_regions
from adcli.sizes import PixelSize
from tests.score_maps import EIGHT, KINDS, make_area, make_map

REACH = 26  # no map here is larger, so every line through two of its pixels has one of these directions
DIRECTIONS = np.array(
    [(dy, dx) for dy in range(REACH) for dx in range(-REACH, REACH) if math.gcd(dy, dx) == 1 and (dy, dx) != (0, -1)]
)


def slow_length(pixels: np.ndarray) -> float:
    return float(pdist(pixels).max(initial=0)) + 1


def slow_width(pixels: np.ndarray) -> float:
    """The narrowest of all extents; the slot that holds a set of pixels narrowest runs through two of them."""
    extents = np.ptp(pixels @ DIRECTIONS.T, axis=0)
    return math.sqrt((extents**2 / (DIRECTIONS**2).sum(axis=1)).min()) + 1


def components(above: np.ndarray) -> list[np.ndarray]:
    """The pixels (n, 2) of each, largest first."""
    labels, count = ndimage.label(above, EIGHT)
    return sorted((np.argwhere(labels == label) for label in range(1, count + 1)), key=len, reverse=True)


def large_enough(pixels: np.ndarray, size: PixelSize) -> bool:
    return (
        len(pixels) >= size.area
        and (not size.length or slow_length(pixels) >= size.length)
        and (not size.width or slow_width(pixels) >= size.width)
    )


def by_bisection(score_map: np.ndarray, size: PixelSize) -> float:
    levels = np.unique(score_map[score_map > -np.inf])
    low, high = -1, levels.size
    while high - low > 1:
        middle = (low + high) // 2
        fits = any(large_enough(pixels, size) for pixels in components(score_map >= levels[middle]))
        low, high = (middle, high) if fits else (low, middle)
    return float(levels[low]) + 0.0 if low >= 0 else -math.inf


def make_size(score_map: np.ndarray, rng: np.random.Generator) -> PixelSize:
    """Whole numbers as often as not: those are the ones that regions have to the last digit."""
    length, width = np.exp(rng.uniform(0, np.log(1.3 * np.array([max(score_map.shape), min(score_map.shape)]))))
    if rng.random() < 0.5:
        length, width = round(length), round(width)
    return PixelSize(
        make_area(score_map, rng) if rng.random() < 0.3 else 1,
        float(length) if rng.random() < 0.7 else 0.0,
        float(width) if rng.random() < 0.7 else 0.0,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_with_a_length_and_a_width_is_that_of_a_brute_search(kind):
    rng = np.random.default_rng(300 + KINDS.index(kind))
    for _ in range(25):
        score_map = make_map(kind, rng)
        size = make_size(score_map, rng)
        assert area_score(score_map, size) == by_bisection(score_map, size)


@pytest.mark.parametrize("kind", KINDS)
def test_regions_are_as_long_and_as_wide_as_a_slow_search_says(kind):
    rng = np.random.default_rng(400 + KINDS.index(kind))
    for _ in range(25):
        score_map = make_map(kind, rng)
        size = make_size(score_map, rng) if rng.random() < 0.5 else PixelSize(1)
        threshold = float(rng.choice(score_map.ravel()))
        mask, regions = find_regions(score_map, threshold, size, pixel_pitch=0.05)
        expected = [pixels for pixels in components(score_map > threshold) if large_enough(pixels, size)]
        by_hand = sorted((len(pixels), slow_length(pixels), slow_width(pixels)) for pixels in expected)
        assert sorted((region.area_px, region.length_px, region.width_px) for region in regions) == by_hand
        assert set(map(tuple, np.argwhere(mask))) == {tuple(pixel) for pixels in expected for pixel in pixels}


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_length_and_a_width_there_are_regions_exactly_when_the_score_is_above_the_threshold(kind):
    rng = np.random.default_rng(500 + KINDS.index(kind))
    for _ in range(40):
        score_map = make_map(kind, rng)
        size = make_size(score_map, rng)
        score = area_score(score_map, size)
        thresholds = [score, np.nextafter(score, -np.inf), np.nextafter(score, np.inf), -math.inf, math.inf]
        for threshold in [*thresholds, *rng.choice(score_map.ravel(), 3)]:
            mask, regions = find_regions(score_map, float(threshold), size)
            assert bool(regions) == mask.any() == (score > threshold)
            assert mask.sum() == sum(region.area_px for region in regions)
            assert all(region.length_px >= size.length and region.width_px >= size.width for region in regions)


@pytest.mark.parametrize("crowding", [0, 3, 30])
def test_a_growing_region_never_gets_shorter_or_narrower(crowding):
    rng = np.random.default_rng(crowding)
    for _ in range(30):
        step = np.full((25, 25), -np.inf, np.float32)
        grown = [tuple(rng.integers(0, 25, 2))]
        for number in range(150):
            step[grown[-1]] = -number
            near = {(y + dy, x + dx) for y, x in grown for dy, dx in itertools.product((-1, 0, 1), repeat=2)}
            free = sorted(p for p in near if min(p) >= 0 and max(p) < 25 and step[p] == -np.inf)
            grown.append(free[min(rng.integers(len(free)), rng.integers(len(free)) + crowding)])  # lopsided: elongated
        measured = [find_regions(step, -number - 0.5, 1)[1][0] for number in range(150)]
        assert [region.area_px for region in measured] == list(range(1, 151))
        for name in ("length_px", "width_px"):
            values = [getattr(region, name) for region in measured]
            assert values == sorted(values)
        for number in range(0, 150, 10):  # so S_A is the first step at which it is that long, and that wide
            length, width = measured[number].length_px, measured[number].width_px
            first = next(i for i, region in enumerate(measured) if region.length_px >= length)
            assert area_score(step, PixelSize(1, length)) == -first
            first = next(i for i, region in enumerate(measured) if region.width_px >= width)
            assert area_score(step, PixelSize(1, 0, width)) == -first


@pytest.mark.parametrize("kind", KINDS)
def test_turning_and_mirroring_change_neither_lengths_nor_widths_nor_the_score(kind):
    rng = np.random.default_rng(600 + KINDS.index(kind))
    for _ in range(20):
        score_map = make_map(kind, rng)
        size, threshold = make_size(score_map, rng), float(rng.choice(score_map.ravel()))
        score, measured = area_score(score_map, size), sizes_of(score_map, threshold)
        for same in (
            score_map.T,
            score_map[::-1],
            score_map[:, ::-1],
            np.rot90(score_map),
            np.asfortranarray(score_map),
        ):
            assert area_score(same, size) == score
            assert sizes_of(same, threshold) == measured


def sizes_of(score_map: np.ndarray, threshold: float) -> list[tuple[int, float, float]]:
    return sorted((r.area_px, r.length_px, r.width_px) for r in find_regions(score_map, threshold, 1)[1])


@pytest.mark.parametrize("asked", [PixelSize(1), PixelSize(12), PixelSize(1, 9.5), PixelSize(4, 5, 3)])
def test_the_score_of_the_exponential_is_the_exponential_of_the_score(asked):
    rng = np.random.default_rng(8)
    for _ in range(60):
        noise = ndimage.gaussian_filter(rng.normal(size=rng.integers(8, 40, 2)), rng.uniform(0.5, 2))
        score_map = (np.round(noise / noise.std() * 256) / 256).astype(np.float32)
        levels, ranks = np.unique(score_map, return_inverse=True)
        raised = np.exp(levels)
        assert raised.dtype == np.float32
        assert (np.diff(raised) > 0).all()
        score = area_score(score_map, asked)
        expected = raised[np.searchsorted(levels, score)] if score > -math.inf else -math.inf
        assert area_score(raised[ranks].reshape(score_map.shape), asked) == expected


def drawn(*rows: str) -> np.ndarray:
    return np.array([[float(mark == "#") for mark in row] for row in rows], np.float32)


@pytest.mark.parametrize(
    ("score_map", "length", "width"),
    [
        (drawn("#"), 1, 1),
        (drawn("#####"), 5, 1),
        (drawn("#", "#", "#"), 3, 1),
        (drawn("#..", ".#.", "..#"), 1 + 2 * math.sqrt(2), 1),
        (drawn("##", "##"), 1 + math.sqrt(2), 2),
        (drawn("####", "####"), 1 + math.sqrt(10), 2),
        (drawn("#...", "####"), 1 + math.sqrt(10), 1 + 3 / math.sqrt(10)),
        (drawn("#..", "#..", "###"), 1 + 2 * math.sqrt(2), 1 + math.sqrt(2)),
        (drawn(".#.", "###", ".#."), 3, 1 + math.sqrt(2)),
        (drawn("###", "#.#", "###"), 1 + 2 * math.sqrt(2), 3),
    ],
)
def test_regions_drawn_by_hand_are_measured_right(score_map, length, width):
    _, [region] = find_regions(np.pad(score_map, 2), 0.5, 1)
    assert region.length_px == pytest.approx(length, rel=1e-15)
    assert region.width_px == pytest.approx(width, rel=1e-15)
    _, [at_the_border] = find_regions(score_map, 0.5, 1, pixel_pitch=0.5)
    assert (at_the_border.length_px, at_the_border.width_px) == (region.length_px, region.width_px)
    assert (at_the_border.length_mm, at_the_border.width_mm) == (region.length_px / 2, region.width_px / 2)
    assert region.length_mm is region.width_mm is None


@pytest.mark.parametrize("side", [3, 100, 1500])
def test_a_large_triangle_is_as_long_as_its_longest_side_and_as_wide_as_its_height_on_it(side):
    score_map = np.zeros((side, 2 * side), np.float32)
    score_map[0, :] = score_map[:, 0] = 1
    _, [region] = find_regions(score_map, 0.5, 1)
    legs = side - 1, 2 * side - 1
    assert region.length_px == 1 + math.sqrt(legs[0] ** 2 + legs[1] ** 2)
    assert region.width_px == pytest.approx(1 + legs[0] * legs[1] / math.hypot(*legs), rel=1e-15)


def test_a_faint_scratch_counts_by_its_length_and_a_bright_spot_does_not():
    score_map = np.zeros((30, 60), np.float32)
    score_map[5:9, 5:9] = 9  # 4 x 4
    score_map[20, 10:40] = 3
    assert area_score(score_map, PixelSize(16)) == 9
    assert area_score(score_map, PixelSize(1, 5.25)) == 3  # the spot's diagonal is 1 + 3 sqrt(2)
    assert area_score(score_map, PixelSize(1, 30)) == 3
    assert area_score(score_map, PixelSize(1, 30.001)) == 0
    assert area_score(score_map, PixelSize(1, 0, 4)) == 9
    assert area_score(score_map, PixelSize(1, 30, 1)) == 3
    assert area_score(score_map, PixelSize(1, 30, 1.5)) == 0
    assert [region.bbox for region in find_regions(score_map, 1, PixelSize(1, 20))[1]] == [(10, 20, 30, 1)]


def test_length_and_width_must_be_had_by_one_region():
    score_map = np.zeros((12, 30), np.float32)
    score_map[1, :] = 5  # long
    score_map[4:10, 4:10] = 5  # wide
    assert area_score(score_map, PixelSize(1, 20)) == area_score(score_map, PixelSize(1, 0, 6)) == 5
    assert area_score(score_map, PixelSize(1, 20, 6)) == 0
    assert find_regions(score_map, 1, PixelSize(1, 20, 6))[1] == []
    assert not find_regions(score_map, 1, PixelSize(1, 20, 6))[0].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (30, 40)])
def test_what_is_longer_than_the_diagonal_or_wider_than_the_image_scores_minus_infinity(shape):
    score_map = np.zeros(shape, np.float32)
    diagonal = math.hypot(shape[0] - 1, shape[1] - 1) + 1
    assert area_score(score_map, PixelSize(1, diagonal)) == area_score(score_map, PixelSize(1, 0, min(shape))) == 0
    for size in (PixelSize(1, diagonal + 1e-9), PixelSize(1, 0, min(shape) + 1e-9), PixelSize(1, math.inf)):
        assert area_score(score_map, size) == -math.inf
        assert find_regions(score_map, -1, size)[1] == []


def test_a_length_or_width_of_up_to_one_pixel_asks_for_nothing():
    score_map = np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)
    for size in (PixelSize(1), PixelSize(1, 1, 1), PixelSize(1, 0.5, 1)):
        assert area_score(score_map, size) == float(score_map.max())
        assert len(find_regions(score_map, 1, size)[1]) == len(find_regions(score_map, 1, 1)[1])
    assert area_score(score_map, PixelSize(6)) == area_score(score_map, 6)


def test_a_longer_or_wider_demand_never_raises_the_score():
    score_map = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(60, 80)), 2).astype(np.float32)
    for ask in (lambda pixels: PixelSize(1, pixels), lambda pixels: PixelSize(1, 0, pixels)):
        scores = [area_score(score_map, ask(pixels)) for pixels in np.arange(0, 110, 2.5)]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == score_map.max()
        assert scores[-1] == -math.inf


@pytest.mark.parametrize("size", [PixelSize(0, 2), PixelSize(1, -1), PixelSize(1, 0, math.nan), PixelSize(1, math.nan)])
def test_a_negative_or_undefined_size_is_refused(size):
    score_map = np.zeros((3, 3), np.float32)
    for call in (lambda: area_score(score_map, size), lambda: find_regions(score_map, 0, size)):
        with pytest.raises(ValueError, match="minimum"):
            call()
