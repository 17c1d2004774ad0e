"""Found rates and the curve of detection, against slower arithmetic and against truths that were chosen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage, optimize

from adcli.metrics.detection import by_size, defects_in, fit_curve, sure_from
from adcli.metrics.intervals import rate_interval
from tests.tasks.folders import EIGHT

B0, B1 = -9.0, 2.0  # a50 = exp(4.5) = 90, a90 = exp(5.6) = 270


def simulated(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Areas over three decades, found by the curve of B0 and B1."""
    areas = np.exp(rng.uniform(1, 8, n))
    return areas, rng.random(n) < 1 / (1 + np.exp(-(B0 + B1 * np.log(areas))))


def log_likelihood(b0: np.ndarray, b1: np.ndarray, areas: np.ndarray, found: np.ndarray) -> np.ndarray:
    total = np.zeros(np.broadcast(b0, b1).shape)
    for area, is_found in zip(areas, found, strict=True):
        eta = b0 + b1 * math.log(area)
        total -= np.logaddexp(0, -eta if is_found else eta)
    return total


def test_a_defect_is_found_by_a_single_pixel_and_diagonal_pixels_are_one_defect() -> None:
    truth = np.zeros((5, 6), bool)
    truth[0, 0] = truth[1, 1] = True
    truth[3:5, 3:6] = True
    decided = np.zeros_like(truth)
    decided[1, 1] = decided[2] = True
    assert defects_in(truth, decided) == [(2, True), (6, False)]
    assert defects_in(np.zeros_like(truth), decided) == []


def test_defects_are_what_scipy_labels() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        truth, decided = rng.random((30, 40)) < 0.3, rng.random((30, 40)) < 0.05
        labels, count = ndimage.label(truth, EIGHT)
        slow = [(int((labels == n).sum()), bool(decided[labels == n].any())) for n in range(1, count + 1)]
        assert sorted(defects_in(truth, decided)) == sorted(slow)


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        defects_in(np.zeros((2, 3), bool), np.zeros((3, 2), bool))


def test_bins_run_from_a_power_of_four_to_the_next() -> None:
    areas = [1, 3, 4, 15, 16, 15.999, 64, 0.25, 0.2]
    found = [True, False, True, True, False, False, True, False, True]
    bins = [(one.low, one.high, one.n, one.found) for one in by_size(areas, found)]
    assert bins == [
        (0.0625, 0.25, 1, 1),
        (0.25, 1, 1, 0),
        (1, 4, 2, 1),
        (4, 16, 3, 2),
        (16, 64, 1, 0),
        (64, 256, 1, 1),
    ]
    third = by_size(areas, found)[3]
    assert (third.rate, third.rate_low, third.rate_high) == (2 / 3, *rate_interval(2, 3))
    assert by_size([], []) == []


def test_ninety_percent_are_sure_from_twenty_nine_of_twenty_nine() -> None:
    assert sure_from(range(1, 30), [True] * 29) == 1
    assert math.isnan(sure_from(range(1, 29), [True] * 28))
    assert sure_from(range(1, 41), [False] * 5 + [True] * 35) == 6
    assert math.isnan(sure_from([7.0] * 60, [True] * 50 + [False] * 10))
    assert math.isnan(sure_from([], []))


def test_sure_from_is_the_smallest_area_that_a_search_finds() -> None:
    rng = np.random.default_rng(2)
    defined = 0
    for _ in range(30):
        areas = rng.integers(1, 30, 80)  # ties occur
        found = rng.random(80) < areas / (areas + 0.7)
        slow = [
            size
            for size in sorted(set(areas.tolist()))
            if rate_interval(int(found[areas >= size].sum()), int((areas >= size).sum()), 0.9)[0] >= 0.9
        ]
        assert sure_from(areas, found) == pytest.approx(slow[0] if slow else math.nan, nan_ok=True)
        defined += bool(slow)
    assert defined > 5


