"""Thresholds from the scores of held-out good images, and what may be promised of each.

A score is any number per image (or per part) that is larger for stranger ones; here it is S_A of `adcli.regions`. The n
held-out scores are taken as exchangeable with those of good images to come. An image is rejected when its score is
strictly above the threshold; the false-reject rate is the share of good images that will be.

Thresholds are order statistics S_(1) <= ... <= S_(n), never interpolated: the guarantees hold for these only, for every
law of the scores (Vovk, "Conditional validity of inductive conformal predictors", 2012; Wilks 1941 for the tolerance
limits). With S_(n-m) as threshold the false-reject rate follows Beta(m+1, n-m); ties can only make it smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction

import numpy as np

from adcli.errors import GateFailed, UsageError

CHECK_OR_NG = "CHECK or NG"  # what becomes of an image above the check threshold
_LEAST_RATE = 1e-12  # beyond what any number of images can show
BOUND_CONFIDENCE = 0.95  # of each of `rate_low` and `rate_high`, as in the paper rule's bound 1 - 0.05^(1/n)


@dataclass(frozen=True)
class Estimate:
    """One threshold, what it did to the held-out images, and what may be said of good images to come.

    `rate_low` and `rate_high` are Clopper-Pearson bounds of the false-reject rate, each at 95 % by itself (so 90 %
    together, 95 % where `rate_low` is 0). Where nothing is promised they hold only for a threshold that was fixed
    before. A threshold that these images cannot give is NaN, as are the rates; `refusal` then says why, and `needed`
    how many images can, where more of them help.
    """

    rule: str
    threshold: float
    rejected: int | None  # held-out scores strictly above the threshold; None where there is none
    n: int
    rate_low: float
    rate_high: float
    guarantee: str | None
    promises: bool = False  # whether `guarantee` says something of images to come
    refusal: str | None = None
    needed: int | None = None

    @property
    def rate(self) -> float:
        """Share of the held-out images that the threshold rejects."""
        return math.nan if self.rejected is None else self.rejected / self.n


def area_rule(scores: np.ndarray, confidence: float = BOUND_CONFIDENCE, unit: str = "image") -> Estimate:
    """The largest held-out score: the rule of MVTec AD (CVPR 2019, section 4.3), where the scores are S_A.

    The rate that it promises is stated with `confidence`.
    """
    scores = _sorted(scores)
    if scores.size == 0:
        return _too_few("area", 0, 1, "A bound on false rejects", unit)
    return _order_statistic("area", scores, 0, of_the_largest(scores.size, confidence, unit))


def conformal(scores: np.ndarray, max_false_reject: float, unit: str = "image", happens: str = "rejected") -> Estimate:
    """Split conformal: S_(k) with k = ceil((n+1)(1-alpha)), so that P(the next good image is rejected) <= alpha.

    Its sentence calls a unit `unit`, and what becomes of one above the threshold `happens`.
    """
    scores = _sorted(scores)
    n = scores.size
    alpha = _rate(max_false_reject, "false-reject rate")
    rule = f"conformal {_percent(max_false_reject)}"
    k = math.ceil((n + 1) * (1 - alpha))
    if k > n:
        return _too_few(
            rule, n, images_needed(max_false_reject), f"At most {_percent(max_false_reject)} false rejects", unit
        )
    sentence = f"The next good {unit} is {happens} with a probability of at most {_percent(max_false_reject)}."
    return _order_statistic(rule, scores, n - k, sentence)


def guaranteed(
    scores: np.ndarray, max_false_reject: float, confidence: float, unit: str = "image", happens: str = "rejected"
) -> Estimate:
    """S_(n-m) with the largest m for which BinomCDF(m; n, alpha) <= 1 - confidence.

    So P(false-reject rate <= alpha) >= confidence, over the choice of the held-out images. `unit` and `happens` as in
    `conformal`.
    """
    scores = _sorted(scores)
    n = scores.size
    alpha, doubt = float(_rate(max_false_reject, "false-reject rate")), float(1 - _rate(confidence, "confidence"))
    rule = f"guaranteed {_percent(max_false_reject)} at {_percent(confidence)}"
    exceedances = int(np.count_nonzero(_binomial_fits(np.arange(n), n, alpha, doubt))) - 1
    if exceedances < 0:
        promise = f"At most {_percent(max_false_reject)} false rejects with {_percent(confidence)} confidence"
        return _too_few(rule, n, images_needed(max_false_reject, confidence), promise, unit)
    sentence = (
        f"With {_percent(confidence)} confidence at most {_percent(max_false_reject)} of good {unit}s are {happens}."
    )
    return _order_statistic(rule, scores, exceedances, sentence)


def by_hand(scores: np.ndarray, value: float) -> Estimate:
    """A threshold that was fixed without looking at these scores; they only tell what it does."""
    scores = _sorted(scores)
    if not math.isfinite(value):
        raise UsageError(f"A threshold is a finite number, not {value}.")
    rejected = int(np.count_nonzero(scores > value))
    low, high = _rate_bounds(rejected, rejected, scores.size) if scores.size else (math.nan, math.nan)
    sentence = "Nothing is promised of a threshold set by hand; the bounds hold if it was set without these images."
    return Estimate("by hand", float(value), rejected, scores.size, low, high, sentence)


def band(
    scores: np.ndarray,
    check_false_reject: float,
    max_false_reject: float | None,
    confidence: float | None = None,
    unit: str = "image",
) -> tuple[Estimate, Estimate]:
    """The check threshold and the NG threshold above it; OK <= check < CHECK <= NG threshold < NG.

    With a confidence both guarantees hold together: each is taken at half the doubt (Bonferroni). Without one, each
    holds for the next good image by itself. Without a false-reject rate the NG threshold is the area rule's.
    """
    if max_false_reject is not None and _rate(check_false_reject, "check rate") < _rate(
        max_false_reject, "false-reject rate"
    ):
        raise UsageError(
            f"More images are checked than rejected: the check rate {_percent(check_false_reject)} "
            f"must be at least the false-reject rate {_percent(max_false_reject)}."
        )
    if confidence is None:
        check = conformal(scores, check_false_reject, unit, CHECK_OR_NG)
        reject = area_rule(scores, unit=unit) if max_false_reject is None else conformal(scores, max_false_reject, unit)
        joint = "Each threshold of the band holds this by itself."
    else:
        each = float((1 + _rate(confidence, "confidence")) / 2)
        check = guaranteed(scores, check_false_reject, each, unit, CHECK_OR_NG)
        reject = (
            area_rule(scores, each, unit)
            if max_false_reject is None
            else guaranteed(scores, max_false_reject, each, unit)
        )
        joint = f"Both thresholds of the band hold together with {_percent(confidence)} confidence."
    return _with_note(check, joint), _with_note(reject, joint)


def of_the_largest(n: int, confidence: float = BOUND_CONFIDENCE, unit: str = "image") -> str:
    """What may be said of a threshold that none of n held-out units exceeds: 1 / (n + 1), and 1 - doubt^(1 / n)."""
    bound = 1 - (1 - confidence) ** (1 / n)
    return (
        f"The next good {unit} is rejected with a probability of at most 1/{n + 1} ({at_most(1 / (n + 1))}); "
        f"with {_percent(confidence)} confidence at most {at_most(bound)} of good {unit}s are."
    )


def require(estimate: Estimate) -> Estimate:
    """The estimate itself, or a refusal that says how many images it takes."""
    if math.isnan(estimate.threshold):
        more = (
            ""
            if estimate.needed is None
            else f" Give at least {estimate.needed} that the model has not seen, or ask for a higher rate or less "
            "confidence."
        )
        raise GateFailed(f"{estimate.refusal}{more}")
    return estimate


def images_needed(max_false_reject: float, confidence: float | None = None, exceedances: int = 0) -> int:
    """The least n for which S_(n-m), m = `exceedances`, keeps the promise: with a confidence, or for the next image."""
    alpha = _rate(max_false_reject, "false-reject rate")
    if confidence is None:
        return math.ceil((exceedances + 1) / alpha) - 1
    doubt = float(1 - _rate(confidence, "confidence"))
    few, enough = exceedances, 2 * (exceedances + 1)  # m exceedances among m images are never enough
    while not _binomial_fits(exceedances, enough, float(alpha), doubt):
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        if _binomial_fits(exceedances, middle, float(alpha), doubt):
            enough = middle
        else:
            few = middle
    return enough


def p_value(sorted_scores: np.ndarray, score: float) -> float:
    """(1 + held-out scores >= score) / (n + 1): how often a good image is at least so strange."""
    if math.isnan(score):
        raise ValueError("the score is NaN")
    n = len(sorted_scores)
    return (1 + n - int(np.searchsorted(sorted_scores, score, side="left"))) / (n + 1)


def _sorted(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError("scores are one finite number per image")
    return np.sort(scores)


def _rate(value: float, name: str) -> Fraction:
    """The decimal that was written: (n + 1)(1 - 0.01) in floats can land on the wrong side of a whole number."""
    if not _LEAST_RATE <= value < 1:
        raise UsageError(f"The {name} must be at least {_LEAST_RATE:g} and below 1, not {value}; 1 % is 0.01.")
    return Fraction(str(float(value)))


def _binomial_fits(m: np.ndarray | int, n: int, alpha: float, doubt: float) -> np.ndarray:
    """BinomCDF(m; n, alpha) <= doubt; the hair's breadth is for equality, which floats miss."""
    from scipy.special import betaincc

    return betaincc(m + 1.0, n - m, alpha) <= doubt * (1 + 1e-12)  # the binomial law by the beta law: n has no limit


