"""PatchCore's distances as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adcli.graphs import Node, Operations
from adcli.graphs.nearest import Nearest

if TYPE_CHECKING:
    from adcli.detectors.patchcore import PatchCore


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
            parts.append(pooled if number == 0 else ops.resize(pooled, self.grid, bilinear=True))
        # Channels last before anything else: that is how engines hold them, so that nothing is moved.
        channels_last = ops.transpose(ops.concatenate(parts, 1), (0, 2, 3, 1))
        vectors = ops.reshape(channels_last, (patches, self._channels))
        if self._channels > self._dims:
            vectors = ops.matmul(vectors, ops.constant(_pooling(self._channels, self._dims)))
        return [ops.reshape(ops.subtract(vectors, ops.constant(self._centre[np.newaxis])), (1, patches, -1))]

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """Patch scores (N, P), and the image score (1,) of one image."""
        patches, dims = self.grid[0] * self.grid[1], self._bank.shape[1]
        vectors = ops.reshape(queries[0], (-1, dims))
        bank = ops.constant(self._bank)
        search = Nearest(ops, self._bank)
        nearest = search.one(queries[0])  # (N P,)
        # In this order: of what is taken away OpenVINO would make a negative, here a second bank in memory.
        residual = ops.subtract(ops.take(bank, nearest, 0), vectors)
        distance = ops.root(ops.sum(ops.multiply(residual, residual), (1,)))  # (N P,)
        if self._factors is not None:
            distance = ops.multiply(distance, ops.take(ops.constant(self._factors), nearest, 0))
        grid = ops.reshape(distance, (-1, patches))
        if not self._own:
            return grid, None
        highest, farthest = ops.top(distance, 1, 0)  # (1,) each
        count = min(self._neighbours, len(self._bank))
        if count < 2:
            return grid, highest
        around = search.several(
            ops.take(bank, ops.take(nearest, farthest, 0), 0), count
        )  # (1, b), m* first but for rounding
        others = ops.take(bank, ops.take(around, ops.constant(np.arange(1, count)), 1), 0)  # (1, b - 1, D)
        return grid, _reweighted(ops, ops.take(vectors, farthest, 0), highest, others)


def _reweighted(ops: Operations, query: Node, distance: Node, others: Node) -> Node:
    """s = (1 - exp d(q, m*) / sum over the b nearest m of m* of exp d(q, m)) s*, see `neighbours.reweighted`.

    Args:
        query: the image's farthest patch (1, D).
        distance: s*, its distance to m*, (1,).
        others: the b nearest of m* but for itself (1, b - 1, D).
    """
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
