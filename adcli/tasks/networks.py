"""What is known of networks without making one: the shapes of their layers, the bytes of their weights, their work.

Making a network takes torch, and seconds. tests/tasks/test_costs.py holds this table to the networks themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adcli.backbones import PIXELS, RANDOM, Backbone

Shape = tuple[int, int, int]
"""(C, h, w) of a layer."""


@dataclass(frozen=True)
class Stage:
    """A layer of a network."""

    channels: int
    stride: int  # pixels of the input a step of its grid, a power of two
    weights: int  # bytes of all weights up to its end, float32


@dataclass(frozen=True)
class Network:
    """A network, as far as it is used."""

    stages: dict[str, Stage]
    work: float  # 10^9 multiply-adds an image of 224x224, of the whole network, which is a bound of its part
    floors: bool = False  # a grid that is halved loses an odd row, where the others keep it


def _network(work: float, *stages: tuple[str, int, int, int], floors: bool = False) -> Network:
    return Network({name: Stage(*stage) for name, *stage in stages}, work, floors)


def _resnet(work: float, *stages: tuple[int, int]) -> Network:
    rows = zip(("layer1", "layer2", "layer3"), stages, (4, 8, 16), strict=True)
    return _network(work, *((name, channels, stride, weights) for name, (channels, weights), stride in rows))


# Work: "GFLOPS" in torchvision's table of pretrained weights (docs.pytorch.org/vision), EfficientNets at a size of
# their own; of adcli's own network, counted. Shapes and bytes are those of the networks of torchvision 0.29, and ours.
NETWORKS: dict[str, Network] = {
    "embedded": _resnet(0.46, (32, 94_336), (96, 1_214_464), (160, 4_596_864)),
    "resnet18": _resnet(1.8, (64, 632_576), (128, 2_739_968), (256, 11_149_056)),
    "resnet34": _resnet(3.7, (64, 929_536), (128, 5_404_416), (256, 32_720_640)),
    "resnet50": _resnet(4.1, (256, 913_152), (512, 5_820_160), (1024, 34_295_552)),
    "wide_resnet50_2": _resnet(11.4, (256, 2_590_464), (512, 16_557_824), (1024, 99_608_320)),
    "efficientnet_b4": _network(
        4.4,
        ("features.2", 32, 4, 300_992),
        ("features.3", 56, 8, 1_112_328),
        ("features.5", 160, 16, 14_738_560),
    ),
    "efficientnet_b5": _network(
        10.3,
        ("features.2", 40, 4, 539_352),
        ("features.3", 64, 8, 1_888_384),
        ("features.5.0", 176, 16, 9_743_168),
        ("features.5", 176, 16, 21_774_176),
    ),
    "mobilenet_v3_large": _network(
        0.2,
        ("features.3", 24, 4, 38_176),
        ("features.6", 40, 8, 253_376),
        ("features.12", 112, 16, 3_214_560),
    ),
}
_MIDDLING = 5.0  # 10^9 multiply-adds, of a network that is not in the table


def shapes_of(backbone: Backbone, layers: Sequence[str], size: tuple[int, int]) -> tuple[Shape, ...] | None:
    """Shapes of these layers for inputs of a size (H, W); None where the table lacks one of them."""
    if backbone.name == PIXELS:
        return ((3, *size),)
    found = [_stage(backbone, layer) for layer in layers]
    if None in found:
        return None
    return tuple(
        (stage.channels, *(_steps(side, stage.stride, network.floors) for side in size)) for network, stage in found
    )


def weights_of(backbone: Backbone, layers: Sequence[str]) -> int | None:
    """Bytes of the weights up to the last of these layers, as a model file keeps them; None where that is not known."""
    if backbone.name == PIXELS:
        return 0
    found = {layer: _stage(backbone, layer) for layer in layers}
    if None in found.values():
        return None
    parts: dict[str, int] = {}
    for layer, (_, stage) in found.items():
        part = layer.partition(".")[0] if backbone.parts else ""
        parts[part] = max(parts.get(part, 0), stage.weights)
    return sum(parts.values())


def work_of(backbone: Backbone, size: tuple[int, int]) -> float:
    """Multiply-adds of an input of a size (H, W), at most; of a network that the table lacks, of a middling one."""
    if backbone.name == PIXELS:
        return 0.0
    each = [NETWORKS.get(part.name.removeprefix(RANDOM)) for part in backbone.parts or (backbone,)]
    return sum(1e9 * (_MIDDLING if one is None else one.work) for one in each) * size[0] * size[1] / 224**2


def _stage(backbone: Backbone, layer: str) -> tuple[Network, Stage] | None:
    name = backbone.name
    if backbone.parts:
        name = next((part.name for part in backbone.parts if layer.startswith(f"{part.name}.")), "")
        layer = layer.removeprefix(f"{name}.")
    network = NETWORKS.get(name.removeprefix(RANDOM))
    return None if network is None or layer not in network.stages else (network, network.stages[layer])


def _steps(side: int, stride: int, floors: bool) -> int:
    """Length of a grid: halvings that round up, or, where it floors, up twice and then down."""
    if not floors:
        return -(-side // stride)
    return -(-side // 4) // (stride // 4)
