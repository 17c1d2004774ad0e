"""All of a model in one graph, for other programs: prepared pixels of one image to its map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adcli.graphs import Graph, Node, Operations
from adcli.graphs.network import Network, build


@dataclass(frozen=True)
class Pipeline:
    """A network, a detector behind it, and what enlarges and smooths its patch scores."""

    network: Network
    weights: Mapping[str, np.ndarray]
    detector: Graph
    image_size: tuple[int, int]  # H, W
    rows: np.ndarray  # (H, h) float32, see adcli.maps.lifting
    columns: np.ndarray  # (W, w) float32

    def build(self, ops: Operations, pixels: Node) -> Node:
        """Pixels (1, H, W, 3) RGB in [0, 1] to the map (1, H, W)."""
        layers = build(ops, self.network, self.weights, ops.transpose(pixels, (0, 3, 1, 2)))
        height, width = self.detector.grid
        scores, _ = self.detector.scores(ops, self.detector.queries(ops, layers))
        grid = ops.reshape(scores, (1, height, width))
        enlarged = ops.matmul(ops.constant(self.rows[np.newaxis]), grid)
        return ops.matmul(enlarged, ops.constant(self.columns[np.newaxis]), turned=True)
