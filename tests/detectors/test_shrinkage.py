"""Shrinkage of covariances, against scikit-learn's and against the norms that define it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from adcli.detectors.shrinkage import ledoit_wolf, moved, oracle_approximating
from tests.detectors import references


def drawn(count, dims, seed=0, tails=0.0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((count, dims)) @ rng.standard_normal((dims, dims)) + 3
    return vectors * np.exp(tails * rng.standard_normal((count, 1)))


def sums(vectors):
    """Number, sum, and sums of the second, third and fourth order, of vectors (N, D)."""
    y = torch.from_numpy(vectors)
    squares = y.square().sum(1)
    return torch.tensor(float(len(y))), y.sum(0), y.T @ y, (y * squares[:, None]).sum(0), squares.square().sum()


@pytest.mark.parametrize(("count", "dims"), [(2, 3), (5, 20), (30, 20), (500, 4)])
@pytest.mark.parametrize("tails", [0.0, 1.0])
def test_the_share_is_that_of_ledoit_and_wolf(count, dims, tails):
    vectors = drawn(count, dims, tails=tails)
    number, _, scatter, _, fourths = sums(vectors - vectors.mean(0))
    share = ledoit_wolf(number, scatter, fourths).item()
    assert share == pytest.approx(sklearn_ledoit_wolf(vectors)[1], rel=1e-9, abs=1e-12)
    assert share == pytest.approx(references.ledoit_wolf(vectors), rel=1e-9, abs=1e-12)
    assert 0 <= share <= 1


def test_shares_of_several_covariances_are_those_of_each():
    each = [sums(one - one.mean(0)) for one in (drawn(7, 5, 1), drawn(40, 5, 2), drawn(3, 5, 3))]
    number, _, scatter, _, fourths = (torch.stack(part) for part in zip(*each, strict=True))
    together = ledoit_wolf(number, scatter, fourths)
    assert together.tolist() == pytest.approx([ledoit_wolf(one[0], one[2], one[4]).item() for one in each])


@pytest.mark.parametrize("vectors", [np.ones((4, 3)), np.array([[0.0], [1.0], [5.0]])])
def test_what_is_a_sphere_already_is_all_sphere(vectors):
    number, _, scatter, _, fourths = sums(vectors - vectors.mean(0))
    assert ledoit_wolf(number, scatter, fourths).item() == 1


def test_sums_about_another_point_are_those_of_the_moved_vectors():
    vectors = drawn(9, 4)
    for offset in (vectors.mean(0), np.array([1.0, -2, 0, 5])):
        cubes, fourths = moved(torch.from_numpy(offset), *sums(vectors))
        expected = sums(vectors - offset)
        np.testing.assert_allclose(cubes, expected[3], rtol=1e-9, atol=1e-6)
        assert fourths.item() == pytest.approx(expected[4].item(), rel=1e-9)


@pytest.mark.parametrize("count", [2, 7.5, 40, 1e6])
def test_the_share_is_that_of_chen_et_al(count):
    covariance = np.cov(drawn(50, 6).T)
    share = oracle_approximating(count, torch.from_numpy(np.linalg.eigvalsh(covariance)))
    assert share == pytest.approx(references.oracle_approximating(covariance, count), rel=1e-9)
    assert 0 < share <= 1
    assert count < 100 or share < 1e-4


@pytest.mark.parametrize("vectors", [drawn(30, 20), drawn(3, 5), np.ones((4, 3))])
def test_arrays_have_the_shares_and_sums_of_tensors(vectors):
    tensors = sums(vectors)
    arrays = [float(tensors[0]), *(part.numpy() for part in tensors[1:])]
    offset = vectors.mean(0)
    for of_arrays, of_tensors in zip(moved(offset, *arrays), moved(torch.from_numpy(offset), *tensors), strict=True):
        np.testing.assert_allclose(of_arrays, of_tensors, rtol=1e-9, atol=1e-6)
    number, _, scatter, _, fourths = sums(vectors - offset)
    share = ledoit_wolf(float(number), scatter.numpy(), float(fourths))
    assert share == pytest.approx(ledoit_wolf(number, scatter, fourths).item(), rel=1e-9)
