"""Whether the scores of a run are still those that the threshold was set on.

The held-out scores are a sample too, and often a small one. A test that takes the promised reject rate for the true one
therefore alarms far more often than it says: with the largest of 50 scores as threshold the true rate varies from model
to model about 1/51. The tests here count both samples. Under "good images are as they were" the held-out scores and the
run's are exchangeable, so where m held-out and k new scores are above the threshold, the number of held-out ones among
the m + k largest of all is hypergeometric. For a threshold that was fixed before, this is Fisher's exact test (1935);
for an order statistic of the held-out scores it is the distribution-free prediction of exceedances (Gumbel and von
Schelling, Annals of Mathematical Statistics 21, 1950). Both are the same number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_TO_SIGMA = 1.4826  # the median absolute deviation of a normal law, in standard deviations


@dataclass(frozen=True)
class RateTest:
    """How many scores are above a threshold, and how likely as many are if nothing changed."""

    above: int
    n: int
    held_out_above: int
    held_out: int
    p_value: float  # one-sided, counting both samples; NaN for n = 0

    @property
    def share(self) -> float:
        """Of the run's scores; NaN for none."""
        return self.above / self.n if self.n else math.nan


@dataclass(frozen=True)
class Shift:
    """Where the run's scores lie, beside the held-out ones."""

    median: float
    held_out_median: float
    spread: float  # of the held-out scores: 1.4826 median absolute deviations, a normal law's standard deviation
    distance: float  # Kolmogorov and Smirnov's: the largest gap between the two distribution functions
    p_value: float  # of that distance, two-sided; exact up to 10 000 scores

    @property
    def in_spreads(self) -> float:
        """Of the median; NaN where half of the held-out scores are equal."""
        return (self.median - self.held_out_median) / self.spread if self.spread else math.nan


def rate_test(held_out: np.ndarray, scores: np.ndarray, threshold: float) -> RateTest:
    """Whether more scores (n,) are strictly above the threshold than held-out scores (m,) make likely.

    The false alarms are as stated for a threshold that was fixed before, that is an order statistic of the held-out
    scores, or that is above all of them. Held-out scores equal to the threshold count so that it stays the lowest of
    those that could have been meant: ties make the test only slower to alarm.
    """
    from scipy.stats import hypergeom

    held_above = int(np.count_nonzero(held_out > threshold))
    reached = int(np.count_nonzero(held_out >= threshold))
    above, n, m = int(np.count_nonzero(scores > threshold)), len(scores), max(held_above, reached - 1)
    p = float(hypergeom.cdf(m, len(held_out) + n, len(held_out), m + above)) if n else math.nan
    return RateTest(above, n, held_above, len(held_out), min(p, 1.0))


def binomial_p_value(above: int, n: int, rate: float) -> float:
    """P(at least so many of n), were each above with exactly this probability; NaN without a rate or an image."""
    if not n or math.isnan(rate):
        return math.nan
    if not above:
        return 1.0
    from scipy.special import betainc

    return float(betainc(above, n - above + 1, rate))


def shift(held_out: np.ndarray, scores: np.ndarray) -> Shift:
    """Compares two samples of at least one finite score each."""
    from scipy.stats import ks_2samp

    centre = float(np.median(held_out))
    spread = _TO_SIGMA * float(np.median(np.abs(held_out - centre)))
    tested = ks_2samp(held_out, scores)
    return Shift(float(np.median(scores)), centre, spread, float(tested.statistic), float(tested.pvalue))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values (Scandinavian Journal of Statistics 6, 1979), in the order given.

    Calling those alarms that are at most A makes any false one with a probability of at most A, whatever ties the tests
    have with one another.
    """
    p_values = np.asarray(p_values, np.float64)
    if np.isnan(p_values).any():
        raise ValueError("a p-value is NaN: leave out what was not tested")
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted
