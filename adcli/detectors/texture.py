"""The texture inspection model: Gaussian mixtures of compressed gray patches, one on each level of an image pyramid.

Boettger and Ulrich 2016, "Real-time texture error detection on textured surfaces with compressed sensing", Pattern
Recognition and Image Analysis 26(1), 88-94. Levels, patches and scores as Bergmann et al. 2019, "MVTec AD", CVPR,
section 4.1.4 evaluate it; how levels come together as HALCON's reference of apply_texture_inspection_model tells it.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from adcli.detectors import PatchScores, Scorer, check_finite, check_shapes
from adcli.detectors.gray import channels_of
from adcli.detectors.mixture import Mixture, learn_mixture
from adcli.detectors.texture_graph import TextureGraph
from adcli.errors import UsageError
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features
    from adcli.graphs import Graph

_MOST_SIDE, _MOST_LEVELS = 63, 16  # of a patch and of the pyramid: beyond, filtering an image takes gigabytes
_MOST_BYTES = 4 << 30  # of what a sample is to each Gaussian while they are learnt, and of all their covariances
_ROWS = 8192  # patches compared at a time
_LEAST_UNIT = 1.0  # nats: what the scores of good patches may differ by, however alike they are
_UNIT = 0.99  # quantile of good patches' scores that is a level's unit above the median


@dataclass(frozen=True)
class TextureParams:
    """What a user may set with -p."""

    levels: int = 4  # of the pyramid, each half the size of the one before; MVTec AD, section 4.1.4
    patch: int = 7  # pixels a side, odd; the same section
    dims: int = 16  # of a compressed patch, a third of its pixels as in Liu and Fieguth 2012; 0: not compressed
    components: int = 10  # Gaussians a level
    sample: int = 20000  # patches a level that are learnt from, drawn from all good images
    floor: float = 1.0  # gray levels of 255, least deviation in any direction
    colour: bool = False  # patches of three channels instead of the gray value
    combine: str = "adjacent"  # adjacent (strange on two neighbouring levels, HALCON) | mean (of all levels)


@dataclass(frozen=True)
class Texture:
    """What the texture inspection model has learnt. L levels, K Gaussians, D dimensions."""

    Params: ClassVar[type] = TextureParams

    params: TextureParams
    shapes: tuple[tuple[int, int, int], ...]  # (3, H, W)
    n_images: int  # learnt from
    projection: np.ndarray  # (D, C, patch, patch) float32, orthonormal rows
    weight: np.ndarray  # (L, K) float32
    mean: np.ndarray  # (L, K, D) float32
    whitener: np.ndarray  # (L, K, D, D) float32, lower triangles
    centre: np.ndarray  # (L,) float32, median negative log-likelihood of good patches
    unit: np.ndarray  # (L,) float32, from there to their 99 % quantile

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """The pixels."""
        return backbone.layers

    @classmethod
    def fit(
        cls, features: Features, params: TextureParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> Texture:
        """Learns a mixture for each level from a sample of the patches. Memory holds the sample and no more.

        A patch is in the sample for what its image shows, so the order of the images does not matter.

        Raises:
            UsageError: for no images, or parameters that are out of their range.
        """
        import torch

        _check(params, features.shapes[0][1:])
        pixels, dims = _dims(params)
        drawn = np.eye(pixels) if dims == pixels else np.linalg.qr(rng.standard_normal((pixels, dims)))[0].T
        projection = drawn.reshape(dims, -1, params.patch, params.patch).astype(np.float32)
        samples = [_Sample(params.sample, dims) for _ in range(params.levels)]
        seed, n_images = int(rng.integers(2**63)), 0
        for batch in features:
            check_shapes(batch.layers, features.shapes)
            check_finite(batch.layers[0])
            kernel = torch.as_tensor(projection, device=batch.layers[0].device)
            for number, image in enumerate(channels_of(batch.layers[0], params.colour)):
                n_images += 1
                shown = hashlib.sha256(np.ascontiguousarray(image.cpu().numpy())).digest()
                keys = np.random.default_rng([seed, int.from_bytes(shown[:8], "little")])
                for sample, level in zip(samples, _pyramid(image, params.levels), strict=True):
                    inside = batch.inside_on(tuple(level.shape[1:]))
                    sample.add(_vectors(level, kernel), None if inside is None else inside[number].flatten(), keys)
        if n_images == 0:
            raise UsageError("texture needs good images to learn from, and got none")
        mixtures, scales = [], []
        for number, sample in enumerate(samples, 1):
            vectors = torch.from_numpy(sample.vectors()).double()
            stage = f"learning level {number} of {params.levels}"
            mixture = learn_mixture(vectors, params.components, params.floor / 255, rng, progress, stage)
            scores = -mixture.log_densities(vectors).logsumexp(1).numpy()
            centre, high = np.quantile(scores, (0.5, _UNIT))
            mixtures.append(mixture)
            scales.append((centre, max(high - centre, _LEAST_UNIT)))
        weight, mean, whitener = _stacked(mixtures, params.components)
        centre, unit = np.array(scales, np.float32).T
        return cls(params, features.shapes, n_images, projection, weight, mean, whitener, centre, unit)

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Negative log-likelihood of every patch of every level, in units of what good patches have, brought together.

        `adjacent` is the largest, over pairs of neighbouring levels, of the lower of the two: it is above a threshold
        exactly where two neighbouring levels are, which is the union of intersections of the reference.
        """
        import torch
        from torch.nn.functional import interpolate

        kernel = torch.as_tensor(self.projection, device=device)
        levels = [_Level(arrays, device) for arrays in self._arrays()]
        size = self.shapes[0][1:]

        def one(image: torch.Tensor) -> torch.Tensor:
            maps = []
            for level, pixels in zip(levels, _pyramid(image, len(levels)), strict=True):
                scores = level.scores(_vectors(pixels, kernel)).view(1, 1, *pixels.shape[1:])
                maps.append(interpolate(scores, size, mode="bilinear", align_corners=False)[0, 0])
            if self.params.combine == "mean" or len(maps) == 1:
                return torch.stack(maps).mean(0)
            pairs = [torch.minimum(fine, coarse) for fine, coarse in itertools.pairwise(maps)]
            return torch.stack(pairs).amax(0)

        def score(features: tuple[torch.Tensor, ...]) -> PatchScores:
            check_shapes(features, self.shapes)
            images = channels_of(features[0], self.params.colour)
            return PatchScores(torch.stack([one(image) for image in images]), None)

        return score

    def graph(self, own: bool) -> Graph | None:
        """The scorer as a graph."""
        return TextureGraph(self, self._arrays())

    def _arrays(self) -> list[LevelArrays]:
        return [_level_arrays(self, number) for number in range(self.params.levels)]


