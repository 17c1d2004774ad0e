"""Every promise kept as often as it says, over 2,000 draws of held-out images from several laws of the scores.

A share of draws may fall below its promise by chance; that it is below by more is asked of a one-sided binomial test at
1e-4. The seeds are fixed, so the answer is the same each time.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from adcli.thresholds.estimators import Evidence, Rule, choose, estimates
from adcli.thresholds.joint import joint_score, learn_scales

TRIALS = 2000
DOUBT = 1e-4
LAWS = {
    "uniform": stats.uniform(),
    "normal": stats.norm(10, 2),
    "lognormal": stats.lognorm(1.5),
    "cauchy": stats.cauchy(),
    "two humps": None,
    "few values": stats.poisson(3),
    "one value": stats.randint(4, 5),
}


def draw(law: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if law == "two humps":
        return rng.normal(np.where(rng.random(shape) < 0.9, 0.0, 6.0), 1.0)
    return np.asarray(LAWS[law].rvs(size=shape, random_state=rng), float)


def exceedance(law: str, threshold: float) -> float:
    """The true false-reject rate."""
    if law == "two humps":
        return 0.9 * stats.norm.sf(threshold) + 0.1 * stats.norm.sf(threshold - 6)
    return float(LAWS[law].sf(threshold))


def evidence(scores: np.ndarray) -> Evidence:
    return Evidence(np.sort(scores), None, np.arange(scores.size))


def kept(share: float, promise: float) -> bool:
    """Whether the share of trials that held is not below the promise, by the one-sided binomial test."""
    return stats.binomtest(round(share * TRIALS), TRIALS, promise, alternative="less").pvalue >= DOUBT


def test_the_binomial_test_would_notice_a_promise_that_is_broken():
    assert kept(0.95, 0.95)
    assert kept(0.935, 0.95)
    assert not kept(0.925, 0.95)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (60, 0.05), (120, 0.01), (60, 0.2)])
def test_the_next_good_image_passes_as_often_as_the_marginal_rule_says(law, n, rate):
    rng = np.random.default_rng([n, round(1000 * rate), *law.encode()])
    passed = 0
    for row in draw(law, (TRIALS, n + 1), rng):
        passed += row[-1] <= choose(evidence(row[:-1]), Rule(max_false_reject=rate))[0].threshold
    assert kept(passed / TRIALS, 1 - rate)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [5, 40])
def test_the_next_good_image_passes_the_area_rule_as_often_as_it_says(law, n):
    rng = np.random.default_rng([n, *law.encode()])
    passed = sum(row[-1] <= choose(evidence(row[:-1]), Rule())[0].threshold for row in draw(law, (TRIALS, n + 1), rng))
    assert kept(passed / TRIALS, 1 - 1 / (n + 1))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("n", "rate", "confidence"), [(59, 0.05, 0.95), (93, 0.05, 0.95), (300, 0.01, 0.95)])
def test_the_rate_is_kept_in_as_many_draws_as_the_confidence_says(law, n, rate, confidence):
    rng = np.random.default_rng([n, *law.encode(), 1])
    rule = Rule(max_false_reject=rate, confidence=confidence)
    held = sum(exceedance(law, choose(evidence(row), rule)[0].threshold) <= rate for row in draw(law, (TRIALS, n), rng))
    assert kept(held / TRIALS, confidence)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("reject", [0.01, None])
def test_both_rates_of_a_band_are_kept_together_as_often_as_it_says(law, reject):
    rng = np.random.default_rng([*law.encode(), 2])
    rule = Rule(max_false_reject=reject, check_false_reject=0.05, confidence=0.95)
    n = 400
    bound = reject or 1 - 0.025 ** (1 / n)
    held = 0
    for row in draw(law, (TRIALS, n), rng):
        above, below = choose(evidence(row), rule)
        held += exceedance(law, above.threshold) <= bound and exceedance(law, below.threshold) <= 0.05
    assert kept(held / TRIALS, 0.95)


def test_two_thresholds_at_full_doubt_each_would_not_hold_together():
    rng = np.random.default_rng(3)
    held = 0
    for row in draw("normal", (TRIALS, 299), rng):
        each = [choose(evidence(row), Rule(max_false_reject=rate, confidence=0.95))[0] for rate in (0.01, 0.05)]
        held += all(exceedance("normal", e.threshold) <= r for e, r in zip(each, (0.01, 0.05), strict=True))
    assert not kept(held / TRIALS, 0.95)


@pytest.mark.parametrize("law", ["normal", "lognormal", "few values"])
@pytest.mark.parametrize("correlation", [0.0, 0.6, 1.0])
def test_parts_of_three_correlated_views_pass_as_often_as_promised_when_the_part_is_the_unit(law, correlation):
    rng = np.random.default_rng([*law.encode(), round(10 * correlation)])
    n, views, rate = 60, 3, 0.05
    passed = 0
    for _ in range(TRIALS):
        own = draw(law, (n + 1, 1), rng)
        part = (correlation * own + (1 - correlation) * draw(law, (n + 1, views), rng)).max(axis=1)
        passed += part[-1] <= choose(evidence(part[:-1]), Rule(max_false_reject=rate))[0].threshold
    assert kept(passed / TRIALS, 1 - rate)


def test_images_of_one_part_taken_for_independent_would_break_the_promise_of_the_part():
    rng = np.random.default_rng(8)
    n, views, rate = 60, 3, 0.05
    passed = 0
    for _ in range(TRIALS):
        scores = rng.normal(size=(n + 1, 1)) * 0.5 + rng.normal(size=(n + 1, views))
        threshold = choose(evidence(scores[:-1].ravel()), Rule(max_false_reject=rate))[0].threshold
        passed += scores[-1].max() <= threshold
    assert not kept(passed / TRIALS, 1 - rate)


@pytest.mark.parametrize("scaled_by", [1, 5, 40])
def test_several_areas_share_one_promise(scaled_by):
    """Levels of five areas: the larger the area, the lower and the less spread, and all of one image move together."""
    rng = np.random.default_rng(scaled_by)
    n, rate = 60, 0.05
    shape = np.array([4.0, 3.0, 2.0, 1.0, 0.5])

    def levels(count: int) -> np.ndarray:
        own = rng.normal(size=(count, 1))
        return shape * (2 + 0.3 * own + rng.gumbel(size=(count, 5)) * np.array([0.5, 0.4, 0.3, 0.2, 0.1]))

    passed = joined = 0
    for _ in range(TRIALS):
        centre, spread = learn_scales(levels(scaled_by))
        held_out, new = levels(n), levels(1)
        scores = joint_score(held_out, centre, spread)
        rule = Rule(max_false_reject=rate)
        passed += joint_score(new, centre, spread)[0] <= choose(evidence(scores), rule)[0].threshold
        each = [choose(evidence(held_out[:, j]), rule)[0].threshold for j in range(5)]
        joined += bool((new[0] <= each).all())
    assert kept(passed / TRIALS, 1 - rate)
    assert not kept(joined / TRIALS, 1 - rate)  # joining the rules by "or" instead


@pytest.mark.parametrize("law", LAWS)
def test_the_printed_upper_bound_holds_in_95_of_100_draws(law):
    rng = np.random.default_rng([*law.encode(), 5])
    for rule in (Rule(), Rule(max_false_reject=0.1), Rule(threshold=float(np.quantile(draw(law, (999,), rng), 0.9)))):
        held = 0
        for row in draw(law, (TRIALS, 50), rng):
            found = estimates(evidence(row), rule)[0]
            held += exceedance(law, found.threshold) <= found.rate_high
        assert kept(held / TRIALS, 0.95)


def test_peaks_over_threshold_promises_nothing_and_keeps_nothing():
    """Asked for 0.1 % from 100 images, which could promise no better than 3 %, it rejects far more in many draws."""
    rng = np.random.default_rng(6)
    rates = []
    for row in draw("lognormal", (400, 100), rng):
        found = choose(evidence(row), Rule("pot", 0.001))[0]
        assert not found.promises
        rates.append(exceedance("lognormal", found.threshold))
    assert np.mean(np.array(rates) <= 0.001) < 0.5
    assert math.isfinite(max(rates))
