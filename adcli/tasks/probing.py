"""A short measurement on this machine, with the user's own images: what predictions of time and memory stand on.

A method that costs little is fitted to some of the images and scores a few, by the same code as any other; what it
costs itself is known (adcli.tasks.costs), so what is left is the network, the libraries and the images.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from adcli.backbones import PIXELS, Backbone
from adcli.detectors import find_method
from adcli.detectors.params import parse_params
from adcli.finding import FoundImage
from adcli.tasks.costs import LEARN_BATCH, SCORE_BATCH, Cost, Given, cost_of
from adcli.tasks.holdout import LEAST_HELD_OUT, LEAST_LEARNT
from adcli.tasks.networks import Shape, shapes_of, work_of
from adcli.tasks.precision import COMPARING
from adcli.tasks.recipe import Recipe

LEAST = LEAST_HELD_OUT + LEAST_LEARNT  # images that a probe takes
_ROUNDS = 2  # batches a thread that are learnt from: the first one warms up
_FEW_CHANNELS = 40  # of a padim that costs little; there are nearly always some of every layer
_WORK = 1e11  # multiply-adds a thread that the network may do in whole batches: about a second
_IDENTIFYING, _LEARNING, _SCORING = "identifying images", "learning from images", "scoring held-out images"  # stages
_SCORED = (0, 3, 4, 5)  # exit codes of a `score` that came to its end: docs/cli.md
# Linux counts to a process what the one that started it held, which is much here: so another one starts it.
_WATCHING = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""
_GEMM = (1024, 384, 8192)  # a product as large as those of the methods


class Took(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float  # of all threads

    def __add__(self, other: Took) -> Took:  # type: ignore[override]
        return Took(self.wall + other.wall, self.cpu + other.cpu)

    def times(self, count: float) -> Took:
        """So many of them, one after another."""
        return Took(self.wall * count, self.cpu * count)

    def less(self, other: Took) -> Took:
        """The difference; never below 0."""
        return Took(max(0.0, self.wall - other.wall), max(0.0, self.cpu - other.cpu))


@dataclass(frozen=True)
class Probe:
    """What was measured."""

    images: int  # used
    seconds: float  # all of it, of the wall
    start: Took  # libraries, weights and the network made ready, and warm
    identify: Took  # an image, on all threads, as those below
    learn: Took  # an image
    ready: Took  # from the last image learnt from to the first that is scored
    score: Took  # an image
    compare: Took | None  # of an image, bf16 with float32; None where float32 is the only precision
    score_start: Took | None  # of a whole `adcli score`, before and after the images
    idle_bytes: int | None  # before the first image passes the network
    peak_bytes: int | None  # of the fit of the light method; None where the system does not tell
    score_peak_bytes: int | None  # of a whole `adcli score` with it
    batch: int  # inputs that passed the network at a time while it was fitted
    product: Took  # 10^9 multiply-adds in float32, on one core
    light: Cost  # what the light method itself cost
    shapes: tuple[Shape, ...]  # of the layers
    weights_bytes: int  # of the network, in the model file


def probe(images: Sequence[FoundImage], recipe: Recipe, backbone: Backbone, threads: int) -> Probe:
    """Measures with some of at least LEAST images; `recipe` has the backbone and its layers written out.

    Raises:
        AdcliError: what `fit` would say of the backbone, its weights or the images.
    """
    began = _now()
    from adcli.tasks.engines import Machine
    from adcli.tasks.fit import fit

    wanted = threads * (_ROUNDS * LEARN_BATCH + 2 * SCORE_BATCH)
    heavy = work_of(backbone, recipe.image_size) * wanted > _WORK * threads
    batch = 1 if heavy else LEARN_BATCH
    if heavy:
        wanted = threads * 2 * _ROUNDS + LEAST_HELD_OUT
    some = evenly(images, max(LEAST, wanted))
    method, params = _light(recipe, backbone)
    light = replace(
        recipe,
        method=method,
        params=params,
        holdout=Recipe.holdout,
        offline=True,
    )
    clock = _Clock()
    with tempfile.TemporaryDirectory(prefix="adcli-") as folder:
        path = Path(folder, "model.h5")
        machine = Machine("cpu", batch_size=1 if heavy else 0, workers=threads)
        fitted = fit(some, path, light, machine=machine, pictures=False, progress=clock)
        peak = _peak()
        given = Given(fitted.learnt, fitted.model.detector.shapes, threads)
        product = _product()
        scored = evenly(some, SCORE_BATCH * (threads + 1))
        whole, score_peak = _score(scored, path, Path(folder, "results"), threads)
    score = clock.each(_SCORING)
    warmed, learn = clock.settled(_LEARNING, threads)
    return Probe(
        images=len(some),
        seconds=_now().less(began).wall,
        start=clock.first(_IDENTIFYING).less(began) + warmed,
        identify=clock.each(_IDENTIFYING),
        learn=learn,
        ready=clock.first(_SCORING).less(clock.last(_LEARNING)),
        score=score,
        compare=clock.each(comparing) if (comparing := clock.stage_named(COMPARING)) else None,
        score_start=None if whole is None else whole.less(score.times(len(scored))),
        idle_bytes=clock.idle_bytes,
        peak_bytes=peak,
        score_peak_bytes=score_peak,
        batch=batch,
        product=product,
        light=cost_of(light.method, fitted.model.detector.params, given),
        shapes=tuple(fitted.model.detector.shapes),
        weights_bytes=sum(array.nbytes for array in fitted.model.weights.values()),
    )


def _light(recipe: Recipe, backbone: Backbone) -> tuple[str, tuple[str, ...]]:
    """A method that costs little, of those that learn in the same way, and its parameters: padim that only keeps
    channels takes them inside the network, and does without torch."""
    if recipe.method == "padim":
        asked = parse_params(find_method("padim").detector().Params, list(recipe.params))
        shapes = shapes_of(backbone, backbone.layers, recipe.image_size)
        if shapes is not None and asked.reduction in ("random", "none") and asked.upsample == "nearest":
            return "padim", (f"dims={min(_FEW_CHANNELS, sum(channels for channels, _, _ in shapes))}",)
    return "variation" if backbone.name == PIXELS else "mahalanobis", ()


def evenly(images: Sequence[FoundImage], count: int) -> list[FoundImage]:
    """So many of the images, evenly over their list; all where they are fewer."""
    if count >= len(images):
        return list(images)
    return [images[place * len(images) // count] for place in range(count)]


class _Clock:
    """A progress callable that remembers when what was done, and the memory before the first image."""

    def __init__(self) -> None:
        self._at: dict[str, list[tuple[Took, int]]] = {}
        self._over: set[str] = set()
        self.idle_bytes: int | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if done == 0 and stage in self._at:
            self._over.add(stage)  # a second pass, which is not what one costs
        if stage in self._over:
            return
        if stage == _LEARNING and stage not in self._at:
            self.idle_bytes = _peak()
        self._at.setdefault(stage, []).append((_now(), done))

    def stage_named(self, word: str) -> str | None:
        """The stage whose name begins so."""
        return next((stage for stage in self._at if stage.startswith(word)), None)

    def first(self, stage: str) -> Took:
        """When it began."""
        return self._at[stage][0][0]

    def last(self, stage: str) -> Took:
        """When it ended."""
        return self._at[stage][-1][0]

    def each(self, stage: str) -> Took:
        """Of one image."""
        return self._between(stage, 0)

    def settled(self, stage: str, batches: int) -> tuple[Took, Took]:
        """What comes once, before so many batches are done, where there are as many again; and of one image."""
        marks = self._at[stage]
        place = batches if len(marks) > 2 * batches else 0
        each = self._between(stage, place)
        (began, before), (ended, after) = marks[0], marks[place]
        return ended.less(began).less(each.times(after - before)), each

    def _between(self, stage: str, place: int) -> Took:
        (began, before), (ended, after) = self._at[stage][place], self._at[stage][-1]
        return ended.less(began).times(1 / max(1, after - before))


def _now() -> Took:
    return Took(time.perf_counter(), time.process_time())


def _product() -> Took:
    """The best of a few products of matrices, on one core."""
    import torch

    from adcli.engines.torch import use_one_core

    use_one_core()
    rows, inner, columns = _GEMM
    left, right = torch.ones(rows, inner), torch.ones(inner, columns)
    each = []
    for _ in range(3):
        began = _now()
        left @ right
        each.append(_now().less(began))
    return min(each).times(1e9 / (rows * inner * columns))


def _peak() -> int | None:
    """The most memory that this process has held so far."""
    with contextlib.suppress(ImportError):
        import resource

        return _bytes_of(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return None


def _bytes_of(maxrss: int) -> int:
    return maxrss if sys.platform == "darwin" else maxrss * 1024  # getrusage(2) of macOS, and of Linux


def _score(images: Sequence[FoundImage], model: Path, out: Path, threads: int) -> tuple[Took | None, int | None]:
    """What a whole `adcli score` took, and its peak memory; None where the system does not tell."""
    if not hasattr(os, "wait4"):
        return None, None
    words = ["--model", str(model), "--out", str(out), "--workers", str(threads), "--device", "cpu", "--json"]
    words += ["--", *(str(image.path) for image in images)]
    environment = {name: value for name, value in os.environ.items() if not _is_own(name)} | {"ADCLI_NO_PROJECT": "1"}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _WATCHING, sys.executable, "-m", "adcli", "score", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - began
    told = done.stdout.split()
    if done.returncode or int(told[0]) not in _SCORED:
        return None, None
    return Took(wall, float(told[1])), _bytes_of(int(told[2]))


def _is_own(name: str) -> bool:
    return name.startswith("ADCLI_")
