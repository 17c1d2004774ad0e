"""A convolutional network as a list of steps: what a model file says of its backbone, beside the weights.

It is all that is needed to compute features, so that scoring needs neither the library that the network was made with
nor that library's code. Weights are named as in the model file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from adcli.graphs import Node, Operations


@dataclass(frozen=True)
class Step:
    """One operation."""

    kind: str  # a key of _STEPS
    inputs: tuple[int, ...]  # 0: the pixels (N, 3, H, W), RGB in [0, 1]; k: what the k-th step gives, from 1
    name: str = ""  # of its weights, NAME.weight and so on
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """Steps in an order in which they can be done."""

    steps: tuple[Step, ...]
    outputs: tuple[int, ...]  # one a layer, numbered as inputs are

    def to_text(self) -> str:
        """JSON, a list a step: kind, inputs, name, settings."""
        steps = [list(asdict(step).values()) for step in self.steps]
        return json.dumps({"steps": steps, "outputs": self.outputs}, separators=(",", ":"), sort_keys=True)

    @staticmethod
    def from_text(text: str) -> Network:
        """Raises ValueError for anything but what `to_text` writes."""
        try:
            read = json.loads(text)
            steps = tuple(Step(kind, tuple(inputs), name, settings) for kind, inputs, name, settings in read["steps"])
            network = Network(steps, tuple(read["outputs"]))
            for number, step in enumerate(steps, 1):
                if step.kind not in _STEPS or not all(0 <= one < number for one in step.inputs):
                    raise ValueError(f"step {number} cannot be done")
            if not all(0 <= one <= len(steps) for one in network.outputs):
                raise ValueError("an output is of no step")
        except (KeyError, TypeError) as error:
            raise ValueError("this is no network") from error
        return network


def build(ops: Operations, network: Network, weights: Mapping[str, np.ndarray], pixels: Node) -> list[Node]:
    """Pixels (N, 3, H, W) to the features (N, C, h, w) of every layer."""
    values = [pixels]
    for step in network.steps:
        inputs = [values[number] for number in step.inputs]
        values.append(_STEPS[step.kind](ops, inputs, _Weights(weights, step.name), **step.settings))
    return [values[number] for number in network.outputs]


@dataclass(frozen=True)
class _Weights:
    """Those of one step."""

    every: Mapping[str, np.ndarray]
    name: str

    def __call__(self, part: str) -> np.ndarray:
        return self.every[f"{self.name}.{part}"]

    def channels(self, part: str) -> np.ndarray:
        """One number a channel, (1, C, 1, 1)."""
        return _channels(self(part))


def _channels(values: Any) -> np.ndarray:
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


def _normalise(
    ops: Operations, x: Sequence[Node], weights: _Weights, mean: Sequence[float], std: Sequence[float]
) -> Node:
    return ops.divide(ops.subtract(x[0], ops.constant(_channels(mean))), ops.constant(_channels(std)))


def _convolution(
    ops: Operations,
    x: Sequence[Node],
    weights: _Weights,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    bias: bool,
) -> Node:
    result = ops.convolution(x[0], weights("weight"), stride, padding, dilation, groups)
    return ops.add(result, ops.constant(weights.channels("bias"))) if bias else result


def _batch_norm(ops: Operations, x: Sequence[Node], weights: _Weights, eps: float) -> Node:
    scale = weights("weight") / np.sqrt(weights("running_var") + np.float32(eps))
    shift = weights("bias") - weights("running_mean") * scale
    return ops.add(ops.multiply(x[0], ops.constant(_channels(scale))), ops.constant(_channels(shift)))


def _hard_sigmoid(ops: Operations, x: Node) -> Node:
    sixth, half = (ops.constant(np.full((1, 1, 1, 1), value, np.float32)) for value in (1 / 6, 0.5))
    return ops.clip(ops.add(ops.multiply(x, sixth), half), 0.0, 1.0)


_STEPS: dict[str, Callable[..., Node]] = {
    "normalise": _normalise,
    "convolution": _convolution,
    "batch_norm": _batch_norm,
    "relu": lambda ops, x, _: ops.relu(x[0]),
    "relu6": lambda ops, x, _: ops.clip(x[0], 0.0, 6.0),
    "sigmoid": lambda ops, x, _: ops.sigmoid(x[0]),
    "silu": lambda ops, x, _: ops.multiply(x[0], ops.sigmoid(x[0])),
    "hard_sigmoid": lambda ops, x, _: _hard_sigmoid(ops, x[0]),
    "hard_swish": lambda ops, x, _: ops.multiply(x[0], _hard_sigmoid(ops, x[0])),
    "maximum_pool": lambda ops, x, _, **how: ops.maximum_pool(x[0], **how),
    "average_pool": lambda ops, x, _, **how: ops.average_pool(x[0], **how),
    "mean": lambda ops, x, _: ops.mean(x[0], (2, 3), keep=True),
    "add": lambda ops, x, _: ops.add(*x),
    "multiply": lambda ops, x, _: ops.multiply(*x),
    "concatenate": lambda ops, x, _: ops.concatenate(x, 1),
}
