"""The network that adcli brings along: residual, narrow, and without batch norm, which is folded into what is kept.

Basic blocks as in ResNet-18 (He 2016, arXiv:1512.03385), with two strided convolutions of 3x3 before them in place of
one of 7x7 and a pooling, and fewer channels. Channels are multiples of 16 and mostly of 32, because the tile units of
CPUs multiply matrices of such sides; benchmarks/embedded/README.md has what other shapes took.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# Of ImageNet's pixels, red, green and blue: what its teacher takes. Models do not keep them: they stay.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Shape:
    """How wide and how deep."""

    stem: int = 16  # channels at stride 2; at stride 4 they are those of the first layer
    widths: tuple[int, int, int] = (32, 96, 160)  # channels of layer1, layer2, layer3, at strides 4, 8, 16
    blocks: tuple[int, int, int] = (1, 2, 2)  # of two convolutions each

    @classmethod
    def of(cls, weights: Mapping[str, Any]) -> Shape:
        """That of the arrays of a file or of a model, which keeps those up to its last layer; the default of the rest.

        So models fitted with other weights than today's can be used.
        """
        stem, widths, blocks = cls.stem, list(cls.widths), list(cls.blocks)
        if "conv1.weight" in weights:
            stem = len(weights["conv1.weight"])
        for level in range(3):
            layer = f"layer{level + 1}."
            numbers = {name.split(".")[1] for name in weights if name.startswith(layer)}
            if f"{layer}0.conv1.weight" in weights and all(map(str.isdecimal, numbers)):
                widths[level] = len(weights[f"{layer}0.conv1.weight"])
                blocks[level] = max(map(int, numbers)) + 1
        return cls(stem, tuple(widths), tuple(blocks))


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
