"""Mahalanobis: one Gaussian of averaged features a layer, and its version for every position.

Rippel, Mertens, Merhof 2020, "Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
Detection", arXiv:2005.14140. On features of its own training, the same is the Gaussian density estimator of Li, Sohn,
Yoon, Pfister 2021, "CutPaste", arXiv:2104.04015. Neither paper has a map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

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
from adcli.detectors.mahalanobis_graph import MahalanobisGraph
from adcli.detectors.shrinkage import ledoit_wolf, oracle_approximating
from adcli.errors import UsageError
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features
    from adcli.graphs import Graph

REDUCTIONS = ("none", "pca", "npca")
_LEAST_RELATIVE = 1e-3  # of the features' own size, their least standard deviation: above what machines differ by
_LEAST_VARIANCE = 1e-12  # of channels that are zero in every good image


@dataclass(frozen=True)
class MahalanobisParams:
    """What a user may set with -p."""

    reduction: str = "none"  # none | pca | npca: the axes of large variance, or those of small; section III.D
    variance: float = 0.99  # share of the variance that pca keeps and npca leaves; the paper compares 0.95 and 0.99
    shrinkage: str = "ledoit-wolf"  # of the covariances towards a sphere: ledoit-wolf, or a share from 0 to 1


@dataclass(frozen=True)
class Level:
    """What is learnt of one layer: C channels, P = h x w positions of its own grid, N images.

    Sums rather than what they lead to, so that images can be joined and left out exactly.
    """

    pooled: np.ndarray  # (N, C) float32, features averaged over the whole grid
    shown: np.ndarray  # (P,) int32, images that show the position, which are all but outside a region of interest
    mean: np.ndarray  # (P, C) float64
    scatter: np.ndarray  # (C, C) float64, of all patches, each about the mean of its position


@dataclass(frozen=True)
class Mahalanobis:
    """What the method has learnt."""

    Params: ClassVar[type] = MahalanobisParams
    positional: ClassVar[bool] = True
    image_stage: ClassVar[str] = "sum of the layers' Mahalanobis distances of averaged features"

    params: MahalanobisParams
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) of each layer
    levels: tuple[Level, ...]

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """Every stage of the backbone that is there; the paper takes all levels of its network."""
        return backbone.layers

    @classmethod
    def fit(
        cls, features: Features, params: MahalanobisParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> Mahalanobis:
        """Learns the sums in one pass. Memory grows by one vector of C numbers an image and layer; nothing is drawn.

        Raises:
            UsageError: for fewer than two images, or an unknown reduction, share of variance or shrinkage.
        """
        _check(params)
        levels = _learn(features)
        _check_count(len(levels[0].pooled))
        return cls(params, features.shapes, levels)

    def updated(self, features: Features, rng: np.random.Generator, progress: Progress = no_progress) -> Mahalanobis:
        """What a fit to the old and the new images together gives, but for rounding."""
        check_joining(features, self.shapes)
        joined = [_joined(old, new) for old, new in zip(self.levels, _learn(features, 1), strict=True)]
        return Mahalanobis(self.params, self.shapes, tuple(joined))

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Distance of every patch to its position's Gaussian, and of the averaged features to theirs, each summed over
        the layers."""
        import torch

        return self._scorer([_gaussians(level, self.params, torch).on(device) for level in self.levels])

    def graph(self, own: bool) -> Graph | None:
        """The scorer as a graph."""
        return MahalanobisGraph(self.shapes, [_gaussians(level, self.params, np) for level in self.levels], own)

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """The scores of a fit without the image, exact but for rounding: the image is taken off the sums, and its
        Gaussians are made anew, their axes and shrinkage with them. A position of a region of interest counts as shown
        by the image where any image shows it.

        Raises:
            UsageError: for fewer than three images.
        """
        import torch

        count = len(self.levels[0].pooled)
        if count < 3:
            raise UsageError(f"mahalanobis learnt from {count} images and can leave none of them out: give at least 3")

        def score(features: tuple[torch.Tensor, ...], places: np.ndarray | torch.Tensor) -> PatchScores:
            check_places(features, places)
            check_shapes(features, self.shapes)
            each = []
            for number, place in enumerate(places.tolist()):
                image = tuple(layer[number : number + 1] for layer in features)
                without = [
                    _gaussians(_without(level, place, vectors(layer[0])), self.params, torch).on(device)
                    for level, layer in zip(self.levels, image, strict=True)
                ]
                each.append(self._scorer(without)(image))
            return PatchScores(torch.cat([one.grid for one in each]), torch.cat([one.image for one in each]))

        return score

    def _scorer(self, gaussians: list[Gaussians]) -> Scorer:
        import torch
        import torch.nn.functional as functional

        grid_size = self.shapes[0][1:]

        def score(features: tuple[torch.Tensor, ...]) -> PatchScores:
            check_shapes(features, self.shapes)
            grids, images = [], []
            for number in range(len(features[0])):  # one by one: their products then have the same bits in any company
                grid, image = 0, 0
                for layer, on in zip(features, gaussians, strict=True):
                    feature = layer[number]
                    residual = vectors(feature).sub_(on.mean)  # (P, C)
                    apart = torch.linalg.vector_norm(residual @ on.whiten, dim=1).reshape(1, 1, *feature.shape[1:])
                    if feature.shape[1:] != grid_size:
                        apart = functional.interpolate(apart, size=grid_size, mode="bilinear", align_corners=False)
                    grid = grid + apart[0, 0]
                    whole = (average(feature) - on.pooled_mean) @ on.pooled_whiten
                    image = image + torch.linalg.vector_norm(whole)
                grids.append(grid)
                images.append(image.float())
            return PatchScores(torch.stack(grids), torch.stack(images))

        return score


