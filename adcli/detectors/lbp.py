"""Histograms of local binary patterns in blocks, and one Gaussian of what they are in good images.

The patterns are those of Ojala et al. 2002, see adcli.detectors.patterns; the Mahalanobis distance takes the place of
their comparison of two histograms, as there is no second one here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from adcli.detectors import (
    LeftOutScorer,
    PatchScores,
    Scorer,
    check_finite,
    check_joining,
    check_places,
    check_shapes,
)
from adcli.detectors.gray import channels_of
from adcli.detectors.lbp_graph import LBPGraph
from adcli.detectors.patterns import BINS, SCALES, uniform_patterns
from adcli.detectors.shrinkage import ledoit_wolf, moved
from adcli.errors import UsageError
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features
    from adcli.graphs import Graph

_DIMS = sum(BINS)
_LEAST_VARIANCE = 1e-9  # of a bin, where all blocks are the same: some thousandth of a pixel in a block


@dataclass(frozen=True)
class LBPParams:
    """What a user may set with -p."""

    stride: int = 8  # pixels between the middles of two blocks
    block: int = 3  # strides a side, odd: 24 pixels


class _Sums(NamedTuple):
    """What is known of n histograms: enough for their mean, covariance and its shrinkage. Float64."""

    count: float
    vectors: np.ndarray  # (D,) sum of x
    products: np.ndarray  # (D, D) of x x^T
    cubes: np.ndarray  # (D,) of |x|^2 x
    fourth: float  # of |x|^4

    def plus(self, other: _Sums, sign: int = 1) -> _Sums:
        return _Sums(*(mine + sign * its for mine, its in zip(self, other, strict=True)))


@dataclass(frozen=True)
class LBP:
    """What the method has learnt: sums over all blocks, D = 54 bins of three histograms."""

    Params: ClassVar[type] = LBPParams

    params: LBPParams
    shapes: tuple[tuple[int, int, int], ...]  # (3, H, W)
    n_images: int  # learnt from
    shown: np.ndarray  # (h, w) int32, images whose block was learnt from: all, but outside a region of interest
    vectors: np.ndarray  # (D,) float64, sum of x
    products: np.ndarray  # (D, D) float64, of x x^T
    cubes: np.ndarray  # (D,) float64, of |x|^2 x
    fourth: float  # of |x|^4

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """The pixels."""
        return backbone.layers

    @property
    def grid(self) -> tuple[int, int]:
        """Blocks h, w."""
        return _grid(self.shapes, self.params)

    @classmethod
    def fit(
        cls, features: Features, params: LBPParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> LBP:
        """Learns the sums in one pass. Nothing is drawn.

        Raises:
            UsageError: for no images, or parameters that are out of their range.
        """
        height, width = features.shapes[0][1:]
        if not 4 <= params.stride <= min(height, width) // 2:
            raise UsageError(
                f"stride={params.stride} is not possible with images of {height}x{width}: give 4 to "
                f"{min(height, width) // 2}"
            )
        if params.block < 1 or params.block % 2 == 0:
            raise UsageError(f"block={params.block} is not possible: give an odd number of strides, such as 3")
        if params.block > 2 * max(_grid(features.shapes, params)):
            raise UsageError(
                f"block={params.block} strides of {params.stride} pixels are more than twice an image of "
                f"{height}x{width}: give fewer, such as 3"
            )
        nothing = _Sums(0, np.zeros(_DIMS), np.zeros((_DIMS, _DIMS)), np.zeros(_DIMS), 0.0)
        return cls._of(params, features, 0, np.zeros(_grid(features.shapes, params), np.int32), nothing)

    def updated(self, features: Features, rng: np.random.Generator, progress: Progress = no_progress) -> LBP:
        """The model of these images and all before, exact but for rounding."""
        check_joining(features, self.shapes)
        return self._of(self.params, features, self.n_images, self.shown.copy(), self._sums)

    @classmethod
    def _of(cls, params: LBPParams, features: Features, n_images: int, shown: np.ndarray, sums: _Sums) -> LBP:
        grid = shown.shape
        for batch in features:
            check_shapes(batch.layers, features.shapes)
            check_finite(batch.layers[0])
            inside = batch.inside_on(grid)
            for number, blocks in enumerate(_histograms(batch.layers[0], grid, params.block)):
                learnt = blocks.new_ones(grid, dtype=bool) if inside is None else inside[number]
                sums = sums.plus(_sums_of(blocks[learnt]))
                shown += learnt.cpu().numpy()
                n_images += 1
        if n_images == 0 or sums.count < 2:
            raise UsageError("lbp needs good images to learn from, and got none")
        _, *others = sums
        return cls(params, features.shapes, n_images, shown, *others)

    @cached_property
    def _sums(self) -> _Sums:
        return _Sums(float(self.shown.sum()), self.vectors, self.products, self.cubes, self.fourth)

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Mahalanobis distance of every block's histograms from the mean of all good ones."""
        import torch

        mean, whiten = (torch.as_tensor(a, device=device).float() for a in _gaussian(self._sums))

        def score(features: tuple[torch.Tensor, ...]) -> PatchScores:
            check_shapes(features, self.shapes)
            grids = [
                torch.linalg.vector_norm((blocks.float() - mean) @ whiten, dim=2)
                for blocks in _histograms(features[0], self.grid, self.params.block)
            ]
            return PatchScores(torch.stack(grids), None)

        return score

    def graph(self, own: bool) -> Graph | None:
        """The scorer as a graph."""
        mean, whiten = _gaussian(self._sums)
        return LBPGraph(self.shapes[0][1:], self.grid, self.params.block, mean, whiten)

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """The distances of a model of the other images, exact but for rounding: the blocks of an image are taken off
        the sums, those in the region of interest.

        Raises:
            UsageError: for fewer than two images.
        """
        import torch

        if self.n_images < 2:
            raise UsageError("lbp learnt from one image and cannot leave it out: give at least 2")

        learnt = torch.as_tensor(self.shown > 0, device=device)

        def score(features: tuple[torch.Tensor, ...], places: np.ndarray | torch.Tensor) -> PatchScores:
            check_places(features, places)
            check_shapes(features, self.shapes)
            grids = []
            for blocks in _histograms(features[0], self.grid, self.params.block):
                others = self._sums.plus(_sums_of(blocks[learnt]), -1)
                mean, whiten = (torch.as_tensor(a, device=device).float() for a in _gaussian(others))
                grids.append(torch.linalg.vector_norm((blocks.float() - mean) @ whiten, dim=2))
            return PatchScores(torch.stack(grids), None)

        return score


