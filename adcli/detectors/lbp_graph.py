"""Histograms of local binary patterns and their distances as a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adcli.detectors.gray import channels_in
from adcli.detectors.patterns import BINS, FRACTION, SCALES, difference_kernels
from adcli.graphs import Node, Operations
from adcli.graphs.composed import distance, number

_REACH = max(radius for _, radius in SCALES)


class LBPGraph:
    """Mahalanobis distances of the blocks' histograms: `LBP.scorer`. Counts are whole numbers, and exact."""

    together = 1
    arrays = 1

    def __init__(
        self, size: tuple[int, int], grid: tuple[int, int], block: int, mean: np.ndarray, whiten: np.ndarray
    ) -> None:
        """Images H, W; blocks h, w, so many cells a side; mean (D,) and whitener (D, D)."""
        self.grid = tuple(grid)
        self._size = tuple(size)
        self._rows, self._columns = (_members(*one, block) for one in zip(size, grid, strict=True))
        self._mean, self._whiten = mean.astype(np.float32), whiten.astype(np.float32)

    def queries(self, ops: Operations, layers: Sequence[Node]) -> list[Node]:
        """Histograms less their mean (1, P, D)."""
        gray = channels_in(ops, layers[0], colour=False)
        levels = ops.round(ops.multiply(gray, number(ops, 255)))
        for axis, length in zip((2, 3), self._size, strict=True):  # the border is repeated beyond itself
            places = np.arange(-_REACH, length + _REACH).clip(0, length - 1)
            levels = ops.take(levels, ops.constant(places), axis)
        counted = []
        for bins, (points, radius) in zip(BINS, SCALES, strict=True):
            codes = ops.reshape(_codes(ops, levels, points, radius), (1, *self._size))
            apart = distance(ops, codes, ops.constant(np.arange(bins, dtype=np.float32).reshape(bins, 1, 1)))
            shown = ops.relu(ops.subtract(number(ops, 1), apart))  # (bins, H, W), 1 where that is the pattern
            across = ops.matmul(shown, ops.constant(self._columns), turned=True)
            counted.append(ops.matmul(ops.constant(self._rows), across))
        patches = self.grid[0] * self.grid[1]
        counts = ops.transpose(ops.reshape(ops.concatenate(counted, 0), (1, sum(BINS), patches)), (0, 2, 1))
        pixels = np.outer(self._rows.sum(1), self._columns.sum(1)).reshape(1, patches, 1)
        return [ops.subtract(ops.divide(counts, ops.constant(pixels)), ops.constant(self._mean.reshape(1, 1, -1)))]

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """Their lengths once whitened (N, P)."""
        whitened = ops.matmul(queries[0], ops.constant(self._whiten))
        return ops.root(ops.sum(ops.multiply(whitened, whitened), (2,))), None


def _codes(ops: Operations, levels: Node, points: int, radius: int) -> Node:
    """`uniform_patterns` of levels (1, 1, H + 2 reach, W + 2 reach): (1, 1, H, W)."""
    apart = ops.convolution(levels, difference_kernels(points, radius, _REACH), (1, 1), (0, 0), (1, 1), 1)
    # Differences are multiples of 1 / FRACTION: 1 where they are 0 or more, else 0.
    lighter = ops.clip(ops.add(ops.multiply(apart, number(ops, FRACTION)), number(ops, 1)), 0, 1)
    # Channels are mixed by kernels of one pixel, which is several times faster than moving or adding them up.
    kernels = np.eye(points, dtype=np.float32)
    falls = ops.relu(_mixed(ops, lighter, kernels - np.roll(kernels, 1, 1)))  # 1 where the circle's next one is darker
    count = _mixed(ops, lighter, np.ones((1, points), np.float32))
    runs = _mixed(ops, falls, np.ones((1, points), np.float32))
    uniform = ops.clip(ops.subtract(number(ops, 2), runs), 0, 1)
    other = number(ops, points + 1)
    return ops.add(other, ops.multiply(uniform, ops.subtract(count, other)))


def _mixed(ops: Operations, x: Node, weights: np.ndarray) -> Node:
    """Sums (N, K, H, W) of channels (N, C, H, W), by weights (K, C)."""
    return ops.convolution(x, np.ascontiguousarray(weights)[:, :, np.newaxis, np.newaxis], (1, 1), (0, 0), (1, 1), 1)


def _members(length: int, cells: int, block: int) -> np.ndarray:
    """(cells, length) float32: 1 for each pixel that lies in the block around a cell, in one direction."""
    of_pixels = np.arange(length) * cells // length
    return (abs(of_pixels - np.arange(cells)[:, np.newaxis]) <= block // 2).astype(np.float32)