class Gaussians(NamedTuple):
    """Of one layer: mean and whitener, that is |(x - mean) whitener| is the distance. Kept axes: K."""

    mean: Any  # (P, C) float64
    whiten: Any  # (C, K) float64
    pooled_mean: Any  # (C,) float64
    pooled_whiten: Any  # (C, K') float64

    def on(self, device: torch.device | str) -> Gaussians:
        """The same on a device, those of the positions in float32."""
        return Gaussians(
            self.mean.float().to(device),
            self.whiten.float().to(device),
            self.pooled_mean.to(device),
            self.pooled_whiten.to(device),
        )


def vectors(feature: torch.Tensor) -> torch.Tensor:
    """A feature (C, h, w) as vectors (P, C), new in memory."""
    import torch

    return feature.flatten(1).T.clone(memory_format=torch.contiguous_format)


def average(feature: torch.Tensor) -> torch.Tensor:
    """A feature (C, h, w) averaged over its grid: (C,) float64."""
    return feature.flatten(1).double().contiguous().mean(1)


def _check(params: MahalanobisParams) -> None:
    if params.reduction not in REDUCTIONS:
        raise UsageError(f"there is no reduction {params.reduction!r}: known are {', '.join(REDUCTIONS)}")
    if not 0 < params.variance < 1:
        raise UsageError(f"variance={params.variance:g} is no share of the variance: give a number between 0 and 1")
    _fixed_share(params.shrinkage)


def _check_count(n_images: int, least: int = 2) -> None:
    if n_images < least:
        raise UsageError(f"mahalanobis needs at least {least} good images to learn from, and got {n_images}")


def _fixed_share(shrinkage: str) -> float | None:
    """The share of the sphere that was asked for; None for one to be estimated."""
    if shrinkage == "ledoit-wolf":
        return None
    try:
        share = float(shrinkage)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"shrinkage={shrinkage} is not known: write ledoit-wolf, or a share from 0 to 1")
    return share


# What is learnt


def _learn(features: Features, least: int = 2) -> tuple[Level, ...]:
    """Sums over one pass, in float64 and about the first batch's mean, so that nothing is lost to cancellation."""
    parts: list[_Sums] = []
    for batch in features:
        check_shapes(batch.layers, features.shapes)
        if not parts:
            parts = [_Sums(layer) for layer in batch.layers]
        for part, layer in zip(parts, batch.layers, strict=True):
            inside = batch.inside_on(tuple(layer.shape[2:]))
            part.add(layer, None if inside is None else inside.flatten(1))
    _check_count(len(parts) and sum(map(len, parts[0].pooled)), least)  # images that turned out unreadable are missing
    return tuple(part.level() for part in parts)


class _Sums:
    """Of one layer, while it is learnt."""

    def __init__(self, layer: torch.Tensor):
        import torch

        channels, (height, width) = layer.shape[1], layer.shape[2:]
        self.shift = layer.double().mean(0).flatten(1).T  # (P, C)
        self.shown = torch.zeros(height * width, dtype=torch.float64, device=layer.device)
        self.sums = torch.zeros_like(self.shift)
        self.scatter = self.shift.new_zeros(channels, channels)
        self.pooled: list[np.ndarray] = []

    def add(self, layer: torch.Tensor, inside: torch.Tensor | None) -> None:
        self.pooled.append(np.stack([average(feature).float().cpu().numpy() for feature in layer]))
        residual = layer.double().flatten(2).transpose(1, 2) - self.shift  # (N, P, C)
        if inside is None:
            self.shown += len(layer)
        else:
            residual *= inside.unsqueeze(2)
            self.shown += inside.sum(0)
        self.sums += residual.sum(0)
        flat = residual.flatten(0, 1)
        self.scatter += flat.T @ flat

    def level(self) -> Level:
        import torch

        offset = self.sums / self.shown.clamp_min(1).unsqueeze(1)
        scatter = self.scatter - offset.T @ self.sums
        pooled = np.concatenate(self.pooled)
        for learnt in (torch.from_numpy(pooled), self.shift + offset, scatter):
            check_finite(learnt)
        shown = self.shown.cpu().numpy().astype(np.int32)
        return Level(pooled, shown, (self.shift + offset).cpu().numpy(), scatter.cpu().numpy())


