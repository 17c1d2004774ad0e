"""Mahalanobis distances of one Gaussian a layer as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adcli.graphs import Node, Operations

if TYPE_CHECKING:
    from adcli.detectors.mahalanobis import Gaussians


class MahalanobisGraph:
    """Lengths of whitened residuals, of every patch and of the averaged features: `Mahalanobis.scorer`."""

    together = 1

    def __init__(self, shapes: Sequence[tuple[int, int, int]], gaussians: Sequence[Gaussians], own: bool):
        """`gaussians` are numpy's, one a layer; `own`: with the method's own image score."""
        self.grid = tuple(shapes[0][1:])
        self.arrays = (2 if own else 1) * len(shapes)
        self._shapes, self._gaussians, self._own = shapes, gaussians, own

    def queries(self, ops: Operations, layers: Sequence[Node]) -> list[Node]:
        """Residuals of the patches (1, P, C) a layer, then those of the averages (1, 1, C)."""
        parts = []
        for layer, (channels, height, width), on in zip(layers, self._shapes, self._gaussians, strict=True):
            patches = ops.transpose(ops.reshape(layer, (1, channels, height * width)), (0, 2, 1))
            parts.append(ops.subtract(patches, ops.constant(on.mean.astype(np.float32)[np.newaxis])))
        if self._own:
            for layer, on in zip(layers, self._gaussians, strict=True):
                average = ops.reshape(ops.mean(layer, (2, 3)), (1, 1, -1))
                parts.append(ops.subtract(average, ops.constant(on.pooled_mean.astype(np.float32).reshape(1, 1, -1))))
        return parts

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """Distances summed over the layers: (N, P) on the first one's grid, and (N,)."""
        count, patches = len(self._shapes), self.grid[0] * self.grid[1]
        total = image = None
        for residual, (_, height, width), on in zip(queries[:count], self._shapes, self._gaussians, strict=True):
            apart = _lengths(ops, residual, on.whiten)  # (N, P)
            if (height, width) != self.grid:
                laid = ops.reshape(apart, (-1, 1, height, width))
                apart = ops.reshape(ops.resize(laid, self.grid, bilinear=True), (-1, patches))
            total = apart if total is None else ops.add(total, apart)
        for residual, on in zip(queries[count:], self._gaussians if self._own else (), strict=True):
            apart = ops.reshape(_lengths(ops, residual, on.pooled_whiten), (-1,))
            image = apart if image is None else ops.add(image, apart)
        return total, image


def _lengths(ops: Operations, residual: Node, whiten: np.ndarray) -> Node:
    """|residual whiten| of rows (N, n, C): (N, n)."""
    whitened = ops.matmul(residual, ops.constant(whiten.astype(np.float32)))
    return ops.root(ops.sum(ops.multiply(whitened, whitened), (2,)))
