"""What `fit` will take on a folder of images, and `score` after it, told before either begins.

Time stands on a short measurement (adcli.tasks.probing) and on each method's formulas (adcli.tasks.costs); memory and
the size of the file on the formulas, and on what the libraries, the network and the images took where it was measured.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adcli.backbones import EMBEDDED, JOIN, PIXELS, RANDOM, find_backbone, weights
from adcli.detectors import Method, choose_layers, find_method
from adcli.detectors.params import parse_params
from adcli.engines import fast_bf16_cpu
from adcli.errors import EnvironmentFault, UnreadableImage, UsageError
from adcli.finding import FoundImage
from adcli.parallel import cores
from adcli.tasks.candidates import AUTO
from adcli.tasks.costs import LEARN_BATCH, SCORE_BATCH, Cost, Given, cost_of, fused
from adcli.tasks.holdout import LEAST_HELD_OUT, LEAST_LEARNT
from adcli.tasks.networks import Shape, shapes_of, weights_of
from adcli.tasks.precision import MOST
from adcli.tasks.probing import LEAST, Probe, Took, evenly, probe
from adcli.tasks.recipe import Recipe, check_recipe, choose_backbone

_SAMPLED, _SAMPLED_BYTES = 64, 64 << 20  # images whose sizes are looked at, at most, and bytes read for it
_MIB = 1 << 20
# Where nothing is measured: what the libraries take in memory, and a pixel of the network's input in it (64 channels at
# half the size, three times, and the features). Peaks of benchmarks/results/accuracy.json, Linux on x86-64, torch 2.15.
_LIBRARIES = 740 * _MIB
_BYTES_A_PIXEL = 160
_DRAWN_BYTES = 50 * _MIB  # matplotlib, for the pictures beside the model
_BEFORE_S, _DRAWN_S = 0.4, 1.5  # the interpreter and the command line; the pictures
_WRITTEN_BYTES_S = 200e6  # bytes a second that become a model file, digests included
_FILE_BYTES, _NAMES_BYTES = 12_000, 25_000  # what HDF5 and the settings add to the arrays; the names of weights


@dataclass(frozen=True)
class Forecast:
    """What is expected. None: cannot be told."""

    method: str
    backbone: str
    layers: tuple[str, ...]
    image_size: tuple[int, int]
    threads: int
    images: int
    learnt: int
    held_out: int
    sampled: int  # images whose sizes were looked at
    smallest: tuple[int, int]  # H, W
    usual: tuple[int, int]
    largest: tuple[int, int]
    fit: Took | None
    fit_bytes: int
    score: Took | None  # an image
    score_start: Took | None
    score_bytes: int
    model_bytes: int
    spool_bytes: int
    memory_bytes: int | None  # that there are
    disk_bytes: int  # free where the model is written
    temporary_bytes: int  # free where features are spooled
    probe: Probe | None
    unmeasured: str | None  # why there is no probe

    def suffices(self, needed: int) -> bool | None:
        """Whether so many bytes of memory are there; None where the system does not tell."""
        return None if self.memory_bytes is None else needed <= self.memory_bytes

    @property
    def memory_suffices(self) -> bool | None:
        """For both verbs."""
        return self.suffices(max(self.fit_bytes, self.score_bytes))

    @property
    def disk_suffices(self) -> bool:
        """For the model file."""
        return self.model_bytes <= self.disk_bytes

    @property
    def temporary_suffices(self) -> bool:
        """For what is spooled while learning."""
        return self.spool_bytes <= self.temporary_bytes


def forecast(images: Sequence[FoundImage], recipe: Recipe, workers: int = 0, folder: Path = Path()) -> Forecast:
    """Looks at some of the images, measures for a few seconds where the weights are here, and tells what to expect.

    The model would be written to `folder`. Nothing is fetched, and nothing stays on the disk.

    Raises:
        UsageError: the recipe is impossible, no image can be read, or they are too few.
        EnvironmentFault: the weights are not here, and without them nothing is known of the network.
    """
    if recipe.method == AUTO:
        raise UsageError(f"--method {AUTO} tries several methods: name the one that is to be predicted")
    method = find_method(recipe.method)
    params = parse_params(method.detector().Params, list(recipe.params))
    check_recipe(recipe)
    name = choose_backbone(method, recipe.backbone, recipe.weights)
    backbone = find_backbone(name, recipe.layers or None)
    params, layers = choose_layers(method, params, backbone, recipe.layers)
    backbone = find_backbone(name, layers)
    threads = workers or cores()
    sizes = _sizes(images)
    held_out = max(LEAST_HELD_OUT, round(recipe.holdout * len(images))) if recipe.holdout else 0
    if len(images) < held_out + LEAST_LEARNT:
        raise UsageError(f"{len(images)} images are too few: give at least {held_out + LEAST_LEARNT}")
    shapes, weights_bytes = shapes_of(backbone, layers, recipe.image_size), weights_of(backbone, layers)
    found, unmeasured = None, _lacking(name, recipe)
    if unmeasured is None and len(images) < LEAST:
        unmeasured = f"{len(images)} images are too few to measure with"
    if unmeasured is None:
        whole = replace(recipe, backbone="" if name == PIXELS else name, layers=() if name == PIXELS else layers)
        found = probe(images, whole, backbone, threads)
        shapes, weights_bytes = found.shapes, found.weights_bytes
    if shapes is None or weights_bytes is None:
        raise EnvironmentFault(f"{unmeasured}, and without them nothing is known of {', '.join(layers)} of {name}")
    given = Given(len(images) - held_out, shapes, threads)
    cost = _cost(method, params, layers, given)
    fit, score = (None, None) if found is None else _seconds(cost, found, given, held_out, weights_bytes)
    fit_bytes, score_bytes = _memory(cost, found, given, recipe.image_size, weights_bytes, max(sizes))
    areas = sorted(sizes, key=lambda size: size[0] * size[1])
    return Forecast(
        method=method.name,
        backbone=name,
        layers=tuple(layers),
        image_size=recipe.image_size,
        threads=threads,
        images=len(images),
        learnt=given.images,
        held_out=held_out,
        sampled=len(sizes),
        smallest=areas[0],
        usual=statistics.median_low(areas),
        largest=areas[-1],
        fit=fit,
        fit_bytes=fit_bytes,
        score=score,
        score_start=None if found is None else found.score_start,
        score_bytes=score_bytes,
        model_bytes=model_bytes(cost, given, weights_bytes, held_out),
        spool_bytes=cost.spooled,
        memory_bytes=available_bytes(),
        disk_bytes=shutil.disk_usage(folder).free,
        temporary_bytes=shutil.disk_usage(tempfile.gettempdir()).free,
        probe=found,
        unmeasured=unmeasured,
    )


def model_bytes(cost: Cost, given: Given, weights_bytes: int, held_out: int) -> int:
    """The model file: what the method and the input guard have learnt, the network's weights, and the calibration."""
    deepest = min(reversed(given.shapes), key=lambda shape: shape[1] * shape[2])[0]
    looks = given.images * (32 + 8 * 9 + 4 * deepest + 32)  # file, statistics, pooled features; the image's digest
    gate = 4 * deepest * (min(deepest, given.images) + 4)
    network = weights_bytes + _NAMES_BYTES if weights_bytes else 0
    return cost.stored + network + looks + gate + 40 * held_out + _FILE_BYTES


