"""PatchCore's distances as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adcli.graphs import Node, Operations

if TYPE_CHECKING:
    from adcli.detectors.patchcore import PatchCore

_ROWS = 1024  # of the bank at a time: the products of an image with them stay in the cache


class PatchCoreGraph:
    """Distances to the nearest bank vector (eq. 6) and the re-weighted image score (eq. 7): `PatchCore.scorer`.

    Where an engine computes products in less than float32, the neighbour is chosen by them, and the distance to it is
    taken directly in float32. It is then at most a little too long, by a neighbour that is hardly farther. So that
    the products stay small, all vectors are taken from the bank's mean, which changes no distance.
    """

    together = 1
    arrays = 1

    def __init__(self, detector: PatchCore, own: bool):
        """`own`: with the method's own image score."""
        self._own, self._dims = own, detector.params.dims
        self.grid = tuple(detector.shapes[0][1:])
        self._channels = sum(channels for channels, _, _ in detector.shapes)
        self._neighbours = 1 if detector.factors is not None else detector.params.neighbours
        self._factors = detector.factors
        bank = detector.bank.resident().read()
        self._centre = bank.mean(0, dtype=np.float64).astype(np.float32)
        self._bank = bank - self._centre

    def queries(self, ops: Operations, layers: Sequence[Node]) -> list[Node]:
        """Locally aware patch features (1, P, D): `patches.embed`."""
        parts, patches = [], self.grid[0] * self.grid[1]
        for number, layer in enumerate(layers):
            pooled = ops.average_pool(layer, (3, 3), (1, 1), (1, 1), ceil=False, zeros=True)
            part = pooled if number == 0 else ops.resize(pooled, self.grid, bilinear=True)
            # Turned one by one, which is how engines hold them, and joined by rows: nothing is copied twice.
            parts.append(ops.reshape(ops.transpose(part, (0, 2, 3, 1)), (patches, -1)))
        vectors = ops.concatenate(parts, 1)
        if self._channels > self._dims:
            vectors = ops.matmul(vectors, ops.constant(_pooling(self._channels, self._dims)))
        return [ops.reshape(ops.subtract(vectors, ops.constant(self._centre[np.newaxis])), (1, patches, -1))]

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """Patch scores (N, P), and the image score (1,) of one image."""
        patches, dims = self.grid[0] * self.grid[1], self._bank.shape[1]
        vectors = ops.reshape(queries[0], (-1, dims))
        bank = ops.constant(self._bank)
        nearest = self._nearest(ops, vectors)  # (N P,)
        residual = ops.subtract(vectors, ops.take(bank, nearest, 0))
        distance = ops.root(ops.sum(ops.multiply(residual, residual), (1,)))  # (N P,)
        if self._factors is not None:
            distance = ops.multiply(distance, ops.take(ops.constant(self._factors), nearest, 0))
        grid = ops.reshape(distance, (-1, patches))
        if not self._own:
            return grid, None
        highest, farthest = ops.top(distance, 1, 0)  # (1,) each
        if self._neighbours < 2 or len(self._bank) < 2:
            return grid, highest
        return grid, self._reweighted(
            ops, ops.take(vectors, farthest, 0), highest, ops.take(bank, ops.take(nearest, farthest, 0), 0), bank
        )

    def _nearest(self, ops: Operations, queries: Node) -> Node:
        """Rows (n,) of the bank: those with the largest q.b - |b|^2 / 2."""
        closest, rows = [], []
        for start in range(0, len(self._bank), _ROWS):
            closeness = self._closeness(ops, queries, self._bank[start : start + _ROWS])
            value, row = ops.top(closeness, 1, 1)  # (n, 1) each
            closest.append(value)
            rows.append(ops.add(row, ops.constant(np.array([[start]], np.int32))) if start else row)
        _, block = ops.top(ops.concatenate(closest, 1), 1, 1)
        return ops.reshape(ops.pick(ops.concatenate(rows, 1), block, 1), (-1,))

    def _closeness(self, ops: Operations, queries: Node, rows: np.ndarray) -> Node:
        halves = np.square(rows).sum(1, dtype=np.float64).astype(np.float32)[np.newaxis] / 2
        return ops.subtract(ops.matmul(queries, ops.constant(rows), turned=True), ops.constant(halves))

    def _reweighted(self, ops: Operations, query: Node, distance: Node, centre: Node, bank: Node) -> Node:
        """s = (1 - exp d(q, m*) / sum over the b nearest m of m* of exp d(q, m)) s*, see `neighbours.reweighted`.

        Args:
            query: the image's farthest patch (1, D).
            distance: s*, its distance to m*, (1,).
            centre: m*, (1, D).
        """
        count = min(self._neighbours, len(self._bank))
        _, around = ops.top(self._closeness(ops, centre, self._bank), count, 1)  # (1, b), m* itself first
        others = ops.take(bank, ops.take(around, ops.constant(np.arange(1, count)), 1), 0)  # (1, b - 1, D)
        apart = ops.subtract(others, ops.reshape(query, (1, 1, -1)))
        apart = ops.root(ops.sum(ops.multiply(apart, apart), (2,)))
        share = ops.softmax(ops.concatenate([ops.reshape(distance, (1, 1)), apart], 1), 1)
        first = ops.reshape(ops.take(share, ops.constant(np.zeros(1, np.int64)), 1), (1,))
        return ops.subtract(distance, ops.multiply(first, distance))


def _pooling(channels: int, dims: int) -> np.ndarray:
    """Adaptive average pooling of channels as a matrix (C, D)."""
    matrix = np.zeros((channels, dims), np.float32)
    for column in range(dims):
        start, stop = column * channels // dims, -(-(column + 1) * channels // dims)
        matrix[start:stop, column] = 1 / (stop - start)
    return matrix
