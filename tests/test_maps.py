"""Lifting patch scores to a map, against float64 loops and SciPy's Gaussian."""

from __future__ import annotations

import numpy as np
import pytest

from adcli.maps import footprint, lift, lifting, resize, smooth
from tests import references

RNG = np.random.default_rng(0)


def scores(*shape):
    return (3 * RNG.random(shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("grid", "input_size", "file_size"),
    [
        ((8, 8), (32, 32), (50, 70)),
        ((9, 7), (72, 56), (40, 31)),
        ((5, 4), (37, 45), (37, 45)),
        ((1, 1), (16, 24), (20, 10)),
        ((1, 6), (8, 48), (9, 5)),
        ((6, 5), (6, 5), (60, 1)),
        ((12, 16), (96, 128), (3, 4)),
    ],
)
@pytest.mark.parametrize("sigma", [0.0, 0.7, 4.0])
def test_lifting_is_bilinear_then_gaussian_then_bilinear(grid, input_size, file_size, sigma):
    values = scores(*grid)
    lifted = lift(values, input_size, sigma, file_size)
    assert lifted.shape == file_size and lifted.dtype == np.float32
    np.testing.assert_allclose(lifted, references.lift(values, input_size, sigma, file_size), atol=3e-5)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.3, 4.0, 16.0])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (20, 9), (40, 50)])
def test_the_gaussian_is_mirrored_at_the_border_however_small_the_image(size, sigma):
    from scipy.ndimage import gaussian_filter

    values = scores(*size)
    expected = gaussian_filter(values.astype(np.float64), sigma, mode="reflect", truncate=4)
    np.testing.assert_allclose(smooth(values, sigma), expected, atol=1e-5)


def test_sigma_zero_changes_nothing():
    values = scores(7, 5)
    assert np.array_equal(smooth(values, 0), values)


def test_a_size_that_is_already_there_changes_nothing():
    values = scores(7, 5)
    assert np.array_equal(resize(values, (7, 5)), values)


def test_pixel_centres_lie_at_halves():
    assert resize(np.array([[0, 1]], np.float32), (1, 4)).tolist() == [[0, 0.25, 0.75, 1]]
    assert resize(np.array([[0, 1, 2, 3]], np.float32), (1, 2)).tolist() == [[0.5, 2.5]]


def test_a_constant_stays_constant_and_units_stay_raw():
    for value in (0.0, -2.5, 1e-6, 1e6):
        lifted = lift(np.full((6, 5), value, np.float32), (48, 40), 4.0, (77, 31))
        np.testing.assert_allclose(lifted, value, rtol=1e-6)


def test_a_map_stays_within_the_scores_and_follows_their_scale():
    values = scores(6, 5)
    lifted = lift(values, (48, 40), 4.0, (77, 31))
    assert values.min() <= lifted.min() and lifted.max() <= values.max()
    np.testing.assert_allclose(lift(8 * values, (48, 40), 4.0, (77, 31)), 8 * lifted, rtol=1e-6)


def test_a_hot_patch_stays_where_it_is():
    for y, x in [(0, 0), (3, 1), (7, 5), (4, 3)]:
        values = np.zeros((8, 6), np.float32)
        values[y, x] = 1
        lifted = lift(values, (64, 48), 4.0, (200, 300))
        peak_y, peak_x = np.unravel_index(lifted.argmax(), lifted.shape)
        assert (peak_y * 8 // 200, peak_x * 6 // 300) == (y, x)


def test_lifting_does_not_change_the_scores():
    values = scores(6, 5)
    before = values.copy()
    lift(values, (48, 40), 4.0, (77, 31))
    lift(values, (6, 5), 4.0, (6, 5))
    assert np.array_equal(values, before)


def test_a_patch_that_is_no_number_leaves_no_number_in_its_place():
    values = scores(6, 5)
    values[2, 3] = np.nan
    assert np.isnan(lift(values, (48, 40), 4.0, (77, 31)).max())


@pytest.mark.parametrize(
    ("grid", "input_size", "sigma"),
    [
        ((8, 8), (64, 64), 4.0),
        ((16, 16), (64, 64), 4.0),
        ((9, 7), (72, 56), 4.0),
        ((5, 6), (40, 40), 0.0),
        ((1, 1), (9, 9), 4.0),
    ],
)
def test_the_footprint_is_the_share_above_half_of_one_lifted_patch(grid, input_size, sigma):
    expected = references.footprint(grid, input_size, sigma)
    # A pixel that lies at half the peak may fall on either side of it.
    assert footprint(grid, input_size, sigma) == pytest.approx(expected, abs=8 / (input_size[0] * input_size[1]))


def test_the_footprint_of_a_large_grid_is_that_of_a_gaussian():
    """One input pixel becomes the Gaussian itself, above half within 1.1774 sigma of its centre."""
    area = footprint((65, 65), (65, 65), 4.0) * 65 * 65
    assert area == pytest.approx(np.pi * (1.1774 * 4) ** 2, rel=0.05)


@pytest.mark.parametrize(
    ("grid", "input_size"), [((8, 6), (64, 48)), ((5, 4), (37, 45)), ((1, 3), (4, 9)), ((6, 5), (6, 5))]
)
@pytest.mark.parametrize("sigma", [0.0, 0.7, 4.0])
def test_two_matrices_lift_to_the_networks_input(grid, input_size, sigma):
    values = scores(*grid)
    rows, columns = (lifting(*lengths, sigma) for lengths in zip(grid, input_size, strict=True))
    np.testing.assert_allclose(rows @ values @ columns.T, lift(values, input_size, sigma, input_size), atol=1e-5)
