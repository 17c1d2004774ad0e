"""Backbones as steps, made without torch, whose import takes longer than a network takes for a hundred images.

Residual networks are written down here: those of He 2016 (arXiv:1512.03385) and their wide and grouped kin, with
torchvision's names, and adcli's own. All others, and weights that are not exactly what such a network needs, are for
`adcli.backbones.extractor`, which says what is wrong with them. tests/backbones/test_stepped.py holds these steps to
the traced ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adcli.backbones import EMBEDDED
from adcli.graphs.network import Network, Step

# Of ImageNet's pixels, red, green and blue: what all of them take.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

COUNTER = "num_batches_tracked"  # of batch norm, used in training only
_NUMBERS = frozenset(map(str, range(100)))  # of blocks
_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class SteppedBackbone:
    """A backbone for engines that follow steps."""

    name: str
    layers: tuple[str, ...]
    network: Network
    weights: Mapping[str, np.ndarray]

    def state(self) -> Mapping[str, np.ndarray]:
        """The weights up to the last used layer, float32, by torchvision's names."""
        return self.weights


@dataclass(frozen=True)
class Shape:
    """How wide and how deep adcli's own network is."""

    stem: int = 16  # channels at stride 2; at stride 4 they are those of the first layer
    widths: tuple[int, int, int] = (32, 96, 160)  # channels of layer1, layer2, layer3, at strides 4, 8, 16
    blocks: tuple[int, int, int] = (1, 2, 2)  # of two convolutions each

    @classmethod
    def of(cls, weights: Mapping[str, Any]) -> Shape:
        """That of the arrays of a file or of a model, which keeps those up to its last layer; the default of the rest.

        So models fitted with other weights than today's can be used.
        """
        stem, widths, blocks = cls.stem, list(cls.widths), list(cls.blocks)

        def channels(name: str) -> int:
            return weights[name].shape[0] if name in weights and len(weights[name].shape) else 0

        stem = channels("conv1.weight") or stem
        for level in range(3):
            layer = f"layer{level + 1}."
            numbers = {name.split(".")[1] for name in weights if name.startswith(layer)}
            if channels(f"{layer}0.conv1.weight") and all(one in _NUMBERS for one in numbers):
                widths[level] = channels(f"{layer}0.conv1.weight")
                blocks[level] = max(map(int, numbers)) + 1
        return cls(stem, tuple(widths), tuple(blocks))


@dataclass(frozen=True)
class _ResNet:
    """One of torchvision's."""

    blocks: tuple[int, int, int, int]
    wide: int = 0  # channels within a bottleneck of the first layer; 0: blocks of two convolutions, without bottleneck
    groups: int = 1


_RESNETS = {
    "resnet18": _ResNet((2, 2, 2, 2)),
    "resnet34": _ResNet((3, 4, 6, 3)),
    "resnet50": _ResNet((3, 4, 6, 3), 64),
    "resnet101": _ResNet((3, 4, 23, 3), 64),
    "wide_resnet50_2": _ResNet((3, 4, 6, 3), 128),
    "wide_resnet101_2": _ResNet((3, 4, 23, 3), 128),
    "resnext50_32x4d": _ResNet((3, 4, 6, 3), 128, 32),
    "resnext101_32x8d": _ResNet((3, 4, 23, 3), 256, 32),
}


def stepped(name: str, layers: Sequence[str], state: Mapping[str, Any]) -> SteppedBackbone | None:
    """The backbone with these weights, tensors or arrays; None where this is no matter of steps written down here."""
    if name not in (EMBEDDED, *_RESNETS):
        return None
    writer = _Writer()
    if name == EMBEDDED:
        ends = dict(_own_layers(writer, Shape.of(state)))
    else:
        ends = dict(_layers(writer, _RESNETS[name]))
    if not all(layer in ends for layer in layers):
        return None
    last = max(ends[layer] for layer in layers)
    shapes = {key: shape for step, key, shape in writer.shapes if step <= last}
    weights = _exactly(shapes, state)
    if weights is None:
        return None
    return SteppedBackbone(
        name, tuple(layers), Network(tuple(writer.steps[:last]), tuple(ends[layer] for layer in layers)), weights
    )


