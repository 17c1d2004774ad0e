"""SPADE: the distance of every patch to the nearest one of the most similar good images.

Cohen, Hoshen 2020, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", arXiv:2005.02357.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

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
from adcli.errors import UsageError
from adcli.gallery import Gallery, Spool
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Batch, Features

_STORAGE = ("float16", "float32")


@dataclass(frozen=True)
class SPADEParams:
    """What a user may set with -p."""

    neighbours: int = 50  # K, good images that an image is compared with; the paper's for MVTec AD
    grid: int = 1  # number of the layer whose grid is scored, 1 is the paper's; finer layers are averaged to it
    storage: str = "float16"  # float16 | float32, of the features kept


@dataclass(frozen=True)
class SPADE:
    """What SPADE has learnt: the features of N good images, each layer at its own resolution, R numbers an image."""

    Params: ClassVar[type] = SPADEParams
    image_stage: ClassVar[str] = "mean squared distance to the nearest good images"

    params: SPADEParams
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) of each layer
    neighbours: int  # good images that an image is compared with: K, or all where there are fewer
    pooled: np.ndarray  # (N, D) float32, averages of the deepest layer
    inside: np.ndarray | None  # (N, ceil(P / 8)) uint8, a bit a patch: those learnt from; None: all
    gallery: Gallery  # (N, R): layer after layer, position after position, float16 or float32

    def __post_init__(self) -> None:
        images, row = len(self.pooled), sum(map(math.prod, _levels(self.shapes, self.params.grid)))
        if self.gallery.shape != (images, row) or self.gallery.dtype.name not in _STORAGE:
            raise ValueError(f"a gallery of {self.gallery.shape} {self.gallery.dtype}, where {images} x {row} belong")
        if self.inside is not None and self.inside.shape != (images, -(-self._patches // 8)):
            raise ValueError(f"the patches inside have the shape {self.inside.shape}")

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """Layers 1 to 3 (section 4 of the paper)."""
        return backbone.padim_layers

    @property
    def grid(self) -> tuple[int, int]:
        """h, w of the patch scores."""
        return self.shapes[self.params.grid - 1][1:]

    @property
    def _patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @classmethod
    def fit(
        cls, features: Features, params: SPADEParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> SPADE:
        """Keeps the features of every good image, in a temporary file: memory does not grow with their number.

        Raises:
            UsageError: for no images, an unknown storage, or numbers of neighbours or a grid that cannot be.
            EnvironmentFault: where the temporary file has no room.
        """
        _check(params, features)
        return cls._kept(features, params, None)

    def updated(self, features: Features, rng: np.random.Generator, progress: Progress = no_progress) -> SPADE:
        """With these images as well: what a fit to all of them together would have kept."""
        check_joining(features, self.shapes)
        return self._kept(features, self.params, self, progress)

    @classmethod
    def _kept(
        cls, features: Features, params: SPADEParams, before: SPADE | None, progress: Progress = no_progress
    ) -> SPADE:
        kept = _Kept(features.shapes, params)
        if before is not None:
            for start, rows in before.gallery.blocks():
                kept.spool.append(rows)
                progress("copying what was learnt", start + len(rows), len(before.gallery))
            kept.pooled.append(before.pooled)
            kept.inside.append(before._bits())
        for batch in features:
            check_shapes(batch.layers, features.shapes)
            kept.add(batch)
        if not kept.pooled:
            raise UsageError("spade has no good images to learn from")
        pooled, inside = np.concatenate(kept.pooled), np.concatenate(kept.inside)
        usable = int(inside.any(1).sum())
        if not usable:
            raise UsageError("spade has nothing to learn from: no patch of the good images is inside")
        everywhere = np.unpackbits(inside, axis=1, count=kept.patches).all()
        neighbours = min(params.neighbours, usable)
        return cls(params, features.shapes, neighbours, pooled, None if everywhere else inside, kept.spool.gallery())

    @property
    def notes(self) -> list[str]:
        """What a user is to know of what was learnt."""
        if self.neighbours == self.params.neighbours:
            return []
        return [
            f"spade compares an image with all {self.neighbours} good images, as there are fewer than "
            f"neighbours={self.params.neighbours}"
        ]

    def _bits(self) -> np.ndarray:
        """`inside`, also where it is all."""
        if self.inside is not None:
            return self.inside
        return np.packbits(np.ones((len(self.pooled), self._patches), bool), axis=1)

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Squared distances to the nearest vector of the K most similar images (eq. 3, kappa = 1), and the mean squared
        distance to those images (eq. 2).

        Beside the network and the detector's arrays a scorer holds the features of two images at a time, the one that
        is scored and one of the gallery, and some 50 MB of products (ResNet-18; 200 MB with Wide ResNet-50-2).
        """
        return self._scorer(device)

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """The scores of a fit without the image, exactly: it is not among the images that it is compared with.

        Raises:
            UsageError: for a single image.
        """
        if self._bits().any(1).sum() < 2:
            raise UsageError("spade learnt from 1 image and cannot leave it out: give at least 2")
        return self._scorer(device)

    def _scorer(self, device: torch.device | str) -> LeftOutScorer:
        import torch

        from adcli.detectors.correspondence import Matcher

        levels = _levels(self.shapes, self.params.grid)
        matcher = Matcher(tuple((h, w) for _, h, w in levels), device)
        pooled = torch.as_tensor(self.pooled, device=device)
        bits = self._bits()
        barred = torch.as_tensor(~bits.any(1), device=device)

        def target(place: int) -> object:
            row = torch.from_numpy(self.gallery.read(place, place + 1)[0]).to(device).float()
            pieces = row.split([math.prod(level) for level in levels])
            inside = None
            if self.inside is not None:
                inside = torch.from_numpy(np.unpackbits(bits[place], count=self._patches)).to(device).bool()
            layers = [piece.view(-1, channels) for piece, (channels, _, _) in zip(pieces, levels, strict=True)]
            return matcher.pyramid(layers, inside, target=True)

        def one(features: tuple[torch.Tensor, ...], place: int | None) -> tuple[torch.Tensor, torch.Tensor]:
            vectors = [layer[0].flatten(1).T for layer in _joined(features, self.params.grid)]
            numbers = [layer.isfinite().all(1) for layer in vectors]
            clean = tuple(layer.nan_to_num(0, 0, 0) for layer in features)  # no patch spoils the search of others
            query = matcher.pyramid([layer[0].flatten(1).T.contiguous() for layer in _joined(clean, self.params.grid)])
            away = (pooled - _pool(clean)).square().sum(1).masked_fill_(barred, torch.inf)
            if place is not None:
                away[place] = torch.inf
            away, nearest = away.sort(stable=True)
            count = min(self.params.neighbours, int(away.isfinite().sum()))
            squared = matcher.start()
            for other in nearest[:count].tolist():
                matcher.nearer(query, target(other), squared)
            grid = matcher.on_grid(squared).masked_fill_(~matcher.everywhere(numbers), torch.nan)
            image = away[:count].mean()
            return grid.view(self.grid), image if all(map(torch.all, numbers)) else image * torch.nan

        def score(features: tuple[torch.Tensor, ...], places: np.ndarray | torch.Tensor | None = None) -> PatchScores:
            check_shapes(features, self.shapes)
            if places is not None:
                check_places(features, places)
            scored = [
                one(_alone(features, n), None if places is None else int(places[n])) for n in range(len(features[0]))
            ]
            grids, images = zip(*scored, strict=True)
            return PatchScores(torch.stack(grids), torch.stack(images))

        return score