def available_bytes() -> int | None:
    """Memory that a new process may take: what the system has left, or the limit of its control group (cgroup v2)."""
    found = []
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            found.append(1024 * int(line.split()[1]))
    group = Path("/sys/fs/cgroup")
    limit, used = (next(iter(_lines(group / name)), "") for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        found.append(max(0, int(limit) - int(used)))
    if not found and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _sizes(images: Sequence[FoundImage]) -> list[tuple[int, int]]:
    """H, W of images evenly over the list, as long as reading them is quick."""
    from adcli.images import image_size

    sizes, read, fault = [], 0, None
    for image in evenly(images, _SAMPLED):
        try:
            sizes.append(image_size(image.path))
            read += image.path.stat().st_size
        except (UnreadableImage, OSError) as error:
            fault = fault or error
        if sizes and read > _SAMPLED_BYTES:
            break
    if not sizes:
        raise UsageError(f"none of the images looked at could be read; the first: {fault}")
    return sizes


def _lacking(name: str, recipe: Recipe) -> str | None:
    """What keeps the network from being made; None where nothing does."""
    trained = [part for part in name.split(JOIN) if part != PIXELS and not part.startswith(RANDOM)]
    if recipe.weights is not None:
        return None if recipe.weights.exists() else f"there is no {recipe.weights}"
    for part in trained:
        if weights.locate(part) is None:
            mend = "install adcli again" if part == EMBEDDED else f"adcli weights pull {part} brings them"
            return f"the weights of {part} are not here ({mend})"
    return None


def _cost(method: Method, params: Any, layers: Sequence[str], given: Given) -> Cost:
    if not hasattr(method.detector(), "made_of"):
        return cost_of(method.name, params, given)
    from adcli.detectors.members import read_members

    at: dict[str, Shape] = dict(zip(layers, given.shapes, strict=True))
    members = [
        cost_of(one.method.name, one.params, replace(given, shapes=tuple(at[layer] for layer in one.layers or layers)))
        for one in read_members(params.members)
    ]
    return fused(members, given.threads)


def _seconds(cost: Cost, found: Probe, given: Given, held_out: int, weights_bytes: int) -> tuple[Took, Took]:
    """Of a whole `fit`, and of one image in `score`."""
    light, threads = found.light, given.threads
    learn = found.learn.times(cost.passes) + _shared(found, cost.learn_work - light.learn_work, threads)
    more = _shared(found, cost.score_work - light.score_work, threads)
    score = found.score + more
    alone = found.product.times(cost.learn_work / 1e9)  # on one thread, while the others are at the next images
    learn = Took(max(learn.wall, alone.wall), learn.cpu)
    fit = found.start + Took(_BEFORE_S, _BEFORE_S) + found.identify.times(given.images + held_out)
    fit += learn.times(given.images) + found.product.times(cost.finish_work / 1e9)
    fit += _SECOND.times((cost.stored + weights_bytes) / _WRITTEN_BYTES_S)
    if held_out:
        fit += found.ready + score.times(held_out) + _SECOND.times(_DRAWN_S)
        if found.compare is not None:  # with a defect, and both in float32
            fit += (found.compare + more.times(3)).times(min(MOST, held_out))
    return fit, score


_SECOND = Took(1.0, 1.0)  # on one core


def _shared(found: Probe, work: float, threads: int) -> Took:
    """Of so many multiply-adds more than the light method has, on all threads."""
    took = found.product.times(max(0.0, work) / 1e9)
    return Took(took.wall / threads, took.cpu)


def _memory(
    cost: Cost,
    found: Probe | None,
    given: Given,
    image_size: tuple[int, int],
    weights_bytes: int,
    largest: tuple[int, int],
) -> tuple[int, int]:
    """Most bytes of a whole `fit`, and of a whole `score`."""
    own = max(cost.learning, _trying(cost)) + _DRAWN_BYTES
    pixel = _BYTES_A_PIXEL * image_size[0] * image_size[1]
    if found is not None and found.peak_bytes is not None and found.idle_bytes is not None:
        light = max(found.light.learning, _trying(found.light))
        waiting = given.threads * (LEARN_BATCH - found.batch) * pixel
        fit_bytes = max(found.peak_bytes - light + own + waiting, found.idle_bytes + cost.finishing)
    else:
        idle = _floor(given, weights_bytes, largest)
        fit_bytes = idle + max(given.threads * LEARN_BATCH * pixel + own, cost.finishing)
    if found is not None and found.score_peak_bytes is not None:
        score_bytes = found.score_peak_bytes - found.light.scoring + cost.scoring
    else:
        score_bytes = _floor(given, weights_bytes, largest) + given.threads * SCORE_BATCH * pixel + cost.scoring
    return fit_bytes, score_bytes


def _trying(cost: Cost) -> int:
    """Bytes while held-out images are scored: where bf16 is tried, what scores in float32 is there beside it."""
    return cost.scoring + fast_bf16_cpu() * max(0, cost.scoring - cost.stored)


def _floor(given: Given, weights_bytes: int, largest: tuple[int, int]) -> int:
    """The libraries, the weights twice, and on each thread an image of the largest size with what is made of it."""
    return _LIBRARIES + 2 * weights_bytes + given.threads * 48 * largest[0] * largest[1]
