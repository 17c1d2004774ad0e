"""Which threshold each estimator takes, what it is refused, and what a monotone map of all scores changes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from adcli.errors import GateFailed, UsageError
from adcli.thresholds.estimators import (
    ESTIMATORS,
    Evidence,
    Rule,
    check,
    check_enough,
    choose,
    estimates,
    side_by_side,
)
from adcli.thresholds.pixels import PixelPool
from tests.test_regions import by_bisection

AREA = 6
RANKED = [
    Rule(),
    Rule("max"),
    Rule("pixel-quantile"),
    Rule("pixel-quantile", quantile=0.9),
    Rule("conformal", 0.1),
    Rule(max_false_reject=0.1, confidence=0.9),
    Rule(max_false_reject=0.05, check_false_reject=0.2),
    Rule(check_false_reject=0.3),
]


def some_maps(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(9 + i % 3, 11)).astype(np.float32) for i in range(count)]


def evidence_of(maps: list[np.ndarray], share: float = 0.999) -> Evidence:
    pool = PixelPool(share, len(maps))
    for score_map in maps:
        pool.add(pool.summarise(score_map))
    scores = np.array([by_bisection(score_map, AREA) for score_map in maps])
    order = np.argsort(scores, kind="stable")
    owners = np.empty(len(maps), int)
    owners[order] = np.arange(len(maps))
    return Evidence(scores[order], pool.pooled(), owners)


@pytest.fixture(scope="module")
def maps() -> list[np.ndarray]:
    return some_maps(60)


def test_each_pixel_estimator_is_that_of_all_pixels_in_one_array(maps):
    pixels = np.concatenate([score_map.ravel() for score_map in maps])
    evidence = evidence_of(maps)
    assert choose(evidence, Rule("max"))[0].threshold == pixels.max()
    expected = pixels.astype(np.float64).mean() + 3 * pixels.astype(np.float64).std()
    assert choose(evidence, Rule("sigma"))[0].threshold == pytest.approx(expected, rel=1e-12)
    assert choose(evidence, Rule("sigma", sigmas=-0.5))[0].threshold < choose(evidence, Rule("sigma"))[0].threshold
    for share in (0.999, 0.99, 0.75, 0.5):
        found = choose(evidence_of(maps, share), Rule("pixel-quantile", quantile=share))[0].threshold
        assert found == np.quantile(pixels, share, method="inverted_cdf")
        assert (pixels > found).mean() <= 1 - share


def test_every_estimator_counts_the_images_it_rejects_and_says_whether_it_promises(maps):
    evidence = evidence_of(maps)
    listed = side_by_side(evidence, Rule())
    assert {found.rule.split()[0] for found in listed} == {*ESTIMATORS, "guaranteed"}
    for found in listed:
        if math.isnan(found.threshold):
            assert found.refusal and found.needed > 60
            continue
        assert found.rejected == (evidence.scores > found.threshold).sum()
        assert found.rate == found.rejected / 60
        assert found.rate_low <= found.rate <= found.rate_high
        assert found.promises == (found.rule.split()[0] in ("area", "conformal", "guaranteed", "max"))


def test_parameters_that_are_given_are_those_of_the_comparison(maps):
    rules = {found.rule for found in side_by_side(evidence_of(maps, 0.9), Rule("pixel-quantile", quantile=0.9))}
    assert "pixel-quantile 90 %" in rules
    assert "pot 2 %" in {found.rule for found in side_by_side(evidence_of(maps), Rule("pot", 0.02))}


@pytest.mark.parametrize("rule", RANKED, ids=str)
def test_no_verdict_changes_under_exp_of_all_scores(maps, rule):
    """float32 exp of values this far apart keeps their order strictly, so maps, pixels and scores move together."""
    new = some_maps(200, seed=1)
    share = rule.quantile or 0.999
    before = choose(evidence_of(maps, share), rule)
    after = choose(evidence_of([np.exp(score_map) for score_map in maps], share), rule)
    verdicts = []
    for found, raised in ((before, False), (after, True)):
        thresholds = [one.threshold for one in found if one is not None]
        scores = [by_bisection(np.exp(score_map) if raised else score_map, AREA) for score_map in new]
        verdicts.append([[score > threshold for threshold in thresholds] for score in scores])
    assert verdicts[0] == verdicts[1]
    highest = rule.name == "max" or rule == Rule("pixel-quantile")
    assert highest or sum(map(any, verdicts[0])) > 0


def test_the_order_of_the_images_does_not_matter(maps):
    shuffled = [maps[i] for i in np.random.default_rng(2).permutation(len(maps))]
    listed = (side_by_side(evidence_of(some), Rule()) for some in (maps, shuffled))
    for one, other in zip(*listed, strict=True):
        assert one.rule == other.rule
        assert other.threshold == pytest.approx(one.threshold, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["area", "max", "pixel-quantile", "sigma"])
def test_leaving_an_image_out_gives_what_the_others_alone_give(maps, name):
    evidence = evidence_of(maps)
    for place in (0, 31, 59):  # lowest, middle and highest score
        left_out = np.arange(60) == place
        image = int(np.flatnonzero(evidence.owners == place)[0])
        others = evidence_of(maps[:image] + maps[image + 1 :])
        expected = choose(others, Rule(name))[0].threshold
        assert choose(evidence.without(left_out), Rule(name))[0].threshold == pytest.approx(expected, rel=1e-12)


def test_a_part_is_left_out_with_all_its_images(maps):
    evidence = evidence_of(maps)
    grouped = Evidence(evidence.scores[30:], evidence.pixels, evidence.owners // 2)
    kept = grouped.without(np.arange(30) == 29)
    assert kept.pixels.counts.size == 58
    assert set(kept.owners) == set(range(29))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Rule("median"), "no rule 'median'"),
        (Rule("conformal"), "--max-false-reject"),
        (Rule("pot"), "--max-false-reject"),
        (Rule("max", max_false_reject=0.1), "no use for --max-false-reject"),
        (Rule("sigma", quantile=0.9), "no use for --quantile"),
        (Rule("pixel-quantile", sigmas=2), "no use for --sigmas"),
        (Rule("pot", 0.01, confidence=0.9), "no use for --confidence"),
        (Rule("max", threshold=1.0), "leave out --threshold"),
        (Rule(threshold=1.0, max_false_reject=0.1), "no use for --max-false-reject"),
        (Rule(confidence=0.9), "--confidence needs"),
        (Rule("pixel-quantile", quantile=1.0), "quantile of 1"),
        (Rule("pixel-quantile", quantile=math.nan), "quantile of nan"),
        (Rule("sigma", sigmas=math.inf), "standard deviations"),
        (Rule("conformal", 1.5), "false-reject rate"),
        (Rule(check_false_reject=0), "check rate|false-reject rate"),
        (Rule(max_false_reject=0.1, check_false_reject=0.05), "check rate"),
    ],
    ids=str,
)
def test_a_rule_that_makes_no_sense_is_refused(maps, rule, said):
    with pytest.raises(UsageError, match=said):
        estimates(evidence_of(maps), rule)


def test_a_check_threshold_above_the_ng_threshold_is_refused(maps):
    with pytest.raises(UsageError, match="no image could be CHECK"):
        choose(evidence_of(maps), Rule("sigma", sigmas=0.0, check_false_reject=0.1))


def test_the_area_rule_has_a_check_band_below_it(maps):
    above, below = choose(evidence_of(maps), Rule(check_false_reject=0.2))
    assert above.rule == "area"
    assert below.threshold < above.threshold == evidence_of(maps).scores[-1]
    above, below = choose(evidence_of(maps), Rule(check_false_reject=0.2, confidence=0.9))
    assert "97.5" not in above.guarantee and "95 % confidence at most" in above.guarantee
    assert "hold together with 90 %" in below.guarantee


def test_pixel_estimators_are_refused_where_scores_are_no_pixels(maps):
    joint = Evidence(evidence_of(maps).scores, None, np.arange(60))
    for name in ("max", "pixel-quantile", "sigma"):
        with pytest.raises(UsageError, match="several minimum areas"):
            choose(joint, Rule(name))
    assert {found.rule.split()[0] for found in side_by_side(joint, Rule())} == {
        "area",
        "conformal",
        "guaranteed",
        "pot",
    }


def test_too_few_images_are_refused_with_the_number_needed_before_any_is_scored():
    for rule, few, needed in (
        (Rule(max_false_reject=0.01), 98, 99),
        (Rule(max_false_reject=0.01, confidence=0.95), 298, 299),
        (Rule("pot", 0.001), 49, 50),
        (Rule(check_false_reject=0.05, confidence=0.95), 71, 72),
    ):
        with pytest.raises(GateFailed, match=str(needed)):
            check_enough(rule, few)
        check_enough(rule, needed)
    for rule in (Rule(), Rule("max"), Rule("sigma", check_false_reject=0.5), Rule("pixel-quantile"), Rule(threshold=3)):
        check_enough(rule, 1)
        check(rule)


def test_a_quantile_that_maps_of_growing_size_have_outrun_is_refused():
    rng = np.random.default_rng(0)
    maps = [rng.normal(5, 1, (4, 4)).astype(np.float32) for _ in range(40)]
    maps += [rng.normal(-5, 1, (200, 200)).astype(np.float32) for _ in range(3)]
    pool = PixelPool(0.9, len(maps))
    for score_map in maps:
        pool.add(pool.summarise(score_map))
    outrun = Evidence(np.arange(43.0), pool.pooled(), np.arange(43))
    rule = Rule("pixel-quantile", quantile=0.9)
    found = estimates(outrun, rule)[0]
    assert math.isnan(found.threshold) and "different sizes" in found.refusal
    with pytest.raises(GateFailed, match="another --rule"):
        choose(outrun, rule)


def test_sentences_name_the_unit_and_what_becomes_of_it(maps):
    parts = dataclasses.replace(evidence_of(maps), unit="part")
    for rule in (Rule(), Rule("max"), Rule(max_false_reject=0.1), Rule(max_false_reject=0.1, confidence=0.9)):
        assert "good part" in choose(parts, rule)[0].guarantee
    assert "good parts; it takes 99" in estimates(parts, Rule(max_false_reject=0.01))[0].refusal
    for confidence in (None, 0.9):
        below = choose(parts, Rule(max_false_reject=0.1, check_false_reject=0.3, confidence=confidence))[1]
        assert "CHECK or NG" in below.guarantee and "rejected" not in below.guarantee
    below = choose(parts, Rule("max", check_false_reject=0.3))[1]
    assert "good part is CHECK or NG" in below.guarantee


def test_a_bound_is_never_rounded_in_ones_own_favour():
    for n in (33, 100, 101, 760):
        sentence = choose(Evidence(np.arange(float(n)), None, np.arange(n)), Rule())[0].guarantee
        average, bound = (
            float(text.split(" %")[0]) / 100 for text in (sentence.split("(")[1], sentence.split("most ")[-1])
        )
        assert 1 / (n + 1) <= average < 1.01 / (n + 1)
        assert 1 - 0.05 ** (1 / n) <= bound < 1.01 * (1 - 0.05 ** (1 / n))
