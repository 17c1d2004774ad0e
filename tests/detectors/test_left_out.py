"""Scores of images as if they had not been learnt from, against detectors that have not seen them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from adcli.detectors import DETECTORS, Method, check_leaves_out
from adcli.detectors.padim import PaDiM, PaDiMParams
from adcli.detectors.patchcore import PatchCore, PatchCoreParams
from adcli.detectors.patches import embed
from adcli.engines.torch import TorchScorer
from adcli.errors import UsageError
from adcli.store import load, save
from tests.detectors import references
from tests.detectors.features import SHAPES, ArrayFeatures, random_layers, tensors
from tests.detectors.test_contract import PRECISIONS, Bench, one_sentence, textures
from tests.detectors.test_padim import reduced

TWO = SHAPES[:2]
ABLE = [name for name, method in DETECTORS.items() if hasattr(method.detector(), "left_out_scorer")]


def fit(layers, params, seed=3):
    cls = PaDiM if isinstance(params, PaDiMParams) else PatchCore
    return cls.fit(ArrayFeatures(layers), params, np.random.default_rng(seed))


def left_out(detector, layers, places=None):
    places = np.arange(len(layers[0])) if places is None else places
    return detector.left_out_scorer()(tensors(layers), places)


def without(layers, image):
    return [np.delete(layer, image, axis=0) for layer in layers]


def only(layers, *images):
    return [layer[list(images)] for layer in layers]


# Every detector that offers it.


@pytest.fixture(scope="module", params=ABLE)
def bench(request):
    return Bench(request.param)


@pytest.fixture(scope="module")
def fitted(bench):
    return bench.fit(bench.good)


@pytest.fixture(scope="module")
def scored(bench, fitted):
    """All learnt images in one batch."""
    return left_out(fitted, bench.good.layers)


def test_there_is_one_finite_value_a_patch_and_an_image(bench, fitted, scored):
    plain = fitted.scorer()(tensors(bench.good.layers))
    assert scored.grid.shape == plain.grid.shape
    assert scored.grid.dtype == torch.float32 and scored.grid.isfinite().all()
    assert (scored.image is None) == (plain.image is None)
    if scored.image is not None:
        assert scored.image.shape == (12,)
        assert scored.image.dtype == torch.float32 and scored.image.isfinite().all()


def test_no_patch_is_less_strange_to_a_detector_that_has_not_seen_it(bench, fitted, scored):
    plain = fitted.scorer()(tensors(bench.good.layers)).grid
    assert (scored.grid >= plain * (1 - 1e-5)).all()
    assert scored.grid.mean() > 1.1 * plain.mean()


def test_a_learnt_image_scores_as_an_unseen_one_does(bench, fitted, scored):
    unseen = fitted.scorer()(tensors(bench.layers(textures(12, seed=8)))).grid
    assert scored.grid.mean().item() == pytest.approx(unseen.mean().item(), rel=0.1)
    assert scored.grid.amax((1, 2)).median().item() == pytest.approx(unseen.amax((1, 2)).median().item(), rel=0.2)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ABLE)
def test_an_image_scores_the_same_bits_alone_and_in_any_company_and_order(name, precision):
    bench = Bench(name, precision)
    images = textures(12, seed=1)
    scorer = TorchScorer(bench.engine, bench.fit(bench.good), left_out=True)
    alone = [scorer(images[i : i + 1], np.array([i])) for i in range(12)]
    rng = np.random.default_rng(0)
    for count in range(1, scorer.batch + 1):
        company = rng.choice(12, count, replace=False)
        grids, own, _ = scorer(images[company], company)
        assert len(grids) == count
        for at, image in enumerate(company):
            assert np.array_equal(grids[at], alone[image].grid[0])
            assert own is None or own[at] == alone[image].image[0]


def test_leaving_out_changes_neither_features_nor_detector_nor_places(bench, fitted):
    batch, places = tensors(bench.good.layers), np.arange(12)
    before = [layer.clone() for layer in batch]
    plain = fitted.scorer()(batch)
    fields = {field.name: getattr(fitted, field.name) for field in dataclasses.fields(fitted)}
    arrays = {name: array.copy() for name, array in fields.items() if isinstance(array, np.ndarray)}
    scorer = fitted.left_out_scorer()
    first = scorer(batch, places)
    assert all(torch.equal(a, b) for a, b in zip(batch, before, strict=True))
    assert np.array_equal(places, np.arange(12))
    assert all(np.array_equal(array, getattr(fitted, name)) for name, array in arrays.items())
    assert torch.equal(scorer(batch, torch.arange(12)).grid, first.grid)  # nor itself; and places may be a tensor
    assert torch.equal(fitted.scorer()(batch).grid, plain.grid)


def test_a_detector_from_a_file_leaves_out_as_the_one_that_was_saved(bench, fitted, scored, tmp_path):
    save(bench.model(fitted), tmp_path / "model.h5")
    again = left_out(load(tmp_path / "model.h5").model.detector, bench.good.layers)
    assert torch.equal(again.grid, scored.grid)
    assert again.image is None or torch.equal(again.image, scored.image)


@pytest.mark.parametrize("places", [[0], [0, 1, 2], [[0, 1]], 0])
def test_more_or_fewer_places_than_images_are_refused(bench, fitted, places):
    with pytest.raises(ValueError) as refusal:
        left_out(fitted, only(bench.good.layers, 0, 1), np.array(places))
    assert one_sentence(refusal.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_patch_that_is_no_number_never_gets_a_finite_score(bench, fitted, value):
    layers = [layer.copy() for layer in bench.good.layers]
    layers[0][1, :, 3, 2] = value
    grid = left_out(fitted, layers).grid
    assert not grid[1, 3, 2].isfinite() and grid[0].isfinite().all()


class Forgetful:
    """A method that does not offer it."""


def test_a_method_without_it_is_refused_in_a_sentence_that_names_those_with_it():
    line = Method("forgetful", f"{__name__}:Forgetful", "", "", "", "")
    with pytest.raises(UsageError, match=r"forgetful .*padim, patchcore") as refusal:
        check_leaves_out(line)
    assert one_sentence(refusal.value)
    for name in ABLE:
        check_leaves_out(DETECTORS[name])


# PaDiM


def refits(detector, good):
    """Distances (N, h, w) of each image to the Gaussians of all others, with the detector's reduction."""
    vectors, epsilon = reduced(detector, good), detector.params.epsilon
    each = [
        references.padim_scores(vectors[n : n + 1], *references.padim_fit(np.delete(vectors, n, axis=0), epsilon))
        for n in range(len(vectors))
    ]
    return np.concatenate(each).reshape(-1, *good[0].shape[2:])


