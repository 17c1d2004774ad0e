"""The texture inspection model as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from adcli.detectors.gray import channels_in
from adcli.graphs import Node, Operations
from adcli.graphs.composed import larger, number, smaller

if TYPE_CHECKING:
    from adcli.detectors.texture import LevelArrays, Texture


class TextureGraph:
    """Negative log-likelihoods of patches on several levels: `Texture.scorer`."""

    together = 1
    arrays = 1

    def __init__(self, detector: Texture, levels: Sequence[LevelArrays]):
        self.grid = tuple(detector.shapes[0][1:])
        self._params, self._kernel, self._levels = detector.params, detector.projection, levels

    def queries(self, ops: Operations, layers: Sequence[Node]) -> list[Node]:
        """The scores themselves (1, P, 1)."""
        pixels, size = channels_in(ops, layers[0], self._params.colour), self.grid
        maps = []
        for place, level in enumerate(self._levels):
            if place:
                pixels = ops.average_pool(pixels, (2, 2), (2, 2), (0, 0), ceil=True, zeros=False)
                size = (-(-size[0] // 2), -(-size[1] // 2))
            scores = ops.reshape(self._scores(ops, pixels, size, level), (1, 1, *size))
            maps.append(scores if size == self.grid else ops.resize(scores, self.grid, bilinear=True))
        return [ops.reshape(self._together(ops, maps), (1, self.grid[0] * self.grid[1], 1))]

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """(N, P)."""
        return ops.reshape(queries[0], (-1, self.grid[0] * self.grid[1])), None

    def _scores(self, ops: Operations, pixels: Node, size: tuple[int, int], level: LevelArrays) -> Node:
        """(1, 1, H W) of a level (1, C, H, W), which is mirrored at its border."""
        reach = self._params.patch // 2
        for axis, length in zip((2, 3), size, strict=True):
            places = np.pad(np.arange(length), reach, mode="reflect")
            pixels = ops.take(pixels, ops.constant(places), axis)
        count, dims, patches = len(level.logs), len(self._kernel), size[0] * size[1]
        vectors = ops.reshape(ops.convolution(pixels, self._kernel, (1, 1), (0, 0), (1, 1), 1), (1, dims, patches))
        vectors = ops.subtract(vectors, ops.constant(level.middle.reshape(1, dims, 1)))
        whitened = ops.matmul(ops.constant(np.ascontiguousarray(level.matrix.T)), vectors)  # (1, K D, H W)
        apart = ops.subtract(whitened, ops.constant(level.offset.reshape(1, -1, 1)))
        squares = ops.sum(ops.reshape(ops.multiply(apart, apart), (count, dims, patches)), (1,))  # (K, H W)
        logs = ops.subtract(ops.constant(level.logs.reshape(count, 1)), ops.multiply(squares, number(ops, 0.5)))
        # The logarithm of the sum of exponentials is the largest less the logarithm of its share.
        most, _ = ops.top(logs, 1, 0)
        share, _ = ops.top(ops.softmax(logs, 0), 1, 0)
        likelihood = ops.subtract(most, ops.log(share))
        return ops.divide(ops.subtract(number(ops, -level.centre), likelihood), number(ops, level.unit))

    def _together(self, ops: Operations, maps: Sequence[Node]) -> Node:
        if self._params.combine == "mean" or len(maps) == 1:
            total = maps[0]
            for one in maps[1:]:
                total = ops.add(total, one)
            return ops.divide(total, number(ops, len(maps)))
        pairs = [smaller(ops, fine, coarse) for fine, coarse in pairwise(maps)]
        highest = pairs[0]
        for one in pairs[1:]:
            highest = larger(ops, highest, one)
        return highest
