"""Teaches adcli's embedded backbone to see what ResNet-18 sees, on procedural images.

    python benchmarks/embedded/train.py --weights RESNET18.pth --work FOLDER --out embedded.npz [--minutes 30]

All that is chosen is in config.json. `--minutes` shortens or prolongs all cycles alike, by the speed of the first
steps, and the log has their number. An interrupted run goes on where it was last kept, every two minutes. FOLDER gets
the images (pool.npy), the log (log.jsonl) and what is kept.

Two cores are used: each takes half a batch, from the images to the slopes, on its own. So sums are made in one order,
and the same machine gives the same weights again.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lessons import LAYERS, Heads, Statistics, Teacher, losses, normalised, statistics, thinned
from student import drawn_from, folded, new, scaled, settle
from textures import make, picture
from torch import nn

from adcli.backbones.embedded import Embedded, Shape
from adcli.backbones.embedded_file import read_arrays, write_arrays
from adcli.backbones.extractor import build_extractor
from adcli.versions import library_versions

KEPT_EVERY_S = 120
MEASURED = 40  # steps whose speed sets their number
ENDING_S = 40  # for batch norms, looking at held-out images, and the file


class Images:
    """Batches of a pool; each step's of a generator of its own, so that an interrupted run draws the same."""

    def __init__(self, pool: np.ndarray, config: dict[str, Any]) -> None:
        self._pool, self._config = pool, config

    def half(self, step: int, half: int) -> torch.Tensor:
        """(N, 3, crop, crop) in [0, 1], varied: cropped, zoomed, turned, mirrored, toned."""
        config = self._config
        rng = np.random.default_rng((config["seed"], 1, step, half))
        chosen = rng.choice(len(self._pool), config["batch"] // 2, replace=False)
        size, crop = self._pool.shape[1], config["crop"]
        side = min(size, round(crop / rng.uniform(*config["zoom"])))
        parts = np.empty((len(chosen), crop, crop, 3), np.uint8)
        for place, number in enumerate(chosen):
            y, x = rng.integers(0, size - side + 1, 2)
            part = self._pool[number][y : y + side, x : x + side]
            part = np.rot90(part[:, ::-1] if rng.random() < 0.5 else part, rng.integers(4))
            how = cv2.INTER_LINEAR if side < crop else cv2.INTER_AREA
            parts[place] = cv2.resize(np.ascontiguousarray(part), (crop, crop), interpolation=how)
            if rng.random() < 0.3:
                parts[place] = parts[place][..., rng.permutation(3)]
        pixels = as_pixels(parts)
        gain, shift = (
            torch.from_numpy(rng.normal(mean, 0.15, (len(chosen), 1, 1, 1)).astype(np.float32)) for mean in (1, 0)
        )
        return (pixels * gain + shift).clamp(0, 1)

    def plain(self, count: int) -> Iterator[torch.Tensor]:
        """Batches of the middle of the first images, as they are."""
        edge = (self._pool.shape[1] - self._config["crop"]) // 2
        inside = slice(edge, edge + self._config["crop"])
        for first in range(0, min(count, len(self._pool)), self._config["batch"]):
            yield as_pixels(np.asarray(self._pool[first : first + self._config["batch"], inside, inside]))


def as_pixels(images: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, 3) as a network takes it; channels stay last in memory."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def tied(module: nn.Module) -> nn.Module:
    """Another one with the same parameters, whose batch norms keep statistics of their own."""
    twin = copy.deepcopy(module)
    for one, other in zip(twin.modules(), module.modules(), strict=True):
        for name, parameter in other.named_parameters(recurse=False):
            setattr(one, name, parameter)
    return twin


def rate_at(step: int, cycles: Sequence[dict[str, Any]], warm_up: float) -> float:
    """Of each cycle: up in a line, down in half a cosine."""
    cycle, *later = cycles
    steps, rate = cycle["steps"], cycle["rate"]
    if later and step >= steps:
        return rate_at(step - steps, later, warm_up)
    warm = warm_up * steps
    if step < warm:
        return rate * (step + 1) / (warm + 1)
    return rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


@torch.no_grad()
def judged(
    student: Embedded, heads: Heads, teacher: Teacher, images: Images, of: Statistics, config: dict[str, Any]
) -> dict[str, list[float]]:
    """The losses on images that nothing was learnt from; of mse, the share of variance that is not explained."""
    student.eval()
    rng, found = np.random.default_rng(0), []
    for pixels in images.plain(config["images"]["held_out"]):
        with torch.autocast("cpu", torch.bfloat16):
            own = student(normalised(pixels))
            told = heads(own)
        found.append(losses(own, told, teacher(pixels), of, config["loss"] | {"relation": 1}, rng)[1])
    student.train()
    return {name: np.mean([one[name] for one in found], 0).round(4).tolist() for name in found[0]}


def teach(config: dict[str, Any], weights: Path, work: Path, out: Path, minutes: float | None) -> None:
    """From images to a file of weights."""
    work.mkdir(parents=True, exist_ok=True)
    kept, log = work / "kept.pt", work / "log.jsonl"

    def tell(**what: Any) -> None:
        with log.open("a") as file:
            file.write(json.dumps(what) + "\n")
        print(json.dumps(what), flush=True)

    entered = time.perf_counter()
    made = config["images"]
    pool = work / "pool.npy"
    if not pool.exists():
        make(pool, config["seed"], made["count"], made["size"], workers=2)
        tell(drawn=made["count"], seconds=round(time.perf_counter() - entered, 1))
    images = Images(np.load(pool, mmap_mode="r"), config)
    held_out = [picture(config["seed"], made["count"] + n, made["size"]) for n in range(made["held_out"])]
    held_out = Images(np.stack(held_out), config)
    teacher, shape = Teacher(weights), Shape(**{k: v if k == "stem" else tuple(v) for k, v in config["shape"].items()})
    of = statistics(teacher(pixels) for pixels in images.plain(512))
    student = new(shape, config["seed"])
    with drawn_from(config["seed"]):
        heads = Heads(shape.widths, teacher.channels)
    trained = [*student.parameters(), *heads.parameters()]
    grouped = [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": config["decay"]},
        {"params": [one for one in trained if one.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(grouped, foreach=True)  # the rate is set at every step
    average = copy.deepcopy(nn.ModuleList([student, heads]))
    step, cycles, spent = 0, config["cycles"], 0.0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        student.load_state_dict(state["student"])
        heads.load_state_dict(state["heads"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
        cycles = state["cycles"] + cycles[len(state["cycles"]) :]  # a finished training goes on with what was added
        tell(resumed=step, config=config)
    else:
        versions = {name: version for name, version in library_versions().items() if name in ("torch", "numpy")}
        tell(config=config, parameters=sum(one.numel() for one in student.parameters()), versions=versions)
    student.train()
    steps = sum(cycle["steps"] for cycle in cycles)
    pupils = [nn.ModuleList([student, heads]), tied(nn.ModuleList([student, heads]))]

    def lesson(number: int, half: int) -> tuple[Sequence[torch.Tensor], float, dict[str, list[float]]]:
        """The slopes of half a batch."""
        seed = config["seed"], 2, number, half
        pixels = images.half(number, half)
        taught = thinned(teacher(pixels), config["every"], np.random.default_rng(seed))
        with torch.autocast("cpu", torch.bfloat16):
            own = pupils[half][0](normalised(pixels).contiguous(memory_format=torch.channels_last))
            own = thinned(own, config["every"], np.random.default_rng(seed))
            told = pupils[half][1](own)
        loss, terms = losses(own, told, taught, of, config["loss"], np.random.default_rng((*seed, 1)))
        return torch.autograd.grad(loss, trained), float(loss.detach()), terms

    cores = ThreadPoolExecutor(2, initializer=partial(torch.set_num_threads, 1))
    began, last_kept = time.perf_counter() - spent, time.perf_counter()
    measured: list[float] = []
    while step < steps:
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, cycles, config["warm_up"])
        (slopes, loss, terms), (others, other, more) = cores.map(lesson, (step, step), (0, 1))
        for parameter, one, two in zip(trained, slopes, others, strict=True):
            parameter.grad = (one + two) / 2
        optimizer.step()
        step += 1
        fade = min(config["average"], (1 + step) / (10 + step))
        with torch.no_grad():
            pairs = zip(average.parameters(), trained, strict=True)
            for slow, fast in pairs:
                slow.lerp_(fast, 1 - fade)
        now = time.perf_counter()
        measured.append(now - started)
        if minutes and step == MEASURED:
            left = 60 * minutes - ENDING_S - (now - entered)
            share = (step + max(1, int(left / float(np.median(measured))))) / steps
            cycles = [cycle | {"steps": max(1, round(share * cycle["steps"]))} for cycle in cycles]
            steps = sum(cycle["steps"] for cycle in cycles)
        if step % 100 == 0 or step == steps:
            each = round(1e3 * float(np.median(measured[-100:])) / config["batch"], 2)
            terms = {name: np.mean([terms[name], more[name]], 0).round(4).tolist() for name in terms}
            tell(step=step, of=steps, ms_an_image=each, loss=round((loss + other) / 2, 4), **terms)
        if step % 1000 == 0:
            tell(step=step, held_out=judged(student, heads, teacher, held_out, of, config))
        if now - last_kept > KEPT_EVERY_S or step == steps:
            last_kept = now
            state = {"student": student.state_dict(), "heads": heads.state_dict(), "average": average.state_dict()}
            state |= {"optimizer": optimizer.state_dict(), "step": step, "cycles": cycles, "spent": now - began}
            torch.save(state, part := kept.with_suffix(".part"))
            part.replace(kept)
    cores.shutdown()
    slow, slow_heads = average
    batches = [normalised(images.half(steps + number // 2, number % 2)) for number in range(128)]
    with torch.autocast("cpu", torch.bfloat16):
        settle(slow, batches)
    tell(held_out=judged(slow, slow_heads, teacher, held_out, of, config))
    slow.eval()
    tell(**finish(slow, shape, images, of, config, out), minutes=round((time.perf_counter() - began) / 60, 1))


@torch.no_grad()
def finish(
    student: Embedded, shape: Shape, images: Images, of: Statistics, config: dict[str, Any], out: Path
) -> dict[str, Any]:
    """Brings the layers to their scale and writes the weights; how far half precision takes them is told."""
    own = statistics(student(normalised(pixels)) for pixels in images.plain(256))
    factors = []
    for level, width in enumerate(shape.widths):
        if config["scale"] == "channel":  # each channel deviates alike
            std = own.std[level].double().numpy()
            factors.append(of.spread(level) / math.sqrt(width) / np.maximum(std, 0.05 * std.mean()))
        else:  # as far apart as in the teacher, so that layers beside each other weigh as there
            factors.append(np.full(width, of.spread(level) / own.spread(level)))
    sha256 = write_arrays(out, scaled(folded(student), shape.blocks, factors))
    found: dict[str, Any] = {"written": out.name, "sha256": sha256, "bytes": out.stat().st_size}
    if shape == Shape():
        pixels = next(images.plain(config["batch"]))
        written = build_extractor("embedded", LAYERS, read_arrays(out), 0)(pixels)
        wanted = [
            layer * torch.from_numpy(by).float().view(1, -1, 1, 1)
            for layer, by in zip(student(normalised(pixels)), factors, strict=True)
        ]
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(written, wanted, strict=True)]
        found["half_precision_error"] = [float(f"{error:.2g}") for error in errors]
    return found


def main() -> None:
    """What the words ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="ResNet-18, torchvision's IMAGENET1K_V1")
    parser.add_argument("--work", type=Path, required=True, help="a folder")
    parser.add_argument("--out", type=Path, required=True, help="a .npz file")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.json"))
    parser.add_argument("--minutes", type=float, help="set the number of steps by the speed of the first")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    teach(json.loads(asked.config.read_text()), asked.weights, asked.work, asked.out, asked.minutes)


if __name__ == "__main__":
    main()