def _rate_bounds(rejected: int, exceedances: int, n: int) -> tuple[float, float]:
    """Lower and upper bound of the false-reject rate, each at `BOUND_CONFIDENCE`.

    For S_(n-m) the upper bound takes the m that it was chosen by: with ties fewer held-out images are rejected, but
    that is this sample's luck.
    """
    from scipy.special import betaincinv

    low = float(betaincinv(rejected, n - rejected + 1, 1 - BOUND_CONFIDENCE)) if rejected else 0.0
    high = float(betaincinv(exceedances + 1, n - exceedances, BOUND_CONFIDENCE)) if exceedances < n else 1.0
    return low, high


def _order_statistic(rule: str, scores: np.ndarray, exceedances: int, guarantee: str) -> Estimate:
    n = scores.size
    threshold = float(scores[n - 1 - exceedances])
    rejected = int(np.count_nonzero(scores > threshold))
    return Estimate(rule, threshold, rejected, n, *_rate_bounds(rejected, exceedances, n), guarantee, promises=True)


def unmet(rule: str, n: int, needed: int | None, refusal: str) -> Estimate:
    """What n units cannot give."""
    return Estimate(rule, math.nan, None, n, math.nan, math.nan, None, refusal=refusal, needed=needed)


def _too_few(rule: str, n: int, needed: int, promise: str, unit: str) -> Estimate:
    refusal = f"{promise} cannot be promised from {n} held-out good {unit}s; it takes {needed}."
    return unmet(rule, n, needed, refusal)


def _with_note(estimate: Estimate, note: str) -> Estimate:
    return estimate if math.isnan(estimate.threshold) else replace(estimate, guarantee=f"{estimate.guarantee} {note}")


def _percent(rate: float) -> str:
    """A rate that was given, with every digit of it: 99.99 % is not 100 %."""
    return f"{float(100 * Fraction(str(float(rate)))):.12g} %"


def at_most(rate: float) -> str:
    """A bound in percent with three digits, and never better than it is."""
    return percent_rounded(rate, ROUND_CEILING)


def percent_rounded(rate: float, direction: str) -> str:
    """A rate in percent with three digits, rounded as `decimal` names it."""
    return f"{Context(prec=3, rounding=direction).create_decimal(Decimal(f'{100 * rate:.12g}')):f} %"
