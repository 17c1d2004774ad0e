"""The nearest rows of a bank as a graph: by products, which are most of what PatchCore computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adcli.graphs import Node, Operations

_ROWS = 1024  # of the bank at a time: the products of an image with them stay in the cache
_MULTIPLE = 32  # bf16 that an AMX tile's row holds: products of a width between multiples take a third longer
_TERMS = 3  # bf16 numbers of 8 bits each that make a float32


class Nearest:
    """Rows b nearest to q: those of the largest q.b - |b|^2 / 2, in blocks.

    Where products are computed from bf16, they are also kept and compared in bf16, as half of the time would go into
    turning them into float32 again. |b|^2 / 2 is then as exact as in float32 nevertheless: it is part of the product,
    as three more numbers of each row, beside -1 of each query.
    """

    def __init__(self, ops: Operations, bank: np.ndarray):
        """`bank` (M, D) float32, taken from its mean, so that what is lost of the products is small."""
        self._ops, self._dims = ops, bank.shape[1]
        blocks = -(-len(bank) // _ROWS)
        self._rows = -(-len(bank) // (64 * blocks)) * 64  # a block, of about equal ones
        self._more = _TERMS + -(self._dims + _TERMS) % _MULTIPLE  # columns
        self._blocks = [self._block(bank[start : start + self._rows]) for start in range(0, len(bank), self._rows)]

    def one(self, queries: Node) -> Node:
        """The numbers (n,) int32 of the rows nearest to queries, n of (..., D)."""
        ops, queries = self._ops, self._widened(queries)
        found = [ops.top(block(queries), 1, 1) for block in self._blocks]  # (n, 1) each
        rows = ops.concatenate([row for _, row in found], 1)
        if len(found) > 1:
            _, best = ops.top(ops.concatenate([closeness for closeness, _ in found], 1), 1, 1)
            before = ops.multiply(best, ops.constant(np.array([[self._rows]], np.int32)))
            rows = ops.add(ops.pick(rows, best, 1), before)
        return ops.reshape(rows, (-1,))

    def several(self, queries: Node, count: int) -> Node:
        """The numbers (n, count) int32 of the rows nearest to queries, a few (..., D), the nearest first."""
        queries = self._widened(queries)
        closeness = self._ops.concatenate([block(queries) for block in self._blocks], 1)  # (n, M)
        return self._ops.top(closeness, count, 1)[1]

    def _block(self, rows: np.ndarray) -> Callable[[Node], Node]:
        """What gives the closeness (n, m) of queries to rows (m, D)."""
        ops = self._ops
        halves = np.square(rows).sum(1, dtype=np.float64).astype(np.float32) / 2
        if not ops.narrows:
            bank, taken = ops.constant(rows), ops.constant(halves[np.newaxis])
            return lambda queries: ops.subtract(ops.matmul(queries, bank, turned=True), taken)
        widened = np.pad(rows, ((0, 0), (0, self._more)))
        for column in range(rows.shape[1], rows.shape[1] + _TERMS):
            widened[:, column] = _cut(halves)
            halves = halves - widened[:, column]
        narrow = ops.constant(widened, narrow=True)
        return lambda queries: ops.matmul(queries, narrow, turned=True)

    def _widened(self, queries: Node) -> Node:
        """Queries (n, D), or with what belongs to the added numbers of rows."""
        # Narrow before anything else: OpenVINO turns what is given to a graph into bf16 at once, all else by way of it.
        flat = self._ops.reshape(self._ops.narrow(queries), (-1, self._dims))
        return self._ops.widen(flat, self._more, -1.0) if self._ops.narrows else flat


def _cut(values: np.ndarray) -> np.ndarray:
    """float32 without the bits that bf16 lacks."""
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
