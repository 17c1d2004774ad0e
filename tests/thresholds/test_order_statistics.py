"""What is promised of a threshold, held against the published tables, exact arithmetic and simulation."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from adcli.errors import GateFailed, UsageError
from adcli.thresholds import (
    area_rule,
    band,
    by_hand,
    conformal,
    guaranteed,
    images_needed,
    p_value,
    require,
)
from adcli.thresholds.estimators import Evidence, Rule
from adcli.thresholds.estimators import side_by_side as compare

# Score laws, with ties in the last three; Cauchy has no mean, the geometric one has its largest atom at the bottom.
LAWS = {
    "uniform": stats.uniform(),
    "normal": stats.norm(-3, 0.1),
    "lognormal": stats.lognorm(2),
    "cauchy": stats.cauchy(),
    "poisson": stats.poisson(6),
    "geometric": stats.geom(0.6),
    "constant": stats.randint(4, 5),
}
CONTINUOUS = ["uniform", "normal", "lognormal", "cauchy"]
DRAWS = 1500
SIGMAS = 4  # a simulated share may be off by this many of its own standard deviations

# Images needed at 95 % confidence with 0, 1, 2, 3, 5, 10 exceedances; for the next image; at 99 % with no exceedance.
NEEDED = {
    0.1: ([29, 46, 61, 76, 103, 167], 9, 44),
    0.05: ([59, 93, 124, 153, 208, 336], 19, 90),
    0.02: ([149, 236, 313, 386, 523, 845], 49, 228),
    0.01: ([299, 473, 628, 773, 1049, 1693], 99, 459),
    0.005: ([598, 947, 1258, 1549, 2100, 3389], 199, 919),
    0.002: ([1497, 2371, 3146, 3875, 5254, 8478], 499, 2301),
    0.001: ([2995, 4742, 6294, 7752, 10511, 16959], 999, 4603),
}


def side_by_side(scores):
    """The order statistics among the estimators, which need no map."""
    listed = compare(Evidence(np.sort(scores), None, np.arange(len(scores))), Rule())
    return [found for found in listed if not found.rule.startswith("pot")]


def false_reject_rates(law: str, n: int, estimate) -> tuple[np.ndarray, list]:
    rng = np.random.default_rng([*LAWS].index(law))
    estimates = [estimate(scores) for scores in LAWS[law].rvs(size=(DRAWS, n), random_state=rng)]
    return LAWS[law].sf([found.threshold for found in estimates]), estimates


def exact_binomial_cdf(m: int, n: int, alpha: Fraction) -> Fraction:
    return sum((math.comb(n, i) * alpha**i * (1 - alpha) ** (n - i) for i in range(m + 1)), Fraction(0))


@pytest.mark.parametrize("alpha", NEEDED)
def test_the_number_of_images_needed_is_that_of_the_table(alpha):
    with_exceedances, for_the_next, at_99 = NEEDED[alpha]
    assert [images_needed(alpha, 0.95, m) for m in (0, 1, 2, 3, 5, 10)] == with_exceedances
    assert images_needed(alpha) == for_the_next
    assert images_needed(alpha, 0.99) == at_99


@pytest.mark.parametrize("alpha", [0.3, 0.07, 0.01])
@pytest.mark.parametrize("confidence", [None, 0.5, 0.9, 0.975])
def test_the_number_of_images_needed_is_enough_and_one_less_is_not(alpha, confidence):
    n = images_needed(alpha, confidence)
    few, enough = np.arange(n - 1.0), np.arange(float(n))
    find = (lambda s: conformal(s, alpha)) if confidence is None else (lambda s: guaranteed(s, alpha, confidence))
    assert find(enough).threshold == n - 1
    assert math.isnan(find(few).threshold)
    assert find(few).needed == n


def test_images_needed_for_the_next_image_count_its_exceedances_too():
    for m in (0, 1, 7):
        n = images_needed(0.05, exceedances=m)
        assert conformal(np.arange(float(n)), 0.05).rejected == m
        assert conformal(np.arange(n - 1.0), 0.05).rejected != m or m == 0


@pytest.mark.parametrize("text", ["0.01", "0.05", "0.1", "0.3", "0.001", "0.07", "0.29"])
def test_the_conformal_rank_is_that_of_exact_arithmetic(text):
    for n in range(1, 1300, 3):
        k = math.ceil((n + 1) * (1 - Fraction(text)))
        threshold = conformal(np.arange(1.0, n + 1), float(text)).threshold
        assert (threshold == k) if k <= n else math.isnan(threshold)


@pytest.mark.parametrize("text", ["0.05", "0.2", "0.5"])
@pytest.mark.parametrize("confidence", ["0.5", "0.75", "0.95"])
def test_the_guaranteed_rank_is_that_of_exact_arithmetic(text, confidence):
    doubt = 1 - Fraction(confidence)
    for n in [1, 2, 3, 5, 13, 14, 59, 60, 93, 124]:
        fitting = [m for m in range(n) if exact_binomial_cdf(m, n, Fraction(text)) <= doubt]
        threshold = guaranteed(np.arange(1.0, n + 1), float(text), float(confidence)).threshold
        assert (threshold == n - fitting[-1]) if fitting else math.isnan(threshold)


@pytest.mark.parametrize(
    ("n", "expected", "bound"), [(20, 4.8, 13.9), (30, 3.2, 9.5), (60, 1.6, 4.9), (300, 0.33, 1.0)]
)
def test_the_paper_rule_has_the_bound_of_the_table(n, expected, bound):
    estimate = area_rule(np.arange(float(n)))
    assert (estimate.threshold, estimate.rejected, estimate.rate_low) == (n - 1, 0, 0)
    assert estimate.rate_high == pytest.approx(1 - 0.05 ** (1 / n))
    assert 100 * estimate.rate_high == pytest.approx(bound, abs=0.06)
    assert 100 / (n + 1) == pytest.approx(expected, abs=0.06)
    assert f"1/{n + 1}" in estimate.guarantee


@pytest.mark.parametrize(("n", "alpha", "confidence"), [(2, 0.2, 0.36), (3, 0.1, 0.271), (5, 0.2, 0.67232)])
def test_a_promise_that_is_kept_with_equality_is_kept(n, alpha, confidence):
    assert (1 - Fraction(str(alpha))) ** n == 1 - Fraction(str(confidence))
    assert guaranteed(np.arange(float(n)), alpha, confidence).threshold == n - 1
    assert images_needed(alpha, confidence) == n


def test_fifty_nine_images_just_keep_five_percent():
    assert area_rule(np.arange(59.0)).rate_high <= 0.05 < area_rule(np.arange(58.0)).rate_high


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("n", "alpha"), [(40, 0.1), (133, 0.03)])
def test_the_next_good_image_is_rejected_no_more_often_than_promised(law, n, alpha):
    rates, _ = false_reject_rates(law, n, lambda scores: conformal(scores, alpha))
    tolerance = SIGMAS * rates.std() / math.sqrt(DRAWS)
    assert rates.mean() <= alpha + tolerance
    if law in CONTINUOUS:  # and no less often than the rank allows, or images would be let through for nothing
        k = math.ceil((n + 1) * (1 - Fraction(str(alpha))))
        assert rates.mean() == pytest.approx((n + 1 - k) / (n + 1), abs=tolerance)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("n", "alpha", "confidence"), [(93, 0.05, 0.95), (100, 0.1, 0.8)])
def test_the_guaranteed_rate_is_kept_as_often_as_promised(law, n, alpha, confidence):
    rates, _ = false_reject_rates(law, n, lambda scores: guaranteed(scores, alpha, confidence))
    kept = np.mean(rates <= alpha)
    assert kept >= confidence - SIGMAS * math.sqrt(confidence * (1 - confidence) / DRAWS)
    if law in CONTINUOUS:
        m = max(m for m in range(n) if stats.binom.cdf(m, n, alpha) <= 1 - confidence)
        share = stats.beta.cdf(alpha, m + 1, n - m)
        assert kept == pytest.approx(share, abs=SIGMAS * math.sqrt(share * (1 - share) / DRAWS))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rule", ["area", "conformal", "by hand"])
def test_each_bound_of_the_rate_holds_in_95_of_100_draws(law, rule):
    n = 60
    fixed = float(LAWS[law].ppf(0.9))
    rules = {"area": area_rule, "conformal": lambda s: conformal(s, 0.1), "by hand": lambda s: by_hand(s, fixed)}
    rates, estimates = false_reject_rates(law, n, rules[rule])
    tolerance = SIGMAS * math.sqrt(0.95 * 0.05 / DRAWS)
    assert np.mean(rates <= [found.rate_high for found in estimates]) >= 0.95 - tolerance
    assert np.mean(rates >= [found.rate_low for found in estimates]) >= 0.95 - tolerance


@pytest.mark.parametrize("law", LAWS)
def test_both_thresholds_of_a_band_hold_together(law):
    n, check_rate, reject_rate, confidence = 300, 0.1, 0.03, 0.9
    rng = np.random.default_rng(5)
    kept = 0
    for scores in LAWS[law].rvs(size=(DRAWS, n), random_state=rng):
        check, reject = band(scores, check_rate, reject_rate, confidence)
        kept += bool((LAWS[law].sf(check.threshold) <= check_rate) and (LAWS[law].sf(reject.threshold) <= reject_rate))
    assert kept / DRAWS >= confidence - SIGMAS * math.sqrt(confidence * (1 - confidence) / DRAWS)


def test_a_band_has_its_check_threshold_below_and_says_what_holds_together():
    scores = np.random.default_rng(0).normal(size=800)
    for confidence, said in ((0.95, "together with 95 %"), (None, "by itself")):
        check, reject = band(scores, 0.05, 0.01, confidence)
        assert check.threshold < reject.threshold
        assert said in check.guarantee
        assert said in reject.guarantee
    assert band(scores, 0.05, 0.01, 0.95)[1].threshold == guaranteed(scores, 0.01, 0.975).threshold
    assert band(scores, 0.05, 0.01)[0].threshold == conformal(scores, 0.05).threshold


def test_a_band_that_checks_less_than_it_rejects_is_refused():
    with pytest.raises(UsageError, match="check rate"):
        band(np.arange(100.0), 0.01, 0.05)


def test_a_band_from_few_images_needs_more_than_one_threshold_would():
    check, reject = band(np.arange(299.0), 0.05, 0.01, 0.95)
    assert not math.isnan(check.threshold)
    assert reject.needed == 368  # 0.99^368 <= 0.025 < 0.99^367
    with pytest.raises(GateFailed, match="368"):
        require(reject)


def test_every_threshold_is_a_held_out_score():
    scores = np.random.default_rng(1).normal(size=400).astype(np.float32)
    for estimate in side_by_side(scores):
        assert estimate.threshold in scores.astype(np.float64)
        assert estimate.rejected == (scores.astype(np.float64) > estimate.threshold).sum()


@pytest.mark.parametrize("increasing", [np.exp, np.cbrt, lambda s: 7 * s - 3])
def test_verdicts_do_not_change_under_an_increasing_map_of_the_scores(increasing):
    rng = np.random.default_rng(2)
    scores, new = rng.normal(size=350), rng.normal(1, 2, size=500)
    for before, after in zip(side_by_side(scores), side_by_side(increasing(scores)), strict=True):
        assert np.array_equal(new > before.threshold, increasing(new) > after.threshold)
        assert (before.rejected, before.rate_high) == (after.rejected, after.rate_high)


def test_the_order_of_the_images_does_not_matter():
    scores = np.random.default_rng(3).poisson(4, 320).astype(float)
    shuffled = np.random.default_rng(4).permutation(scores)
    assert side_by_side(scores) == side_by_side(shuffled)
    assert band(scores, 0.1, 0.05, 0.9) == band(shuffled, 0.1, 0.05, 0.9)


def test_with_ties_the_threshold_counts_fewer_rejections_but_keeps_its_bound():
    distinct, tied = np.arange(100.0), np.repeat(np.arange(10.0), 10)
    assert conformal(distinct, 0.05).rejected == 4
    estimate = conformal(tied, 0.05)
    assert (estimate.threshold, estimate.rejected, estimate.rate_low) == (9, 0, 0)
    assert estimate.rate_high == conformal(distinct, 0.05).rate_high


def test_a_threshold_set_by_hand_is_described_by_clopper_and_pearson():
    estimate = by_hand(np.arange(100.0), 94.5)
    interval = stats.binomtest(5, 100).proportion_ci(0.9, "exact")  # 90 % two-sided is 95 % on each side
    assert (estimate.threshold, estimate.rejected) == (94.5, 5)
    assert (estimate.rate_low, estimate.rate_high) == pytest.approx((interval.low, interval.high))
    assert by_hand(np.arange(10.0), -1).rate_high == 1
    assert by_hand(np.arange(10.0), 9).rejected == 0  # strictly above
    assert math.isnan(by_hand(np.array([]), 1.0).rate_low)


def test_what_cannot_be_promised_can_be_printed_but_not_used():
    estimate = guaranteed(np.arange(60.0), 0.01, 0.95)
    assert math.isnan(estimate.threshold) and math.isnan(estimate.rate_high)
    assert estimate.rejected is None
    with pytest.raises(GateFailed) as refusal:
        require(estimate)
    assert "from 60 held-out good images" in str(refusal.value)
    assert "299" in str(refusal.value)


def test_what_can_be_promised_passes_unchanged():
    estimate = guaranteed(np.arange(60.0), 0.05, 0.95)
    assert require(estimate) is estimate
    assert estimate.needed is None


def test_no_images_promise_nothing():
    for estimate in side_by_side(np.array([])):
        assert math.isnan(estimate.threshold)
        with pytest.raises(GateFailed):
            require(estimate)


@pytest.mark.parametrize("scores", [[1, math.nan], [1, math.inf], [-math.inf, 1], [[1, 2]]])
@pytest.mark.parametrize("estimate", [area_rule, lambda s: by_hand(s, 1.0), lambda s: conformal(s, 0.5)])
def test_scores_that_are_not_one_finite_number_each_are_refused(scores, estimate):
    with pytest.raises(ValueError):
        estimate(np.array(scores, float))


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5, math.nan])
def test_rates_and_confidences_outside_zero_to_one_are_refused(rate):
    scores = np.arange(100.0)
    for call in (
        lambda: conformal(scores, rate),
        lambda: guaranteed(scores, rate, 0.95),
        lambda: guaranteed(scores, 0.05, rate),
        lambda: guaranteed(scores[:0], rate, 0.95),
        lambda: images_needed(rate),
        lambda: images_needed(0.05, rate),
        lambda: band(scores, 0.5, 0.05, rate),
    ):
        with pytest.raises(UsageError):
            call()


def test_a_threshold_by_hand_is_a_finite_number():
    for value in (math.nan, math.inf):
        with pytest.raises(UsageError):
            by_hand(np.arange(3.0), value)


def test_a_promise_is_written_with_all_its_digits():
    assert "99.99 %" in guaranteed(np.arange(100.0), 0.9, 0.9999).guarantee
    assert conformal(np.arange(10.0), 0.125).rule == "conformal 12.5 %"


def test_the_p_value_counts_held_out_scores_that_are_at_least_as_strange():
    held_out = np.array([1.0, 2.0, 2.0, 3.0])
    for score, expected in ((0, 5), (1, 5), (1.5, 4), (2, 4), (2.5, 2), (3, 2), (9, 1), (math.inf, 1), (-math.inf, 5)):
        assert p_value(held_out, score) == expected / 5
    with pytest.raises(ValueError):
        p_value(held_out, math.nan)


@pytest.mark.parametrize("law", ["normal", "poisson"])
def test_p_values_of_good_images_are_small_no_more_often_than_they_say(law):
    rng = np.random.default_rng(6)
    n = 39
    samples = LAWS[law].rvs(size=(4 * DRAWS, n + 1), random_state=rng)
    p_values = np.array([p_value(np.sort(row[1:]), row[0]) for row in samples])
    for alpha in (0.025, 0.1, 0.5):
        share = np.mean(p_values <= alpha + 1e-12)
        assert share <= alpha + SIGMAS * math.sqrt(alpha * (1 - alpha) / len(samples))


def test_importing_the_rules_loads_nothing_heavier_than_numpy():
    heavy = "{'scipy', 'cv2', 'torch', 'skimage', 'h5py', 'matplotlib'}"
    code = f"import sys, adcli.thresholds; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_rates_that_take_more_images_than_a_machine_word_counts_have_a_number_too():
    for rate in (1e-9, 1e-12):
        assert images_needed(rate, 0.95) == pytest.approx(-math.log(0.05) / rate, rel=1e-3)
        assert images_needed(rate) == pytest.approx(1 / rate, rel=1e-6)
