"""The CNN feature dictionary against a window slid patch by patch, and its k-means against scikit-learn's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from adcli.detectors.clustering import k_means
from adcli.detectors.dictionary import Dictionary, DictionaryParams, embedder
from adcli.errors import UsageError
from tests.detectors import references
from tests.detectors.features import SHAPES, ArrayFeatures, random_layers, tensors

HALVES = ((4, 8, 6), (5, 4, 3), (6, 2, 2))


def fit(layers, seed=0, inside=None, **changes):
    params = replace(DictionaryParams(), **changes)
    return Dictionary.fit(ArrayFeatures(layers, inside=inside), params, np.random.default_rng(seed))


def embedded(layers, **changes):
    shapes = tuple(layer.shape[1:] for layer in layers)
    embed = embedder(shapes, replace(DictionaryParams(), **changes), "cpu")
    return np.stack([embed(tuple(layer[n] for layer in tensors(layers))).numpy() for n in range(len(layers[0]))])


@pytest.mark.parametrize("patch", [1, 2, 4, 5, 40])
def test_the_dense_form_is_the_window_slid_patch_by_patch(patch):
    layers = random_layers(2, 1, HALVES)
    np.testing.assert_allclose(embedded(layers, patch=patch), references.patch_vectors(layers, patch), atol=1e-5)


def test_on_grids_that_do_not_divide_each_other_it_is_so_to_the_size_of_the_pieces():
    layers = random_layers(2, 1)
    np.testing.assert_allclose(embedded(layers), references.patch_vectors(layers, 4), atol=0.1)


def test_every_cell_counts_as_much_in_a_constant_layer():
    layers = [np.full((1, *shape), 3.5, np.float32) for shape in SHAPES]
    np.testing.assert_allclose(embedded(layers), 3.5, rtol=1e-6)


def test_normalised_vectors_have_the_l1_norm_one():
    vectors = embedded(random_layers(2, 1), normalise=True)
    np.testing.assert_allclose(np.abs(vectors).sum(2), 1, rtol=1e-5)
    assert not embedded([np.zeros((1, 3, 2, 2), np.float32)], normalise=True).any()


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize("normalise", [False, True])
def test_scores_are_mean_distances_to_the_nearest_entries(neighbours, normalise):
    good, seen = random_layers(5, 1, HALVES), random_layers(2, 2, HALVES)
    detector = fit(good, neighbours=neighbours, normalise=normalise)
    vectors = references.patch_vectors(seen, 4)
    if normalise:
        vectors /= np.abs(vectors).sum(axis=2, keepdims=True)
    reduced = (vectors - detector.centre) @ detector.axes.astype(np.float64)
    expected = [references.dictionary_scores(rows, detector.entries, neighbours) for rows in reduced]
    result = detector.scorer()(tensors(seen))
    np.testing.assert_allclose(result.grid.numpy().reshape(2, -1), expected, rtol=1e-3)
    assert result.image is None


@pytest.mark.parametrize("variance", [0.3, 0.95, 1.0])
def test_the_axes_are_the_principal_ones_that_keep_the_share(variance):
    good = random_layers(6, 1, HALVES)
    detector = fit(good, variance=variance)
    vectors = references.patch_vectors(good, 4).reshape(-1, 15)
    np.testing.assert_allclose(detector.centre, vectors.mean(0), atol=1e-5)
    values = np.linalg.eigvalsh(np.cov(vectors.T, bias=True))[::-1]
    kept = detector.axes.shape[1]
    share = values[:kept].sum() / values.sum()
    assert share >= variance - 1e-9 and values[: kept - 1].sum() / values.sum() < variance
    np.testing.assert_allclose(detector.axes.T @ detector.axes, np.eye(kept), atol=1e-5)
    along = (vectors - vectors.mean(0)) @ detector.axes
    assert along.var(0).sum() / vectors.var(0).sum() == pytest.approx(share, rel=1e-4)


def test_entries_are_good_patches():
    good = random_layers(6, 1, HALVES)
    detector = fit(good)
    reduced = (embedded(good).reshape(-1, 15) - detector.centre) @ detector.axes
    apart = np.linalg.norm(reduced[None] - detector.entries[:, None], axis=2)
    assert detector.entries.shape[0] == 10 and apart.min(1).max() < 1e-5
    assert detector.scorer()(tensors(good)).grid.min() < 1e-5


def test_usual_and_spread_are_of_the_good_patches_scores():
    good = random_layers(6, 1, HALVES)
    detector = fit(good)
    scores = detector.scorer()(tensors(good)).grid.double()
    assert detector.usual == pytest.approx(scores.mean().item(), rel=1e-5)
    assert detector.spread == pytest.approx(scores.std(unbiased=False).item(), rel=1e-5)


def test_of_every_image_as_many_patches_are_drawn():
    good = random_layers(6, 1, HALVES)
    few = fit(good, sample=12, entries=12)
    reduced = (embedded(good) - few.centre) @ few.axes
    owners = [int(np.linalg.norm(reduced - entry, axis=2).min(1).argmin()) for entry in few.entries]
    assert sorted(owners) == sorted([0, 1, 2, 3, 4, 5] * 2)
    assert not np.array_equal(fit(good, seed=1, sample=12, entries=12).entries, few.entries)


def test_patches_outside_the_region_are_not_learnt():
    good = random_layers(6, 1, HALVES)
    inside = np.random.default_rng(3).random((6, 8, 6)) < 0.3
    detector = fit(good, inside=inside, variance=1.0)
    vectors = embedded(good)[inside.reshape(6, -1)]
    np.testing.assert_allclose(detector.centre, vectors.mean(0), atol=1e-5)
    reduced = (vectors - detector.centre) @ detector.axes
    assert np.linalg.norm(reduced[None] - detector.entries[:, None], axis=2).min(1).max() < 1e-4


def test_fewer_entries_than_neighbours_are_all_neighbours():
    detector = Dictionary.fit(
        ArrayFeatures(random_layers(2, 1)), DictionaryParams(neighbours=8, sample=2), np.random.default_rng(0)
    )
    assert len(detector.entries) == 2
    apart = torch.cdist(
        (
            embedder(SHAPES, detector.params, "cpu")(tuple(layer[0] for layer in tensors(random_layers(1, 2))))
            - torch.from_numpy(detector.centre)
        )
        @ torch.from_numpy(detector.axes),
        torch.from_numpy(detector.entries),
    )
    grid = detector.scorer()(tensors(random_layers(1, 2))).grid
    torch.testing.assert_close(grid.flatten(), apart.mean(1), rtol=1e-4, atol=1e-5)


def test_fewer_different_patches_than_entries_make_fewer_entries():
    good = [np.zeros((2, 3, 2, 2), np.float32)]
    good[0][1] = 1
    assert len(fit(good).entries) == 2


@pytest.mark.parametrize("name", ["patch", "entries", "neighbours", "sample", "restarts"])
def test_less_than_one_is_refused(name):
    with pytest.raises(UsageError, match=f"{name}=0"):
        fit(random_layers(3, 1), **{name: 0})


@pytest.mark.parametrize("name", ["entries", "sample", "restarts"])
def test_numbers_that_would_take_days_are_refused_with_the_most_there_is(name):
    with pytest.raises(UsageError, match=rf"{name}={2**31 - 1} .* give at most [0-9,]+$"):
        fit(random_layers(3, 1), **{name: 2**31 - 1})


@pytest.mark.parametrize(
    ("change", "word"),
    [({"variance": 0.0}, "variance"), ({"variance": 1.1}, "1.1"), ({"neighbours": 11}, "10 entries")],
)
def test_impossible_parameters_are_refused(change, word):
    with pytest.raises(UsageError, match=word):
        fit(random_layers(3, 1), **change)


def clusters(seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((8, 3)) * 10
    return (middles[rng.integers(8, size=400)] + rng.standard_normal((400, 3))).astype(np.float32)


def cost(points, centres):
    return ((points[:, None] - centres[None]) ** 2).sum(2).min(1).mean()


def test_clusters_are_found_as_well_as_scikit_learn_finds_them():
    points = clusters()
    centres = k_means(torch.from_numpy(points), 8, 5, np.random.default_rng(0)).numpy()
    other = KMeans(8, n_init=10, random_state=0).fit(points)
    assert cost(points, centres) <= 1.01 * cost(points, other.cluster_centers_)
    member = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
    np.testing.assert_allclose(centres, [points[member == k].mean(0) for k in range(8)], atol=1e-4)  # none can move


def test_more_runs_are_never_worse():
    points = clusters(1)
    costs = [cost(points, k_means(torch.from_numpy(points), 8, n, np.random.default_rng(3)).numpy()) for n in (1, 3, 9)]
    assert costs[0] >= costs[1] >= costs[2]


def test_with_a_centre_for_every_point_all_are_centres():
    points = torch.tensor([[0.0], [1], [1], [5]])
    assert sorted(k_means(points, 9, 2, np.random.default_rng(0)).flatten().tolist()) == [0, 1, 5]