class LevelArrays(NamedTuple):
    """The mixture of a level, all its Gaussians in one matrix."""

    middle: np.ndarray  # (D,), taken off the vectors: near zero nothing is lost
    matrix: np.ndarray  # (D, K D)
    offset: np.ndarray  # (K D,)
    logs: np.ndarray  # (K,)
    centre: float
    unit: float


def _level_arrays(model: Texture, number: int) -> LevelArrays:
    weight, mean, whitener = model.weight[number], model.mean[number], model.whitener[number]
    dims = mean.shape[1]
    middle = weight @ mean
    offset = (whitener @ (mean - middle)[:, :, np.newaxis]).ravel()
    diagonals = np.diagonal(whitener, axis1=1, axis2=2)
    with np.errstate(divide="ignore"):  # a Gaussian that nothing belongs to weighs nothing
        logs = np.log(weight) + np.log(diagonals).sum(1) - np.float32(0.5 * dims * math.log(2 * math.pi))
    matrix = np.ascontiguousarray(whitener.reshape(-1, dims).T)
    return LevelArrays(middle, matrix, offset, logs, float(model.centre[number]), float(model.unit[number]))


class _Level:
    """The mixture of a level on a device."""

    def __init__(self, arrays: LevelArrays, device: torch.device | str):
        import torch

        *parts, self._centre, self._unit = arrays
        self._middle, self._matrix, self._offset, self._logs = (torch.as_tensor(one, device=device) for one in parts)
        self._components, self._dims = len(self._logs), len(self._middle)

    def scores(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n,) of vectors (n, D)."""
        import torch

        scores = vectors.new_empty(len(vectors))
        for start in range(0, len(vectors), _ROWS):
            whitened = (vectors[start : start + _ROWS] - self._middle) @ self._matrix
            squares = whitened.sub_(self._offset).square_().view(-1, self._components, self._dims).sum(2)
            scores[start : start + _ROWS] = torch.logsumexp(self._logs - 0.5 * squares, 1)
        return (-scores - self._centre) / self._unit


class _Sample:
    """So many of all vectors that are added, each with the same chance: those with the smallest keys."""

    def __init__(self, size: int, dims: int):
        self._size = size
        self._keys, self._vectors = np.empty(0), np.empty((0, dims), np.float32)

    def add(self, vectors: torch.Tensor, inside: torch.Tensor | None, rng: np.random.Generator) -> None:
        """Vectors (n, D), of which those `inside` (n,) count."""
        keys = rng.random(len(vectors))
        fits = keys < (self._keys.max() if len(self._keys) == self._size else np.inf)
        if inside is not None:
            fits &= inside.cpu().numpy()
        places = np.flatnonzero(fits)
        keys = np.concatenate([self._keys, keys[places]])
        kept = np.argsort(keys, kind="stable")[: self._size]
        self._keys = keys[kept]
        self._vectors = np.concatenate([self._vectors, vectors[places].cpu().numpy()])[kept]

    def vectors(self) -> np.ndarray:
        """(n, D) float32, by key."""
        return self._vectors


def _pyramid(image: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """An image (C, H, W) and its halves, means of 2 x 2 pixels."""
    from torch.nn.functional import avg_pool2d

    found = [image]
    while len(found) < levels:
        found.append(avg_pool2d(found[-1].unsqueeze(0), 2, ceil_mode=True, count_include_pad=False)[0])
    return found


def _vectors(level: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Compressed patches (H W, D) about every pixel of a level (C, H, W), which is mirrored at its border."""
    from torch.nn.functional import conv2d, pad

    reach = kernel.shape[2] // 2
    padded = pad(level.unsqueeze(0), (reach,) * 4, mode="reflect")
    return conv2d(padded, kernel)[0].flatten(1).T.contiguous()


