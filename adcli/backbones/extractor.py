"""From pixels to features: a torchvision network, or adcli's own, cut off after the last layer that is used, frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
import torch.fx
from torch.fx.experimental.optimization import fuse
from torch.nn import init

from adcli.backbones import BACKBONES, EMBEDDED, PIXELS, RANDOM, find_backbone
from adcli.backbones.embedded import Embedded
from adcli.backbones.joined import JoinedExtractor, part_of_state
from adcli.backbones.pixels import Pixels
from adcli.backbones.stepped import COUNTER, MEAN, STD, Shape
from adcli.errors import EnvironmentFault, UsageError

# These two compute their own initial weights slowly and warn about it unless told not to, and their published weights
# expect inputs scaled as GoogLeNet's were, which torchvision switches on only when it loads the weights itself.
_OPTIONS = {name: {"init_weights": False, "transform_input": True} for name in ("googlenet", "inception_v3")}

# What networks raise that are bound to one size of image, or whose layers return something else than a tensor.
_UNTRACEABLE = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

# What networks are initialised by; those of `init` are answered for at once, as within them no mode is asked again.
_DRAWS = (torch.Tensor.normal_, torch.Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_)


class Extractor(torch.nn.Module):
    """Pixels (N, 3, H, W), float32 RGB in [0, 1], to one tensor of features (N, C, h, w) per layer, in their order.

    The ImageNet mean and deviation are taken off inside. Frozen: no gradients, never in training mode.
    """

    def __init__(self, name: str, layers: tuple[str, ...], network: torch.fx.GraphModule) -> None:
        super().__init__()
        self.name = name
        self.layers = layers
        self.network = network
        mean, std = _normalisation(name.removeprefix(RANDOM))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Extractor:
        """Stays in evaluation mode, so that no caller can make batch norm forget what it has learnt."""
        return super().train(False)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # Not self.network(...): torch.fx would print to stderr whatever goes wrong inside, see _Quiet.
        return self.network.forward((pixels - self.mean) / self.std)

    def state(self) -> dict[str, np.ndarray]:
        """The weights up to the last used layer, float32, by torchvision's names: what `build_extractor` takes back."""
        state = self.network.state_dict()
        return {name: value.cpu().numpy() for name, value in state.items() if not name.endswith(COUNTER)}

    def layer_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """See `layer_shapes`."""
        return layer_shapes(self, size)

    def for_inference(self) -> torch.nn.Module:
        """The same function in less time: batch norm folded into the convolutions, channels last in memory."""
        return _Quiet(fuse(self)).eval().requires_grad_(False).to(memory_format=torch.channels_last)


class _Quiet(torch.nn.Module):
    """Passes over the call of a traced network, which prints to stderr whatever goes wrong inside, memory included."""

    def __init__(self, network: torch.fx.GraphModule) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.network.forward(pixels)


def build_extractor(
    name: str, layers: Sequence[str], state: Mapping[str, np.ndarray | torch.Tensor] | None, seed: int
) -> Extractor | JoinedExtractor | Pixels:
    """An extractor with the weights in `state`, or, for `random-*` without a state, with weights drawn from `seed`.

    `state` needs to hold only what the layers use; more (later layers, a classifier) is ignored, but weights of
    another network are refused.
    """
    backbone = find_backbone(name, layers)
    if name == PIXELS:
        return Pixels(state)
    if backbone.parts:
        parts = [build_extractor(p.name, p.layers, part_of_state(state, p.name), seed) for p in backbone.parts]
        return JoinedExtractor(name, backbone.layers, parts)
    layers = backbone.layers
    if state is None and not name.startswith(RANDOM):
        raise EnvironmentFault(f"{name} needs its weights: run `adcli weights pull {name}` or give --weights FILE.")
    shape = None if state is None else Shape.of(state)
    model = architecture_of(name.removeprefix(RANDOM), seed if state is None else None, shape)
    extractor = cut(model, name, layers)
    if state is not None:
        state = _modern_names(state)
        _refuse_other_networks(extractor, model, state)
        extractor.network.load_state_dict(_needed(extractor, state), assign=True)
        extractor.requires_grad_(False)
    return extractor


