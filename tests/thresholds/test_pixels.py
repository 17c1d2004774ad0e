"""The pixels of all maps, pooled while they pass."""

from __future__ import annotations

import numpy as np
import pytest

from adcli.thresholds.estimators import Evidence, Rule, estimates, needed
from adcli.thresholds.pixels import PixelPool, Pixels


def pooled(maps: list[np.ndarray], share: float) -> Pixels:
    pool = PixelPool(share, len(maps))
    for score_map in maps:
        pool.add(pool.summarise(score_map))
    return pool.pooled()


def some(count: int, side: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    levels = rng.gumbel(size=count)  # images differ, as real ones do
    return [(level + rng.normal(size=(side, side + i % 7))).astype(np.float32) for i, level in enumerate(levels)]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999, 0.99999])
@pytest.mark.parametrize("order", ["as drawn", "rising", "falling"])
def test_the_quantile_is_exact_whatever_the_order_of_the_maps(share, order):
    maps = some(80, 20, 0)
    if order != "as drawn":
        maps.sort(key=lambda score_map: float(score_map.max()), reverse=order == "falling")
    everything = np.concatenate([score_map.ravel() for score_map in maps])
    assert pooled(maps, share).quantile(share) == np.quantile(everything, share, method="inverted_cdf")


def test_ties_are_counted_as_pixels():
    maps = [np.repeat(np.float32([1, 2, 3, 4]), 25).reshape(10, 10)] * 5
    assert pooled(maps, 0.75).quantile(0.75) == 3  # a quarter is above it, and no more
    assert pooled(maps, 0.76).quantile(0.76) == 4


def test_pixels_outside_the_region_of_interest_are_no_pixels():
    inside = some(6, 12, 1)
    framed = [np.pad(score_map, 3, constant_values=-np.inf).astype(np.float32) for score_map in inside]
    one, other = pooled(inside, 0.9), pooled(framed, 0.9)
    assert (one.mean(), one.std(), one.quantile(0.9)) == (other.mean(), other.std(), other.quantile(0.9))
    assert one.counts.tolist() == other.counts.tolist()


def test_memory_does_not_grow_with_maps_beyond_the_share():
    maps = some(200, 40, 2)
    pool = PixelPool(0.999, len(maps))
    kept = []
    for score_map in maps:
        pool.add(pool.summarise(score_map))
        kept.append(pool.pooled().tail.size)
    assert max(kept) < 12 * maps[-1].size  # those of a few maps, of 200


def test_late_maps_that_are_far_larger_leave_the_quantile_unknown_and_never_wrong():
    rng = np.random.default_rng(3)
    for high in (5.0, 0.0):
        maps = [rng.normal(0, 1, (4, 4)).astype(np.float32) for _ in range(40)]
        maps += [rng.normal(high, 1, (200, 200)).astype(np.float32) for _ in range(3)]
        everything = np.concatenate([score_map.ravel() for score_map in maps])
        assert pooled(maps, 0.9).quantile(0.9) == np.quantile(everything, 0.9, method="inverted_cdf")
    early = [rng.normal(5, 1, (300, 300)).astype(np.float32) for _ in range(30)]
    late = [rng.normal(-5, 1, (2000, 2000)).astype(np.float32)]
    pool = PixelPool(0.9, 31)
    for score_map in early:
        pool.add(pool.summarise(score_map))
    pool.add(pool.summarise(late[0]))
    everything = np.concatenate([score_map.ravel() for score_map in early + late])
    found = pool.pooled().quantile(0.75)  # far below the share that the tail was kept for
    assert np.isnan(found) or found == np.quantile(everything, 0.75, method="inverted_cdf")
    assert np.isnan(pool.pooled().quantile(0.5))


def test_leaving_maps_out_gives_the_moments_of_the_rest():
    maps = some(9, 15, 4)
    out = np.arange(9) % 3 == 0
    rest = pooled([score_map for score_map, left_out in zip(maps, out, strict=True) if not left_out], 0.99)
    without = pooled(maps, 0.99).without(out)
    assert without.mean() == pytest.approx(rest.mean(), rel=1e-12)
    assert without.std() == pytest.approx(rest.std(), rel=1e-12)
    assert without.peaks.tolist() == rest.peaks.tolist()
    assert without.quantile(0.99) == rest.quantile(0.99)


@pytest.mark.parametrize("name", ["area", "max", "pixel-quantile", "sigma"])
def test_what_a_rule_does_not_look_at_changes_nothing(name):
    maps = some(20, 20, 4)
    evidence = Evidence(np.sort([float(one.max()) for one in maps]), pooled(maps, 0.999), np.arange(20))
    left_out = np.arange(20) % 4 == 1
    rule = Rule(name)
    short = needed(evidence, rule)
    assert (short.pixels is None) == (name == "area")
    whole, less = (estimates(one.without(left_out), rule)[0] for one in (evidence, short))
    assert whole == less or np.isnan([whole.threshold, less.threshold]).all()
