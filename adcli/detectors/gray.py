"""What the methods on pixels take of an image: its gray values, or its colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adcli.graphs import Node, Operations
from adcli.graphs.composed import channel, number

if TYPE_CHECKING:
    import torch

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, of red, green and blue


def channels_of(pixels: torch.Tensor, colour: bool) -> torch.Tensor:
    """Pixels (N, 3, H, W) in [0, 1] as they are, or as gray values (N, 1, H, W)."""
    if colour:
        return pixels
    red, green, blue = (pixels[:, channel : channel + 1] for channel in range(3))
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def channels_in(ops: Operations, pixels: Node, colour: bool) -> Node:
    """The same as a graph."""
    if colour:
        return pixels
    red, green, blue = (
        ops.multiply(channel(ops, pixels, place), number(ops, share)) for place, share in enumerate(_LUMA)
    )
    return ops.add(ops.add(red, green), blue)