def layer_shapes(extractor: Extractor | JoinedExtractor | Pixels, size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """(C, h, w) of each layer for images of size (H, W), from one black image."""
    try:
        return [tuple(shape[1:]) for shape in _shapes(extractor, size)]
    except RuntimeError as error:
        raise UsageError(f"Images of {size[0]}x{size[1]} pixels are too small for {extractor.name}.") from error


def check_weights(name: str, state: Mapping[str, torch.Tensor]) -> None:
    """Refuses weights that are not of this backbone's network; they may be a part of it."""
    model = architecture_of(name)
    _refuse_other_networks(cut(model, name, find_backbone(name).layers), model, _modern_names(state))


def architecture_of(architecture: str, seed: int | None = None, shape: Shape | None = None) -> torch.nn.Module:
    """The whole network, with weights drawn from `seed`, or without memory for any where there is none; `shape` is that
    of an embedded one.

    No generator outside is touched. RegNet cannot be made without weights, so it always has some.
    """

    def make() -> torch.nn.Module:
        if architecture == EMBEDDED:
            return Embedded(shape).eval()
        return _torchvision().models.get_model(architecture, weights=None, **_OPTIONS.get(architecture, {})).eval()

    with torch.random.fork_rng(devices=[]):
        if seed is None:
            try:
                with torch.device("meta"), _Undrawn():
                    return make()
            except NotImplementedError:
                seed = 0
        # Not torch.manual_seed: that one also seeds the accelerators' generators, which are not forked here.
        torch.default_generator.manual_seed(seed)
        return make()


def _normalisation(architecture: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation of the pixels that a network was trained on."""
    if architecture == EMBEDDED:
        return MEAN, STD
    published = _torchvision().models.get_model_weights(architecture)["IMAGENET1K_V1"].transforms()
    return published.mean, published.std


def _torchvision() -> Any:
    """torchvision, which adcli's own network does not need."""
    from adcli.backbones.torchvision_library import torchvision

    return torchvision


class _Undrawn(torch.overrides.TorchFunctionMode):
    """Leaves weights without memory as they are: torch would import its compiler to draw them, for half a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class _OutputsTracer(torch.fx.Tracer):
    """Remembers what each module returned, by the module's name; the last time, where it is called more than once."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, Any] = {}

    def call_module(self, m: torch.nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        self.outputs[self.path_of_module(m)] = output
        return output


def cut(model: torch.nn.Module, name: str, layers: tuple[str, ...]) -> Extractor:
    """The part of the model that leads to these layers."""
    modules = [path for path, _ in model.named_modules() if path]
    for layer in layers:
        if layer not in modules:
            near = get_close_matches(layer, modules, n=3) or [path for path, _ in model.named_children()]
            raise UsageError(f"{name} has no layer {layer!r}; did you mean {', '.join(near)}?")
    tracer = _OutputsTracer()
    no_grid = UsageError(
        f"{', '.join(layers)} of {name} do not all give a grid of features that follows the image's size: "
        "choose other layers, or a convolutional backbone such as resnet18."
    )
    try:
        network = torch.fx.GraphModule(model, tracer.trace(model))
        outputs = tuple(tracer.outputs[layer].node for layer in layers)
    except _UNTRACEABLE as error:
        raise no_grid from error
    _return(network, outputs)
    extractor = Extractor(name, layers, network)
    architecture = name.removeprefix(RANDOM)
    if architecture in (EMBEDDED, *BACKBONES):
        known = find_backbone(architecture)
        if {*layers} <= {*known.layers, *(known.padim_layers or ())}:  # the tests have looked
            return extractor
    try:
        wide, tall = _shapes(extractor, (256, 320)), _shapes(extractor, (320, 256))
    except _UNTRACEABLE as error:
        raise no_grid from error
    for shape, turned in zip(wide, tall, strict=True):
        # Channels do not turn with the image; those of a transformer (N, h, w, C) and a pooled 1 x 1 fall out here.
        if len(shape) != 4 or turned != (shape[0], shape[1], shape[3], shape[2]) or shape[2] >= shape[3]:
            raise no_grid
    return extractor


def _return(network: torch.fx.GraphModule, outputs: tuple[torch.fx.Node, ...]) -> None:
    """Makes the network return these nodes, unspoilt, and drops what they do not need."""
    graph = network.graph
    for node in reversed(graph.nodes):
        if node.op == "output":
            graph.erase_node(node)
            break
    # A ReLU that works in place right after a layer would overwrite the features handed out. (So would `+=`, but
    # tracing makes it a plain addition.)
    for node in outputs:
        for user in list(node.users):
            if user.op == "call_module" and hasattr(network.get_submodule(user.target), "inplace"):
                network.get_submodule(user.target).inplace = False
            elif user.kwargs.get("inplace"):
                user.kwargs = {**user.kwargs, "inplace": False}
    graph.output(outputs)
    graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()


def _shapes(extractor: Extractor | JoinedExtractor | Pixels, size: tuple[int, int]) -> list[tuple[int, ...]]:
    """Shapes of the features of an image of size (H, W); of weights without memory, on tensors without memory.

    Others do the work: for shapes alone torch imports its compiler, which takes longer.
    """
    weights = dict([*extractor.named_parameters(), *extractor.named_buffers()])
    devices = [torch.device("cpu"), *(value.device for value in weights.values())]
    device = next((one for one in devices if one.type == "meta"), devices[-1])
    if device.type == "meta":  # mean and deviation have memory
        weights = {name: torch.empty(value.shape, dtype=value.dtype, device=device) for name, value in weights.items()}
    with torch.inference_mode():
        pixels = torch.zeros(1, 3, *size, device=device)
        return [tuple(features.shape) for features in torch.func.functional_call(extractor, weights, (pixels,))]


def _modern_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """DenseNet's published files say `denselayer1.norm.1.weight` where the network says `denselayer1.norm1.weight`."""
    return {re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.(?=\d\.)", r"\1", name): value for name, value in state.items()}


def _refuse_other_networks(extractor: Extractor, model: torch.nn.Module, state: Mapping[str, Any]) -> None:
    """A ResNet-34's file has all the weights of a ResNet-18, and more where that one has none: it must not pass."""
    name, used, known = extractor.name, extractor.network.state_dict(), model.state_dict()
    if not used.keys() & state.keys():
        raise EnvironmentFault(
            f"These are not weights of {name}: not one name is the same, such as {next(iter(used))}."
        )
    inside = {key.partition(".")[0] for key in used}
    for key, value in state.items():
        if key not in known and key.partition(".")[0] in inside:
            raise EnvironmentFault(f"These are weights of another network than {name}, which has no {key}.")
        if key in used and not key.endswith(COUNTER) and tuple(value.shape) != tuple(used[key].shape):
            raise EnvironmentFault(
                f"These are weights of another network than {name}: "
                f"{key} has shape {tuple(value.shape)} instead of {tuple(used[key].shape)}."
            )
    # A part is the beginning of the network; a gap before its end is another, shallower network.
    needed = [key for key in used if not key.endswith(COUNTER)]
    last = max(number for number, key in enumerate(needed) if key in state)
    if missing := [key for key in needed[:last] if key not in state]:
        raise EnvironmentFault(f"These are weights of another network than {name}, which also has {missing[0]}.")


def _needed(extractor: Extractor, state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Those of the weights that the network uses, in float32 (some published files hold float16)."""
    name, needed = extractor.name, {}
    for key in extractor.network.state_dict():
        if key.endswith(COUNTER):
            needed[key] = torch.tensor(0)
            continue
        if key not in state:
            raise EnvironmentFault(
                f"The weights of {name} do not reach far enough: {key} is missing; use fewer layers or the whole file."
            )
        value = state[key] if isinstance(state[key], torch.Tensor) else torch.tensor(np.asarray(state[key]))
        if not value.is_floating_point():
            raise EnvironmentFault(f"The weights of {name} are damaged: {key} holds {value.dtype}, not real numbers.")
        value = value.detach().to(device="cpu", dtype=torch.float32).contiguous()
        if not np.isfinite(value.numpy()).all():
            raise EnvironmentFault(f"The weights of {name} are damaged: {key} holds NaN or infinity.")
        if key.endswith("running_var") and (value < 0).any():
            raise EnvironmentFault(f"The weights of {name} are damaged: {key}, a variance, is negative.")
        needed[key] = value
    return needed
