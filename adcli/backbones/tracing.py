"""From an extractor to the list of its steps, which a model file keeps."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.fx
import torch.nn.functional as functional
from torch import nn

from adcli.backbones.extractor import Extractor
from adcli.backbones.joined import JoinedExtractor
from adcli.backbones.pixels import Pixels
from adcli.graphs.network import Network, Step


class _Unknown(Exception):
    """The network does something that is no step."""


def network_of(extractor: Extractor | JoinedExtractor | Pixels) -> Network | None:
    """The steps of an extractor; None where it does something that `adcli.graphs.network` has no step for.

    Known are the layers of the usual convolutional networks: ResNet, VGG, DenseNet, MobileNet, EfficientNet, RegNet.
    """
    if isinstance(extractor, Pixels):
        return Network((), (0,))
    parts = extractor.parts if isinstance(extractor, JoinedExtractor) else [extractor]
    steps: list[Step] = []
    places: dict[str, int] = {}
    try:
        for part in parts:
            prefix = f"{part.name}." if isinstance(extractor, JoinedExtractor) else ""
            for layer, place in zip(part.layers, _append(part, prefix, steps), strict=True):
                places[prefix + layer] = place
    except _Unknown:
        return None
    return Network(tuple(steps), tuple(places[layer] for layer in extractor.layers))


def _append(extractor: Extractor, prefix: str, steps: list[Step]) -> Sequence[int]:
    """Adds the steps of one network; returns where its layers are among them."""
    mean, std = extractor.mean.flatten().tolist(), extractor.std.flatten().tolist()
    steps.append(Step("normalise", (0,), settings={"mean": mean, "std": std}))
    places: dict[torch.fx.Node, int] = {}
    for node in extractor.network.graph.nodes:
        if node.op == "placeholder":
            places[node] = len(steps)
        elif node.op == "output":
            return [places[output] for output in node.args[0]]
        else:
            kind, inputs, name, settings = _step(extractor.network, node)
            numbers = tuple(places[one] for one in inputs)
            if kind is None:  # does nothing
                places[node] = numbers[0]
                continue
            steps.append(Step(kind, numbers, prefix + name if name else "", settings))
            places[node] = len(steps)
    raise _Unknown


def _step(
    network: torch.fx.GraphModule, node: torch.fx.Node
) -> tuple[str | None, Sequence[torch.fx.Node], str, dict[str, Any]]:
    """Kind (None: nothing is done), inputs, name of the weights, settings."""
    if node.op == "call_module":
        module = network.get_submodule(node.target)
        for kinds, describe in _MODULES.items():
            if isinstance(module, kinds):
                kind, settings = describe(module)
                weighty = bool(module.state_dict())
                return kind, _tensors(node.args), node.target if weighty else "", settings
    elif node.op == "call_function" and node.target in _FUNCTIONS:
        kind = _FUNCTIONS[node.target]
        inputs = node.args[0] if kind == "concatenate" else node.args
        if kind == "concatenate" and (node.args[1:] or (node.kwargs.get("dim"),)) != (1,):
            raise _Unknown
        return kind, _tensors(inputs if kind != "relu" else inputs[:1]), "", {}
    elif node.op == "call_function" and node.target is functional.adaptive_avg_pool2d and _single(node.args[1]):
        return "mean", _tensors(node.args[:1]), "", {}
    elif getattr(node.target, "__name__", "") == "stochastic_depth":  # keeps all of it but in training
        return None, _tensors(node.args[:1]), "", {}
    raise _Unknown


def _tensors(args: Sequence[Any]) -> Sequence[torch.fx.Node]:
    if not all(isinstance(arg, torch.fx.Node) for arg in args):
        raise _Unknown
    return args


def _single(size: Any) -> bool:
    return size == 1 or (isinstance(size, (tuple, list)) and tuple(size) == (1, 1))


def _pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, (tuple, list)) else [value, value]


def _convolution(module: nn.Conv2d) -> tuple[str, dict[str, Any]]:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise _Unknown
    return "convolution", {
        "stride": _pair(module.stride),
        "padding": _pair(module.padding),
        "dilation": _pair(module.dilation),
        "groups": module.groups,
        "bias": module.bias is not None,
    }


def _batch_norm(module: nn.BatchNorm2d) -> tuple[str, dict[str, Any]]:
    if not module.affine or not module.track_running_stats:
        raise _Unknown
    return "batch_norm", {"eps": module.eps}


def _maximum_pool(module: nn.MaxPool2d) -> tuple[str, dict[str, Any]]:
    if _pair(module.dilation) != [1, 1]:
        raise _Unknown
    return "maximum_pool", _window(module)


def _average_pool(module: nn.AvgPool2d) -> tuple[str, dict[str, Any]]:
    if module.divisor_override is not None:
        raise _Unknown
    return "average_pool", {**_window(module), "zeros": module.count_include_pad}


def _window(module: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    return {
        "kernel": _pair(module.kernel_size),
        "stride": _pair(module.stride),
        "padding": _pair(module.padding),
        "ceil": module.ceil_mode,
    }


def _mean(module: nn.AdaptiveAvgPool2d) -> tuple[str, dict[str, Any]]:
    if not _single(module.output_size):
        raise _Unknown
    return "mean", {}


_MODULES: dict[Any, Callable[[Any], tuple[str | None, dict[str, Any]]]] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _maximum_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _mean,
    nn.ReLU6: lambda _: ("relu6", {}),
    nn.ReLU: lambda _: ("relu", {}),
    nn.SiLU: lambda _: ("silu", {}),
    nn.Sigmoid: lambda _: ("sigmoid", {}),
    nn.Hardsigmoid: lambda _: ("hard_sigmoid", {}),
    nn.Hardswish: lambda _: ("hard_swish", {}),
    (nn.Dropout, nn.Identity): lambda _: (None, {}),
}
_FUNCTIONS: dict[Any, str] = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    operator.mul: "multiply",
    operator.imul: "multiply",
    torch.mul: "multiply",
    torch.cat: "concatenate",
    functional.relu: "relu",
}
