"""The backbone that a recipe asks for, with its weights, on a device."""

from __future__ import annotations

from typing import Any

from adcli.backbones import PIXELS, find_backbone
from adcli.backbones.stepped import stepped
from adcli.detectors import Method, choose_layers
from adcli.engines import PRECISIONS, LearningEngine
from adcli.errors import UsageError
from adcli.tasks.engines import (
    Machine,
    choose_device,
    choose_learning_precision,
    follows_steps,
    learning_engine,
)
from adcli.tasks.recipe import Recipe, choose_backbone
from adcli.types import Progress


def open_backbone(
    recipe: Recipe, method: Method, params: Any, machine: Machine, progress: Progress
) -> tuple[Any, Any, LearningEngine]:
    """The method's parameters with the layers they mean, the backbone, and the engine that it runs on."""
    from adcli.backbones import weights

    name = choose_backbone(method, recipe.backbone, recipe.weights)
    backbone = find_backbone(name, recipe.layers or None)
    params, layers = choose_layers(method, params, backbone, recipe.layers)
    device = choose_device(machine)
    state = None
    if name != PIXELS:
        state = weights.read_weights(name, file=recipe.weights, offline=recipe.offline, progress=progress)
    elif recipe.weights is not None:
        raise UsageError(f"{PIXELS} is the image itself and has no weights: leave out --weights")
    precision = choose_learning_precision(machine, device)
    if name == PIXELS and precision in PRECISIONS:
        precision = "fp32"  # nothing is computed that could be rounded
    extractor = None
    if state is not None and follows_steps(machine, device, precision):
        extractor = stepped(name, layers, state)
    if extractor is None:
        from adcli.backbones.extractor import build_extractor

        extractor = build_extractor(name, layers, state, recipe.seed)
    return params, extractor, learning_engine(extractor, machine, device, precision, recipe.image_size)
