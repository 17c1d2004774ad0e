"""PaDiM with shrunk covariances, and joined by further images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from adcli.detectors import moments
from adcli.detectors.moments import _only_copies
from adcli.detectors.padim import PaDiM, PaDiMParams
from adcli.detectors.reduction import Reduction
from adcli.errors import UsageError
from adcli.store import load, save
from tests.detectors.features import SHAPES, ArrayFeatures, random_layers, tensors
from tests.detectors.test_contract import Bench
from tests.detectors.test_padim import reduced

SEEN = random_layers(3, 2)


def fit(layers, params, inside=None, batch=4):
    return PaDiM.fit(ArrayFeatures(layers, batch, inside=inside), params, np.random.default_rng(3))


def scored(detector, layers=SEEN):
    return detector.scorer()(tensors(layers)).grid.numpy()


def shrunk_scores(detector, good, seen):
    """Distances (N, P), each position's share of the sphere by scikit-learn."""
    vectors, queries, epsilon = reduced(detector, good), reduced(detector, seen), detector.params.epsilon
    scores = np.zeros(queries.shape[:2])
    for p in range(vectors.shape[1]):
        share, covariance = sklearn_ledoit_wolf(vectors[:, p])[1], np.cov(vectors[:, p].T)
        sphere = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        precision = np.linalg.inv((1 - share) * covariance + share * sphere + epsilon * np.eye(len(covariance)))
        for n, residual in enumerate(queries[:, p] - vectors[:, p].mean(0)):
            scores[n, p] = np.sqrt(residual @ precision @ residual)
    return scores.reshape(-1, *seen[0].shape[2:])


@pytest.mark.parametrize("count", [2, 9, 60])
@pytest.mark.parametrize("kind", ["random", "pca"])
@pytest.mark.parametrize("block", [1 << 10, 32 << 20])
def test_the_covariances_are_shrunk_by_ledoit_and_wolfs_share(count, kind, block, monkeypatch):
    monkeypatch.setattr(moments, "_BLOCK_BYTES", block)
    good = random_layers(count, 1, offset=20)
    seen = [layer + np.float32(20) for layer in SEEN]
    detector = fit(good, PaDiMParams(reduction=kind, dims=6, epsilon=1e-3, shrinkage="ledoit-wolf"))
    np.testing.assert_allclose(scored(detector, seen), shrunk_scores(detector, good, seen), rtol=2e-3)


@pytest.mark.parametrize(("count", "shrinks"), [(17, True), (18, False)])
def test_auto_shrinks_below_three_images_a_dimension(count, shrinks):
    good, params = random_layers(count, 1), PaDiMParams(dims=6, shrinkage="auto")
    detector = fit(good, params)
    assert (detector.share is not None) == shrinks
    alike = fit(good, dataclasses.replace(params, shrinkage="ledoit-wolf" if shrinks else "none"))
    assert np.array_equal(detector.whitener, alike.whitener)


def test_a_position_that_nobody_shows_has_no_covariance_but_epsilon_when_shrunk():
    inside = np.ones((6, *SHAPES[0][1:]), bool)
    inside[:, 0, 0] = False
    detector = fit(random_layers(6, 1), PaDiMParams(dims=4, epsilon=0.25, shrinkage="ledoit-wolf"), inside)
    diagonal = np.cumsum(np.arange(1, 5)) - 1
    np.testing.assert_allclose(detector.whitener[0][diagonal], 2, rtol=1e-5)
    assert np.isfinite(detector.whitener).all()


def test_leaving_one_out_of_shrunk_covariances_keeps_share_and_ridge():
    good = random_layers(9, 1)
    detector = fit(good, PaDiMParams(reduction="none", shrinkage="ledoit-wolf"))
    grid = detector.left_out_scorer()(tensors(good), np.arange(9)).grid.numpy().reshape(9, -1)
    vectors = reduced(detector, good)
    for p in range(vectors.shape[1]):
        for n in (0, 4):
            others = np.delete(vectors[:, p], n, axis=0)
            covariance = (1 - detector.share[p]) * np.cov(others.T) + detector.ridge[p] * np.eye(24)
            residual = vectors[n, p] - others.mean(0)
            assert grid[n, p] == pytest.approx(np.sqrt(residual @ np.linalg.inv(covariance) @ residual), rel=1e-3)


