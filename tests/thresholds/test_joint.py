"""Several sizes as one score, and the threshold that each is left with."""

from __future__ import annotations

import numpy as np
import pytest

from adcli.thresholds.joint import joint_score, learn_scales, level_thresholds


def test_scales_are_median_and_spread_of_each_column():
    levels = np.array([[1.0, 10], [2, 30], [3, 20], [4, 40], [100, 30]])
    centre, spread = learn_scales(levels)
    assert centre.tolist() == [3, 30]
    assert spread == pytest.approx([1.4826 * 1, 1.4826 * 10])


def test_a_normal_law_has_its_standard_deviation_as_spread():
    levels = np.random.default_rng(0).normal(7, 2, (100_000, 1))
    assert learn_scales(levels)[1] == pytest.approx([2], rel=0.02)


def test_a_spread_is_never_zero():
    _, spread = learn_scales(np.array([[1.0, 5], [1, 5], [1, 5], [1, 5], [9, 5]]))
    assert spread[0] == pytest.approx(np.std([1, 1, 1, 1, 9]))  # most are equal
    assert spread[1] == 1.0  # all are


def test_the_score_is_the_largest_over_the_sizes():
    centre, spread = np.array([1.0, 10]), np.array([2.0, 5])
    assert joint_score(np.array([[5.0, 10], [1, 20], [-np.inf, 20]]), centre, spread).tolist() == [2, 2, 2]
    assert joint_score(np.array([-np.inf, -np.inf]), centre, spread) == -np.inf


def test_a_level_is_above_its_threshold_exactly_when_its_share_of_the_score_is():
    rng = np.random.default_rng(1)
    for _ in range(300):
        centre = rng.normal(0, 10 ** rng.uniform(-3, 4), 3)
        spread = 10 ** rng.uniform(-4, 3, 3)
        levels = (centre + spread * rng.normal(size=(1, 3))).astype(np.float32)[0]
        threshold = float(joint_score(levels.astype(np.float64), centre, spread))  # one level lies on it exactly
        at = level_thresholds(threshold, centre, spread)
        assert (at == at.astype(np.float32)).all()
        for level, own, m, s in zip(levels, at, centre, spread, strict=True):
            for value in (level, np.nextafter(level, np.float32(np.inf)), np.nextafter(level, np.float32(-np.inf))):
                assert (float(value) > own) == ((float(value) - m) / s > threshold)


@pytest.mark.parametrize(
    ("threshold", "centre", "spread"), [(-1.0, 1.0, 1.0), (-2.0, 1.4826, 0.7413), (0.0, 0.0, 1e-30), (-1e300, 1.0, 1.0)]
)
def test_a_threshold_about_zero_or_beyond_every_number_is_found_at_once(threshold, centre, spread):
    at = float(level_thresholds(threshold, np.array([centre]), np.array([spread]))[0])
    assert np.isfinite(at)
    above = float(np.nextafter(np.float32(at), np.float32(np.inf)))
    assert (above - centre) / spread > threshold
    assert (at - centre) / spread <= threshold or at == -float(np.finfo(np.float32).max)
