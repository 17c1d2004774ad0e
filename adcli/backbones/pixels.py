"""The backbone without a network: an image is its own features, for methods that look at gray values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from adcli.backbones import PIXELS, PIXELS_LAYERS
from adcli.errors import EnvironmentFault


class Pixels(torch.nn.Module):
    """Pixels (N, 3, H, W), float32 RGB in [0, 1], to themselves. Has what an Extractor has, and no weights."""

    name = PIXELS
    layers = PIXELS_LAYERS

    def __init__(self, state: Mapping[str, Any] | None) -> None:
        super().__init__()
        if state:
            raise EnvironmentFault(f"{PIXELS} has no weights, and was given {next(iter(state))}.")

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (pixels,)

    def state(self) -> dict[str, np.ndarray]:
        """No weights."""
        return {}

    def layer_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """(C, h, w) of the one layer for images of size (H, W)."""
        return [(3, *size)]

    def for_inference(self) -> torch.nn.Module:
        """Itself."""
        return self
