"""The variation model: what gray value each pixel of an aligned part has, and how much it varies.

Steger, Ulrich, Wiedemann 2018, "Machine Vision Algorithms and Applications", 2nd edition, section 3.4; evaluated by
Bergmann et al. 2019, "MVTec AD", CVPR, section 4.1.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from adcli.detectors import (
    LeftOutScorer,
    PatchScores,
    Scorer,
    check_finite,
    check_joining,
    check_kept,
    check_places,
    check_shapes,
)
from adcli.detectors.gray import channels_of
from adcli.detectors.variation_graph import VariationGraph
from adcli.errors import UsageError
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features
    from adcli.graphs import Graph

_LEVELS = 65535  # of white: what 16-bit images have, so that sums of them are whole numbers and their order is none


@dataclass(frozen=True)
class VariationParams:
    """What a user may set with -p. The book's thresholds are a = absolute / 255 and b = relative."""

    absolute: float = 10.0  # gray levels of 255 that any pixel may be off: a
    relative: float = 2.0  # deviations that a pixel may be off: b
    colour: bool = False  # the worst of three channels instead of the gray value
    updatable: bool = False  # keep the sums, 16 to 48 bytes a pixel, so that fit --update can add to them


@dataclass(frozen=True)
class Variation:
    """What the variation model has learnt. C is 1 channel, or 3 of colour; H x W pixels, of all inputs of an image."""

    Params: ClassVar[type] = VariationParams
    positional: ClassVar[bool] = True

    params: VariationParams
    shapes: tuple[tuple[int, int, int], ...]  # (3, H, W)
    n_images: int  # learnt from
    count: np.ndarray  # (H, W) int32, images that show a pixel: all, but outside a region of interest
    mean: np.ndarray  # (C, H, W) float32, of white
    deviation: np.ndarray  # (C, H, W) float32
    sums: np.ndarray | None  # (2, C, H, W) int64, of levels and of their squares; None: it takes no more images

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """The pixels."""
        return backbone.layers

    @classmethod
    def fit(
        cls, features: Features, params: VariationParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> Variation:
        """Learns mean and deviation of every pixel in one pass. Nothing is drawn, and the order does not matter.

        Raises:
            UsageError: for fewer than two images, or limits that are not positive.
        """
        if not (params.absolute > 0 and params.relative > 0):
            raise UsageError(
                f"absolute={params.absolute:g} and relative={params.relative:g} must both be positive, such as 10 and 2"
            )
        shape = (2, 3 if params.colour else 1, *features.shapes[0][1:])
        return cls._of(params, features, 0, np.zeros(shape[2:], np.int32), np.zeros(shape, np.int64))

    def updated(self, features: Features, rng: np.random.Generator, progress: Progress = no_progress) -> Variation:
        """The model of these images and all before, to the bit.

        Raises:
            UsageError: where the sums were not kept.
        """
        check_kept("variation", self.sums is not None)
        check_joining(features, self.shapes)
        return self._of(self.params, features, self.n_images, self.count.copy(), self.sums.copy())

    @classmethod
    def _of(
        cls, params: VariationParams, features: Features, n_images: int, count: np.ndarray, sums: np.ndarray
    ) -> Variation:
        """Adds the features to the sums and makes the model of them."""
        for batch in features:
            check_shapes(batch.layers, features.shapes)
            check_finite(batch.layers[0])
            levels = _levels(batch.layers[0], params.colour)  # (N, C, H, W)
            n_images += len(levels)
            if batch.inside is None:
                count += len(levels)
            else:
                levels = levels * batch.inside.unsqueeze(1)
                count += batch.inside.sum(0).cpu().numpy().astype(np.int32)
            levels = levels.long()
            sums[0] += levels.sum(0).cpu().numpy()
            sums[1] += levels.square().sum(0).cpu().numpy()
        _check_count(n_images)
        mean, variance = _moments(count, sums)
        model = cls(
            params,
            features.shapes,
            n_images,
            count,
            mean.astype(np.float32),
            np.sqrt(variance).astype(np.float32),
            None,
        )
        return replace(model, sums=sums) if params.updatable else model

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """How far a pixel is off, in units of what it may be: |x - mean| / max(a, b deviation). Above 1 it is what the
        book calls an error."""
        import torch

        mean, allowed = torch.as_tensor(self.mean, device=device), self._allowed(self.deviation, device)

        def score(features: tuple[torch.Tensor, ...]) -> PatchScores:
            check_shapes(features, self.shapes)
            return _worst(channels_of(features[0], self.params.colour) - mean, allowed)

        return score

    def graph(self, own: bool) -> Graph | None:
        """The scorer as a graph."""
        allowed = np.maximum(np.float32(self.params.relative) * self.deviation, np.float32(self.params.absolute / 255))
        return VariationGraph(self.mean, allowed)

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """The scores of a model of the other images, exact but for rounding: with n images that show a pixel and
        e = x - mean, the mean without x is farther by e / (n - 1), and the sum of squares about it smaller by
        e^2 n / (n - 1).

        Raises:
            UsageError: for fewer than three images.
        """
        import torch

        if self.n_images < 3:
            raise UsageError(f"variation learnt from {self.n_images} images and can leave none out: give at least 3")
        mean = torch.as_tensor(self.mean, device=device).double()
        count = torch.as_tensor(self.count, device=device).double().clamp_min(3)
        scatter = torch.as_tensor(self.deviation, device=device).double().square() * (count - 1)
        share = count / (count - 1)

        def score(features: tuple[torch.Tensor, ...], places: np.ndarray | torch.Tensor) -> PatchScores:
            check_places(features, places)
            check_shapes(features, self.shapes)
            apart = channels_of(features[0], self.params.colour) - mean
            variance = (scatter - share * apart.square()).clamp_min(0) / (count - 2)
            return _worst(share * apart, self._allowed(variance.sqrt(), device))

        return score

    def _allowed(self, deviation: np.ndarray | torch.Tensor, device: torch.device | str) -> torch.Tensor:
        import torch

        relative = self.params.relative * torch.as_tensor(deviation, device=device)
        return relative.clamp_min(self.params.absolute / 255)


def _levels(pixels: torch.Tensor, colour: bool) -> torch.Tensor:
    """Pixels in [0, 1] as whole numbers (N, C, H, W) float64."""
    return (channels_of(pixels, colour).double() * _LEVELS).round()


def _moments(count: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (C, H, W), of white, with the divisor n - 1."""
    n = np.maximum(count, 1)
    mean = sums[0] / n
    # Whole numbers, a part of each at a time: n sum x^2 - (sum x)^2 would leave int64 for many images.
    whole, rest = np.divmod(sums[0], n)
    scatter = sums[1] - whole * (sums[0] + rest) - rest * rest / n
    variance = np.maximum(scatter, 0) / np.maximum(count - 1, 1)
    return mean / _LEVELS, variance / _LEVELS**2


def _worst(apart: torch.Tensor, allowed: torch.Tensor) -> PatchScores:
    return PatchScores((apart.abs() / allowed).amax(1).float(), None)


def _check_count(n_images: int) -> None:
    if n_images < 2:
        raise UsageError(f"variation needs at least 2 good images to learn from, and got {n_images}")
