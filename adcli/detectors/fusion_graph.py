"""A fusion's members as one graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from adcli.graphs import Graph, Node, Operations
from adcli.graphs.composed import larger, number

if TYPE_CHECKING:
    from adcli.detectors.fusion import Fusion

_PATCHES = 1 << 15  # of images taken together; a large image's products with a bank take memory enough alone


class FusionGraph:
    """The members' graphs beside each other, each on its scale: `Fusion.scorer`."""

    def __init__(self, detector: Fusion, graphs: Sequence[Graph]):
        self.grid = tuple(detector.grid)
        most = max(graph.together for graph in graphs)
        self.together = max(1, min(most, _PATCHES // (self.grid[0] * self.grid[1])))
        self.arrays = sum(graph.arrays for graph in graphs)
        self._members, self._graphs = detector.members, graphs
        self._largest = detector.params.fuse == "max"

    def queries(self, ops: Operations, layers: Sequence[Node]) -> list[Node]:
        """Those of the first member, then of the second, and so on."""
        return [
            query
            for member, graph in zip(self._members, self._graphs, strict=True)
            for query in graph.queries(ops, [layers[layer] for layer in member.layers])
        ]

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """Mean or maximum (N, P) of (score - centre) / spread; a fusion has no image score of its own."""
        remaining = iter(queries)
        fused = None
        for member, graph in zip(self._members, self._graphs, strict=True):
            own, _ = graph.scores(ops, list(islice(remaining, graph.arrays)))
            scaled = ops.divide(ops.subtract(own, number(ops, member.centre)), number(ops, member.spread))
            if tuple(graph.grid) != self.grid:
                laid = ops.reshape(scaled, (-1, 1, *graph.grid))
                patches = self.grid[0] * self.grid[1]
                scaled = ops.reshape(ops.resize(laid, self.grid, bilinear=True), (-1, patches))
            if fused is None:
                fused = scaled
            elif self._largest:
                fused = larger(ops, fused, scaled)
            else:
                fused = ops.add(fused, scaled)
        return fused if self._largest else ops.divide(fused, number(ops, len(self._graphs))), None
