"""Drift statistics against counting by hand, whole permutations, and the false alarms that are stated."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy import stats

from adcli.metrics.drift import binomial_p_value, holm, rate_test, shift
from adcli.thresholds import area_rule, by_hand, conformal, guaranteed

TRIALS = 2000


def allowed(rate: float) -> int:
    """More false alarms than this in all trials happen once in 10 000 sets of trials, where `rate` is the true one."""
    return int(stats.binom.isf(1e-4, TRIALS, rate))


def test_the_p_value_of_a_rate_is_what_all_arrangements_say() -> None:
    # 5 held-out and 4 new images in any order, the threshold the second largest held-out one.
    held, new = 5, 4
    hits = dict.fromkeys(range(new + 1), 0)
    for places in combinations(range(held + new), held):  # ranks of the held-out, 8 the largest
        threshold = sorted(places)[-2]
        hits[sum(rank > threshold for rank in range(held + new) if rank not in places)] += 1
    for count in range(new + 1):
        expected = Fraction(sum(hits[k] for k in range(count, new + 1)), comb(held + new, held))
        scores = np.array([10.0] * count + [0.0] * (new - count))
        found = rate_test(np.arange(1.0, held + 1), scores, 4.0)
        assert (found.above, found.n, found.held_out_above, found.held_out) == (count, new, 1, held)
        assert found.p_value == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(("above", "n", "held_above", "held"), [(3, 10, 0, 7), (5, 40, 2, 30), (1, 1, 0, 19)])
def test_for_a_fixed_threshold_the_p_value_is_fishers(above: int, n: int, held_above: int, held: int) -> None:
    held_out = np.array([1.0] * held_above + [-1.0] * (held - held_above))
    scores = np.array([1.0] * above + [-1.0] * (n - above))
    table = [[above, n - above], [held_above, held - held_above]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    assert rate_test(held_out, scores, 0.0).p_value == pytest.approx(expected, rel=1e-9)


def test_a_score_equal_to_the_threshold_is_not_above_it_and_ties_only_slow_the_alarm() -> None:
    held_out = np.array([1.0, 2.0, 3.0, 3.0, 3.0])
    found = rate_test(held_out, np.array([3.0, 4.0]), 3.0)
    assert (found.above, found.share, found.held_out_above) == (1, 0.5, 0)
    assert found.p_value == pytest.approx(1 - comb(5, 3) / comb(7, 3))  # of the highest 3, not all are old
    assert found.p_value > rate_test(np.array([1.0, 2.0, 2.5, 2.7, 3.0]), np.array([3.0, 4.0]), 3.0).p_value


def test_no_image_has_no_p_value() -> None:
    found = rate_test(np.arange(5.0), np.zeros(0), 3.0)
    assert math.isnan(found.p_value)
    assert math.isnan(found.share)
    assert math.isnan(binomial_p_value(0, 0, 0.1))
    assert math.isnan(binomial_p_value(1, 5, math.nan))


@pytest.mark.parametrize(("above", "n", "rate"), [(0, 5, 0.1), (1, 5, 0.1), (3, 50, 0.01), (50, 50, 0.3)])
def test_the_binomial_p_value_is_the_tail_summed_up(above: int, n: int, rate: float) -> None:
    tail = sum(comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(above, n + 1))
    assert binomial_p_value(above, n, rate) == pytest.approx(tail, rel=1e-10)


def test_holm_is_what_stepping_down_by_hand_gives() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(np.array([0.02])).tolist() == [0.02]
    with pytest.raises(ValueError, match="NaN"):
        holm(np.array([0.1, math.nan]))


def test_the_shift_is_counted_in_median_deviations_and_its_distance_by_the_largest_gap() -> None:
    held_out = np.array([1.0, 2.0, 3.0, 4.0, 9.0])  # median 3, deviations 2 1 0 1 6: median 1
    scores = np.array([2.5, 4.0, 5.0, 5.0, 6.0, 7.0])
    found = shift(held_out, scores)
    assert (found.median, found.held_out_median) == (5.0, 3.0)
    assert found.spread == pytest.approx(1.4826)
    assert found.in_spreads == pytest.approx(2 / 1.4826)
    points = np.concatenate([held_out, scores])
    gaps = [abs((held_out <= x).mean() - (scores <= x).mean()) for x in points]
    assert found.distance == pytest.approx(max(gaps))


def test_the_distance_has_the_p_value_of_all_ways_to_deal_the_scores() -> None:
    held_out, scores = np.array([0.0, 1.0, 5.0, 2.5]), np.array([3.0, 4.0, 6.0, 7.0, 8.0])
    pooled, found = np.concatenate([held_out, scores]), shift(held_out, scores)

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return max(abs((a <= x).mean() - (b <= x).mean()) for x in pooled)

    deals = [list(deal) for deal in combinations(range(9), 4)]
    as_far = sum(distance(pooled[deal], np.delete(pooled, deal)) >= found.distance - 1e-9 for deal in deals)
    assert found.p_value == pytest.approx(as_far / len(deals), rel=1e-9)


def test_equal_held_out_scores_give_a_shift_no_unit() -> None:
    assert math.isnan(shift(np.array([1.0, 1.0, 1.0, 5.0]), np.array([2.0])).in_spreads)


def test_a_rise_of_all_scores_changes_no_p_value() -> None:
    rng = np.random.default_rng(5)
    held_out, scores = rng.normal(size=30), rng.normal(0.5, 1, 50)
    plain, bent = shift(held_out, scores), shift(np.exp(held_out), np.exp(scores))
    assert (plain.distance, plain.p_value) == (bent.distance, bent.p_value)
    threshold = float(np.sort(held_out)[-2])
    bent_test = rate_test(np.exp(held_out), np.exp(scores), float(np.exp(threshold)))
    assert rate_test(held_out, scores, threshold) == bent_test


LAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_t(1.5, size=n),
    "tied": lambda rng, n: np.round(rng.exponential(size=n), 1),
}
RULES = {
    "area": (area_rule, 40, 300),
    "conformal 2 %": (lambda scores: conformal(scores, 0.02), 120, 500),
    "guaranteed 5 % at 90 %": (lambda scores: guaranteed(scores, 0.05, 0.9), 150, 2000),
    "by hand": (lambda scores: by_hand(scores, 2.0), 60, 200),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rule", RULES)
def test_a_rate_alarms_no_oftener_than_stated_when_nothing_changed(rule: str, law: str) -> None:
    rng = np.random.default_rng([*map(ord, rule + law)])
    threshold_of, held, n = RULES[rule]
    alarms = 0
    for _ in range(TRIALS):
        held_out = LAWS[law](rng, held)
        test = rate_test(held_out, LAWS[law](rng, n), threshold_of(held_out).threshold)
        alarms += test.p_value <= 0.05
    assert alarms <= allowed(0.05)


def test_a_binomial_test_at_the_promised_rate_would_alarm_far_oftener_than_stated() -> None:
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(TRIALS):
        threshold = conformal(rng.normal(size=120), 0.02).threshold
        above = int((rng.normal(size=2000) > threshold).sum())
        alarms += binomial_p_value(above, 2000, 0.02) <= 0.05
    assert alarms > 2 * allowed(0.05)


def test_a_rate_that_rose_and_scores_that_moved_do_alarm() -> None:
    rng = np.random.default_rng(11)
    seen = []
    for _ in range(50):
        held_out, scores = rng.normal(size=60), rng.normal(1.5, 1, 200)
        rate = rate_test(held_out, scores, area_rule(held_out).threshold)
        seen.append((rate.p_value <= 0.05, shift(held_out, scores).p_value <= 0.01))
    assert np.mean(seen, axis=0)[0] > 0.5
    assert np.mean(seen, axis=0)[1] == 1
