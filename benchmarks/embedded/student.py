"""The network while it is taught, with batch norm, and what of it is kept, without."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from adcli.backbones.embedded import Embedded, Shape


def normed(inputs: int, outputs: int, side: int, stride: int) -> nn.Module:
    """A convolution and its batch norm."""
    convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=convolution, norm=nn.BatchNorm2d(outputs)))


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Within it, weights are drawn from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def new(shape: Shape, seed: int) -> Embedded:
    """The network with weights drawn from a seed."""
    with drawn_from(seed):
        return Embedded(shape, normed).to(memory_format=torch.channels_last)


def folded(student: Embedded) -> dict[str, np.ndarray]:
    """Weights and biases of the same network without batch norm, under the names that adcli.backbones gives them."""
    arrays = {}
    for name, module in student.named_modules():
        if not isinstance(module, nn.Sequential) or not hasattr(module, "norm"):
            continue
        norm = module.norm
        scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().double()
        weight = module.conv.weight.detach().double() * scale.view(-1, 1, 1, 1)
        bias = norm.bias.detach().double() - norm.running_mean.double() * scale
        arrays[f"{name}.weight"], arrays[f"{name}.bias"] = weight.numpy(), bias.numpy()
    return arrays


def scaled(
    arrays: dict[str, np.ndarray], blocks: Sequence[int], factors: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The folded weights of a network whose layers are those of `arrays` times `factors`, positive, one a channel.

    A ReLU lets a positive factor through. All blocks of a layer add to one sum, so all that enters the sum is scaled,
    and all that reads it takes the factor off again.
    """
    arrays = dict(arrays)

    def enter(name: str, by: np.ndarray) -> None:
        arrays[f"{name}.weight"] = arrays[f"{name}.weight"] * by[:, None, None, None]
        arrays[f"{name}.bias"] = arrays[f"{name}.bias"] * by

    def read(name: str, by: np.ndarray) -> None:
        arrays[f"{name}.weight"] = arrays[f"{name}.weight"] / by[None, :, None, None]

    for number, (count, by) in enumerate(zip(blocks, factors, strict=True), 1):
        layer = f"layer{number}"
        for block in range(count):
            enter(f"{layer}.{block}.conv2", by)
            if block:
                read(f"{layer}.{block}.conv1", by)
        if f"{layer}.0.downsample.weight" in arrays:
            enter(f"{layer}.0.downsample", by)
        else:  # the first layer adds to what the stem gives
            enter("conv2", by)
            read(f"{layer}.0.conv1", by)
        if number < len(blocks):
            read(f"layer{number + 1}.0.conv1", by)
            read(f"layer{number + 1}.0.downsample", by)
    return arrays


@torch.no_grad()
def settle(student: Embedded, batches: Sequence[torch.Tensor]) -> None:
    """Takes the statistics of every batch norm anew, as means over these batches of normalised pixels."""
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    student.train()
    for batch in batches:
        student(batch)
    student.eval()
