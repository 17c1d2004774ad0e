"""Distances to the entries of a dictionary as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adcli.graphs import Node, Operations
from adcli.graphs.composed import distance, number
from adcli.graphs.nearest import Nearest

if TYPE_CHECKING:
    from adcli.detectors.dictionary import Dictionary

_TINY = float(np.finfo(np.float32).tiny)


class DictionaryGraph:
    """Mean distance of every patch to the entries nearest to it: `Dictionary.scorer`. As in PatchCore's graph, products
    pick the entries and the distances are taken directly."""

    together = 1
    arrays = 1

    def __init__(self, detector: Dictionary, windows: Sequence[tuple[np.ndarray, np.ndarray]]):
        """`windows`: for each layer the shares (h, h_l) and (w, w_l) that its rows and columns have in patches."""
        self.grid = tuple(detector.shapes[0][1:])
        self._windows, self._normalise = windows, detector.params.normalise
        self._centre, self._axes, self._entries = detector.centre, detector.axes, detector.entries
        self._neighbours = min(detector.params.neighbours, len(detector.entries))

    def queries(self, ops: Operations, layers: Sequence[Node]) -> list[Node]:
        """Vectors of the patches less their mean (1, P, C): `dictionary.embedder`."""
        pooled = []
        for layer, (down, across) in zip(layers, self._windows, strict=True):
            rows = ops.matmul(ops.constant(down), layer)
            pooled.append(ops.matmul(rows, ops.constant(across), turned=True))
        patches = self.grid[0] * self.grid[1]
        joined = ops.reshape(ops.concatenate(pooled, 1), (1, len(self._centre), patches))
        if self._normalise:
            total = ops.sum(distance(ops, joined, number(ops, 0)), (1,))
            total = ops.reshape(ops.clip(total, _TINY, float(np.finfo(np.float32).max)), (1, 1, patches))
            joined = ops.divide(joined, total)
        return [ops.transpose(ops.subtract(joined, ops.constant(self._centre.reshape(1, -1, 1))), (0, 2, 1))]

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """(N, P)."""
        channels = len(self._axes)
        reduced = ops.matmul(ops.reshape(queries[0], (-1, channels)), ops.constant(self._axes))  # (N P, D)
        entries = ops.constant(self._entries)
        nearest = Nearest(ops, self._entries).several(reduced, self._neighbours)  # (N P, n)
        total = None
        for place in range(self._neighbours):
            at = ops.reshape(ops.take(nearest, ops.constant(np.array([place], np.int64)), 1), (-1,))
            residual = ops.subtract(reduced, ops.take(entries, at, 0))
            apart = ops.root(ops.sum(ops.multiply(residual, residual), (1,)))
            total = apart if total is None else ops.add(total, apart)
        mean = ops.divide(total, number(ops, self._neighbours))
        return ops.reshape(mean, (-1, self.grid[0] * self.grid[1])), None
