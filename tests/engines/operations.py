"""Every operation of a graph, as `call(ops, x)` on one array."""

from __future__ import annotations

import numpy as np

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 6, 9, 7)).astype(np.float32)
W = RNG.standard_normal((4, 3, 3, 2)).astype(np.float32)

OPERATIONS = {
    "convolution": lambda ops, x: ops.convolution(x, W, (2, 1), (1, 0), (1, 2), 2),
    "dense convolution": lambda ops, x: ops.convolution(x, W[:, :1].repeat(6, 1), (1, 1), (0, 1), (1, 1), 1),
    "maximum pool": lambda ops, x: ops.maximum_pool(x, (3, 2), (2, 2), (1, 1), False),
    "maximum pool beyond": lambda ops, x: ops.maximum_pool(x, (2, 2), (2, 2), (0, 0), True),
    "average pool": lambda ops, x: ops.average_pool(x, (3, 3), (1, 1), (1, 1), False, True),
    "average pool of what is there": lambda ops, x: ops.average_pool(x, (3, 3), (2, 2), (1, 1), True, False),
    "bilinear": lambda ops, x: ops.resize(x, (20, 11), True),
    "bilinear down": lambda ops, x: ops.resize(x, (4, 3), True),
    "nearest": lambda ops, x: ops.resize(x, (20, 15), False),
    "add": lambda ops, x: ops.add(x, ops.constant(X[:1, :1])),
    "subtract": lambda ops, x: ops.subtract(ops.constant(X[:1, :1]), x),
    "multiply": lambda ops, x: ops.multiply(x, x),
    "divide": lambda ops, x: ops.divide(x, ops.constant(np.float32([[[[3]]]]))),
    "matmul": lambda ops, x: ops.matmul(x, ops.constant(X[0, 0].T.copy())),
    "matmul, turned": lambda ops, x: ops.matmul(x, ops.constant(X[0, :, :3]), turned=True),
    "narrow": lambda ops, x: ops.narrow(x),
    "relu": lambda ops, x: ops.relu(x),
    "clip": lambda ops, x: ops.clip(x, -0.5, 0.25),
    "sigmoid": lambda ops, x: ops.sigmoid(x),
    "log": lambda ops, x: ops.log(ops.clip(x, 0.01, 9.0)),
    "softmax": lambda ops, x: ops.softmax(x, 1),
    "round": lambda ops, x: ops.round(
        ops.multiply(ops.round(ops.multiply(x, x)), ops.constant(np.float32([[[[1.5]]]])))
    ),
    "root": lambda ops, x: ops.root(ops.multiply(x, x)),
    "concatenate": lambda ops, x: ops.concatenate([x, ops.relu(x)], 1),
    "take": lambda ops, x: ops.take(x, ops.constant(np.array([3, 0, 3])), 1),
    "take a table": lambda ops, x: ops.take(x, ops.constant(np.array([[3, 0], [1, 1]])), 2),
    "pick": lambda ops, x: ops.pick(x, ops.top(x, 3, 1)[1], 1),
    "top": lambda ops, x: ops.top(x, 4, 2)[0],
    "sum": lambda ops, x: ops.sum(x, (1, 3)),
    "mean": lambda ops, x: ops.mean(x, (2, 3)),
    "mean kept": lambda ops, x: ops.mean(x, (2, 3), keep=True),
    "reshape": lambda ops, x: ops.reshape(x, (3, -1)),
    "transpose": lambda ops, x: ops.transpose(x, (2, 0, 3, 1)),
}

# Of builders that narrow.
NARROW = {
    "narrow": OPERATIONS["narrow"],
    "widen": lambda ops, x: ops.widen(ops.reshape(ops.narrow(x), (-1, 7)), 3, -1.0),
}
