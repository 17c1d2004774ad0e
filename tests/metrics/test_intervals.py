import math

import pytest

from adcli.metrics.intervals import rate_interval


def at_least(k, n, p):
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@pytest.mark.parametrize("n", [1, 2, 7, 30])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_each_bound_is_where_the_binomial_tail_meets_its_share(n, confidence):
    tail = (1 - confidence) / 2
    for k in range(n + 1):
        low, high = rate_interval(k, n, confidence)
        assert 0 <= low <= k / n <= high <= 1
        assert low == 0 if k == 0 else at_least(k, n, low) == pytest.approx(tail, abs=1e-9)
        assert high == 1 if k == n else 1 - at_least(k + 1, n, high) == pytest.approx(tail, abs=1e-9)


def test_nothing_missed_of_thirty_leaves_an_eighth_possible():
    assert rate_interval(0, 30) == pytest.approx((0, 1 - 0.025 ** (1 / 30)))


def test_the_rate_of_nothing_is_nan():
    assert all(math.isnan(bound) for bound in rate_interval(0, 0))


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (1, 2, 1.0), (1, 2, 0.0)])
def test_impossible_counts_and_confidences_are_refused(arguments):
    with pytest.raises(ValueError, match="need"):
        rate_interval(*arguments)
