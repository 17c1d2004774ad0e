"""What is measured of an image's pixels, against loops and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adcli.guard import examine, measure


def slowly(prepared: np.ndarray) -> list[float]:
    """The same, pixel by pixel, in double precision."""
    height, width, _ = prepared.shape
    pixels = prepared.astype(float)
    gray = [[sum(pixels[y, x]) / 3 for x in range(width)] for y in range(height)]
    flat = [value for row in gray for value in row]
    mean = sum(flat) / len(flat)
    laplacian = [
        gray[y - 1][x] + gray[y + 1][x] + gray[y][x - 1] + gray[y][x + 1] - 4 * gray[y][x]
        for y in range(1, height - 1)
        for x in range(1, width - 1)
    ]
    apart = [max(pixels[y, x]) - min(pixels[y, x]) for y in range(height) for x in range(width)]
    red, green, blue = (pixels[..., channel].mean() for channel in range(3))
    return [
        sum(value < 2.5 / 255 for value in flat) / len(flat),
        mean,
        sum(value > 252.5 / 255 for value in flat) / len(flat),
        math.sqrt(sum((value - mean) ** 2 for value in flat) / len(flat)),
        math.log(sum(value**2 for value in laplacian) / len(laplacian) + 20 / 12 / 255**2),
        sum(apart) / len(apart),
        red - green,
        blue - green,
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_statistics_are_those_of_a_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (13, 17, 3)) * (rng.random((13, 17, 1)) < 0.9)
    levels[rng.random((13, 17)) < 0.1] = 255
    prepared = (levels / 255).astype(np.float32)
    np.testing.assert_allclose(measure(prepared, True), slowly(prepared), rtol=1e-5, atol=1e-7)


def test_a_gray_image_has_no_colour_and_else_the_same_statistics() -> None:
    rng = np.random.default_rng(0)
    prepared = np.repeat(rng.random((20, 20, 1), np.float32), 3, axis=2)
    np.testing.assert_allclose(measure(prepared, False), measure(prepared, True), rtol=1e-5, atol=1e-7)
    assert measure(prepared, False)[5:].tolist() == [0, 0, 0]


def test_black_and_white_have_numbers_too() -> None:
    flat = math.log(20 / 12 / 255**2)
    for value, black, white in ((0, 1, 0), (1, 0, 1)):
        found = measure(np.full((8, 8, 3), value, np.float32), True)
        np.testing.assert_allclose(found, [black, value, white, 0, flat, 0, 0, 0], atol=1e-6)


def test_a_chequerboard_is_as_sharp_as_can_be() -> None:
    board = (np.indices((10, 10)).sum(0) % 2).astype(np.float32)
    found = measure(np.repeat(board[..., None], 3, axis=2), False)
    assert found[:4].tolist() == [0.5, 0.5, 0.5, 0.5]
    assert found[4] == pytest.approx(math.log(16), rel=1e-4)  # the Laplacian is 4 or -4


def test_a_file_s_format_is_that_of_its_pixels() -> None:
    prepared, pooled = np.zeros((8, 8, 3), np.float32), np.zeros(4, np.float32)
    seen = examine(np.zeros((30, 40), np.uint16), prepared)(pooled)
    assert (seen.width, seen.height, seen.channels, seen.bits) == (40, 30, 1, 16)
    seen = examine(np.zeros((30, 40, 3), np.uint8), prepared)(pooled)
    assert (seen.channels, seen.bits) == (3, 8)
