"""The estimators: how held-out good images become a threshold, by name.

Bergmann et al. 2021 (IJCV 129) compare the maximum, a quantile of the pixels, k sigma and the maximum area, and find
that none is always best. The order statistics of the image score are the ones that promise something.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from adcli import thresholds
from adcli.errors import UsageError
from adcli.image_scores import NAMES as IMAGE_SCORES
from adcli.thresholds import Estimate
from adcli.thresholds.guards import check_guard
from adcli.thresholds.image_stages import check_stage
from adcli.thresholds.peaks import peaks_over_threshold
from adcli.thresholds.pixels import Pixels

QUANTILE = 0.999  # of the pixels; the IJCV paper leaves it open
SIGMAS = 3.0  # "mean + 3 std", the usual choice where k sigma is a baseline, as on MVTec AD 2
_OPTIONS = {
    "max_false_reject": "--max-false-reject",
    "confidence": "--confidence",
    "quantile": "--quantile",
    "sigmas": "--sigmas",
    "threshold": "--threshold",
}


@dataclass(frozen=True)
class Rule:
    """Which estimator sets the threshold. Words as on the command line."""

    name: str = "area"
    max_false_reject: float | None = None
    confidence: float | None = None
    check_false_reject: float | None = None
    threshold: float | None = None  # by hand
    quantile: float | None = None
    sigmas: float | None = None
    guard: bool = True  # whether the input guard is to be in force
    guard_reject: float | None = None  # rate of good units that it may object to
    image_stage: str | None = None  # the image score that may make CHECK of OK, one of adcli.image_scores.NAMES
    image_stage_reject: float | None = None  # rate of good units above its limit


@dataclass(frozen=True)
class Evidence:
    """What n held-out good units, images or parts, say. `owners` tells which unit each map of `pixels` is of."""

    scores: np.ndarray  # (n,) float64, ascending
    pixels: Pixels | None  # None where the score is not in the units of a pixel
    owners: np.ndarray  # (maps,) int: the place in `scores` of each map's unit
    unit: str = "image"  # image | part

    def without(self, units: np.ndarray) -> Evidence:
        """The same without some units, (n,) bool."""
        kept = ~units
        place = np.cumsum(kept) - 1
        maps = units[self.owners]
        pixels = None if self.pixels is None else self.pixels.without(maps)
        return Evidence(self.scores[kept], pixels, place[self.owners[~maps]], self.unit)


class Estimator(NamedTuple):
    """One way from evidence to a threshold."""

    find: Callable[[Evidence, Rule], Estimate]
    takes: tuple[str, ...]  # fields of Rule
    requires: tuple[str, ...]
    of_pixels: bool = False  # and of scores


def _area(evidence: Evidence, rule: Rule) -> Estimate:
    if rule.max_false_reject is None:
        return thresholds.area_rule(evidence.scores, unit=evidence.unit)
    if rule.confidence is None:
        return thresholds.conformal(evidence.scores, rule.max_false_reject, evidence.unit)
    return thresholds.guaranteed(evidence.scores, rule.max_false_reject, rule.confidence, evidence.unit)


def _max(evidence: Evidence, rule: Rule) -> Estimate:
    peaks = _pixels(evidence, "max").peaks
    n = evidence.scores.size
    if n == 0:
        return _nothing("max")
    # No score exceeds its map's highest pixel, so what is true of the largest score is true of this.
    return _described(
        evidence, "max", float(peaks.max()), thresholds.of_the_largest(n, unit=evidence.unit), promises=True
    )


def _pixel_quantile(evidence: Evidence, rule: Rule) -> Estimate:
    share = QUANTILE if rule.quantile is None else rule.quantile
    label = f"pixel-quantile {100 * share:.12g} %"
    pixels = _pixels(evidence, "pixel-quantile")
    if evidence.scores.size == 0:
        return _nothing(label)
    sentence = (
        f"At most {100 * (1 - share):.6g} % of the pixels of these images are above it; nothing is promised of images, "
        "and the bounds hold only for a threshold that was fixed before."
    )
    return _described(evidence, label, pixels.quantile(share), sentence)


def _sigma(evidence: Evidence, rule: Rule) -> Estimate:
    k = SIGMAS if rule.sigmas is None else rule.sigmas
    label = f"sigma {k:g}"
    pixels = _pixels(evidence, "sigma")
    if evidence.scores.size == 0:
        return _nothing(label)
    sentence = (
        "The mean of all pixels and so many standard deviations: nothing is promised, scores seldom being normal; the "
        "bounds hold only for a threshold that was fixed before."
    )
    return _described(evidence, label, pixels.mean() + k * pixels.std(), sentence)


def _pot(evidence: Evidence, rule: Rule) -> Estimate:
    rate = rule.max_false_reject
    assert rate is not None  # `check` has seen to it
    label = f"pot {100 * rate:.12g} %"
    fitted = peaks_over_threshold(evidence.scores, rate)
    if fitted.needed is not None:
        return thresholds.unmet(label, evidence.scores.size, fitted.needed, fitted.sentence)
    return _described(evidence, label, fitted.threshold, fitted.sentence)


def _by_hand(evidence: Evidence, rule: Rule) -> Estimate:
    assert rule.threshold is not None
    return thresholds.by_hand(evidence.scores, rule.threshold)


ESTIMATORS: dict[str, Estimator] = {
    "area": Estimator(_area, ("max_false_reject", "confidence"), ()),
    "conformal": Estimator(_area, ("max_false_reject", "confidence"), ("max_false_reject",)),
    "max": Estimator(_max, (), (), of_pixels=True),
    "pixel-quantile": Estimator(_pixel_quantile, ("quantile",), (), of_pixels=True),
    "sigma": Estimator(_sigma, ("sigmas",), (), of_pixels=True),
    "pot": Estimator(_pot, ("max_false_reject",), ("max_false_reject",)),
}
_HAND = Estimator(_by_hand, ("threshold",), ())


def check(rule: Rule) -> None:
    """Raises UsageError for a rule that makes no sense, whatever the images."""
    estimator = _estimator(rule)
    if rule.threshold is not None and rule.name != "area":
        raise UsageError(f"a threshold by hand needs no rule: leave out --threshold, or --rule {rule.name}")
    name = "threshold by hand" if rule.threshold is not None else f"{rule.name} rule"
    banded = rule.check_false_reject is not None
    for field, option in _OPTIONS.items():
        if getattr(rule, field) is None:
            if field in estimator.requires:
                raise UsageError(f"the {name} needs its rate: add {option}, such as 0.01")
        elif field not in estimator.takes and not (banded and field == "confidence"):
            raise UsageError(f"the {name} has no use for {option}: leave it out")
    if rule.confidence is not None and rule.max_false_reject is None and not banded:
        raise UsageError("--confidence needs the rate of false rejects: add --max-false-reject, such as 0.01")
    if rule.quantile is not None and not 0.5 <= rule.quantile < 1:
        raise UsageError(f"a quantile of {rule.quantile:g} is not possible: give 0.5 to below 1, such as 0.999")
    if rule.sigmas is not None and not math.isfinite(rule.sigmas):
        raise UsageError(f"{rule.sigmas:g} standard deviations are not possible: give a number such as 3")
    if rule.guard_reject is not None:
        if not rule.guard:
            raise UsageError("--no-guard switches off what --guard-reject sets: leave one of them out")
        if not 0 < rule.guard_reject < 1:
            raise UsageError(f"--guard-reject {rule.guard_reject:g} is no rate: give 0.01 or 1%")
    if rule.image_stage is not None and rule.image_stage not in IMAGE_SCORES:
        raise UsageError(f"there is no image score {rule.image_stage!r}: give {', '.join(IMAGE_SCORES)}")
    if rule.image_stage_reject is not None:
        if rule.image_stage is None:
            raise UsageError("--image-stage-reject is the rate of an image stage: add --image-stage, such as maximum")
        if not 0 < rule.image_stage_reject < 1:
            raise UsageError(f"--image-stage-reject {rule.image_stage_reject:g} is no rate: give 0.01 or 1%")


def estimates(evidence: Evidence, rule: Rule) -> tuple[Estimate, Estimate | None]:
    """The NG threshold, and the check threshold where a band is asked for; NaN where the images are too few."""
    check(rule)
    estimator = _estimator(rule)
    if rule.check_false_reject is None:
        return estimator.find(evidence, rule), None
    if estimator.find is _area:
        below, above = thresholds.band(
            evidence.scores, rule.check_false_reject, rule.max_false_reject, rule.confidence, evidence.unit
        )
        return above, below
    above = estimator.find(evidence, rule)
    # What such a threshold says of itself is not at the confidence of the band: each stands alone.
    if rule.confidence is None:
        return above, thresholds.conformal(
            evidence.scores, rule.check_false_reject, evidence.unit, thresholds.CHECK_OR_NG
        )
    return above, thresholds.guaranteed(
        evidence.scores, rule.check_false_reject, rule.confidence, evidence.unit, thresholds.CHECK_OR_NG
    )


def needed(evidence: Evidence, rule: Rule) -> Evidence:
    """What `estimates` looks at: pixels, of which there are millions, seldom."""
    return evidence if _estimator(rule).of_pixels else replace(evidence, pixels=None)


def choose(evidence: Evidence, rule: Rule) -> tuple[Estimate, Estimate | None]:
    """The same, to be put in force.

    Raises:
        GateFailed: there are too few images for what is asked, with the number it takes.
        UsageError: the rule makes no sense, or its two thresholds stand in the wrong order.
    """
    above, below = estimates(evidence, rule)
    thresholds.require(above)
    if below is not None and thresholds.require(below).threshold > above.threshold:
        raise UsageError(
            f"the check threshold {below.threshold:.6g} ({below.rule}) lies above the NG threshold "
            f"{above.threshold:.6g} ({above.rule}), so no image could be CHECK: ask for a higher --check-false-reject"
        )
    return above, below


def check_enough(rule: Rule, n: int, joint: bool = False) -> None:
    """Refuses what no n units can give, before the time to learn and to score is spent. `joint`: of several sizes."""
    blank = np.zeros(n)
    owners = np.arange(n, dtype=np.int32)
    pixels = Pixels(np.ones(n, np.int64), blank, blank, blank, np.zeros(n, np.float32), owners, -math.inf)
    if joint:
        pixels = None
    for estimate in estimates(Evidence(np.arange(float(n)), pixels, np.arange(n)), rule):
        if estimate is not None:
            thresholds.require(estimate)
    if rule.guard_reject is not None:
        check_guard(n, rule.guard_reject)
    if rule.image_stage is not None:
        check_stage(rule.image_stage, n, rule.image_stage_reject)


def side_by_side(evidence: Evidence, rule: Rule) -> list[Estimate]:
    """Every estimator on the same evidence, with the parameters of `rule` where it has them."""
    asked = [
        Rule(),
        Rule("conformal", 0.05),
        Rule("conformal", 0.01),
        Rule("conformal", 0.05, 0.95),
        Rule("conformal", 0.01, 0.95),
        Rule("pot", rule.max_false_reject or 0.01),
    ]
    if evidence.pixels is not None:
        asked += [Rule("max"), Rule("pixel-quantile", quantile=rule.quantile), Rule("sigma", sigmas=rule.sigmas)]
    return [_estimator(one).find(evidence, one) for one in asked]


def _estimator(rule: Rule) -> Estimator:
    if rule.threshold is not None:
        return _HAND
    if rule.name not in ESTIMATORS:
        raise UsageError(f"there is no rule {rule.name!r}: known are {', '.join(ESTIMATORS)}")
    return ESTIMATORS[rule.name]


def _pixels(evidence: Evidence, name: str) -> Pixels:
    if evidence.pixels is None:
        raise UsageError(
            f"the {name} rule has no meaning for several minimum areas, whose scores are no pixels' scores: give one "
            "--min-area, or another --rule"
        )
    return evidence.pixels


def _described(evidence: Evidence, label: str, threshold: float, sentence: str, promises: bool = False) -> Estimate:
    """A threshold that is no order statistic of the scores, and what it does to them."""
    if math.isnan(threshold):
        refusal = f"The rule {label} is not exact for images of such different sizes: use another --rule."
        return thresholds.unmet(label, evidence.scores.size, None, refusal)
    found = thresholds.by_hand(evidence.scores, threshold)
    return replace(found, rule=label, guarantee=sentence, promises=promises)


def _nothing(label: str) -> Estimate:
    return thresholds.unmet(label, 0, 1, "No held-out good image could be read.")