@pytest.mark.parametrize("count", [3, 4, 9, 40])
@pytest.mark.parametrize("epsilon", [1e-3, 0.01, 3.0])
def test_padims_scores_are_those_of_a_fit_without_the_image(count, epsilon):
    good = random_layers(count, 1)
    detector = fit(good, PaDiMParams(reduction="none", epsilon=epsilon))
    expected = refits(detector, good)
    # What float32 leaves of q is divided by 1 - c q, which is this many times smaller: 1.4 to 78000 times.
    loss = 1 + expected**2 * (count - 1) / count / (count - 2)
    assert (np.abs(left_out(detector, good).grid.numpy() / expected - 1) < 1e-5 + 4e-6 * loss).all()


@pytest.mark.parametrize("upsample", ["nearest", "bilinear"])
@pytest.mark.parametrize("kind", ["random", "ortho", "pca", "none"])
def test_padim_keeps_its_reduction(kind, upsample):
    good = random_layers(9, 1)
    detector = fit(good, PaDiMParams(reduction=kind, dims=5, upsample=upsample))
    np.testing.assert_allclose(left_out(detector, good).grid.numpy(), refits(detector, good), rtol=2e-4)


@pytest.mark.parametrize("kind", ["random", "ortho", "none"])
def test_padims_own_fit_without_the_image_gives_these_scores(kind):
    good, params = random_layers(8, 1), PaDiMParams(reduction=kind, dims=20)
    grid = left_out(fit(good, params), good).grid
    for image in range(8):
        other = fit(without(good, image), params).scorer()(tensors(only(good, image))).grid
        torch.testing.assert_close(grid[image : image + 1], other, rtol=2e-4, atol=0)


