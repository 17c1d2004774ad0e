"""The operations of a graph as OpenVINO's, see `adcli.graphs.Operations`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from adcli.engines.openvino_library import openvino, opset


class OpenVINOOperations:
    """Builds nodes of OpenVINO's operation set 14."""

    def __init__(self, narrows: bool = False):
        self.narrows = narrows

    def constant(self, values: np.ndarray, narrow: bool = False) -> Any:
        if narrow and self.narrows:
            bits = _narrowed(values)
            return opset.constant(openvino.Tensor(bits, list(bits.shape), openvino.Type.bf16), shared_memory=False)
        return opset.constant(np.ascontiguousarray(values), shared_memory=True)

    def convolution(
        self,
        x: Any,
        weight: np.ndarray,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Any:
        stride, padding, dilation = list(stride), list(padding), list(dilation)
        if groups == 1:
            return opset.convolution(x, self.constant(weight), stride, padding, padding, dilation)
        grouped = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
        return opset.group_convolution(x, self.constant(grouped), stride, padding, padding, dilation)

    def maximum_pool(
        self, x: Any, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool
    ) -> Any:
        stride, padding, kernel = list(stride), list(padding), list(kernel)
        return opset.max_pool(x, stride, [1, 1], padding, padding, kernel, _rounding(ceil)).output(0)

    def average_pool(
        self, x: Any, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool, zeros: bool
    ) -> Any:
        stride, padding, kernel = list(stride), list(padding), list(kernel)
        return opset.avg_pool(x, stride, padding, padding, kernel, not zeros, _rounding(ceil))

    def resize(self, x: Any, size: tuple[int, int], bilinear: bool) -> Any:
        return opset.interpolate(
            x,
            np.array(size, np.int64),
            "linear_onnx" if bilinear else "nearest",
            "sizes",
            coordinate_transformation_mode="half_pixel" if bilinear else "asymmetric",
            nearest_mode="floor",
            axes=np.array([2, 3], np.int64),
        )

    def add(self, a: Any, b: Any) -> Any:
        return opset.add(a, b)

    def subtract(self, a: Any, b: Any) -> Any:
        return opset.subtract(a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        return opset.multiply(a, b)

    def divide(self, a: Any, b: Any) -> Any:
        return opset.divide(a, b)

    def matmul(self, a: Any, b: Any, turned: bool = False) -> Any:
        return opset.matmul(a, b, False, turned)

    def narrow(self, x: Any) -> Any:
        return opset.convert(x, openvino.Type.bf16) if self.narrows else x

    def widen(self, x: Any, count: int, value: float) -> Any:
        filling = opset.convert_like(opset.constant(np.float32(value)), x)
        return opset.pad(x, [0, 0], [0, count], "constant", filling)

    def relu(self, x: Any) -> Any:
        return opset.relu(x)

    def clip(self, x: Any, low: float, high: float) -> Any:
        return opset.clamp(x, low, high)

    def sigmoid(self, x: Any) -> Any:
        return opset.sigmoid(x)

    def log(self, x: Any) -> Any:
        return opset.log(x)

    def softmax(self, x: Any, axis: int) -> Any:
        return opset.softmax(x, axis)

    def round(self, x: Any) -> Any:
        return opset.round(x, "half_to_even")

    def root(self, x: Any) -> Any:
        return opset.sqrt(x)

    def concatenate(self, xs: Sequence[Any], axis: int) -> Any:
        return xs[0] if len(xs) == 1 else opset.concat(list(xs), axis)

    def take(self, x: Any, indices: Any, axis: int) -> Any:
        return opset.gather(x, indices, np.int64(axis))

    def pick(self, x: Any, indices: Any, axis: int) -> Any:
        return opset.gather_elements(x, indices, axis)

    def top(self, x: Any, count: int, axis: int) -> tuple[Any, Any]:
        found = opset.topk(x, np.int64(count), axis, "max", "value", openvino.Type.i32)
        return found.output(0), found.output(1)

    def sum(self, x: Any, axes: Sequence[int]) -> Any:
        return opset.reduce_sum(x, np.array(axes, np.int64), False)

    def mean(self, x: Any, axes: Sequence[int], keep: bool = False) -> Any:
        return opset.reduce_mean(x, np.array(axes, np.int64), keep)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return opset.reshape(x, np.array(shape, np.int64), False)

    def transpose(self, x: Any, order: Sequence[int]) -> Any:
        if tuple(order) == (0, 2, 3, 1):  # a layer lies turned already: behind a pooling, were it of nothing, that is
            # noticed; behind a convolution the layer is copied twice, which takes as long as a block of the network
            x = self.average_pool(x, (1, 1), (1, 1), (0, 0), ceil=False, zeros=True)
        return opset.transpose(x, np.array(order, np.int64))


def _rounding(ceil: bool) -> str:
    return "ceil_torch" if ceil else "floor"


def _narrowed(values: np.ndarray) -> np.ndarray:
    """Bits (uint16) of the nearest bf16, of two the even one; OpenVINO rounds a quarter of what it is given wrongly."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)) >> 16).astype(np.uint16)
