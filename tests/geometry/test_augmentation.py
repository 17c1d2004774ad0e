"""Copies to learn from: where they show what the image shows, and that nothing made up is learnt."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adcli.errors import UsageError
from adcli.geometry import Geometry
from adcli.geometry.augmentation import Augmentation
from adcli.geometry.drawing import read_roi
from adcli.geometry.tiles import Tiling
from adcli.geometry.turning import shown, turn
from adcli.geometry.views import Views
from adcli.images import prepare

GRID = (8, 8)


def noise(height: int, width: int, *more: int) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, *more), np.uint8)


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("shape", [(9, 9), (10, 10, 3)])
def test_quarter_turns_of_a_square_move_pixels_and_change_none(quarters: int, shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    assert np.array_equal(turn(pixels, 90 * quarters), np.rot90(pixels, quarters))
    assert shown(np.ones(shape[:2], bool), 90 * quarters).all()


@pytest.mark.parametrize("angle", [17.0, 45.0, 90.0, 200.0])
@pytest.mark.parametrize("size", [(40, 40), (30, 50), (51, 20)])
def test_what_is_shown_comes_from_within_the_image(angle: float, size: tuple[int, int]) -> None:
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(float)
    y, x = rows - (height - 1) / 2, columns - (width - 1) / 2
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    source_x = cosine * x - sine * y + (width - 1) / 2  # turned back; y grows downwards
    source_y = sine * x + cosine * y + (height - 1) / 2
    beyond = np.maximum.reduce([-source_x, -source_y, source_x - (width - 1), source_y - (height - 1)])
    found = shown(np.ones(size, bool), angle)
    assert not found[beyond > 0.1].any()
    assert found[beyond < -1.1].all()
    ramp = turn((source_for_turn := np.tile(np.arange(width, dtype=np.uint8) * 4, (height, 1))), angle)
    inside = beyond < -3
    assert inside.any()
    np.testing.assert_allclose(ramp[inside], 4 * source_x[inside], atol=2)
    assert source_for_turn.dtype == ramp.dtype


def test_each_image_comes_first_among_its_copies_and_none_twice() -> None:
    copies = Augmentation(8, 0.8, 1.2).copies()
    assert copies[0] == (0.0, 1.0)
    assert len(set(copies)) == len(copies) == 24
    assert {angle for angle, _ in copies} == {45.0 * turn for turn in range(8)}
    assert {factor for _, factor in copies} == {0.8, 1.0, 1.2}
    assert Augmentation(1, 1.0, 1.5).copies() == [(0.0, 1.0), (0.0, 1.5)]


@pytest.mark.parametrize(
    ("rotations", "brightness"),
    [(0, None), (73, None), (None, "0.8"), (None, "1.2:0.8"), (None, "0:1.2"), (None, "1.1:1.2"), (None, "a:b")],
)
def test_what_makes_no_copies_is_refused(rotations: int | None, brightness: str | None) -> None:
    with pytest.raises(UsageError):
        Augmentation.parse(rotations, brightness)


def test_nothing_asked_for_is_nothing_stored() -> None:
    assert Augmentation.parse(None, None) is None
    assert Augmentation.parse(1, "1:1") is None
    assert Augmentation.parse(8, "0.75:1.25") == Augmentation(8, 0.75, 1.25)


def test_light_is_multiplied_after_the_image_was_prepared_and_ends_at_white() -> None:
    pixels = noise(32, 32)
    view = Views(Geometry(), (32, 32), None, 0).of(pixels)
    brighter = view.turned(0, 1.5).input(0)
    np.testing.assert_allclose(brighter, np.minimum(view.input(0) * 1.5, 1), atol=1e-6)
    assert brighter.max() == 1
    assert view.turned(0, 1.5).patches_to_learn(0, GRID) is None
    assert view.turned(0, 1.0) is view


def test_no_patch_with_a_mirrored_corner_is_learnt_from() -> None:
    views = Views(Geometry(), (64, 64), None, 0)
    kept = views.of(noise(128, 96)).turned(45, 1.0).patches_to_learn(0, GRID)
    seen = shown(np.ones((128, 96), bool), 45)
    for row in range(8):
        for column in range(8):
            assert kept[row, column] == seen[16 * row : 16 * row + 16, 12 * column : 12 * column + 12].all()
    assert kept[3:5, 3:5].all() and not kept[0, 0]


def test_a_turned_copy_of_a_region_of_interest_has_only_what_was_in_it() -> None:
    pixels = np.full((64, 64), 10, np.uint8)
    pixels[8:24, 8:56] = 200
    roi = read_roi("8,8,48,16", [(64, 64)])  # x, y, width, height: the bright bar near the top
    view = Views(Geometry(roi), (64, 64), None, 0).of(pixels)
    assert view.patches_to_learn(0, GRID).sum() == 12
    upside_down = view.turned(180, 1.0)
    assert not upside_down.patches_to_learn(0, GRID).any()  # the bar has left the region
    quarter = view.turned(90, 1.0).patches_to_learn(0, GRID)
    assert np.array_equal(np.argwhere(quarter), [[1, 1], [1, 2], [2, 1], [2, 2]])  # where both bars are
    assert (view.turned(90, 1.0).input(0)[10, 10] > 0.7).all()


def test_tiles_of_a_copy_are_cut_from_the_turned_image() -> None:
    pixels = noise(96, 96)
    views = Views(Geometry(tiling=Tiling(64, 32)), (64, 64), None, 0)
    copy = views.of(pixels).turned(90, 1.0)
    assert len(copy) == 4
    expected = prepare(np.ascontiguousarray(np.rot90(pixels)[:64, :64]), (64, 64))
    np.testing.assert_allclose(copy.input(0), expected, atol=1e-6)
