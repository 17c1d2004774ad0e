"""PaDiM's distances as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from adcli.detectors.reduction import Reduction
from adcli.graphs import Direct, Node, Operations

if TYPE_CHECKING:
    from adcli.detectors.padim import PaDiM

_TOGETHER = 16  # every position's whitener is read once for so many images
_POSITIONS = 256  # at a time: of fewer more stays in a core's cache, but threads would meet more often


class PaDiMGraph:
    """Mahalanobis distances (eq. 2 of the paper) as norms of whitened residuals: `PaDiM.scorer`, see Graph."""

    together = _TOGETHER
    arrays = 1

    def __init__(self, detector: PaDiM):
        self._reduction, self._params = detector.reduction, detector.params
        self.grid = tuple(detector.shapes[0][1:])
        self._shapes, self._mean, self._packed = detector.shapes, detector.mean, detector.whitener

    def queries(self, ops: Operations, layers: Sequence[Node]) -> list[Node]:
        """Residuals (1, P, D)."""
        vectors = reduce_layers(ops, self._reduction, self._shapes, self._params.upsample == "bilinear", layers)
        return [ops.reshape(ops.subtract(vectors, ops.constant(self._mean)), (1, *self._mean.shape))]

    def direct(self) -> Direct:
        """The products take as long compiled; but laid out for them whiteners lie in memory twice more, and a start
        waits for that."""
        whiteners = [part.transpose(0, 2, 1) for part in self._whiteners()]
        count = len(self._mean)

        def distances(queries: Sequence[np.ndarray]) -> tuple[np.ndarray, None]:
            squares = np.zeros((len(queries[0]), count), np.float32)
            for first in range(0, count, _POSITIONS):
                positions = slice(first, first + _POSITIONS)
                residuals = queries[0][:, positions].transpose(1, 0, 2)  # (p, N, D)
                for part in whiteners:
                    whitened = residuals[..., : part.shape[1]] @ part[positions]
                    np.square(whitened, out=whitened)
                    squares[:, positions] += whitened.sum(2).T
            return np.sqrt(squares), None

        return distances

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """Their lengths (N, P) once whitened."""
        residuals = ops.transpose(queries[0], (1, 0, 2))  # (P, N, D)
        total = None
        for part in self._whiteners():
            first = ops.take(residuals, ops.constant(np.arange(part.shape[2])), 2)
            whitened = ops.matmul(first, ops.constant(part), turned=True)
            square = ops.sum(ops.multiply(whitened, whitened), (2,))
            total = square if total is None else ops.add(total, square)
        return ops.transpose(ops.root(total), (1, 0)), None

    def _whiteners(self) -> list[np.ndarray]:
        """Dense (P, rows, columns) float32, in two halves: the first components of a whitened residual take its first
        ones only, so that a quarter of the products can be left out."""
        dims = self._mean.shape[1]
        half = (dims + 1) // 2
        return [_rows(self._packed, start, stop) for start, stop in ((0, half), (half, dims)) if start < stop]


def reduce_layers(
    ops: Operations,
    reduction: Reduction,
    shapes: Sequence[tuple[int, int, int]],
    bilinear: bool,
    layers: Sequence[Node],
) -> Node:
    """Features (1, C, h, w) a layer to vectors (P, D) of the first layer's grid: `Reduction.on`."""
    grid = tuple(shapes[0][1:])
    parts = []
    for layer, shape, (a, b) in zip(
        layers, shapes, pairwise(np.cumsum([0, *(channels for channels, _, _ in shapes)])), strict=True
    ):
        # Turned first, which is how engines hold them: to take channels of (C, h, w) copies all of them before.
        rows = ops.reshape(ops.transpose(layer, (0, 2, 3, 1)), (shape[1] * shape[2], shape[0]))
        if reduction.channels is not None:
            kept = reduction.channels[(reduction.channels >= a) & (reduction.channels < b)] - a
            if not len(kept):
                continue
            rows = ops.take(rows, ops.constant(kept.astype(np.int64)), 1)
            dims = len(kept)
        else:
            rows = ops.matmul(rows, ops.constant(reduction.projection[a:b]))
            dims = reduction.projection.shape[1]
        parts.append(_enlarged(ops, rows, (*shape[1:], dims), grid, bilinear))
    if reduction.channels is not None:
        return ops.concatenate(parts, 1)
    total = parts[0]
    for part in parts[1:]:
        total = ops.add(total, part)
    return total


def _enlarged(ops: Operations, rows: Node, shape: tuple[int, int, int], grid: tuple[int, int], bilinear: bool) -> Node:
    """Rows (h w, D) of a shape h, w, D to those of a grid."""
    height, width, dims = shape
    if (height, width) == grid:
        return rows
    if not bilinear and grid[0] % height == 0 and grid[1] % width == 0:  # each is repeated
        nearest = np.arange(height * width).reshape(height, width)
        nearest = nearest.repeat(grid[0] // height, 0).repeat(grid[1] // width, 1)
        return ops.take(rows, ops.constant(nearest.ravel()), 0)
    channels = ops.transpose(ops.reshape(rows, (1, *shape)), (0, 3, 1, 2))
    larger = ops.transpose(ops.resize(channels, grid, bilinear), (0, 2, 3, 1))
    return ops.reshape(larger, (grid[0] * grid[1], dims))


def _rows(packed: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Rows `start` to `stop` of packed lower triangles (P, D (D + 1) / 2), without what is 0 in all of them:
    (P, stop - start, stop)."""
    dense = np.zeros((len(packed), stop - start, stop), np.float32)
    for row in range(start, stop):
        begin = row * (row + 1) // 2
        dense[:, row - start, : row + 1] = packed[:, begin : begin + row + 1]
    return dense
