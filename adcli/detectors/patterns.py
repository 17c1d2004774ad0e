"""Local binary patterns: Ojala, Pietikaeinen, Maeenpaeae 2002, "Multiresolution gray-scale and rotation invariant
texture classification with local binary patterns", IEEE Transactions on Pattern Analysis and Machine Intelligence 24.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

SCALES = ((8, 1), (16, 2), (24, 3))  # P neighbours on a circle of R pixels; table 2 of the paper joins these three
BINS = tuple(points + 2 for points, _ in SCALES)
FRACTION = 1 << 14  # shares of a neighbour are multiples of 1 / this: float32 holds their sums of gray levels exactly


def uniform_patterns(gray: torch.Tensor, points: int, radius: int) -> torch.Tensor:
    """LBP riu2 (eq. 9) of whole gray levels (H, W) float32: (H, W) int64, the number of neighbours that are no darker
    than the pixel where they are in at most two runs, else points + 1. The border is repeated beyond itself.

    A neighbour's difference is exact, so that one that is 0 is never what rounding leaves, on any machine.
    """
    import torch
    from torch.nn.functional import pad

    height, width = gray.shape
    padded = pad(gray[None, None], (radius,) * 4, mode="replicate")[0, 0]
    sums = torch.zeros_like(gray, dtype=torch.int16)
    changes = torch.zeros_like(sums)
    first = last = None
    for shares in _neighbours(points, radius):
        apart = torch.zeros_like(gray)
        for (row, column), share in shares.items():
            top, left = radius + row, radius + column
            apart.add_(padded[top : top + height, left : left + width] - gray, alpha=share)
        lighter = apart >= 0
        sums += lighter
        if last is None:
            first = lighter
        else:
            changes += lighter != last
        last = lighter
    changes += first != last
    return torch.where(changes <= 2, sums, points + 1).long()


def difference_kernels(points: int, radius: int, reach: int) -> np.ndarray:
    """What `uniform_patterns` compares, as kernels (points, 1, 2 reach + 1, 2 reach + 1): neighbour minus pixel."""
    kernels = np.zeros((points, 1, 2 * reach + 1, 2 * reach + 1), np.float32)
    for kernel, shares in zip(kernels[:, 0], _neighbours(points, radius), strict=True):
        for (row, column), share in shares.items():
            kernel[reach + row, reach + column] += share
            kernel[reach, reach] -= share
    return kernels


def _neighbours(points: int, radius: int) -> Iterator[dict[tuple[int, int], float]]:
    """The neighbours on a circle: what the pixels at rows and columns from here count for in each."""
    for point in range(points):
        angle = 2 * math.pi * point / points
        # Rounded as in the authors' code, so that 90 degrees is no neighbour but one.
        down, right = round(-radius * math.sin(angle), 5), round(radius * math.cos(angle), 5)
        yield {
            (row, column): round(by_row * by_column * FRACTION) / FRACTION
            for row, by_row in _taps(down)
            for column, by_column in _taps(right)
        }


def _taps(at: float) -> list[tuple[int, float]]:
    """The whole places around a place, and what each counts for."""
    below = math.floor(at)
    rest = at - below
    return [(below, 1.0)] if rest == 0 else [(below, 1 - rest), (below + 1, rest)]
