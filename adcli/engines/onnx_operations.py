"""The operations of a graph as ONNX's, see `adcli.graphs.Operations`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 18  # the first whose Resize takes axes; the runtimes of 2023 have it
IR_VERSION = 8  # of the same year


class ONNXOperations:
    """Collects nodes of ONNX's operator set 18; what an operation gives is the name of a value."""

    narrows = False

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._ranks: dict[str, int] = {}  # of the constants

    def constant(self, values: np.ndarray, narrow: bool = False) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        self._ranks[name] = values.ndim
        return name

    def convolution(
        self,
        x: str,
        weight: np.ndarray,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> str:
        how = {"strides": list(stride), "pads": _both(padding), "dilations": list(dilation), "group": groups}
        return self._node("Conv", x, self.constant(weight), **how)

    def maximum_pool(
        self, x: str, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool
    ) -> str:
        return self._node("MaxPool", x, **_window(kernel, stride, padding, ceil))

    def average_pool(
        self, x: str, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool, zeros: bool
    ) -> str:
        return self._node("AveragePool", x, **_window(kernel, stride, padding, ceil), count_include_pad=int(zeros))

    def resize(self, x: str, size: tuple[int, int], bilinear: bool) -> str:
        sizes = self.constant(np.array(size, np.int64))
        how: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        if not bilinear:
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._node("Resize", x, "", "", sizes, axes=[2, 3], **how)

    def add(self, a: str, b: str) -> str:
        return self._node("Add", a, b)

    def subtract(self, a: str, b: str) -> str:
        return self._node("Sub", a, b)

    def multiply(self, a: str, b: str) -> str:
        return self._node("Mul", a, b)

    def divide(self, a: str, b: str) -> str:
        return self._node("Div", a, b)

    def matmul(self, a: str, b: str, turned: bool = False) -> str:
        if not turned:
            return self._node("MatMul", a, b)
        if b not in self._ranks:  # MatMul turns nothing, and Transpose must know how many axes there are
            return self._node("Einsum", a, b, equation="...ij,...kj->...ik")
        *leading, rows, columns = range(self._ranks[b])
        return self._node("MatMul", a, self.transpose(b, (*leading, columns, rows)))

    def narrow(self, x: str) -> str:
        return x

    def relu(self, x: str) -> str:
        return self._node("Relu", x)

    def clip(self, x: str, low: float, high: float) -> str:
        return self._node("Clip", x, *(self.constant(np.array(limit, np.float32)) for limit in (low, high)))

    def sigmoid(self, x: str) -> str:
        return self._node("Sigmoid", x)

    def softmax(self, x: str, axis: int) -> str:
        return self._node("Softmax", x, axis=axis)

    def log(self, x: str) -> str:
        return self._node("Log", x)

    def round(self, x: str) -> str:
        return self._node("Round", x)

    def root(self, x: str) -> str:
        return self._node("Sqrt", x)

    def concatenate(self, xs: Sequence[str], axis: int) -> str:
        return self._node("Concat", *xs, axis=axis)

    def take(self, x: str, indices: str, axis: int) -> str:
        return self._node("Gather", x, indices, axis=axis)

    def pick(self, x: str, indices: str, axis: int) -> str:
        return self._node("GatherElements", x, indices, axis=axis)

    def top(self, x: str, count: int, axis: int) -> tuple[str, str]:
        values = self._node("TopK", x, self.constant(np.array([count], np.int64)), outputs=2, axis=axis)
        numbers = self.nodes[-1].output[1]  # int64
        return values, self._node("Cast", numbers, to=TensorProto.INT32)

    def sum(self, x: str, axes: Sequence[int]) -> str:
        return self._node("ReduceSum", x, self._whole(axes), keepdims=0)

    def mean(self, x: str, axes: Sequence[int], keep: bool = False) -> str:
        return self._node("ReduceMean", x, self._whole(axes), keepdims=int(keep))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self._node("Reshape", x, self._whole(shape))

    def transpose(self, x: str, order: Sequence[int]) -> str:
        return self._node("Transpose", x, perm=list(order))

    def rename(self, value: str, name: str) -> None:
        """Gives the value of the last operation another name."""
        outputs = self.nodes[-1].output
        outputs[list(outputs).index(value)] = name

    def _whole(self, numbers: Sequence[int]) -> str:
        return self.constant(np.array(numbers, np.int64))

    def _node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        names = [name, *(f"{name}_{number}" for number in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, inputs, names, name, **attributes))
        return name


def _both(padding: Sequence[int]) -> list[int]:
    """The padding before every axis, and as much behind."""
    return [*padding, *padding]


def _window(kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool) -> dict[str, Any]:
    return {"kernel_shape": list(kernel), "strides": list(stride), "pads": _both(padding), "ceil_mode": int(ceil)}