def _grid(shapes: tuple[tuple[int, int, int], ...], params: LBPParams) -> tuple[int, int]:
    _, height, width = shapes[0]
    return round(height / params.stride), round(width / params.stride)


def _histograms(pixels: torch.Tensor, grid: tuple[int, int], block: int) -> list[torch.Tensor]:
    """Of each image (3, H, W) the shares of each pattern in the blocks around every cell, (h, w, D) float64, each
    histogram with the sum 1; NaN where a pixel is no number. At the border blocks are what of them there is."""
    import torch
    from torch.nn.functional import avg_pool2d

    _, _, height, width = pixels.shape
    rows = torch.arange(height, device=pixels.device) * grid[0] // height
    columns = torch.arange(width, device=pixels.device) * grid[1] // width
    cell = (rows[:, None] * grid[1] + columns).flatten()
    found = []
    for gray in channels_of(pixels, colour=False)[:, 0]:
        levels = (255 * gray).round()  # differences below a level are noise of the resizing
        counts = []
        for bins, (points, radius) in zip(BINS, SCALES, strict=True):
            codes = uniform_patterns(levels, points, radius).flatten()
            counts.append(torch.bincount(cell * bins + codes, minlength=grid[0] * grid[1] * bins).view(*grid, bins))
        whole = torch.cat(counts, 2).double().permute(2, 0, 1)  # (D, h, w)
        summed = avg_pool2d(whole.unsqueeze(0), block, 1, block // 2, divisor_override=1)[0]
        shown = summed[: BINS[0]].sum(0)  # pixels of the block
        broken = torch.zeros(grid, dtype=torch.float64, device=pixels.device)
        if not gray.isfinite().all():
            broken = torch.bincount(cell, (~gray.isfinite()).flatten().double(), minlength=len(broken.flatten()))
            broken = avg_pool2d(broken.view(1, *grid), block, 1, block // 2, divisor_override=1)[0]
        found.append(torch.where(broken > 0, torch.nan, summed / shown).permute(1, 2, 0))
    return found


def _sums_of(vectors: torch.Tensor) -> _Sums:
    """Of vectors (n, D)."""
    squares = vectors.square().sum(1)
    sums = vectors.sum(0), vectors.T @ vectors, squares @ vectors
    return _Sums(float(len(vectors)), *(one.cpu().numpy() for one in sums), float(squares.square().sum()))


def _gaussian(sums: _Sums) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and whitener (D, D), by which a row is multiplied from the right, of the covariance as Ledoit and Wolf
    2004 shrink it, see `shrinkage`. S alone is singular, as each histogram has the sum 1."""
    n, vectors, products, cubes, fourth = sums
    mean = vectors / n
    scatter = products - n * np.outer(mean, mean)
    _, fourths = moved(mean, n, vectors, products, cubes, fourth)
    share = float(ledoit_wolf(n, scatter, fourths))
    share = min(max(share, 1 / n), 1.0)
    mu = max(float(np.trace(scatter)) / (n * _DIMS), _LEAST_VARIANCE)
    shrunk = (1 - share) * scatter / n + share * mu * np.eye(_DIMS)
    return mean, np.linalg.inv(np.linalg.cholesky(shrunk)).T
