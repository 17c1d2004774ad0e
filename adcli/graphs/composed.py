"""What a few operations make together."""

from __future__ import annotations

import numpy as np

from adcli.graphs import Node, Operations


def number(ops: Operations, value: float) -> Node:
    """One number, for tensors of any shape."""
    return ops.constant(np.array(value, np.float32))


def larger(ops: Operations, a: Node, b: Node) -> Node:
    """The maximum of both, elementwise."""
    return ops.add(a, ops.relu(ops.subtract(b, a)))


def smaller(ops: Operations, a: Node, b: Node) -> Node:
    """The minimum of both, elementwise."""
    return ops.subtract(a, ops.relu(ops.subtract(a, b)))


def distance(ops: Operations, a: Node, b: Node) -> Node:
    """|a - b|, elementwise, broadcast."""
    return ops.add(ops.relu(ops.subtract(a, b)), ops.relu(ops.subtract(b, a)))


def channel(ops: Operations, x: Node, place: int) -> Node:
    """One channel (N, 1, H, W) of (N, C, H, W)."""
    return ops.take(x, ops.constant(np.array([place], np.int64)), 1)