@dataclass
class _Writer:
    """Puts down step after step; each method returns the number of its last."""

    steps: list[Step] = field(default_factory=list)
    shapes: list[tuple[int, str, tuple[int, ...]]] = field(default_factory=list)  # of weights: step, name, shape

    def __post_init__(self) -> None:
        mean, std = (np.array(values, np.float32).tolist() for values in (MEAN, STD))
        self.add("normalise", 0, mean=mean, std=std)

    def add(self, kind: str, *inputs: int, name: str = "", **settings: Any) -> int:
        self.steps.append(Step(kind, inputs, name, settings))
        return len(self.steps)

    def convolution(
        self, x: int, name: str, channels: tuple[int, int], side: int, stride: int, groups: int = 1, norm: str = ""
    ) -> int:
        """From and to so many channels; with batch norm of that name, or else a bias."""
        before, after = channels
        pads = [side // 2] * 2
        x = self.add(
            "convolution",
            x,
            name=name,
            stride=[stride] * 2,
            padding=pads,
            dilation=[1, 1],
            groups=groups,
            bias=not norm,
        )
        self.shapes.append((x, f"{name}.weight", (after, before // groups, side, side)))
        if not norm:
            self.shapes.append((x, f"{name}.bias", (after,)))
            return x
        x = self.add("batch_norm", x, name=norm, eps=1e-05)
        self.shapes += [(x, f"{norm}.{part}", (after,)) for part in _NORM]
        return x


def _layers(to: _Writer, shape: _ResNet) -> Iterator[tuple[str, int]]:
    """torchvision's ResNets: each layer with the number of the step that ends it."""
    x = to.add("relu", to.convolution(1, "conv1", (3, 64), 7, 2, norm="bn1"))
    x = to.add("maximum_pool", x, kernel=[3, 3], stride=[2, 2], padding=[1, 1], ceil=False)
    before = 64
    for level, blocks in enumerate(shape.blocks):
        inside = (shape.wide or 64) << level
        after = 256 << level if shape.wide else inside
        for number in range(blocks):
            stride = 2 if level and not number else 1
            block = f"layer{level + 1}.{number}"
            plan = [(before, inside, 3, stride, 1), (inside, after, 3, 1, 1)]
            if shape.wide:
                plan = [(before, inside, 1, 1, 1), (inside, inside, 3, stride, shape.groups), (inside, after, 1, 1, 1)]
            y = x
            for place, (one, other, side, step, groups) in enumerate(plan, 1):
                names = f"{block}.conv{place}", f"{block}.bn{place}"
                y = to.convolution(y, names[0], (one, other), side, step, groups, names[1])
                if place < len(plan):
                    y = to.add("relu", y)
            if stride > 1 or before != after:
                names = f"{block}.downsample.0", f"{block}.downsample.1"
                x = to.convolution(x, names[0], (before, after), 1, stride, norm=names[1])
            x = to.add("relu", to.add("add", y, x))
            before = after
        yield f"layer{level + 1}", x


def _own_layers(to: _Writer, shape: Shape) -> Iterator[tuple[str, int]]:
    """The same of `adcli.backbones.embedded.Embedded`."""
    x = to.add("relu", to.convolution(1, "conv1", (3, shape.stem), 3, 2))
    x = to.add("relu", to.convolution(x, "conv2", (shape.stem, shape.widths[0]), 3, 2))
    before = shape.widths[0]
    for level, (width, blocks) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
        for number in range(blocks):
            stride = 2 if level and not number else 1
            block = f"layer{level + 1}.{number}"
            y = to.add("relu", to.convolution(x, f"{block}.conv1", (before, width), 3, stride))
            y = to.convolution(y, f"{block}.conv2", (width, width), 3, 1)
            if stride > 1 or before != width:
                x = to.convolution(x, f"{block}.downsample", (before, width), 1, stride)
            x = to.add("relu", to.add("add", y, x))
            before = width
        yield f"layer{level + 1}", x


def _exactly(shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """The weights of these names and shapes; None where one is missing or no finite number, or where the modules that
    they are of have others beside."""
    modules = {key.partition(".")[0] for key in shapes}
    for key in state:
        norm, _, part = key.rpartition(".")
        known = key in shapes or (part == COUNTER and f"{norm}.running_var" in shapes)
        if not known and key.partition(".")[0] in modules:
            return None
    weights = {}
    for key, shape in shapes.items():
        value = _array(state[key]) if key in state else None
        if value is None or value.shape != shape:
            return None
        with np.errstate(over="ignore"):
            weights[key] = np.ascontiguousarray(value, np.float32)
        if not np.isfinite(weights[key]).all() or (key.endswith("running_var") and weights[key].min() < 0):
            return None
    return weights


def _array(value: Any) -> np.ndarray | None:
    """Real numbers of an array, or of a tensor in whatever precision; None of others."""
    if isinstance(value, np.ndarray):
        return value if np.issubdtype(value.dtype, np.floating) else None
    return value.detach().float().cpu().numpy() if value.is_floating_point() else None
