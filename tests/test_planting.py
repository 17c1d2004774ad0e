"""Planted defects are where their mask says, as large and as strong as was asked, and the same for the same draw."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from adcli.errors import UsageError
from adcli.planting import KINDS, Size, check, fits, plant

FULL = {"uint8": 255, "uint16": 65535}


def flat(value: float, dtype: str = "uint8", shape: tuple[int, ...] = (80, 120)) -> np.ndarray:
    return np.full(shape, value, dtype)


def difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(H, W): the change of the first channel; all channels change alike."""
    change = after.astype(int) - before
    if change.ndim == 3:
        assert (change == change[..., :1]).all()
        change = change[..., 0]
    return change


def length(mask: np.ndarray) -> float:
    """The largest distance of two pixels, and one for what they extend."""
    points = np.argwhere(mask).astype(float)
    return 1 + np.hypot(*(points[:, None] - points).transpose(2, 0, 1)).max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", FULL)
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("size", [1, 2.5, 9, 40])
def test_what_changes_is_the_mask_and_a_soft_edge_of_the_asked_contrast(
    kind: str, dtype: str, channels: tuple[int, ...], size: float
) -> None:
    before = flat(FULL[dtype] // 2, dtype, (80, 120, *channels))
    kept = before.copy()
    for seed in range(5):
        after, mask = plant(before, kind, size, 0.3, np.random.default_rng(seed))
        assert np.array_equal(before, kept)
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert (mask.dtype, mask.shape) == (bool, (80, 120))
        change = difference(before, after)
        assert abs(np.abs(change).max() - 0.3 * FULL[dtype]) <= 0.5
        assert len(set(np.sign(change[change != 0]))) == 1
        assert mask.any()
        assert (np.abs(change[mask]) >= 0.15 * FULL[dtype] - 0.5).all()
        assert (np.abs(change[~mask]) <= 0.15 * FULL[dtype] + 0.5).all()
        edge = 1 + math.ceil(size / 8) if kind == "spot" else 1
        near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * edge + 1, 2 * edge + 1))) > 0
        assert not change[~near].any()


def test_a_spot_has_its_diameter_and_a_scratch_its_length_and_width() -> None:
    rng, before = np.random.default_rng(0), flat(128, shape=(200, 200))
    for size in (16, 30, 60):
        spot = plant(before, "spot", size, 0.2, rng)[1]
        assert spot.sum() == pytest.approx(math.pi * (size / 2) ** 2, rel=0.15)
        assert abs(np.ptp(np.nonzero(spot), axis=1) + 1 - size).max() <= 1
        for _ in range(10):
            scratch = plant(before, "scratch", size, 0.2, rng)[1]
            assert length(scratch) == pytest.approx(size, abs=2)
            assert scratch.sum() == pytest.approx(size * size / 10, rel=0.35)
            assert cv2.connectedComponents(scratch.astype(np.uint8), connectivity=8)[0] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_a_defect_is_cut_off_where_it_barely_fits(kind: str) -> None:
    size = max(size for size in range(1, 41) if fits(kind, size, 41, 60))
    assert size > 25
    for seed in range(60):
        mask = plant(flat(128, shape=(41, 60)), kind, size, 0.2, np.random.default_rng(seed))[1]
        assert length(mask) == pytest.approx(size, abs=2)


def test_every_place_where_a_spot_fits_is_taken_sometimes() -> None:
    rng, seen = np.random.default_rng(1), np.zeros((12, 9), bool)
    for _ in range(600):
        seen |= plant(flat(128, shape=(12, 9)), "spot", 1, 0.2, rng)[1]
    inside = np.zeros_like(seen)
    inside[1:-1, 1:-1] = True
    assert np.array_equal(seen, inside)


@pytest.mark.parametrize(("value", "signs"), [(0, {1}), (255, {-1}), (128, {-1, 1}), (40, {1}), (215, {-1})])
def test_the_sign_is_drawn_where_both_have_room_and_else_the_one_that_has(value: int, signs: set[int]) -> None:
    rng, seen = np.random.default_rng(2), set()
    for _ in range(40):
        before = flat(value)
        change = difference(before, plant(before, "spot", 6, 0.4, rng)[0])
        assert np.abs(change).max() == 102
        seen |= set(np.sign(change[change != 0]).tolist())
    assert seen == signs


def test_a_contrast_beyond_both_ends_goes_the_longer_way_and_stays_in_range() -> None:
    before = flat(100)
    after = plant(before, "spot", 9, 0.9, np.random.default_rng(3))[0]
    assert (after.min(), after.max()) == (100, 255)


def test_a_white_level_is_the_full_range_of_sixteen_bits_and_what_lies_above_it_stays() -> None:
    before = flat(2000, "uint16")
    change = difference(before, plant(before, "spot", 9, 0.25, np.random.default_rng(4), 4000.0)[0])
    assert np.abs(change).max() == 1000
    above = flat(5000, "uint16")
    change = difference(above, plant(above, "spot", 9, 0.25, np.random.default_rng(4), 4000.0)[0])
    assert set(np.sign(change[change != 0]).tolist()) == {-1}
    assert change.min() == -1000
    eight = flat(100)
    assert np.abs(difference(eight, plant(eight, "spot", 9, 0.2, np.random.default_rng(4), 4000.0)[0])).max() == 51


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_draw_plants_the_same_and_another_another(kind: str) -> None:
    before = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    one, two, other = (plant(before, kind, 10, 0.2, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[1], other[1])


@pytest.mark.parametrize(
    ("kind", "size", "contrast", "said"),
    [
        ("dent", 5, 0.1, "known are spot, scratch"),
        ("spot", 80, 0.1, "spot of 80 px does not fit into an image of 120x80"),
        ("scratch", 80, 0.1, "does not fit"),
        ("spot", 0.5, 0.1, "at least 1 px"),
        ("spot", math.nan, 0.1, "at least 1 px"),
        ("spot", math.inf, 0.1, "at least 1 px"),
        ("spot", 5, 0.0, "contrast"),
        ("spot", 5, 1.1, "contrast"),
        ("spot", 5, math.nan, "contrast"),
    ],
)
def test_what_cannot_be_planted_is_refused(kind: str, size: float, contrast: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plant(flat(128), kind, size, contrast, np.random.default_rng(0))
    with pytest.raises(UsageError, match=said):
        check(kind, size, contrast, 120, 80)


def test_sizes_are_read_in_pixels_millimetres_and_diameters_of_the_minimum_area() -> None:
    assert Size.parse(" 10px ").pixels(50, None) == 10
    assert Size.parse("0.5mm").pixels(50, 0.05) == pytest.approx(10)
    assert Size.parse("2x").pixels(50, None) == pytest.approx(4 * math.sqrt(50 / math.pi))
    assert [str(Size.parse(text)) for text in ("10 PX", "0.50mm", ".5x")] == ["10px", "0.5mm", "0.5x"]
    with pytest.raises(UsageError, match="pixel-pitch"):
        Size.parse("1mm").pixels(50, None)


@pytest.mark.parametrize("text", ["", "10", "px", "-3px", "0px", "1cm", "1e3px", "nanpx", "1.2.3px"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        Size.parse(text)