class _Kept:
    """What is kept of good images, on its way into a detector."""

    def __init__(self, shapes: tuple[tuple[int, int, int], ...], params: SPADEParams):
        self._params = params
        levels = _levels(shapes, params.grid)
        self.patches = math.prod(levels[0][1:])
        self.spool = Spool((sum(map(math.prod, levels)),), params.storage)
        self.pooled: list[np.ndarray] = []
        self.inside: list[np.ndarray] = []  # (n, ceil(P / 8)) uint8

    def add(self, batch: Batch) -> None:
        import torch

        count = len(batch.layers[0])
        layers = _joined(batch.layers, self._params.grid)
        rows = torch.cat([layer.flatten(2).transpose(1, 2).flatten(1) for layer in layers], 1)
        check_finite(rows)
        kept = rows.to(getattr(torch, self._params.storage))
        if not kept.isfinite().all():
            raise UsageError(f"features up to {rows.abs().max():.3g} do not fit float16: give -p storage=float32")
        self.spool.append(kept.cpu().numpy())
        pooled = torch.cat([_pool(_alone(batch.layers, n)) for n in range(count)])
        self.pooled.append(pooled.cpu().numpy())
        inside = np.ones((count, self.patches), bool)
        seen = batch.inside_on(tuple(layers[0].shape[2:]))
        if seen is not None:
            inside = seen.flatten(1).cpu().numpy()
        self.inside.append(np.packbits(inside, axis=1))


def _check(params: SPADEParams, features: Features) -> None:
    if features.n_images < 1:
        raise UsageError("spade has no good images to learn from")
    if params.neighbours < 1:
        raise UsageError(f"neighbours={params.neighbours} must be at least 1")
    if not 1 <= params.grid <= len(features.shapes):
        raise UsageError(f"grid={params.grid} is the number of no layer: give 1 to {len(features.shapes)}")
    if params.storage not in _STORAGE:
        raise UsageError(f"there is no storage {params.storage!r}: give {' or '.join(_STORAGE)}")


def _levels(shapes: tuple[tuple[int, int, int], ...], number: int) -> tuple[tuple[int, int, int], ...]:
    """(C, h, w) of the layers as they are kept: those up to the scored one are one."""
    return ((sum(channels for channels, _, _ in shapes[:number]), *shapes[number - 1][1:]), *shapes[number:])


def _joined(features: tuple[torch.Tensor, ...], number: int) -> list[torch.Tensor]:
    """The layers, those up to the scored one averaged to its grid and made one."""
    import torch
    import torch.nn.functional as functional

    size = features[number - 1].shape[-2:]
    fine = [
        layer if layer.shape[-2:] == size else functional.adaptive_avg_pool2d(layer, size)
        for layer in features[:number]
    ]
    return [torch.cat(fine, 1), *features[number:]]


def _alone(features: tuple[torch.Tensor, ...], number: int) -> tuple[torch.Tensor, ...]:
    """One image of a batch, lying in memory as any other does, so that its sums are taken in one order."""
    import torch

    return tuple(layer[number : number + 1].contiguous(memory_format=torch.contiguous_format) for layer in features)


def _pool(features: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """One image's average (1, C) over the deepest layer, that with the smallest grid."""
    return min(reversed(features), key=lambda layer: layer.shape[2] * layer.shape[3]).mean((2, 3))
