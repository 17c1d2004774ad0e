"""PaDiM against the equations of its paper, written down plainly in tests/references.py."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from adcli.detectors.padim import PaDiM, PaDiMParams
from adcli.errors import UsageError
from tests.detectors import references
from tests.detectors.features import SHAPES, ArrayFeatures, random_layers, tensors

GRIDS = {
    "uneven": SHAPES,
    "halves": ((4, 8, 6), (5, 4, 3), (6, 2, 2)),
    "one layer": ((7, 5, 6),),
    "one row": ((5, 1, 7), (6, 1, 3)),
    "a deeper layer that is finer": ((4, 3, 5), (5, 6, 7)),
}


def fit(layers, params, batch=4, seed=3):
    return PaDiM.fit(ArrayFeatures(layers, batch), params, np.random.default_rng(seed))


def reduced(detector, layers):
    """Vectors (N, P, D), with the channels or the projection that the detector has learnt, in float64."""
    vectors = references.concatenated(layers, detector.params.upsample)
    reduction = detector.reduction
    if reduction.channels is not None:
        return vectors[:, :, reduction.channels]
    return vectors @ reduction.projection.astype(np.float64)


def expected(detector, good, layers):
    mean, covariance = references.padim_fit(reduced(detector, good), detector.params.epsilon)
    scores = references.padim_scores(reduced(detector, layers), mean, covariance)
    return mean, covariance, scores.reshape(-1, *layers[0].shape[2:])


def unpacked(detector):
    dims = detector.mean.shape[1]
    lower = np.zeros((len(detector.mean), dims, dims))
    rows, columns = np.tril_indices(dims)
    lower[:, rows, columns] = detector.whitener
    return lower


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
@pytest.mark.parametrize("kind", ["random", "ortho", "pca", "none"])
def test_scores_are_the_papers_mahalanobis_distances(grid, upsample, kind):
    good, seen = random_layers(9, 1, GRIDS[grid]), random_layers(3, 2, GRIDS[grid])
    detector = fit(good, PaDiMParams(reduction=kind, dims=5, upsample=upsample))
    mean, covariance, scores = expected(detector, good, seen)
    result = detector.scorer()(tensors(seen))
    assert result.image is None
    np.testing.assert_allclose(detector.mean, mean, atol=5e-6)
    np.testing.assert_allclose(result.grid.numpy(), scores, rtol=2e-5)
    lower = unpacked(detector)
    whitened = lower @ covariance @ lower.transpose(0, 2, 1)
    np.testing.assert_allclose(whitened, np.broadcast_to(np.eye(len(mean[0])), whitened.shape), atol=1e-3)


@pytest.mark.parametrize("batch", [1, 2, 9, 50])
def test_the_batches_that_images_come_in_do_not_matter(batch):
    good, seen = random_layers(9, 1), random_layers(3, 2)
    detector = fit(good, PaDiMParams(dims=8), batch)
    np.testing.assert_allclose(
        detector.scorer()(tensors(seen)).grid.numpy(), expected(detector, good, seen)[2], rtol=2e-5
    )


def test_a_large_offset_of_the_features_costs_no_precision():
    good, seen = random_layers(9, 1, offset=1000), random_layers(3, 2, offset=1000)
    detector = fit(good, PaDiMParams(dims=8))
    np.testing.assert_allclose(
        detector.scorer()(tensors(seen)).grid.numpy(), expected(detector, good, seen)[2], rtol=1e-4
    )


def test_a_first_batch_unlike_the_others_costs_little_precision():
    good, seen = random_layers(200, 1, ((6, 3, 2),)), random_layers(3, 2, ((6, 3, 2),))
    good[0][:4] += 30
    detector = fit(good, PaDiMParams(dims=4))
    np.testing.assert_allclose(
        detector.scorer()(tensors(seen)).grid.numpy(), expected(detector, good, seen)[2], rtol=2e-3
    )


@pytest.mark.parametrize("epsilon", [1e-4, 0.01, 3.0])
def test_epsilon_is_added_to_the_diagonal_after_dividing_by_n_minus_1(epsilon):
    good = [np.zeros((3, 1, 1, 1), np.float32)]
    good[0][:, 0, 0, 0] = [0, 0, 3]  # mean 1, sum of squares 6, variance 3
    detector = fit(good, PaDiMParams(reduction="none", epsilon=epsilon))
    score = detector.scorer()(tensors([np.full((1, 1, 1, 1), 5, np.float32)])).grid.item()
    assert score == pytest.approx(4 / (3 + epsilon) ** 0.5, rel=1e-6)


def test_a_learnt_image_of_identical_ones_scores_zero():
    good = [np.repeat(layer, 5, axis=0) for layer in random_layers(1, 4)]
    detector = fit(good, PaDiMParams(dims=8))
    assert detector.scorer()(tensors([layer[:1] for layer in good])).grid.abs().max() < 1e-5


def test_random_keeps_100_channels_or_550_of_1000_and_more_where_dims_is_not_given():
    for total, dims in [(24, 24), (448, 100), (1000, 550), (1792, 550)]:
        good = [np.random.default_rng(0).standard_normal((2, total, 1, 1)).astype(np.float32)]
        assert fit(good, PaDiMParams()).reduction.dims == dims


def test_fewer_images_than_dimensions_still_give_finite_scores_above_zero():
    good, seen = random_layers(2, 1), random_layers(3, 2)
    scores = fit(good, PaDiMParams(reduction="none")).scorer()(tensors(seen)).grid
    assert (scores > 0).all() and scores.isfinite().all()


def test_refuses_too_few_images_and_impossible_parameters():
    layers = random_layers(3, 1)
    with pytest.raises(UsageError, match="at least 2 good images"):
        fit([layer[:1] for layer in layers], PaDiMParams())
    for change, word in [
        ({"upsample": "cubic"}, "cubic"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": 1e-30, "reduction": "none"}, "epsilon=1e-30 leaves a covariance singular"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"reduction": "lda"}, "lda"),
        ({"dims": 25}, "24 channels"),
        ({"dims": -1}, "dims=-1"),
    ]:
        with pytest.raises(UsageError, match=word):
            fit(layers, replace(PaDiMParams(), **change))


def test_refuses_features_whose_products_overflow():
    layers = [layer * np.float32(1e30) for layer in random_layers(4, 1)]
    with pytest.raises(UsageError, match="infinity"):
        fit(layers, PaDiMParams())


_MEASURE = """
import sys
import numpy as np, torch
from adcli.detectors import Batch
from adcli.detectors.padim import PaDiM, PaDiMParams

torch.set_num_threads(1)

class Stream:
    shapes = ((32, 64, 64), (16, 32, 32))
    def __init__(self, n_images): self.n_images = n_images
    def __iter__(self):
        for _ in range(self.n_images // 4):
            yield Batch(tuple(torch.rand(4, *shape) for shape in self.shapes))

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

for n_images in (52, 52, 232):  # more than are held at a time; a second fit finds memory less in order than the first
    PaDiM.fit(Stream(n_images), PaDiMParams(reduction=sys.argv[1], dims=24), np.random.default_rng(0))
    print(peak())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("kind", ["random", "pca"])
def test_memory_does_not_grow_with_the_number_of_images(kind):
    # 180 images more are 107 MB of features, 71 MB of vectors; the process has about 400 MB.
    run = subprocess.run([sys.executable, "-c", _MEASURE, kind], capture_output=True, text=True, check=True)
    _, few, many = map(int, run.stdout.split())
    assert many < 1.05 * few
