"""The pretrained networks whose features the detectors look at.

Importing this package imports neither torch nor torchvision: help pages and `weights list` only need names. Networks
outside `BACKBONES` are looked up in torchvision, when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from adcli.errors import UsageError

RANDOM = "random-"
"""Prefix of an untrained backbone, drawn from a seed: for tests and as a baseline. It is never downloaded."""

PIXELS = "pixels"
"""The backbone without a network: its one layer is the prepared image. It has no weights."""

PIXELS_LAYERS = ("rgb",)

EMBEDDED = "embedded"
"""The backbone whose weights are a file in this package: they are not fetched."""

EMBEDDED_SUFFIX = ".npz"
"""Of a file of its weights; those of other backbones are torch's."""

JOIN = "+"
"""Between the names of backbones that see every image side by side: resnet18+wide_resnet50_2."""


@dataclass(frozen=True)
class Backbone:
    """A torchvision classification network or adcli's own, cut off after the last layer that is used."""

    name: str  # torchvision's or EMBEDDED, or one of these after `random-`
    layers: tuple[str, ...]  # torchvision's module names; by default the deepest blocks at strides 4, 8 and 16
    weights_url: str | None  # None when untrained, and of EMBEDDED
    size_bytes: int | None  # of the published file, to about 1 kB; None when not in BACKBONES
    paper: str | None
    sha256: str | None = None  # of the published file, where it is known in full
    padim_layers: tuple[str, ...] | None = None  # where the PaDiM paper names others than `layers`
    parts: tuple[Backbone, ...] = ()  # of several backbones joined by +, whose layers are called PART.LAYER

    @property
    def file_name(self) -> str | None:
        """torchvision's name of the weights file."""
        return self.weights_url and self.weights_url.rpartition("/")[2]

    @property
    def sha256_prefix(self) -> str | None:
        """The 8 hex digits of the file's sha256 that torchvision writes into its name."""
        found = re.search(r"-([0-9a-f]{8})\.pth$", self.file_name or "")
        return found and found[1]

    def pins(self, sha256: str) -> bool:
        """Whether this digest is the published file's, as far as that one is known."""
        if self.sha256 is not None:
            return sha256 == self.sha256
        return self.sha256_prefix is not None and sha256.startswith(self.sha256_prefix)


_RESNET = ("layer1", "layer2", "layer3")
_PUBLISHED = "https://download.pytorch.org/models/"

