"""The network that adcli brings along: residual, narrow, and without batch norm, which is folded into what is kept.

Basic blocks as in ResNet-18 (He 2016, arXiv:1512.03385), with two strided convolutions of 3x3 before them in place of
one of 7x7 and a pooling, and fewer channels. Channels are multiples of 16 and mostly of 32, because the tile units of
CPUs multiply matrices of such sides; benchmarks/embedded/README.md has what other shapes took.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from adcli.backbones.stepped import Shape

Convolution = Callable[[int, int, int, int], nn.Module]
"""Inputs, outputs, side of the kernel and stride to a convolution that keeps the grid but for its stride."""


def biased(inputs: int, outputs: int, side: int, stride: int) -> nn.Module:
    """What is kept: batch norm is a part of weight and bias."""
    return nn.Conv2d(inputs, outputs, side, stride, side // 2)


class Block(nn.Module):
    """Two convolutions of 3x3 beside a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, convolution: Convolution) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.relu = nn.ReLU()
        self.conv2 = convolution(outputs, outputs, 3, 1)
        around = inputs != outputs or stride != 1
        self.downsample = convolution(inputs, outputs, 1, stride) if around else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv2(self.relu(self.conv1(x))) + self.downsample(x))


class Embedded(nn.Module):
    """Normalised pixels (N, 3, H, W) to the features of layer1, layer2, layer3, at strides 4, 8, 16.

    Weights are drawn as ResNet's are (He 2015, arXiv:1502.01852, fan out). Training hands in a `convolution` with batch
    norm.
    """

    def __init__(self, shape: Shape | None = None, convolution: Convolution = biased) -> None:
        super().__init__()
        shape = shape or Shape()
        self.conv1 = convolution(3, shape.stem, 3, 2)
        self.conv2 = convolution(shape.stem, shape.widths[0], 3, 2)
        self.relu = nn.ReLU()
        before = shape.widths[0]
        for number, (width, blocks) in enumerate(zip(shape.widths, shape.blocks, strict=True), 1):
            first = Block(before, width, 1 if number == 1 else 2, convolution)
            more = [Block(width, width, 1, convolution) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *more))
            before = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        first = self.layer1(self.relu(self.conv2(self.relu(self.conv1(x)))))
        second = self.layer2(first)
        return first, second, self.layer3(second)
