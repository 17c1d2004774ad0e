"""The backbone that a recipe asks for, with its weights, on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adcli.backbones import PIXELS, find_backbone
from adcli.detectors import Method, choose_layers
from adcli.engines import PRECISIONS
from adcli.errors import UsageError
from adcli.tasks.engines import Machine, learning_engine
from adcli.tasks.recipe import Recipe, choose_backbone
from adcli.types import Progress

if TYPE_CHECKING:
    from adcli.engines.torch import TorchEngine


def open_backbone(
    recipe: Recipe, method: Method, params: Any, machine: Machine, progress: Progress
) -> tuple[Any, Any, TorchEngine]:
    """The method's parameters with the layers they mean, the extractor, and the engine that it runs on."""
    from adcli.backbones import weights
    from adcli.backbones.extractor import build_extractor
    from adcli.engines.torch import fast_bf16, resolve_device

    name = choose_backbone(method, recipe.backbone, recipe.weights)
    backbone = find_backbone(name, recipe.layers or None)
    params, layers = choose_layers(method, params, backbone, recipe.layers)
    device = resolve_device(machine.device)
    state = None
    if name != PIXELS:
        state = weights.read_weights(name, file=recipe.weights, offline=recipe.offline, progress=progress)
    elif recipe.weights is not None:
        raise UsageError(f"{PIXELS} is the image itself and has no weights: leave out --weights")
    extractor = build_extractor(name, layers, state, recipe.seed)
    precision = machine.precision
    if name == PIXELS and precision in ("auto", *PRECISIONS):
        precision = "fp32"  # nothing is computed that could be rounded
    if precision == "auto":
        precision = "bf16" if fast_bf16(device) else "fp32"
    return params, extractor, learning_engine(extractor, machine, device, precision, recipe.image_size)