# URLs and sizes: torchvision 0.29, the IMAGENET1K_V1 entry of each network (the weights the papers used, also where
# a V2 exists). resnet18's full digest: quoted alike by several independent public repositories; its first 8 digits
# agree with the file name.
BACKBONES: dict[str, Backbone] = {
    "resnet18": Backbone(
        "resnet18",
        _RESNET,
        _PUBLISHED + "resnet18-f37072fd.pth",
        46_830_000,
        "He 2016, arXiv:1512.03385",
        sha256="f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    ),
    "resnet34": Backbone(
        "resnet34", _RESNET, _PUBLISHED + "resnet34-b627a593.pth", 87_320_000, "He 2016, arXiv:1512.03385"
    ),
    "resnet50": Backbone(
        "resnet50", _RESNET, _PUBLISHED + "resnet50-0676ba61.pth", 102_531_000, "He 2016, arXiv:1512.03385"
    ),
    "wide_resnet50_2": Backbone(
        "wide_resnet50_2",
        _RESNET,
        _PUBLISHED + "wide_resnet50_2-95faca4d.pth",
        138_223_000,
        "Zagoruyko 2016, arXiv:1605.07146",
    ),
    "wide_resnet101_2": Backbone(
        "wide_resnet101_2",
        _RESNET,
        _PUBLISHED + "wide_resnet101_2-32ee1156.pth",
        254_695_000,
        "Zagoruyko 2016, arXiv:1605.07146",
    ),
    "resnext101_32x8d": Backbone(
        "resnext101_32x8d",
        _RESNET,
        _PUBLISHED + "resnext101_32x8d-8ba56ff5.pth",
        356_082_000,
        "Xie 2017, arXiv:1611.05431",
    ),
    "densenet201": Backbone(
        "densenet201",
        ("features.denseblock1", "features.denseblock2", "features.denseblock3"),
        _PUBLISHED + "densenet201-c1103571.pth",
        81_131_000,
        "Huang 2017, arXiv:1608.06993",
    ),
    "efficientnet_b4": Backbone(
        "efficientnet_b4",
        ("features.2", "features.3", "features.5"),
        _PUBLISHED + "efficientnet_b4_rwightman-23ab8bcd.pth",
        78_107_000,
        "Tan 2019, arXiv:1905.11946",
    ),
    # PaDiM (Defard 2020, arXiv:2011.08785, section 4.2) takes layers 7, 20 and 26, read here as MBConv blocks counted
    # from 0. The stages have 3, 5, 5, 7, 7, 9, 3 blocks: 7 ends stage 2, 20 begins stage 5, 26 ends it.
    "efficientnet_b5": Backbone(
        "efficientnet_b5",
        ("features.2", "features.3", "features.5"),
        _PUBLISHED + "efficientnet_b5_lukemelas-1a07897c.pth",
        122_541_000,
        "Tan 2019, arXiv:1905.11946",
        padim_layers=("features.2", "features.5.0", "features.5"),
    ),
    "mobilenet_v3_large": Backbone(
        "mobilenet_v3_large",
        ("features.3", "features.6", "features.12"),
        _PUBLISHED + "mobilenet_v3_large-8738ca79.pth",
        22_140_000,
        "Howard 2019, arXiv:1905.02244",
    ),
}


def find_backbone(name: str, layers: Sequence[str] | None = None) -> Backbone:
    """The backbone of this name, with these layers instead of its own where any are given.

    Beside `BACKBONES` and `EMBEDDED`, every torchvision classification network by its name (its layers must then be
    given), and each of them untrained as `random-NAME`; `pixels`; and several networks, joined by +. That the layers
    exist is found out by whoever builds the network.
    """
    if name == PIXELS:
        if layers is not None and tuple(layers) != PIXELS_LAYERS:
            raise UsageError(f"{PIXELS} has one layer, {PIXELS_LAYERS[0]}: leave out --layers.")
        return Backbone(PIXELS, PIXELS_LAYERS, None, None, None)
    if JOIN in name:
        return _joined(name, layers)
    architecture = name.removeprefix(RANDOM)
    if architecture == EMBEDDED:
        backbone = Backbone(EMBEDDED, _RESNET, None, None, None)
    else:
        backbone = published_backbone(architecture)
    if architecture != name:
        backbone = replace(backbone, name=name, weights_url=None, size_bytes=None, sha256=None)
    if layers is None:
        if not backbone.layers:
            raise UsageError(
                f"{name} has no layers by default: name those to use with --layers, "
                f"for example among {', '.join(_outer_modules(architecture))}."
            )
        return backbone
    layers = tuple(layers)
    if not layers or len(set(layers)) < len(layers):
        raise UsageError(f"--layers of {name} must name one layer or more, each once; got: {', '.join(layers) or '-'}.")
    return replace(backbone, layers=layers, padim_layers=None)


def _joined(name: str, layers: Sequence[str] | None) -> Backbone:
    """Several backbones as one, with the layers of all, or with those named as PART.LAYER."""
    names = name.split(JOIN)
    if len(set(names)) < len(names):
        raise UsageError(f"--backbone {name} names a backbone twice: name each once")
    if PIXELS in names:
        raise UsageError(f"{PIXELS} is the image itself and joins no network: leave it out of --backbone {name}")
    if layers is None:
        parts = tuple(map(find_backbone, names))
        layers = tuple(f"{part.name}.{layer}" for part in parts for layer in part.layers)
    else:
        own = {part: [layer[len(part) + 1 :] for layer in layers if layer.startswith(f"{part}.")] for part in names}
        if strays := [layer for layer in layers if layer.partition(".")[0] not in names]:
            raise UsageError(f"the layer {strays[0]} is of no backbone in {name}: write {names[0]}.{strays[0]}")
        if unused := [part for part in names if not own[part]]:
            raise UsageError(f"no layer of {unused[0]} is used: leave it out of --backbone, or name one of its layers")
        parts = tuple(find_backbone(part, own[part]) for part in names)
    return Backbone(name, tuple(layers), None, None, None, parts=parts)


def published_backbone(name: str) -> Backbone:
    """The backbone whose weights are published under this name; `layers` is empty for those outside `BACKBONES`."""
    if name in BACKBONES:
        return BACKBONES[name]
    if name == PIXELS:
        raise UsageError(f"{PIXELS} is the image itself and has no weights: nothing has to be fetched or added.")
    if name == EMBEDDED:
        raise UsageError(f"{EMBEDDED} comes with adcli: nothing has to be fetched or added.")
    if name.startswith(RANDOM):
        raise UsageError(f"{name} is untrained and has no weights; drop '{RANDOM}' to mean the trained network.")
    from adcli.backbones.torchvision_library import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = get_close_matches(name, {*BACKBONES, EMBEDDED, *known}, n=3) or sorted(BACKBONES)
        raise UsageError(f"There is no backbone {name!r}; did you mean {', '.join(near)}?")
    entry = getattr(torchvision.models.get_model_weights(name), "IMAGENET1K_V1", None)
    if entry is None:
        raise UsageError(
            f"torchvision publishes no IMAGENET1K_V1 weights of {name}; use one of {', '.join(BACKBONES)}."
        )
    return Backbone(name, (), entry.url, None, None)


def _outer_modules(architecture: str) -> list[str]:
    """A network's outermost modules, with those inside `features` instead of it: where one would take layers from."""
    from adcli.backbones.extractor import architecture_of

    names = []
    for outer, module in architecture_of(architecture).named_children():
        names += [f"features.{inner}" for inner, _ in module.named_children()] if outer == "features" else [outer]
    return names
