"""The tail that is fitted above the highest fifth of the scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from adcli.thresholds.peaks import _fit, peaks_over_threshold


@pytest.mark.parametrize("shape", [-0.4, 0.0, 0.3])
def test_the_fit_finds_the_law_that_the_peaks_are_drawn_from(shape):
    rng = np.random.default_rng(0)
    drawn = stats.genpareto.rvs(shape, scale=2.0, size=(40, 4000), random_state=rng)
    found = np.array([_fit(np.sort(row)) for row in drawn])
    assert found.mean(axis=0) == pytest.approx([shape, 2.0], abs=0.03)


def test_the_weighted_moment_is_the_mean_over_all_pairs_of_their_minimum_halved():
    """E[X (1 - F(X))] is half the mean of the smaller of two draws; checked on every pair."""
    excesses = np.sort(np.random.default_rng(1).exponential(size=12))
    pairs = [min(a, b) for i, a in enumerate(excesses) for j, b in enumerate(excesses) if i != j]
    weighted, mean = np.mean(pairs) / 2, excesses.mean()
    k = mean / (mean - 2 * weighted) - 2
    assert _fit(excesses) == pytest.approx((-k, 2 * mean * weighted / (mean - 2 * weighted)))


@pytest.mark.parametrize("law", [stats.expon(), stats.uniform(), stats.genpareto(0.2)])
def test_with_many_images_the_threshold_is_near_the_true_quantile(law):
    scores = law.rvs(size=20000, random_state=np.random.default_rng(2))
    for rate in (0.01, 0.001):
        assert law.sf(peaks_over_threshold(scores, rate).threshold) == pytest.approx(rate, rel=0.35)


def test_a_lower_rate_never_lowers_the_threshold():
    scores = np.random.default_rng(3).gumbel(size=150)
    found = [peaks_over_threshold(scores, rate).threshold for rate in (0.5, 0.3, 0.2, 0.1, 0.01, 0.001, 1e-6)]
    assert found == sorted(found)


def test_it_never_leaves_the_largest_score_by_more_than_the_range():
    scores = np.append(np.random.default_rng(4).normal(size=99), 50.0)
    found = peaks_over_threshold(scores, 1e-9)
    assert found.threshold <= 50 + (50 - scores.min())
    assert "held down" in found.sentence


def test_equal_scores_give_that_score():
    assert peaks_over_threshold(np.full(80, 3.0), 0.01).threshold == 3.0


def test_it_says_that_it_is_a_model_and_gives_its_interval():
    found = peaks_over_threshold(np.random.default_rng(5).normal(size=100), 0.01)
    assert found.sentence.startswith("Model-based, no guarantee")
    low, high = (float(word.rstrip(".")) for word in found.sentence.rsplit("threshold ", 1)[1].split(" to "))
    assert low <= found.threshold <= high


@pytest.mark.parametrize("n", [50, 55, 60, 100, 133])
def test_peaks_that_are_all_one_value_give_that_value(n):
    scores = np.repeat([0.0, 1.0], [n - n // 5, n // 5])
    assert peaks_over_threshold(scores, 0.01).threshold == 1.0


def test_fewer_than_fifty_images_are_told_so():
    found = peaks_over_threshold(np.arange(49.0), 0.01)
    assert math.isnan(found.threshold) and found.needed == 50
    assert peaks_over_threshold(np.arange(50.0), 0.01).needed is None
