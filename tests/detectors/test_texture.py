"""Texture inspection against a slow mixture, patch by patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adcli.detectors import mixture as mixtures
from adcli.detectors.texture import Texture, TextureParams, _Sample
from adcli.errors import UsageError
from tests.detectors import pixel_references as references
from tests.detectors.features import ArrayFeatures, tensors
from tests.detectors.pixels import images

FEW = {"components": 3, "sample": 400, "levels": 3, "dims": 6}


def fit(layers: np.ndarray, seed: int = 0, inside: np.ndarray | None = None, **params: object) -> Texture:
    features = ArrayFeatures([layers], inside=inside)
    return Texture.fit(features, TextureParams(**FEW | params), np.random.default_rng(seed))


@torch.inference_mode()
def scores(detector: Texture, layers: np.ndarray) -> np.ndarray:
    return detector.scorer()(tensors([layers])).grid.numpy()


def clouds(count: int, seed: int) -> np.ndarray:
    """(n, 4) in three clouds."""
    rng = np.random.default_rng(seed)
    middles = rng.normal(0, 3, (3, 4))
    spreads = rng.normal(0, 0.5, (3, 4, 4))
    return np.concatenate(
        [middle + rng.normal(0, 1, (count, 4)) @ spread for middle, spread in zip(middles, spreads, strict=True)]
    )


def covariances_of(mixture: mixtures.Mixture) -> np.ndarray:
    lower = np.linalg.inv(mixture.whitener.numpy())
    return lower @ lower.transpose(0, 2, 1)


def learn(vectors: np.ndarray, components: int = 3, seed: int = 0, floor: float = 0.05) -> mixtures.Mixture:
    rng = np.random.default_rng(seed)
    return mixtures.learn_mixture(torch.from_numpy(vectors), components, floor, rng, lambda *_: None, "")


def test_a_step_of_expectation_and_maximisation_is_the_books() -> None:
    vectors = clouds(20, 3)
    start = learn(vectors[::3] + 0.1)
    weights, means, covariances, likelihood = references.mixture_step(
        vectors, start.weight.numpy(), start.mean.numpy(), covariances_of(start), 0.05
    )
    found, shares = mixtures.expect(start, torch.from_numpy(vectors))
    after = mixtures.maximise(torch.from_numpy(vectors), shares, 0.05)
    assert found == pytest.approx(likelihood, rel=1e-9)
    np.testing.assert_allclose(after.weight, weights, atol=1e-9)
    np.testing.assert_allclose(after.mean, means, atol=1e-7)
    np.testing.assert_allclose(covariances_of(after), covariances, atol=1e-7)


def test_three_clouds_are_found_and_another_step_gains_next_to_nothing() -> None:
    vectors = clouds(60, 5)
    mixture = learn(vectors)
    np.testing.assert_allclose(sorted(mixture.weight), [1 / 3] * 3, atol=0.02)
    likelihood, shares = mixtures.expect(mixture, torch.from_numpy(vectors))
    assert shares.max(1).values.min() > 0.9
    after, _ = mixtures.expect(mixtures.maximise(torch.from_numpy(vectors), shares, 0.05), torch.from_numpy(vectors))
    assert 0 <= after - likelihood < 1e-3


def test_vectors_that_are_all_the_same_make_one_gaussian_of_the_floor() -> None:
    mixture = learn(np.full((9, 4), 0.25))
    assert len(mixture.weight) == 1
    np.testing.assert_allclose(covariances_of(mixture)[0], 0.05**2 * np.eye(4), rtol=1e-9)


@pytest.mark.parametrize("size", [(32, 32), (29, 38)])
def test_scores_are_those_of_every_patch_for_itself(size: tuple[int, int]) -> None:
    model = fit(images(4, 1, size))
    seen = images(2, 2, size)
    seen[1, :, 10:16, 12:18] = 0.9
    lower = np.linalg.inv(model.whitener.astype(np.float64))
    levels = list(zip(model.weight, model.mean.astype(np.float64), lower @ lower.transpose(0, 1, 3, 2), strict=True))
    found = scores(model, seen)
    for gray, grid in zip(references.luma(seen), found, strict=True):
        expected = references.texture_scores(gray, model.projection, levels, zip(model.centre, model.unit, strict=True))
        np.testing.assert_allclose(grid, expected, rtol=2e-3, atol=2e-3)


def test_units_are_of_the_good_patches_themselves() -> None:
    model = fit(images(6, 1), levels=1, sample=10**6, components=1)
    good = scores(model, images(6, 1))
    np.testing.assert_allclose(np.median(good), 0, atol=0.01)
    assert np.quantile(good, 0.99) == pytest.approx(1, abs=0.02)


def test_a_sample_has_each_vector_with_the_same_chance_and_none_outside() -> None:
    drawn = np.zeros(50)
    vectors = torch.arange(50.0)[:, None]
    inside = torch.arange(50) % 5 != 0
    for seed in range(300):
        sample, rng = _Sample(10, 1), np.random.default_rng(seed)
        for part in range(0, 50, 10):
            sample.add(vectors[part : part + 10], inside[part : part + 10], rng)
        assert len(sample.vectors()) == 10
        drawn[sample.vectors()[:, 0].astype(int)] += 1
    assert not drawn[::5].any()
    assert np.abs(drawn[inside.numpy()] - 75).max() < 40  # 300 x 10 / 40, within five deviations


def test_the_sample_does_not_depend_on_the_order_of_the_images_to_the_bit() -> None:
    layers = images(6, 1)
    one, other = fit(layers), fit(layers[::-1])
    for field in ("weight", "mean", "whitener", "centre", "unit"):
        assert np.array_equal(getattr(one, field), getattr(other, field))
    assert not np.array_equal(one.mean, fit(layers, seed=1).mean)


def test_patches_outside_the_region_of_interest_are_not_learnt_from() -> None:
    layers = images(4, 1)
    inside = np.zeros((4, 40, 33), bool)
    inside[:, :, :16] = True
    changed = layers.copy()
    changed[..., 31:] = 1  # beyond what a patch within sees
    few = {"levels": 1, "sample": 10**6, "components": 1}
    one, other = (scores(fit(each, inside=inside, **few), layers) for each in (layers, changed))
    np.testing.assert_allclose(one[..., :12], other[..., :12], atol=1e-3)
    assert not np.allclose(scores(fit(changed, **few), layers)[..., :12], one[..., :12], atol=0.05)


def test_colour_tells_a_hue_from_its_gray() -> None:
    layers = images(4, 1)
    stained = images(1, 2)
    stained[0, 0, 15:25, 12:22] += 0.587 * 0.25
    stained[0, 1, 15:25, 12:22] -= 0.299 * 0.25
    gray, colour = (scores(fit(layers, colour=of, dims=12), stained)[0] for of in (False, True))
    assert colour[15:25, 12:22].mean() > 2 * colour[:12].mean()
    assert gray[15:25, 12:22].mean() < 2 * abs(gray[:12]).mean()


@pytest.mark.parametrize(
    "params",
    [
        *({"patch": 6}, {"patch": 65, "levels": 1}),
        *({"levels": 0}, {"levels": 5}, {"levels": 2**31 - 1}),
        *({"components": 0}, {"components": 2**31 - 1}, {"sample": 2**31 - 1}),
        *({"floor": 0.0}, {"combine": "sum"}, {"dims": -1}),
    ],
)
def test_what_it_cannot_be_is_refused(params: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        fit(images(2, 1), **params)


def test_the_mean_of_the_levels_is_another_map() -> None:
    layers, seen = images(4, 1), images(1, 2)
    alone = [scores(fit(layers, combine=how), seen) for how in ("adjacent", "mean")]
    assert not np.allclose(*alone)
    assert np.allclose(*(scores(fit(layers, combine=how, levels=1), seen) for how in ("adjacent", "mean")))
