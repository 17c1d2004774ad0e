"""The guard's limit: one order statistic and its promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adcli.errors import GateFailed, UsageError
from adcli.thresholds.estimators import Rule, check, check_enough
from adcli.thresholds.guards import ROOM, guard_limit


def test_without_a_rate_the_limit_is_the_largest_score_and_at_least_the_room() -> None:
    for largest, limit in ((1.7, ROOM), (4.5, 4.5)):
        found = guard_limit(np.array([0.3, largest, 0.9, 0.1]), None)
        assert (found.limit, found.max_reject, found.beyond) == (limit, None, 0)
        assert found.rate == 1 / 5
        assert found.rate_high == pytest.approx(1 - 0.05 ** (1 / 4))


@pytest.mark.parametrize(
    ("n", "rate", "rank"), [(19, 0.05, 19), (39, 0.05, 38), (38, 0.05, 38), (99, 0.01, 99), (299, 0.01, 297)]
)
def test_with_a_rate_the_limit_is_the_score_of_split_conformal(n: int, rate: float, rank: int) -> None:
    scores = np.random.default_rng(n).permutation(np.arange(1, n + 1) / 1000)
    found = guard_limit(scores, rate)
    assert found.limit == rank / 1000 < ROOM  # what is asked for is not widened
    assert rank == math.ceil(round((n + 1) * (1 - rate), 9))
    assert found.beyond == n - rank
    assert found.rate == (n - rank + 1) / (n + 1) <= rate


def test_too_few_images_for_a_rate_are_refused_with_the_number_needed() -> None:
    with pytest.raises(GateFailed, match="18 held-out good parts; it takes 19"):
        guard_limit(np.arange(18.0), 0.05, "part")
    with pytest.raises(GateFailed, match="it takes 99"):
        check_enough(Rule(guard_reject=0.01), 98)
    check_enough(Rule(guard_reject=0.01), 99)


def test_images_of_another_format_count_as_rejected() -> None:
    scores = np.array([*np.arange(1.0, 38), math.inf, math.inf])
    found = guard_limit(scores, None)
    assert (found.limit, found.beyond, found.rate) == (37, 2, 3 / 40)
    assert guard_limit(scores, 0.1).limit == 36
    with pytest.raises(GateFailed, match=r"2 of 39 held-out good images.*--guard-reject 0.05"):
        guard_limit(scores, 0.05)
    with pytest.raises(UsageError, match="--no-guard"):
        guard_limit(np.array([math.inf, math.inf]), None)


@pytest.mark.parametrize("law", ["normal", "heavy", "ties"])
@pytest.mark.parametrize("rate", [None, 0.05])
def test_a_good_image_is_above_the_limit_as_seldom_as_promised(law: str, rate: float | None) -> None:
    rng = np.random.default_rng(7)
    n, trials = 40, 4000
    drawn = {
        "normal": lambda size: np.abs(rng.normal(size=size)) * 3,
        "heavy": lambda size: np.abs(rng.standard_t(1, size=size)),
        "ties": lambda size: rng.integers(0, 60, size).astype(float),
    }[law]
    share = []
    for _ in range(trials):
        found = guard_limit(drawn(n), rate)
        share.append((drawn(200) > found.limit).mean())
    above = 3 * np.std(share) / math.sqrt(trials)
    assert np.mean(share) <= found.rate + above
    assert np.mean(np.array(share) > found.rate_high) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials) + 0.03
    if law == "heavy" and rate is not None:
        assert np.mean(share) == pytest.approx(found.rate, abs=0.005)  # and the promise is no better than it is


def test_a_rate_and_no_guard_contradict_each_other() -> None:
    check(Rule(guard=False))
    with pytest.raises(UsageError, match="--no-guard"):
        check(Rule(guard=False, guard_reject=0.05))
    for rate in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(UsageError, match="--guard-reject"):
            check(Rule(guard_reject=rate))
