"""Mahalanobis against its paper, written down plainly in tests/references.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adcli.detectors.mahalanobis import Mahalanobis, MahalanobisParams
from adcli.errors import UsageError
from tests.detectors import references
from tests.detectors.features import SHAPES, ArrayFeatures, random_layers, tensors

WIDE = ((9, 4, 3), (12, 2, 2), (15, 1, 1))
REDUCTIONS = [("none", 0.99), ("pca", 0.6), ("pca", 0.99), ("npca", 0.6), ("npca", 0.99)]


def fit(layers, params=None, **options):
    return Mahalanobis.fit(ArrayFeatures(layers, **options), params or MahalanobisParams(), np.random.default_rng(0))


def scored(detector, layers):
    result = detector.scorer()(tensors(layers))
    return result.grid.numpy(), result.image.numpy()


@pytest.mark.parametrize("shapes", [SHAPES, WIDE])
@pytest.mark.parametrize(("reduction", "variance"), REDUCTIONS)
@pytest.mark.parametrize("share", [None, 0.2])
def test_scores_are_those_of_the_paper_and_its_map(shapes, reduction, variance, share):
    good, seen = random_layers(9, 1, shapes), random_layers(3, 2, shapes)
    params = MahalanobisParams(reduction, variance, "ledoit-wolf" if share is None else f"{share}")
    grid, image = scored(fit(good, params), seen)
    maps, images = references.mahalanobis_scores(good, seen, reduction, variance, share)
    np.testing.assert_allclose(grid, maps, rtol=2e-4)
    np.testing.assert_allclose(image, images, rtol=2e-4)


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_neither_batches_nor_order_nor_an_offset_matter(batch):
    good, seen = random_layers(9, 1), random_layers(3, 2)
    expected = scored(fit(good), seen)
    moved = scored(fit([layer[::-1] + 3 for layer in good], batch=batch), [layer + 3 for layer in seen])
    for one, other in zip(moved, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3)


def test_by_hand_on_one_channel_and_two_positions():
    good = [np.array([[0, 0], [2, 6]], np.float32).reshape(2, 1, 1, 2)]
    detector = fit(good, MahalanobisParams(shrinkage="0"))
    grid, image = scored(detector, [np.array([5, 3], np.float32).reshape(1, 1, 1, 2)])
    # Means 1 and 3; variance (1 + 1 + 9 + 9) / 2 of the positions; averages 0 and 4, so mean 2 and variance 4.
    np.testing.assert_allclose(grid.ravel(), [4 / 10**0.5, 0], atol=1e-6)
    assert image.item() == pytest.approx((4 - 2) / 4**0.5)


def test_of_two_images_the_least_share_is_a_half():
    good = random_layers(2, 1)
    seen = [layer + np.float32(1) for layer in random_layers(1, 2)]
    np.testing.assert_allclose(
        scored(fit(good), seen)[1], scored(fit(good, MahalanobisParams(shrinkage="0.5")), seen)[1], rtol=1e-6
    )


def test_the_small_axes_see_what_the_large_ones_do_not():
    rng = np.random.default_rng(0)
    good = [(rng.standard_normal((60, 2, 3, 3)) * np.array([10, 0.1]).reshape(1, 2, 1, 1)).astype(np.float32)]
    strange = [np.zeros((1, 2, 3, 3), np.float32)]
    strange[0][:, 1] = 1
    small, large = (scored(fit(good, MahalanobisParams(kind, 0.9, "0")), strange)[1].item() for kind in ("npca", "pca"))
    assert small > 10 and large < 1


@pytest.mark.parametrize(("reduction", "variance"), REDUCTIONS)
def test_leaving_one_out_is_a_fit_to_the_others(reduction, variance):
    good, params = random_layers(7, 1), MahalanobisParams(reduction, variance)
    result = fit(good, params).left_out_scorer()(tensors(good), np.arange(7))
    for image in range(7):
        others = fit([np.delete(layer, image, axis=0) for layer in good], params)
        grid, own = scored(others, [layer[image : image + 1] for layer in good])
        np.testing.assert_allclose(result.grid[image : image + 1], grid, rtol=1e-4)
        np.testing.assert_allclose(result.image[image : image + 1], own, rtol=1e-4)


def test_two_images_cannot_do_without_one():
    with pytest.raises(UsageError, match="at least 3"):
        fit(random_layers(2, 1)).left_out_scorer()


def test_joining_images_is_a_fit_to_all_of_them():
    good, seen = random_layers(11, 1), random_layers(2, 2)
    inside = np.random.default_rng(4).random((11, *SHAPES[0][1:])) < 0.6
    inside[:7, 0, 0] = inside[:, 2, 2] = False
    first, second = ([layer[part] for layer in good] for part in (slice(0, 7), slice(7, None)))
    joined = fit(first, inside=inside[:7]).updated(ArrayFeatures(second, inside=inside[7:]), np.random.default_rng(0))
    together = fit(good, inside=inside)
    shown = inside.any(0)
    for one, other in zip(scored(joined, seen), scored(together, seen), strict=True):
        if one.ndim == 3:
            one, other = one[:, shown], other[:, shown]
        np.testing.assert_allclose(one, other, rtol=0.02)
    for one, other in zip(joined.levels, together.levels, strict=True):
        assert np.array_equal(one.shown, other.shown) and np.array_equal(one.pooled, other.pooled)
        np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-9, atol=1e-7)


def test_what_lies_outside_the_region_is_not_learnt_for_the_map():
    good = random_layers(8, 1)[:1]
    inside = np.random.default_rng(4).random((8, *SHAPES[0][1:])) < 0.6
    levels = []
    for outside in (0.0, 5.0):
        changed = np.where(inside[:, None], good[0], np.float32(outside))
        levels.append(fit([changed], inside=inside).levels[0])
    one, other = levels
    shown = one.shown > 0
    np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one.mean[shown], other.mean[shown], atol=1e-9)


def test_copies_of_one_image_score_zero_and_another_more():
    good = [np.repeat(layer, 4, axis=0) for layer in random_layers(1, 4)]
    grid, image = scored(fit(good), [layer[:1] for layer in good])
    other_grid, other_image = scored(fit(good), random_layers(1, 5))
    assert grid.max() < 1e-2 and image.max() < 1e-2
    assert other_grid.min() > 1 and other_image.min() > 1


def test_nothing_is_drawn():
    good = random_layers(5, 1)
    one, other = (
        Mahalanobis.fit(ArrayFeatures(good), MahalanobisParams(), np.random.default_rng(seed)) for seed in (1, 2)
    )
    assert all(np.array_equal(a.scatter, b.scatter) for a, b in zip(one.levels, other.levels, strict=True))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"reduction": "lda"}, "lda"),
        ({"variance": 1.0}, "variance=1"),
        ({"variance": float("nan")}, "nan"),
        ({"shrinkage": "some"}, "some"),
        ({"shrinkage": "1.5"}, "1.5"),
        ({"shrinkage": "nan"}, "nan"),
    ],
)
def test_impossible_parameters_are_refused(change, word):
    with pytest.raises(UsageError, match=word):
        fit(random_layers(3, 1), replace(MahalanobisParams(), **change))


def test_one_image_is_refused():
    with pytest.raises(UsageError, match="at least 2"):
        fit(random_layers(1, 1))
