"""The operations of a graph done at once by torch in float64: the slow reference that engines are held to."""

from __future__ import annotations

import torch
import torch.nn.functional as functional


def _exact(x):
    return x.double() if x.is_floating_point() else x


class TorchOperations:
    def __init__(self, narrows=False):
        self.narrows = narrows

    def constant(self, values, narrow=False):
        exact = _exact(torch.as_tensor(values))
        return self.narrow(exact) if narrow else exact

    def convolution(self, x, weight, stride, padding, dilation, groups):
        return functional.conv2d(
            x, _exact(torch.as_tensor(weight)), None, tuple(stride), tuple(padding), tuple(dilation), groups
        )

    def maximum_pool(self, x, kernel, stride, padding, ceil):
        return functional.max_pool2d(x, tuple(kernel), tuple(stride), tuple(padding), ceil_mode=ceil)

    def average_pool(self, x, kernel, stride, padding, ceil, zeros):
        return functional.avg_pool2d(x, tuple(kernel), tuple(stride), tuple(padding), ceil, zeros)

    def resize(self, x, size, bilinear):
        if bilinear:
            return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
        return functional.interpolate(x, size=tuple(size), mode="nearest")

    def add(self, a, b):
        return a + b

    def subtract(self, a, b):
        return a - b

    def multiply(self, a, b):
        return a * b

    def divide(self, a, b):
        return a / b

    def matmul(self, a, b, turned=False):
        return a @ (b.mT if turned else b)

    def narrow(self, x):
        return x.bfloat16().double() if self.narrows else x

    def widen(self, x, count, value):
        return functional.pad(x, (0, count), value=value)

    def relu(self, x):
        return x.clamp_min(0)

    def clip(self, x, low, high):
        return x.clamp(low, high)

    def sigmoid(self, x):
        return x.sigmoid()

    def log(self, x):
        return x.log()

    def softmax(self, x, axis):
        return x.softmax(axis)

    def round(self, x):
        return x.round()

    def root(self, x):
        return x.sqrt()

    def concatenate(self, xs, axis):
        return torch.cat(list(xs), axis)

    def take(self, x, indices, axis):
        taken = x.index_select(axis, indices.long().flatten())
        return taken.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])

    def pick(self, x, indices, axis):
        return x.gather(axis, indices.long())

    def top(self, x, count, axis):
        values, places = x.topk(count, axis)
        return values, places.int()

    def sum(self, x, axes):
        return x.sum(tuple(axes))

    def mean(self, x, axes, keep=False):
        return x.mean(tuple(axes), keepdim=keep)

    def reshape(self, x, shape):
        return x.reshape(tuple(shape))

    def transpose(self, x, order):
        return x.permute(tuple(order))
