"""What shapes of the embedded network would take: multiply-adds, weights, and milliseconds on one core.

    python benchmarks/embedded/shapes.py [--size 256] [--repeats 25] [STEM:WIDTHS:BLOCKS ...]

such as 16:32,96,160:1,2,2. Beside ResNet-18 to layer3, untrained. Processor time, medians; the contenders take turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from adcli.backbones.embedded import Embedded, Shape
from adcli.backbones.extractor import build_extractor, cut
from adcli.backbones.tracing import network_of
from adcli.engines.openvino import OpenVINONetwork

LAYERS = ("layer1", "layer2", "layer3")
SHAPES = (
    "16:32,64,128:2,2,2",
    "16:32,64,160:2,2,2",
    "16:32,64,192:2,2,2",
    "16:32,64,128:2,3,3",
    "16:36,72,144:2,2,2",
    "16:48,80,144:1,2,2",
    "16:32,96,160:1,2,2",
)


def untrained(words: str) -> Any:
    """ResNet-18, or the embedded network of a shape."""
    if words == "resnet18":
        return build_extractor("random-resnet18", LAYERS, None, 0)
    stem, widths, blocks = (tuple(map(int, part.split(","))) for part in words.split(":"))
    model = Embedded(Shape(stem[0], widths, blocks)).eval()
    return cut(model, "random-embedded", LAYERS)


def multiply_adds(extractor: torch.nn.Module, size: int) -> int:
    """Of all convolutions, for one image."""
    total = 0

    def count(module: torch.nn.Conv2d, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    convolutions = [module for module in extractor.modules() if isinstance(module, torch.nn.Conv2d)]
    hooks = [module.register_forward_hook(count) for module in convolutions]
    extractor(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return total


def contenders(extractor: Any, pixels: np.ndarray) -> list[Callable[[], Any]]:
    """The same image through OpenVINO and torch, each in bf16 and float32."""
    steps, state, size = network_of(extractor), extractor.state(), pixels.shape[1:3]
    networks = [OpenVINONetwork(steps, state, size, precision, 1) for precision in ("bf16", "fp32")]
    fast, batch = extractor.for_inference(), torch.from_numpy(pixels).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def with_torch(bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            fast(batch)

    return [*(lambda one=one: one(pixels) for one in networks), lambda: with_torch(True), lambda: with_torch(False)]


def main() -> None:
    """A table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", default=SHAPES)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=25)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).random((1, asked.size, asked.size, 3), np.float32)
    names = ["resnet18", *asked.shapes]
    made = {name: untrained(name) for name in names}
    calls = {name: contenders(made[name], pixels) for name in names}
    took: dict[str, list[list[float]]] = {name: [[] for _ in range(4)] for name in names}
    for repeat in range(asked.repeats + 3):
        for name in names:
            for place, call in enumerate(calls[name]):
                began = time.process_time()
                call()
                if repeat >= 3:
                    took[name][place].append(1e3 * (time.process_time() - began))
    print("| shape | 10^6 multiply-adds | 10^6 weights | OpenVINO bf16 | OpenVINO f32 | torch bf16 | torch f32 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in names:
        weights = sum(array.size for key, array in made[name].state().items() if "running" not in key)
        cells = [multiply_adds(made[name], asked.size) / 1e6, weights / 1e6, *map(np.median, took[name])]
        print(f"| {name} | {cells[0]:.0f} |", " | ".join(f"{cell:.2f}" for cell in cells[1:]), "|")


if __name__ == "__main__":
    main()
