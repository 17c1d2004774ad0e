"""The variation model's comparison as a graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adcli.detectors.gray import channels_in
from adcli.graphs import Node, Operations
from adcli.graphs.composed import channel, distance, larger


class VariationGraph:
    """How far every pixel is off, see `Variation.scorer`."""

    together = 1
    arrays = 1

    def __init__(self, mean: np.ndarray, allowed: np.ndarray):
        """Both (C, H, W) float32."""
        self.grid = tuple(mean.shape[1:])
        self._mean, self._allowed = mean[np.newaxis], allowed[np.newaxis]

    def queries(self, ops: Operations, layers: Sequence[Node]) -> list[Node]:
        """The scores themselves (1, P, 1), as nothing of them is read once for several images."""
        channels = len(self._mean[0])
        values = channels_in(ops, layers[0], colour=channels == 3)
        apart = ops.divide(distance(ops, values, ops.constant(self._mean)), ops.constant(self._allowed))
        worst = apart
        if channels == 3:
            worst = larger(ops, larger(ops, channel(ops, apart, 0), channel(ops, apart, 1)), channel(ops, apart, 2))
        return [ops.reshape(worst, (1, self.grid[0] * self.grid[1], 1))]

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """(N, P)."""
        return ops.reshape(queries[0], (-1, self.grid[0] * self.grid[1])), None
