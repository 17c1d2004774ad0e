"""The guard can only turn OK into CHECK."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from adcli.guard import GuardLimit, learn_guard
from adcli.model import Calibration, Model
from adcli.sizes import MinArea, MinSize
from adcli.types import Verdict
from adcli.verdicts import Judgement, judge
from tests.guard.looks import FAULTS, look, texture
from tests.models import CALIBRATION, make

RNG = np.random.default_rng(0)
GUARD = learn_guard([look(texture(RNG)) for _ in range(40)])
GOOD = texture(RNG)
BLACK = np.zeros_like(GOOD)


def seen(score_map: np.ndarray, pixels: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(score_map=score_map, look=look(pixels), method_score=None)


def judged(pixels: np.ndarray, level: float, **changes: object) -> Judgement:
    """On a map that is `level` everywhere: NG above 1, CHECK above 0.5, OK below, but for the guard."""
    model: Model = make(sizes=(MinSize(MinArea(4, "px")),), scales=None, pixel_pitch=None, guard=GUARD)
    limit = GuardLimit(limit=2.5, rate=0.1, rate_high=0.3, max_reject=None, beyond=0)
    calibration: Calibration = replace(CALIBRATION, threshold=1.0, check_threshold=0.5, guard=limit)
    calibration = replace(calibration, **changes)
    return judge(model, calibration, seen(np.full((9, 9), level, np.float32), pixels))


def test_an_image_like_the_good_ones_is_judged_by_its_map() -> None:
    for level, verdict in ((0.4, Verdict.OK), (0.7, Verdict.CHECK), (2.0, Verdict.NG)):
        found = judged(GOOD, level)
        assert (found.verdict, found.reason) == (verdict, None)


@pytest.mark.parametrize("name", FAULTS)
def test_any_other_is_check_with_an_empty_mask_and_a_reason(name: str) -> None:
    fault, words = FAULTS[name]
    found, plain = judged(fault(GOOD), 0.4), judged(GOOD, 0.4)
    assert found.verdict is Verdict.CHECK
    assert words in found.reason
    assert not found.mask.any() and found.regions == []
    assert (found.score, found.p_value, found.min_area_px) == (plain.score, plain.p_value, plain.min_area_px)


def test_regions_outrank_the_guard() -> None:
    for level in (0.7, 2.0):
        found, plain = judged(BLACK, level), judged(GOOD, level)
        assert (found.verdict, found.reason, found.regions) == (plain.verdict, None, plain.regions)
        assert np.array_equal(found.mask, plain.mask)


def test_a_guard_that_is_off_objects_to_nothing() -> None:
    assert judged(BLACK, 0.4, guard=None).verdict is Verdict.OK


def test_an_image_smaller_than_the_minimum_area_keeps_its_own_reason() -> None:
    model = make(sizes=(MinSize(MinArea(100, "px")),), scales=None, pixel_pitch=None, guard=GUARD)
    found = judge(model, CALIBRATION, seen(np.zeros((9, 9), np.float32), BLACK))
    assert found.verdict is Verdict.CHECK
    assert "larger than the image" in found.reason