def test_padim_on_three_numbers_by_hand():
    good = [np.array([0, 0, 3], np.float32).reshape(3, 1, 1, 1)]
    detector = fit(good, PaDiMParams(reduction="none", epsilon=0.25))
    # Without a 0: mean 1.5, variance 4.5; without the 3: mean 0, variance 0.
    expected = [1.5 / 4.75**0.5, 1.5 / 4.75**0.5, 3 / 0.25**0.5]
    np.testing.assert_allclose(left_out(detector, good).grid.numpy().ravel(), expected, rtol=1e-5)


def test_a_large_offset_of_the_features_costs_padim_little_precision():
    good = random_layers(9, 1, offset=100)
    detector = fit(good, PaDiMParams(dims=8))
    np.testing.assert_allclose(left_out(detector, good).grid.numpy(), refits(detector, good), rtol=5e-3)


def disturbed(layers, noise):
    """The layers, every value off by a share of its own."""
    rng = np.random.default_rng(0)
    return [(layer * (1 + noise * rng.standard_normal(layer.shape))).astype(np.float32) for layer in layers]


@pytest.mark.parametrize("count", [3, 8, 100])
@pytest.mark.parametrize("noise", [1e-3, 0.5, 1e6])
def test_features_other_than_those_learnt_give_padim_no_distance_beyond_the_possible(count, noise):
    good = random_layers(count, 1)
    noisy = disturbed(good, noise)
    detector = fit(good, PaDiMParams(reduction="none"))
    grid = left_out(detector, noisy).grid.numpy()
    assert np.isfinite(grid).all() and (grid >= 0).all()
    residual = reduced(detector, noisy) - detector.mean
    farthest = count / (count - 1) * np.linalg.norm(residual, axis=2) / detector.params.epsilon**0.5
    assert (grid.reshape(count, -1) <= farthest * (1 + 1e-5)).all()


def test_features_a_little_off_those_learnt_cost_padim_little_precision():
    good = random_layers(20, 1)
    detector = fit(good, PaDiMParams(reduction="none"))
    np.testing.assert_allclose(
        left_out(detector, disturbed(good, 1e-5)).grid.numpy(), refits(detector, good), rtol=0.01
    )
    for noise in (1e-4, 1e-3):
        grid = left_out(detector, disturbed(good, noise)).grid.numpy()
        assert np.median(np.abs(grid / refits(detector, good) - 1)) < 100 * noise


def test_padim_scores_copies_of_one_image_zero():
    good = [np.repeat(layer, 5, axis=0) for layer in random_layers(1, 4)]
    assert left_out(fit(good, PaDiMParams(dims=8)), good).grid.abs().max() < 1e-4


def test_padim_refuses_to_leave_one_of_two_images_out():
    with pytest.raises(UsageError, match="at least 3") as refusal:
        fit(random_layers(2, 1), PaDiMParams()).left_out_scorer()
    assert one_sentence(refusal.value)


# PatchCore


