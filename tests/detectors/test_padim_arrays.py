"""What PaDiM adds up with numpy, with torch, and of vectors that the network hands over."""

import numpy as np
import pytest
import torch

from adcli.detectors import Batch, moments
from adcli.detectors.arrays import inverse_cholesky
from adcli.detectors.padim import PaDiM, PaDiMParams
from tests.detectors.features import ArrayFeatures, random_layers
from tests.graphs.torch_operations import TorchOperations

SHAPES = ((6, 8, 4), (8, 4, 2), (10, 2, 1))  # each grid divides the first
INSIDE = np.random.default_rng(0).random((11, 8, 4)) > 0.3


class ReducedFeatures(ArrayFeatures):
    """Layers that are reduced where they come from, as the OpenVINO engine has them."""

    passes = 0

    def reduced(self, reduce):
        self.passes += 1
        ops = TorchOperations()
        for batch in self:
            rows = [
                reduce(ops, [layer[n : n + 1].double() for layer in batch.layers]) for n in range(len(batch.layers[0]))
            ]
            yield Batch((torch.cat(rows).float().numpy(),), None if batch.inside is None else batch.inside.numpy())


def compare(one, other):
    for name in ("mean", "whitener", "share", "ridge"):
        mine, its = getattr(one, name), getattr(other, name)
        assert (mine is None) == (its is None)
        if mine is not None:
            np.testing.assert_allclose(mine, its, rtol=1e-3, atol=5e-4)  # few images leave them ill-conditioned
    assert (one.sums is None) == (other.sums is None)
    if one.sums is not None:
        np.testing.assert_array_equal(one.sums.count, other.sums.count)
        for name in ("scatter", "cubes", "fourths"):
            mine, its = getattr(one.sums, name), getattr(other.sums, name)
            assert (mine is None) == (its is None)
            if mine is not None:
                np.testing.assert_allclose(mine, its, rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize("inside", [None, INSIDE], ids=["everywhere", "region"])
@pytest.mark.parametrize("shrinkage", ["none", "ledoit-wolf"])
@pytest.mark.parametrize("kind", ["random", "none"])
def test_numpy_torch_and_reduced_vectors_agree(kind, shrinkage, inside, monkeypatch):
    layers, more = random_layers(11, 1, SHAPES, offset=5), random_layers(3, 2, SHAPES, offset=5)
    params = PaDiMParams(reduction=kind, dims=12, shrinkage=shrinkage, updatable=True)

    def learn(features, **settings):
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setattr(moments, name, value)
            first = PaDiM.fit(features(layers, 4, inside=inside), params, np.random.default_rng(3))
            return first, first.updated(features(more, 2), np.random.default_rng(4))

    expected = learn(ArrayFeatures)
    tensors = learn(ArrayFeatures, array_if_on_cpu=lambda values: values)  # as on a GPU
    reduced = learn(ReducedFeatures)
    few = learn(ReducedFeatures, _TOGETHER=3)
    for found in (tensors, reduced, few):
        for one, other in zip(found, expected, strict=True):
            compare(one, other)


def test_vectors_are_asked_of_the_network_where_it_can_give_them():
    features = ReducedFeatures(random_layers(5, 1, SHAPES))
    PaDiM.fit(features, PaDiMParams(dims=20), np.random.default_rng(3))
    assert features.passes == 1
    PaDiM.fit(features, PaDiMParams(dims=20, upsample="bilinear"), np.random.default_rng(3))
    assert features.passes == 1


@pytest.mark.parametrize("dims", [1, 2, 15, 16, 17, 33, 100])
def test_inverse_factors_are_those_of_the_covariances(dims):
    vectors = (
        np.random.default_rng(dims).standard_normal((7, dims, 2 * dims + 3)) * np.geomspace(1e-3, 1e3, dims)[:, None]
    )
    covariances = vectors @ vectors.transpose(0, 2, 1)
    found = inverse_cholesky(covariances)
    expected = torch.linalg.inv(torch.linalg.cholesky(torch.from_numpy(covariances))).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
    assert (found == np.tril(found)).all()
    np.testing.assert_array_equal(found[3:4], inverse_cholesky(covariances[3:4]))  # in any company


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_a_singular_covariance_is_refused(kind):
    with pytest.raises(ValueError, match="singular"):
        inverse_cholesky(kind(np.stack([np.eye(3), -np.eye(3)])))
