"""What the student is taught: the teacher's features, each channel at its own scale, and how far patches lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from adcli.backbones.extractor import build_extractor
from adcli.backbones.stepped import MEAN, STD
from adcli.backbones.weights import read_checkpoint

LAYERS = ("layer1", "layer2", "layer3")


class Teacher:
    """ResNet-18 as adcli uses it: pixels in [0, 1] to the features of its first three layers."""

    channels = (64, 128, 256)

    def __init__(self, weights: Path) -> None:
        self._network = build_extractor("resnet18", LAYERS, read_checkpoint(weights), 0).for_inference()

    @torch.no_grad()
    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.autocast("cpu", torch.bfloat16):
            return tuple(layer.float() for layer in self._network(pixels))


@dataclass(frozen=True)
class Statistics:
    """Of each layer's channels over many images: means and deviations, each (C,)."""

    mean: list[torch.Tensor]
    std: list[torch.Tensor]

    def spread(self, level: int) -> float:
        """Root of the summed variances: how far two patches lie apart, but for a factor."""
        return float(self.std[level].square().sum().sqrt())


def statistics(batches: Iterable[Sequence[torch.Tensor]]) -> Statistics:
    """Of the layers of batches."""
    sums: list[list[torch.Tensor]] = []
    count = 0
    for layers in batches:
        new = [[a.double().mean((0, 2, 3)), a.double().square().mean((0, 2, 3))] for a in layers]
        pairs = zip(sums or new, new, strict=True)
        sums = [[a + b for a, b in zip(*pair, strict=True)] for pair in pairs] if sums else new
        count += 1
    means = [one / count for one, _ in sums]
    stds = [(square / count - mean.square()).clamp_min(0).sqrt() for (_, square), mean in zip(sums, means, strict=True)]
    return Statistics([mean.float() for mean in means], [std.float() for std in stds])


class Heads(nn.Module):
    """From the student's features to the teacher's, linear, patch by patch: thrown away in the end."""

    def __init__(self, widths: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        pairs = zip(widths, channels, strict=True)
        self.heads = nn.ModuleList(nn.Conv2d(width, channel, 1) for width, channel in pairs)

    def forward(self, layers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [head(layer) for head, layer in zip(self.heads, layers, strict=True)]


def thinned(layers: Sequence[torch.Tensor], every: Sequence[int], rng: np.random.Generator) -> list[torch.Tensor]:
    """Of each layer's grid every so manieth row and column, from a random one on: neighbours say nearly the same."""
    return [
        layer[:, :, rng.integers(step) :: step, rng.integers(step) :: step] if step > 1 else layer
        for layer, step in zip(layers, every, strict=True)
    ]


def losses(
    own: Sequence[torch.Tensor],
    told: Sequence[torch.Tensor],
    taught: Sequence[torch.Tensor],
    of: Statistics,
    weights: dict[str, Any],
    rng: np.random.Generator,
) -> tuple[torch.Tensor, dict[str, list[float]]]:
    """The sum to make small, and its terms by layer.

    `own` are the student's features, `told` what its heads make of them, `taught` the teacher's. Squared error and
    cosine are of channels at zero mean and unit deviation; the relation is of distances between patches in the
    student's own features, as detectors see them, against the teacher's, as it gives them.
    """
    total = torch.zeros(())
    terms: dict[str, list[float]] = {"mse": [], "cosine": [], "relation": []}
    for level, (a, p, t) in enumerate(zip(own, told, taught, strict=True)):
        std = of.std[level].clamp_min(1e-3 * float(of.std[level].mean())).view(1, -1, 1, 1)
        z, p = (t - of.mean[level].view(1, -1, 1, 1)) / std, p.float()
        mse = functional.mse_loss(p, z)
        cosine = 1 - functional.cosine_similarity(p, z, dim=1, eps=1e-3).mean()
        relation = _relation(a, t, weights["patches"], rng) if weights["relation"] else torch.zeros(())
        part = weights["mse"] * mse + weights["cosine"] * cosine + weights["relation"] * relation
        total = total + weights["layers"][level] * part
        for name, term in (("mse", mse), ("cosine", cosine), ("relation", relation)):
            terms[name].append(float(term.detach()))
    return total, terms


def _relation(own: torch.Tensor, taught: torch.Tensor, patches: int, rng: np.random.Generator) -> torch.Tensor:
    """How much distances between some patches differ, in units of their mean: of all images, and within each."""
    images, _, rows, columns = own.shape
    places = torch.from_numpy(rng.integers(0, rows * columns, (images, patches, 1)))

    def distances(layer: torch.Tensor) -> torch.Tensor:
        patchwise = layer.permute(0, 2, 3, 1).reshape(images, rows * columns, -1)
        chosen = patchwise.gather(1, places.expand(-1, -1, layer.shape[1])).flatten(0, 1).float()
        squares = chosen.square().sum(1)
        apart = (squares[:, None] + squares - 2 * chosen @ chosen.T).clamp_min(0)
        apart = torch.sqrt(apart + 1e-4 * apart.detach().mean())  # a distance of 0 has no slope
        return apart / apart.mean()

    wrong = (distances(own) - distances(taught)).square()
    within = wrong.view(images, patches, images, patches).diagonal(dim1=0, dim2=2)
    return wrong.mean() + within.mean()


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels in [0, 1] as networks take them."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std