def test_leaving_one_out_of_shrunk_covariances_comes_near_a_fit_to_the_others():
    good, params = random_layers(20, 1), PaDiMParams(reduction="none", shrinkage="ledoit-wolf")
    grid = fit(good, params).left_out_scorer()(tensors(good), np.arange(20)).grid.numpy()
    for image in (0, 7):
        others = fit([np.delete(layer, image, axis=0) for layer in good], params)
        expected = scored(others, [layer[image : image + 1] for layer in good])[0]
        np.testing.assert_allclose(grid[image], expected, rtol=0.1)


@pytest.mark.parametrize("shrinkage", ["none", "ledoit-wolf", "auto"])
@pytest.mark.parametrize("kind", ["random", "ortho", "none"])
def test_joining_images_is_a_fit_to_all_of_them(shrinkage, kind):
    good, params = random_layers(23, 1), PaDiMParams(reduction=kind, dims=6, shrinkage=shrinkage, updatable=True)
    detector = fit([layer[:5] for layer in good], params)
    for part in (slice(5, 6), slice(6, 23)):
        features = ArrayFeatures([layer[part] for layer in good])
        detector = detector.updated(features, np.random.default_rng(9))
    together = fit(good, params)
    assert detector.n_images == 23 and (detector.share is None) == (together.share is None)
    np.testing.assert_allclose(detector.mean, together.mean, atol=1e-5)
    np.testing.assert_allclose(scored(detector), scored(together), rtol=1e-3)
    for one, other in ((detector.sums.scatter, together.sums.scatter), (detector.sums.fourths, together.sums.fourths)):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_positions_of_a_region_are_joined_as_they_are_shown():
    good = random_layers(14, 1)
    inside = np.random.default_rng(4).random((14, *SHAPES[0][1:])) < 0.6
    inside[:8, 0, 0] = False
    params = PaDiMParams(dims=6, shrinkage="ledoit-wolf", updatable=True)
    first = fit([layer[:8] for layer in good], params, inside[:8])
    joined = first.updated(ArrayFeatures([layer[8:] for layer in good], inside=inside[8:]), np.random.default_rng(0))
    together = fit(good, params, inside)
    assert np.array_equal(joined.sums.count, together.sums.count)
    enough = inside.sum(0) > 2
    np.testing.assert_allclose(scored(joined)[:, enough], scored(together)[:, enough], rtol=1e-3)


def test_a_model_that_has_kept_no_sums_names_the_parameter():
    good = random_layers(4, 1)
    with pytest.raises(UsageError, match=r"-p updatable=yes, .* member padim\(updatable=yes\)"):
        fit(good, PaDiMParams()).updated(ArrayFeatures(good), np.random.default_rng(0))


def test_keeping_the_sums_changes_nothing_else():
    good = random_layers(9, 1)
    plain, updatable = (fit(good, PaDiMParams(dims=6, updatable=kept)) for kept in (False, True))
    assert plain.sums is None and np.array_equal(plain.whitener, updatable.whitener)


def test_sums_survive_the_file(tmp_path):
    bench = Bench("padim")
    detector = bench.fit(bench.good, dims=4, shrinkage="ledoit-wolf", updatable=True)
    save(bench.model(detector), tmp_path / "model.h5")
    read = load(tmp_path / "model.h5").model.detector
    one, other = (each.updated(bench.good, np.random.default_rng(0)) for each in (read, detector))
    assert read.params.updatable is True and np.array_equal(one.whitener, other.whitener)
    assert one.n_images == 24


def test_an_unknown_shrinkage_is_refused():
    with pytest.raises(UsageError, match="shrinkage=oas"):
        fit(random_layers(4, 1), PaDiMParams(shrinkage="oas"))


@pytest.mark.parametrize(
    ("channels", "shapes", "only"),
    [
        ([0, 4], ((4, 8, 8), (4, 4, 4)), True),
        ([0, 1], ((4, 8, 8), (4, 4, 4)), False),  # none of the second layer
        ([0, 4], ((4, 9, 8), (4, 4, 4)), False),  # 4 rows are resampled to 9
        (None, ((4, 8, 8), (4, 4, 4)), False),  # a projection
    ],
)
def test_vectors_come_of_the_network_only_where_they_are_copies(channels, shapes, only):
    projection = np.eye(8, 2, dtype=np.float32) if channels is None else None
    reduction = Reduction(None if channels is None else np.array(channels), projection)
    assert _only_copies(reduction, shapes) == only