def _stacked(mixtures: list[Mixture], components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (L, K), means (L, K, D) and whiteners (L, K, D, D). A level with fewer Gaussians repeats its first, with
    shares of its weight, which is the same mixture."""
    import torch

    arrays: tuple[list[np.ndarray], ...] = ([], [], [])
    for mixture in mixtures:
        missing = components - len(mixture.weight)
        at = torch.tensor([0] * missing + list(range(len(mixture.weight))))
        share = torch.bincount(at)[at]
        for array, values in zip(
            arrays, (mixture.weight[at] / share, mixture.mean[at], mixture.whitener[at]), strict=True
        ):
            array.append(values.float().numpy())
    weight, mean, whitener = map(np.stack, arrays)
    return weight, mean, whitener


def _dims(params: TextureParams) -> tuple[int, int]:
    """Numbers of a patch, and of what it is compressed to."""
    pixels = (3 if params.colour else 1) * params.patch**2
    return pixels, min(params.dims or pixels, pixels)


def _check(params: TextureParams, size: tuple[int, int]) -> None:
    if not 3 <= params.patch <= _MOST_SIDE or params.patch % 2 == 0:
        raise UsageError(f"patch={params.patch} is not possible: give an odd number from 3 to {_MOST_SIDE}")
    if not 1 <= params.levels <= _MOST_LEVELS or -(-min(size) // 2 ** (params.levels - 1)) <= params.patch // 2:
        raise UsageError(
            f"levels={params.levels} is not possible with images of {size[0]}x{size[1]} and patches of "
            f"{params.patch}: give fewer levels, or a larger --image-size"
        )
    if min(params.components, params.sample) < 1 or params.dims < 0:
        raise UsageError("components and sample must be positive, and dims not negative")
    _, dims = _dims(params)
    if params.components > params.sample:
        raise UsageError(f"components={params.components} are more than the sample={params.sample} of patches")
    if 8 * params.components * max(params.sample, dims) * dims > _MOST_BYTES:
        raise UsageError(
            f"components={params.components} Gaussians of {dims} dimensions and a sample={params.sample} take more "
            f"than {_MOST_BYTES >> 30} GiB to learn: give fewer, such as components=10 and sample=20000"
        )
    if not params.floor > 0:
        raise UsageError(f"floor={params.floor:g} leaves a covariance singular: give a positive number")
    if params.combine not in ("adjacent", "mean"):
        raise UsageError(f"combine={params.combine} is not known: write adjacent or mean")