@pytest.mark.parametrize("neighbours", [1, 2, 9, 500])
@pytest.mark.parametrize("rows", [7, 8192])
def test_with_all_patches_kept_patchcores_scores_are_those_of_a_fit_without_the_image(neighbours, rows, monkeypatch):
    monkeypatch.setattr("adcli.detectors.neighbours._BANK_ROWS", rows)
    good, params = random_layers(5, 1, TWO), PatchCoreParams(coreset=1.0, neighbours=neighbours)
    result = left_out(fit(good, params), good)
    for image in range(5):
        other = fit(without(good, image), params).scorer()(tensors(only(good, image)))
        torch.testing.assert_close(result.grid[image : image + 1], other.grid, rtol=1e-6, atol=0)
        torch.testing.assert_close(result.image[image : image + 1], other.image, rtol=1e-5, atol=0)


def test_with_small_whole_numbers_they_are_so_exactly():
    vectors = np.random.default_rng(0).integers(-5, 6, (30, 4)).astype(np.float32)
    good = [vectors[:, :, None, None] * 9]  # the 3 x 3 mean with zeros beyond the border divides them by 9
    result = left_out(fit(good, PatchCoreParams(coreset=1.0)), good)
    for image in range(30):
        others = np.delete(vectors, image, axis=0).astype(float)
        distance, _ = references.nearest_in_bank(vectors[image : image + 1].astype(float), others)
        assert result.grid[image].item() == np.float32(distance[0])


@pytest.mark.parametrize("coreset", [0.03, 0.3])
def test_with_a_coreset_they_are_distances_to_what_is_kept_of_other_images(coreset):
    good = random_layers(5, 1, TWO)
    detector = fit(good, PatchCoreParams(coreset=coreset))
    order = [3, 0, 4, 1, 2]
    result = left_out(detector, only(good, *order), np.array(order))
    queries = references.patchcore_embedding(good, 1024)
    for at, image in enumerate(order):
        others = detector.bank.read()[detector.owner != image].astype(np.float64)
        distances, _ = references.nearest_in_bank(queries[image], others)
        np.testing.assert_allclose(result.grid[at].numpy().ravel(), distances, rtol=1e-5)
        farthest = queries[image][distances.argmax()]
        assert result.image[at].item() == pytest.approx(references.reweighted(farthest, others, 9), rel=1e-5)


@pytest.mark.parametrize("coreset", [0.2, 1.0])
def test_the_owner_is_the_place_among_the_images_that_could_be_read(coreset):
    good = random_layers(7, 1, TWO)
    features = ArrayFeatures(good, claims=9)
    detector = PatchCore.fit(features, PatchCoreParams(coreset=coreset), np.random.default_rng(3))
    assert detector.owner.dtype == np.int32 and detector.owner.shape == (len(detector.bank),)
    patches = embed(tensors(good), 1024).numpy().reshape(7, 9 * 7, 14)
    for vector, owner in zip(detector.bank.read(), detector.owner, strict=True):
        assert (patches[owner] == vector).all(1).any()


def test_an_image_of_which_nothing_was_kept_scores_as_if_it_had_been_new():
    good = random_layers(6, 1, TWO)
    detector = fit(good, PatchCoreParams(coreset=0.01))
    unkept = sorted(set(range(6)) - set(detector.owner.tolist()))
    assert 1 <= len(unkept) < 5
    layers = only(good, *unkept)
    result, plain = left_out(detector, layers, np.array(unkept)), detector.scorer()(tensors(layers))
    assert torch.equal(result.grid, plain.grid) and torch.equal(result.image, plain.image)


def test_a_single_vector_of_another_image_is_the_only_neighbour():
    vectors = np.array([[0, 0], [3, 4]], np.float32)
    good = [vectors[:, :, None, None] * 9]
    result = left_out(fit(good, PatchCoreParams(coreset=1.0)), good)
    assert result.grid.ravel().tolist() == result.image.tolist() == [5, 5]


def test_patchcore_refuses_where_all_it_kept_is_of_one_image():
    detector = fit(random_layers(5, 1, TWO), PatchCoreParams(coreset=1e-6))
    assert len(detector.bank) == 1
    with pytest.raises(UsageError, match="one image") as refusal:
        detector.left_out_scorer()
    assert one_sentence(refusal.value)
