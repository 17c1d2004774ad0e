"""Images to score maps, on every core: what `calibrate`, `score` and `eval` have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np

from adcli.errors import EnvironmentFault, ModelFileError, UnreadableImage, UsageError
from adcli.images import Image, prepare, read_image
from adcli.maps import lift
from adcli.model import Model, Spec
from adcli.parallel import batches, cores, stream


class HasPath(Protocol):
    """Anything that names an image file."""

    @property
    def path(self) -> Path: ...


Source = TypeVar("Source", bound=HasPath)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Machine:
    """What of this machine to use. Words as on the command line."""

    device: str = "auto"  # auto | cpu | cuda | cuda:N
    engine: str = "auto"  # auto | torch
    precision: str = "auto"  # auto | fp32 | bf16
    batch_size: int = 0  # images a batch; 0: the engine's own
    workers: int = 0  # threads; 0: one a core

    @property
    def threads(self) -> int:
        """Worker threads."""
        return self.workers or cores()


@dataclass(frozen=True)
class Mapped:
    """One image and its map."""

    image: Image
    score_map: np.ndarray  # (H, W) float32 of the file's size, raw units
    method_score: float | None  # the method's own image score, where its paper has one
    ms: float  # of one core's time, decoding to map


class Mapper:
    """A model made ready on this machine."""

    def __init__(self, model: Model, machine: Machine, extractor: object | None = None):
        from adcli.backbones.extractor import build_extractor
        from adcli.engines.torch import TorchEngine, TorchScorer, resolve_device

        check_engine(machine.engine)
        device = resolve_device(machine.device)
        self.precision, self.notes = _stored_precision(model.spec, machine.precision, device)
        self.device = str(device)
        self.engine = "torch"
        if extractor is None:
            try:
                extractor = build_extractor(model.spec.backbone, model.spec.layers, model.weights, model.spec.seed)
            except (EnvironmentFault, UsageError) as error:
                raise ModelFileError(f"the model's own weights do not fit its backbone: {error}") from error
        self._spec = model.spec
        self._scorer = TorchScorer(TorchEngine(extractor, device, self.precision, machine.batch_size), model.detector)
        self._threads = machine.threads
        # A GPU serves one batch after another; the threads around it decode and finish.
        self._turn: threading.Lock | None = threading.Lock() if device.type == "cuda" else None

    def stream(
        self, sources: Iterable[Source], finish: Callable[[Source, Mapped | UnreadableImage], Result]
    ) -> Iterator[Result]:
        """finish(source, map or reason) for every image, in order; `finish` runs on the worker threads."""

        def work(chunk: list[Source]) -> list[Result]:
            try:
                return [finish(source, outcome) for source, outcome in zip(chunk, self._map(chunk), strict=True)]
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                raise EnvironmentFault(
                    f"the memory is too small for {len(chunk)} images at a time, {chunk[0].path} the first: lower "
                    "--batch-size and --workers"
                ) from error

        for results in stream(batches(sources, self._scorer.batch), work, self._threads):
            yield from results

    def _map(self, chunk: list[Source]) -> list[Mapped | UnreadableImage]:
        outcomes: list[Mapped | UnreadableImage | tuple[Image, float]] = []
        pixels = []
        for source in chunk:
            began = time.perf_counter()
            try:
                image = read_image(source.path)
                pixels.append(prepare(image.pixels, self._spec.image_size, self._spec.white_level))
                outcomes.append((image, time.perf_counter() - began))
            except UnreadableImage as error:
                outcomes.append(error)
        if not pixels:
            return outcomes
        began = time.perf_counter()
        if self._turn is None:
            grids, scores = self._scorer(np.stack(pixels))
        else:
            with self._turn:
                grids, scores = self._scorer(np.stack(pixels))
        each = (time.perf_counter() - began) / len(pixels)
        at = 0
        for number, outcome in enumerate(outcomes):
            if isinstance(outcome, tuple):
                image, seconds = outcome
                began = time.perf_counter()
                size = (image.height, image.width)
                score_map = lift(grids[at], self._spec.image_size, self._spec.sigma, size)
                seconds += each + time.perf_counter() - began
                own = None if scores is None else float(scores[at])
                outcomes[number] = Mapped(image, score_map, own, 1000 * seconds)
                at += 1
        return outcomes


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed. On a CPU torch has no class of its own for it, only a text."""
    import torch

    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem)
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )


def check_engine(name: str) -> None:
    """Refuses an engine that is not there."""
    if name == "openvino":
        raise EnvironmentFault("this adcli has no OpenVINO engine: use --engine torch")
    if name not in ("auto", "torch"):
        raise UsageError(f"there is no engine {name!r}: write auto or torch")


def _stored_precision(spec: Spec, asked: str, device: object) -> tuple[str, list[str]]:
    """The precision to score in, and what must be said of it: the threshold belongs to the stored one."""
    from adcli.engines.torch import fast_bf16

    if asked not in ("auto", spec.precision):
        return asked, [f"scores are computed in {asked}, the threshold was set in {spec.precision}"]
    if asked == "auto" and spec.precision == "bf16" and not fast_bf16(device):
        return "fp32", ["this machine has no fast bf16: scores are computed in fp32, the threshold was set in bf16"]
    return spec.precision, []