def _joined(one: Level, other: Level) -> Level:
    """The sums of both (Chan, Golub and LeVeque 1979)."""
    shown = one.shown + other.shown
    share = (other.shown / np.maximum(shown, 1))[:, None]
    apart = other.mean - one.mean
    scatter = one.scatter + other.scatter + (apart * one.shown[:, None] * share).T @ apart
    mean = np.where(shown[:, None] > 0, one.mean + share * apart, one.mean)
    return Level(np.concatenate([one.pooled, other.pooled]), shown, mean, scatter)


def _without(level: Level, place: int, image: torch.Tensor) -> Level:
    """The sums without one image, whose vectors (P, C) these are."""
    residual = image.double().cpu().numpy() - level.mean
    others = np.maximum(level.shown - 1, 0)
    taken = np.where(others > 0, level.shown / np.maximum(others, 1), 0)[:, None]
    scatter = level.scatter - (residual * taken).T @ residual
    mean = level.mean - residual * np.where(others > 0, 1 / np.maximum(others, 1), 0)[:, None]
    return Level(np.delete(level.pooled, place, axis=0), others, mean, scatter)


# What follows of it


def _gaussians(level: Level, params: MahalanobisParams, library: Any) -> Gaussians:
    """With tensors or arrays, as `library` is torch or numpy: that is faster, and this needs no torch."""
    pooled = library.asarray(level.pooled, dtype=library.float64)
    pooled_mean = pooled.mean(0)
    count = len(pooled)
    centred = pooled - pooled_mean
    pooled_scatter = centred.T @ centred
    freedom = np.maximum(level.shown - 1, 0).sum()
    covariance = library.asarray(level.scatter) / max(freedom, 1)
    # Patches of an image are not independent of each other: they count as so many as their average's variance tells.
    spread = float(covariance.trace()) / max(float(pooled_scatter.trace()) / (count - 1), _LEAST_VARIANCE)
    independent = count * min(max(spread, 1.0), float((level.shown > 0).sum()))

    def of_images(axes: Any, variances: Any) -> float:
        along = centred @ axes
        squares = (along * along).sum(1)
        share = float(ledoit_wolf(float(count), along.T @ along, (squares * squares).sum()))
        return max(share, 1 / count)  # of two images, whose covariance has one direction, it would be none at all

    def of_patches(axes: Any, variances: Any) -> float:
        return oracle_approximating(independent, variances)

    mean = library.asarray(level.mean)
    whiten = _whitener(covariance, float((mean * mean).mean()), params, of_patches, library)
    size = float((pooled_mean * pooled_mean).mean())
    pooled_whiten = _whitener(pooled_scatter / count, size, params, of_images, library)
    return Gaussians(mean, whiten, pooled_mean, pooled_whiten)


def _whitener(
    covariance: Any,
    size: float,
    params: MahalanobisParams,
    share_of: Callable[[Any, Any], float],
    library: Any,
) -> Any:
    """(C, K): the axes kept, each divided by the standard deviation along it after shrinking. `size` is the mean square
    of the features themselves, which bounds what can be told of them."""
    variances, axes = library.linalg.eigh(covariance)
    variances, axes = library.flip(variances, (0,)).clip(0), library.flip(axes, (1,))  # the largest first
    kept = _kept(variances, params)
    variances, axes = variances[kept], axes[:, kept]
    share = _fixed_share(params.shrinkage)
    if share is None:
        share = share_of(axes, variances)
    shrunk = (1 - share) * variances + share * variances.mean()
    return axes / shrunk.clip(_LEAST_RELATIVE**2 * size + _LEAST_VARIANCE) ** 0.5


def _kept(variances: Any, params: MahalanobisParams) -> slice:
    """Which of the axes, in the order of their variances (C,), the largest first.

    `pca` keeps as many as explain the share and one with which they do, `npca` those from the one before on, as far as
    the good images vary along them at all: the axes at the border belong to both, as in the authors' code.
    """
    if params.reduction == "none":
        return slice(None)
    varying = int((variances > variances[0] * len(variances) * 2.0**-52).sum())
    explained = variances.cumsum(0) / max(float(variances.sum()), _LEAST_VARIANCE)
    last = min(int((explained <= params.variance).sum()), max(varying - 1, 0))
    return slice(0, last + 1) if params.reduction == "pca" else slice(max(last - 1, 0), max(varying, 1))
