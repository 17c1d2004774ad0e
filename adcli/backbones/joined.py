"""Several backbones as one: each sees every image, and their layers and weights bear its name before their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from adcli.backbones.extractor import Extractor


class JoinedExtractor(torch.nn.Module):
    """Pixels (N, 3, H, W), float32 RGB in [0, 1], to the layers of several extractors, in the order of `layers`.

    Each part takes off its own mean and deviation.
    """

    def __init__(self, name: str, layers: tuple[str, ...], parts: Sequence[Extractor]) -> None:
        super().__init__()
        self.name = name
        self.layers = layers
        self.parts = torch.nn.ModuleList(parts)
        self._named = tuple(tuple(f"{part.name}.{layer}" for layer in part.layers) for part in parts)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features: dict[str, torch.Tensor] = {}
        for part, names in zip(self.parts, self._named, strict=True):
            features.update(zip(names, part(pixels), strict=True))
        return tuple(features[layer] for layer in self.layers)

    def state(self) -> dict[str, np.ndarray]:
        """The weights of all parts: what `build_extractor` takes back."""
        return {f"{part.name}.{key}": value for part in self.parts for key, value in part.state().items()}

    def layer_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """See `adcli.backbones.extractor.layer_shapes`."""
        from adcli.backbones.extractor import layer_shapes

        return layer_shapes(self, size)

    def for_inference(self) -> torch.nn.Module:
        """The same function in less time."""
        faster = JoinedExtractor(self.name, self.layers, self.parts)
        faster.parts = torch.nn.ModuleList(part.for_inference() for part in self.parts)
        return faster


def part_of_state(state: Mapping[str, Any] | None, part: str) -> dict[str, Any] | None:
    """The weights of one part, under its own names; None where there are none of it."""
    prefix = f"{part}."
    return {key.removeprefix(prefix): value for key, value in (state or {}).items() if key.startswith(prefix)} or None
