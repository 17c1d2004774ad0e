"""Local binary patterns against scikit-image, and their Gaussian against a slow one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.feature import local_binary_pattern

from adcli.detectors.lbp import LBP, LBPParams, _gaussian, _histograms
from adcli.detectors.patterns import BINS, SCALES, uniform_patterns
from adcli.errors import UsageError
from tests.detectors import pixel_references as references
from tests.detectors.features import ArrayFeatures, tensors
from tests.detectors.pixels import images

RNG = np.random.default_rng(0)
SIZE = (72, 56)


def fit(layers: np.ndarray, inside: np.ndarray | None = None, **params: object) -> LBP:
    return LBP.fit(ArrayFeatures([layers], inside=inside), LBPParams(**params), RNG)


@torch.inference_mode()
def scores(detector: LBP, layers: np.ndarray) -> np.ndarray:
    return detector.scorer()(tensors([layers])).grid.numpy()


def levels(layers: np.ndarray) -> np.ndarray:
    """(N, H, W) whole gray levels as the method sees them."""
    red, green, blue = (torch.from_numpy(layers[:, c]) for c in range(3))
    return (255 * (0.299 * red + 0.587 * green + 0.114 * blue)).round().numpy()


def skimages(gray: np.ndarray, points: int, radius: int) -> np.ndarray:
    """scikit-image's patterns, the border repeated as here."""
    padded = np.pad(gray.astype(np.uint8), radius + 1, mode="edge")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = local_binary_pattern(padded, points, radius, "uniform")
    return found[radius + 1 : -radius - 1, radius + 1 : -radius - 1].astype(int)


def tied(gray: np.ndarray, points: int, radius: int) -> np.ndarray:
    """Pixels with a neighbour that is exactly as bright, where scikit-image's answer is what rounding leaves."""
    rows, columns = np.indices(gray.shape, dtype=np.float64)
    found = np.zeros(gray.shape, bool)
    for point in range(points):
        angle = 2 * np.pi * point / points
        at = [rows - radius * np.sin(angle).round(12), columns + radius * np.cos(angle).round(12)]
        between = ndimage.map_coordinates(gray.astype(np.float64), at, order=1, mode="nearest")
        whole = abs(at[0] - at[0].round()).max() < 1e-9 and abs(at[1] - at[1].round()).max() < 1e-9
        found |= (np.abs(between - gray) < 2e-3) & (not whole)
    return found


@pytest.mark.parametrize(("points", "radius"), SCALES)
@pytest.mark.parametrize("noise", [1.0, 0.02])
def test_patterns_are_scikit_images_where_no_neighbour_is_exactly_as_bright(
    points: int, radius: int, noise: float
) -> None:
    gray = np.round(255 * np.clip(0.5 + noise * (np.random.default_rng(1).random((96, 80)) - 0.5), 0, 1))
    mine = uniform_patterns(torch.from_numpy(gray).float(), points, radius).numpy()
    clear = ~tied(gray, points, radius)
    assert clear.mean() > (0.9 if noise == 1 else 0.1)
    assert np.array_equal(mine[clear], skimages(gray, points, radius)[clear])


@pytest.mark.parametrize("level", [0, 77, 255])
def test_where_all_is_one_gray_every_neighbour_is_no_darker(level: int) -> None:
    for points, radius in SCALES:
        assert (uniform_patterns(torch.full((9, 9), float(level)), points, radius) == points).all()


@pytest.mark.parametrize(("points", "radius"), SCALES)
def test_a_quarter_turn_turns_the_patterns_with_it(points: int, radius: int) -> None:
    gray = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (60, 60))).float()
    turned = uniform_patterns(torch.rot90(gray), points, radius)
    assert torch.equal(turned, torch.rot90(uniform_patterns(gray, points, radius)))  # ties as well


@pytest.mark.parametrize(("size", "grid"), [((72, 56), (9, 7)), ((70, 59), (9, 7))])
def test_histograms_are_counted_block_by_block(size: tuple[int, int], grid: tuple[int, int]) -> None:
    layers = images(1, 1, size)
    (found,) = _histograms(torch.from_numpy(layers), grid, 3)
    gray = torch.from_numpy(levels(layers)[0])
    codes = [uniform_patterns(gray, *scale).numpy() for scale in SCALES]
    rows, columns = np.arange(size[0]) * grid[0] // size[0], np.arange(size[1]) * grid[1] // size[1]
    for y in range(grid[0]):
        for x in range(grid[1]):
            block = np.ix_(abs(rows - y) <= 1, abs(columns - x) <= 1)
            expected = [np.bincount(one[block].ravel(), minlength=bins) for one, bins in zip(codes, BINS, strict=True)]
            np.testing.assert_allclose(found[y, x], np.concatenate(expected) / codes[0][block].size, atol=1e-12)


def test_scores_are_distances_to_the_gaussian_of_ledoit_and_wolf() -> None:
    layers, seen = images(6, 1, SIZE), images(2, 2, SIZE)
    model = fit(layers)
    vectors = torch.cat([one.flatten(0, 1) for one in _histograms(torch.from_numpy(layers), model.grid, 3)]).numpy()
    mean, covariance = references.shrunk_gaussian(vectors)
    precision = np.linalg.inv(covariance)
    for blocks, grid in zip(_histograms(torch.from_numpy(seen), model.grid, 3), scores(model, seen), strict=True):
        apart = blocks.numpy() - mean
        np.testing.assert_allclose(grid, np.sqrt(np.einsum("yxd,de,yxe->yx", apart, precision, apart)), rtol=1e-3)


def test_adding_images_is_learning_from_all() -> None:
    layers = images(9, 1, SIZE)
    whole, after = fit(layers), fit(layers[:5]).updated(ArrayFeatures([layers[5:]]), RNG)
    assert after.n_images == 9 and np.array_equal(after.shown, whole.shown)
    for mine, its in zip(_gaussian(after._sums), _gaussian(whole._sums), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-6, atol=1e-9)


def test_leaving_out_takes_off_the_blocks_of_the_region_of_interest_only() -> None:
    layers = images(5, 1, SIZE)
    inside = np.zeros((5, *SIZE), bool)
    inside[:, 10:50, 20:40] = True
    model = fit(layers, inside)
    assert 0 < (model.shown > 0).sum() < model.shown.size
    with torch.inference_mode():
        found = model.left_out_scorer()(tensors([layers]), np.arange(5)).grid.numpy()
    for place in range(5):
        others = [i for i in range(5) if i != place]
        expected = scores(fit(layers[others], inside[others]), layers[[place]])
        np.testing.assert_allclose(found[[place]], expected, rtol=1e-4)


def test_its_grid_is_of_blocks_and_a_region_of_pixels_comes_to_it() -> None:
    inside = np.zeros((2, *SIZE), bool)
    inside[:, 9, 17] = True
    model = fit(images(2, 1, SIZE), inside)
    assert model.grid == (9, 7)
    assert model.shown[1, 2] == 2 and model.shown.sum() == 2


def test_images_of_one_gray_are_told_from_a_texture() -> None:
    model = fit(np.full((3, 3, *SIZE), 0.5, np.float32))
    assert scores(model, np.full((1, 3, *SIZE), 0.3, np.float32)).max() < 1e-3
    assert scores(model, images(1, 1, SIZE)).min() > 10


@pytest.mark.parametrize(
    "params", [{"stride": 3}, {"stride": 40}, {"block": 2}, {"block": 0}, {"block": 101}, {"block": 2**31 - 1}]
)
def test_what_it_cannot_be_is_refused(params: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        fit(images(2, 1, SIZE), **params)