@pytest.mark.parametrize("seed", range(6))
def test_the_curve_is_the_maximum_that_a_general_optimiser_finds(seed: int) -> None:
    areas, found = simulated(np.random.default_rng(seed), 60)
    curve = fit_curve(areas, found)

    def loss(b: np.ndarray) -> float:
        return -float(log_likelihood(b[0], b[1], areas, found))

    slow = optimize.minimize(loss, [0.0, 0.1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    assert (curve.b0, curve.b1) == pytest.approx(slow.x, rel=1e-4)
    assert curve.a50 == pytest.approx(math.exp(-curve.b0 / curve.b1))
    assert 1 / (1 + math.exp(-(curve.b0 + curve.b1 * math.log(curve.a90)))) == pytest.approx(0.9)
    assert curve.note is None


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_the_largest_a90_of_all_curves_that_the_data_do_not_reject(seed: int) -> None:
    areas, found = simulated(np.random.default_rng(seed), 60)
    curve = fit_curve(areas, found)
    size, slope = np.meshgrid(np.linspace(0, 2.5, 800), np.linspace(0.02, 4, 400) * curve.b1)  # ln a90 above the fitted
    b0 = math.log(9) - slope * (size + math.log(curve.a90))
    best = log_likelihood(np.array(curve.b0), np.array(curve.b1), areas, found)
    kept = 2 * (best - log_likelihood(b0, slope, areas, found)) <= 2.7055
    assert size[kept].max() < 2.4  # the grid holds all of the region
    assert math.log(curve.a90_95 / curve.a90) == pytest.approx(size[kept].max(), abs=0.01)


def test_many_defects_bring_the_curve_back_that_they_were_drawn_from() -> None:
    curve = fit_curve(*simulated(np.random.default_rng(3), 20_000))
    assert (curve.b0, curve.b1) == pytest.approx((B0, B1), rel=0.05)
    assert curve.a50 == pytest.approx(math.exp(4.5), rel=0.05)
    assert curve.a90 < curve.a90_95 < 1.1 * curve.a90


def test_the_bound_lies_above_the_true_a90_in_nine_of_ten_experiments_and_more() -> None:
    rng, truth = np.random.default_rng(4), math.exp((math.log(9) - B0) / B1)
    bounds = np.array([fit_curve(*simulated(rng, 50)).a90_95 for _ in range(300)])
    defined = bounds[np.isfinite(bounds)]
    assert defined.size > 270
    assert 0.90 <= (defined >= truth).mean() < 0.99


def test_another_unit_changes_sizes_by_its_factor_and_the_slope_not_at_all() -> None:
    areas, found = simulated(np.random.default_rng(5), 60)
    px, mm2 = fit_curve(areas, found), fit_curve(areas * 0.0025, found)
    assert mm2.b1 == pytest.approx(px.b1)
    sizes = (px.a50, px.a90, px.a90_95)
    assert (mm2.a50, mm2.a90, mm2.a90_95) == pytest.approx(tuple(0.0025 * size for size in sizes))


@pytest.mark.parametrize(
    ("areas", "found", "reason"),
    [
        (range(1, 10), [0, 1] * 4 + [1], "at least 10"),
        ([], [], "at least 10"),
        (range(1, 21), [1] * 20, "every defect"),
        (range(1, 21), [0] * 20, "no defect"),
        (range(1, 21), [0] * 12 + [1] * 8, "separates"),
        ([*range(1, 12), *range(11, 21)], [0] * 11 + [1] * 10, "separates"),
        ([8] * 20, [0, 1] * 10, "one size"),
        (range(1, 21), [1] * 12 + [0] * 8, "not found more often"),
        (range(1, 21), [1, 1, 1, 1, 0] * 2 + [0, 0, 0, 0, 1] * 2, "not found more often"),
    ],
)
def test_without_a_curve_all_is_nan_and_a_note_says_why(areas: list[int], found: list[int], reason: str) -> None:
    curve = fit_curve(list(areas), [bool(one) for one in found])
    assert all(math.isnan(value) for value in (curve.b0, curve.b1, curve.a50, curve.a90, curve.a90_95))
    assert reason in curve.note


def test_a_slope_that_may_be_none_leaves_the_bound_undefined() -> None:
    curve = fit_curve(range(1, 13), [bool(one) for one in (0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 1, 1)])
    assert curve.b1 > 0
    assert math.isfinite(curve.a90)
    assert math.isnan(curve.a90_95)
    assert "a90/95 is undefined" in curve.note
