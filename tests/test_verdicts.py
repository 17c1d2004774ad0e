"""Verdict, score, regions and mask say the same."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from adcli import verdicts as tested
from adcli.model import Scales
from adcli.sizes import MinArea, MinSize
from adcli.types import Verdict
from tests.metrics.references import regions_of
from tests.models import CALIBRATION, make

HELD_OUT = np.array([0.2, 0.5, 0.5, 0.9])


def judge(model, calibration, score_map):
    """By the map alone, without an input guard."""
    seen = SimpleNamespace(score_map=score_map, method_score=None)
    return tested.judge(replace(model, guard=None), calibration, seen)


def calibrated(threshold=1.0, check=None, area=4.0, unit="px", pitch=None):
    calibration = replace(CALIBRATION, threshold=threshold, check_threshold=check, scores=HELD_OUT)
    return make(
        calibration=calibration, sizes=(MinSize(MinArea(area, unit)),), scales=None, pixel_pitch=pitch
    ), calibration


def blob(value, size=2, shape=(9, 11), ground=0.0):
    score_map = np.full(shape, ground, np.float32)
    score_map[3 : 3 + size, 4 : 4 + size] = value
    return score_map


def large_enough(score_map, threshold, area):
    """The pixels of all 8-connected regions strictly above the threshold of at least `area` pixels."""
    return [region for region in regions_of(score_map.astype(float) > threshold) if len(region) >= area]


@pytest.mark.parametrize("seed", range(60))
def test_an_image_is_ng_exactly_when_it_has_a_region_and_the_mask_is_those_regions(seed):
    rng = np.random.default_rng(seed)
    score_map = rng.random(rng.integers(1, 12, 2)).astype(np.float32)
    if seed % 2:
        score_map = np.round(score_map * 4).astype(np.float32) / 4  # plateaus, also at the thresholds
    threshold, check = (0.75, 0.5) if seed % 3 else (0.75, None)
    area = int(rng.integers(1, 6))
    model, calibration = calibrated(threshold, check, area)
    judgement = judge(model, calibration, score_map)
    if score_map.size < area:
        assert judgement.verdict is Verdict.CHECK
        return
    strange = large_enough(score_map, threshold, area)
    doubtful = large_enough(score_map, check, area) if check else []
    expected = Verdict.NG if strange else Verdict.CHECK if doubtful else Verdict.OK
    deciding = strange or doubtful
    assert judgement.verdict is expected
    mask = np.zeros(score_map.shape, bool)
    for region in deciding:
        for y, x in region:
            mask[y, x] = True
    assert judgement.mask.dtype == bool and np.array_equal(judgement.mask, mask)
    assert [region.area_px for region in judgement.regions] == sorted(map(len, deciding), reverse=True)
    assert (judgement.score > threshold) == (expected is Verdict.NG)
    assert judgement.reason is None and judgement.min_area_px == area


def test_the_threshold_itself_is_not_above_the_threshold():
    threshold = float(np.float32(1.7))
    model, calibration = calibrated(threshold)
    assert judge(model, calibration, blob(threshold)).verdict is Verdict.OK
    assert judge(model, calibration, blob(np.nextafter(np.float32(1.7), np.float32(2)))).verdict is Verdict.NG


def test_a_threshold_between_two_float32_values_separates_them():
    below, above = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
    model, calibration = calibrated((float(below) + float(above)) / 2)
    assert judge(model, calibration, blob(below)).verdict is Verdict.OK
    assert judge(model, calibration, blob(above)).verdict is Verdict.NG


def test_a_region_smaller_than_the_minimum_area_does_not_count():
    model, calibration = calibrated(area=5)
    judgement = judge(model, calibration, blob(9.0, ground=0.25))
    assert (judgement.verdict, judgement.score, judgement.regions) == (Verdict.OK, 0.25, [])
    assert not judgement.mask.any()
    assert judge(*calibrated(area=4), blob(9.0)).verdict is Verdict.NG


def test_between_the_thresholds_lies_check_with_the_regions_that_caused_it():
    model, calibration = calibrated(threshold=1.0, check=0.5)
    for value, verdict in [(0.5, Verdict.OK), (0.7, Verdict.CHECK), (1.0, Verdict.CHECK), (1.1, Verdict.NG)]:
        judgement = judge(model, calibration, blob(value))
        assert judgement.verdict is verdict
        assert np.array_equal(judgement.mask, blob(1) > 0) == (verdict is not Verdict.OK)
        assert len(judgement.regions) == (verdict is not Verdict.OK)


def test_the_mask_of_ng_leaves_out_what_is_only_doubtful():
    model, calibration = calibrated(threshold=1.0, check=0.6, area=1)
    score_map = np.zeros((5, 9), np.float32)
    score_map[1, 1], score_map[3, 7] = 2.0, 0.8
    judgement = judge(model, calibration, score_map)
    assert judgement.verdict is Verdict.NG
    assert np.argwhere(judgement.mask).tolist() == [[1, 1]]


def test_without_a_check_threshold_nothing_is_check():
    model, calibration = calibrated()
    verdicts = {judge(model, calibration, blob(value)).verdict for value in np.linspace(0, 2, 41)}
    assert verdicts == {Verdict.OK, Verdict.NG}


@pytest.mark.parametrize(
    ("area", "unit", "pitch", "pixels"), [(100, "px", None, 100), (1.0, "mm2", 0.1, 100), (1e9, "px", None, 10**9)]
)
def test_a_minimum_area_larger_than_the_image_is_check_with_a_reason_and_no_score(area, unit, pitch, pixels):
    model, calibration = calibrated(area=area, unit=unit, pitch=pitch)
    judgement = judge(model, calibration, blob(9.0))  # 99 pixels
    assert judgement.verdict is Verdict.CHECK
    assert str(pixels) in judgement.reason and "larger than the image" in judgement.reason
    assert judgement.score is None and judgement.p_value is None
    assert judgement.min_area_px == pixels
    assert judgement.regions == [] and not judgement.mask.any() and judgement.mask.shape == (9, 11)


def test_a_minimum_area_of_the_whole_image_is_met_by_the_whole_image():
    model, calibration = calibrated(area=1.0, unit="share")
    assert judge(model, calibration, np.full((9, 11), 1.5, np.float32)).verdict is Verdict.NG
    assert judge(model, calibration, blob(1.5)).verdict is Verdict.OK


def test_the_minimum_area_follows_the_image_and_the_pitch():
    assert judge(*calibrated(area=0.1, unit="share"), blob(2.0)).min_area_px == 10  # of 99
    assert judge(*calibrated(area=0.04, unit="mm2", pitch=0.1), blob(2.0)).min_area_px == 4


def test_an_infinite_score_is_ng():
    with np.errstate(all="raise"):
        judgement = judge(*calibrated(), blob(np.inf))
    assert judgement.verdict is Verdict.NG and judgement.score == math.inf
    assert judgement.p_value == 1 / 5
    assert np.array_equal(judgement.mask, blob(1) > 0)


def test_a_map_with_nan_is_no_verdict():
    with pytest.raises(ValueError, match="NaN"):
        judge(*calibrated(), blob(np.nan))


def test_the_p_value_counts_held_out_scores_that_are_at_least_as_high():
    for value, count in [(0.1, 4), (0.2, 4), (0.3, 3), (0.5, 3), (0.6, 1), (0.9, 1), (1.0, 0)]:
        calibration = replace(
            CALIBRATION, threshold=10.0, check_threshold=None, scores=np.float64(np.float32(HELD_OUT))
        )
        model = make(calibration=calibration, sizes=(MinSize(MinArea(4.0, "px")),), scales=None)
        assert judge(model, calibration, blob(value)).p_value == (1 + count) / 5


def test_regions_are_measured_in_pixels_and_in_mm2():
    judgement = judge(*calibrated(area=4, pitch=0.5), blob(2.0))
    (region,) = judgement.regions
    assert (region.area_px, region.area_mm2) == (4, 1.0)
    assert (region.bbox, region.centroid) == ((4, 3, 2, 2), (4.5, 3.5))
    assert (region.max, region.mean) == (2.0, 2.0)


def test_judging_does_not_change_the_map():
    score_map = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    before = score_map.copy()
    judge(*calibrated(threshold=0.5, check=0.2, area=3), score_map)
    assert np.array_equal(score_map, before)


def test_no_verdict_or_mask_changes_under_exp_of_every_score():
    """exp of float32 values this far apart keeps their order strictly."""
    rng = np.random.default_rng(11)
    maps = [rng.normal(size=(12, 14)).astype(np.float32) for _ in range(60)]
    for area, check in ((1.0, None), (5.0, None), (5.0, 0.4)):
        model, calibration = calibrated(threshold=float(maps[0][3, 3]), check=check and float(maps[1][4, 4]), area=area)
        raised = replace(
            calibration,
            threshold=float(np.exp(np.float32(calibration.threshold))),
            check_threshold=check and float(np.exp(np.float32(calibration.check_threshold))),
        )
        seen = set()
        for score_map in maps:
            one, other = judge(model, calibration, score_map), judge(model, raised, np.exp(score_map))
            assert one.verdict is other.verdict
            assert np.array_equal(one.mask, other.mask)
            seen.add(one.verdict)
        assert Verdict.NG in seen


def test_with_several_sizes_any_of_them_decides():
    """A small hot spot and a large faint one are each found by the size that is made for them, and nothing is else."""
    sizes = (MinSize(MinArea(4, "px")), MinSize(MinArea(36, "px")))
    scales = Scales(np.array([2.0, 1.0]), np.array([1.0, 0.25]), 9, "leave-one-out")
    calibration = replace(CALIBRATION, threshold=2.0, check_threshold=1.0, scores=HELD_OUT)
    model = make(calibration=calibration, sizes=sizes, scales=scales, pixel_pitch=None)
    # Levels: 4 px need more than 2 + 2 * 1 = 4, 36 px more than 1 + 2 * 0.25 = 1.5; for CHECK 3 and 1.25.
    for value, side, verdict in (
        (4.1, 2, Verdict.NG),
        (4.0, 2, Verdict.CHECK),
        (3.0, 2, Verdict.OK),
        (1.6, 6, Verdict.NG),
        (1.5, 6, Verdict.CHECK),
        (1.25, 6, Verdict.OK),
        (1.6, 5, Verdict.OK),
    ):
        score_map = np.zeros((20, 20), np.float32)
        score_map[3 : 3 + side, 5 : 5 + side] = value
        found = judge(model, calibration, score_map)
        assert found.verdict is verdict, (value, side)
        assert found.mask.sum() == (0 if verdict is Verdict.OK else side * side)
        assert [region.area_px for region in found.regions] == ([side * side] if verdict is not Verdict.OK else [])
    both = np.zeros((20, 20), np.float32)
    both[2:10, 2:10] = 1.6  # NG as a whole, and around a hot core
    both[4:6, 4:6] = 9.0
    found = judge(model, calibration, both)
    assert found.mask.sum() == 64
    assert [region.max for region in found.regions] == [9.0]
    assert [condition.min_area_px for condition in found.conditions] == [4, 36]
    assert [condition.threshold for condition in found.conditions] == [4.0, 1.5]
