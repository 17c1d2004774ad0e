"""The Gaussian of pooled features, against matrices that are written out and inverted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from adcli.errors import UsageError
from adcli.guard.gate import Gate, PooledFeatures, shrinkage, usual_distance

SHAPES = [(40, 5), (12, 12), (9, 30), (200, 3), (6, 100)]


def features(n: int, dims: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, dims)) @ rng.normal(size=(dims, dims)) + rng.normal(size=dims)
    return mixed.astype(np.float32)


def gate(pooled: np.ndarray) -> Gate:
    return PooledFeatures(pooled).gate(0.0, 1.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shrinkage_is_that_of_scikit_learn(shape: tuple[int, int]) -> None:
    for seed in range(5):
        pooled = features(*shape, seed).astype(float)
        expected = max(ledoit_wolf(pooled)[1], 1 / len(pooled))
        assert shrinkage(pooled - pooled.mean(0)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_distance_is_that_of_the_inverted_covariance_of_scikit_learn(shape: tuple[int, int]) -> None:
    pooled = features(*shape).astype(float)
    covariance, rho = ledoit_wolf(pooled)
    assert rho >= 1 / len(pooled)  # so that the bound plays no part
    one = gate(pooled)
    for other in [*features(4, shape[1], seed=9).astype(float), pooled[0]]:
        apart = other - pooled.mean(0)
        assert one.distance(other) == pytest.approx(np.sqrt(apart @ np.linalg.inv(covariance) @ apart), rel=1e-4)


@pytest.mark.parametrize("shape", [*SHAPES, (3, 8), (2, 8)])
def test_leaving_out_one_is_taking_it_off_mean_and_scatter(shape: tuple[int, int]) -> None:
    pooled = features(*shape).astype(float)
    n, dims = shape
    centred = pooled - pooled.mean(0)
    rho = shrinkage(centred)
    mu = np.square(centred).sum() / n / dims
    found = PooledFeatures(pooled).left_out_distances()
    for place in range(n):
        others = np.delete(pooled, place, axis=0)
        apart = others - others.mean(0)
        covariance = (1 - rho) * apart.T @ apart / (n - 1) + rho * mu * np.eye(dims)
        from_others = pooled[place] - others.mean(0)
        expected = np.sqrt(from_others @ np.linalg.inv(covariance) @ from_others)
        assert found[place] == pytest.approx(expected, rel=1e-6), place


def test_an_image_left_out_is_as_far_as_one_never_seen() -> None:
    """In the median, where the distances of images that were learnt from are far too small: 30 images, 20 features."""
    rng = np.random.default_rng(3)
    inside, left_out, unseen = [], [], []
    for _ in range(50):
        pooled = rng.normal(size=(60, 20))
        learnt = PooledFeatures(pooled[:30])
        one = learnt.gate(0.0, 1.0)
        left_out += learnt.left_out_distances().tolist()
        inside += [one.distance(row) for row in pooled[:30]]
        unseen += [one.distance(row) for row in pooled[30:]]
    assert np.median(left_out) == pytest.approx(np.median(unseen), rel=0.03)
    assert np.median(inside) < 0.95 * np.median(unseen)


def test_features_that_are_alike_in_all_images_leave_a_gate_that_is_passed_by_them_only() -> None:
    for value in (0.0, 3.0):
        pooled = np.full((5, 4), value, np.float32)
        one = PooledFeatures(pooled)
        usual, unit = usual_distance(one.left_out_distances(), 4)
        assert (usual, unit) == (0, 0.1)
        made = one.gate(usual, unit)
        assert made.distance(pooled[0]) == 0
        assert made.distance(pooled[0] * np.float32(1 + 1e-6)) < unit  # what another machine may compute
        assert made.distance(pooled[0] + np.float32(0.1)) > 10 * unit


def test_features_that_are_no_numbers_are_refused() -> None:
    pooled = features(5, 4)
    pooled[2, 1] = np.nan
    with pytest.raises(UsageError, match="NaN"):
        PooledFeatures(pooled)


def test_the_distance_does_not_depend_on_the_order_of_the_images() -> None:
    pooled = features(30, 6)
    other = gate(pooled[np.random.default_rng(1).permutation(30)])
    for row in features(5, 6, seed=2):
        assert gate(pooled).distance(row) == pytest.approx(other.distance(row), rel=1e-5)
