"""Images to score maps, on every core: what `calibrate`, `score` and `eval` have in common."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np

from adcli.errors import EnvironmentFault, UnreadableImage
from adcli.geometry.views import View, Views
from adcli.guard import Look, examine
from adcli.images import Image, read_image
from adcli.model import Model
from adcli.parallel import batches, portions, stream
from adcli.tasks.engines import Machine, open_scorer


class HasPath(Protocol):
    """Anything that names an image file."""

    @property
    def path(self) -> Path: ...


def read_source(source: HasPath) -> Image:
    """The image in the file, as it is."""
    return read_image(source.path)


_HELD_BYTES = 64 << 20  # of pixels that a thread has read, beyond which it maps them before it reads on
_PORTION = 8  # images that a thread takes at a time: handing over each by itself left a fifth of the cores unused

Source = TypeVar("Source", bound=HasPath)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Mapped:
    """One image and its map."""

    image: Image
    score_map: np.ndarray  # (H, W) float32 of the file's size, raw units; minus infinity where nothing was looked at
    looking: Callable[[], Look]  # what `look` is found by, when it is asked for
    method_score: float | None  # the method's own image score, where its paper has one; of tiles the highest
    ms: float  # of one core's time, decoding to map

    @cached_property
    def look(self) -> Look:
        """For the input guard, which has nothing to say of an image that its map makes NG."""
        return self.looking()


class Mapper:
    """A model made ready on this machine."""

    def __init__(
        self,
        model: Model,
        machine: Machine,
        extractor: object | None = None,
        left_out: bool = False,
        own: bool = True,
    ):
        """`left_out`: the images are those that the model learnt from, and each is mapped as if it had not been.

        Their sources then also have an attribute `place`: the image's number, from 0, among those that could be read
        when the model learnt, in that order. `own`: with the method's own image score, where it has one.
        """
        spec = model.spec
        self._views = Views(model.geometry, spec.image_size, spec.white_level, spec.sigma)
        self._tiled = model.geometry.tiling is not None
        opened = open_scorer(model, machine, self._views.stacked, extractor=extractor, left_out=left_out, own=own)
        self._scorer = opened.scorer
        self.engine, self.precision, self.device = opened.engine, opened.precision, opened.scorer.device
        self.notes = opened.notes
        self._left_out = left_out
        self._threads = machine.threads
        self._portion = machine.batch_size or max(opened.scorer.batch, _PORTION)
        # A GPU serves one batch after another; the threads around it decode and finish.
        self._turn = threading.Lock() if self.device.startswith("cuda") else contextlib.nullcontext()
        cv2.setNumThreads(1)  # whole images run side by side; one operation uses one core

    def stream(
        self,
        sources: Iterable[Source],
        finish: Callable[[Source, Mapped | UnreadableImage], Result],
        read: Callable[[Source], Image] = read_source,
    ) -> Iterator[Result]:
        """finish(source, map or reason) for every image, in order; `read` and `finish` run on the worker threads."""

        def work(chunk: list[Source]) -> list[Result]:
            try:
                outcomes = self._map(chunk, read)
                return [finish(source, outcome) for source, outcome in zip(chunk, outcomes, strict=True)]
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                raise EnvironmentFault(
                    f"the memory is too small for {len(chunk)} images at a time, {chunk[0].path} the first: lower "
                    "--batch-size and --workers"
                ) from error

        # The inputs of a tiled image fill batches of their own.
        size = 1 if self._tiled else self._portion
        for results in stream(portions(sources, size, self._threads), work, self._threads):
            yield from results

    def _map(self, chunk: list[Source], read: Callable[[Source], Image]) -> Iterator[Mapped | UnreadableImage]:
        """Maps of a batch, one at a time: each is as large as its file. Of large files fewer are open at once."""
        outcomes: deque[UnreadableImage | _Under] = deque()
        held = 0
        for source in chunk:
            began = time.perf_counter()
            try:
                image = read(source)
                if reason := self._views.refusal((image.height, image.width)):
                    raise UnreadableImage(f"{source.path} {reason}.", image.sha256)
            except UnreadableImage as error:
                outcomes.append(error)
                continue
            place = source.place if self._left_out else 0
            outcomes.append(_Under(image, self._views.of(image.pixels), place, time.perf_counter() - began))
            held += image.pixels.nbytes
            del image
            if held > _HELD_BYTES:
                yield from self._finish(outcomes)
                held = 0
        yield from self._finish(outcomes)

    def _finish(self, outcomes: deque[UnreadableImage | _Under]) -> Iterator[Mapped | UnreadableImage]:
        """Maps of what has been read, which is gone then."""
        together, each = None, 0.0
        if not self._tiled:  # one input an image: a batch of images is one of inputs
            began = time.perf_counter()
            count = sum(isinstance(one, _Under) for one in outcomes)
            together = iter(list(self._score([one for one in outcomes if isinstance(one, _Under)])))
            each = (time.perf_counter() - began) / max(1, count)
        while outcomes:
            outcome = outcomes.popleft()
            if isinstance(outcome, UnreadableImage):
                yield outcome
                continue
            began = time.perf_counter()
            view = outcome.view
            scored = self._score([outcome]) if together is None else together
            method_score, pooled = None, []
            for number, (grid, own, features) in enumerate(islice(scored, len(view))):
                view.add(number, grid)
                pooled.append(features)
                method_score = own if method_score is None or own is None else max(own, method_score)
            score_map = view.score_map()
            looking = partial(_look, outcome.image, view.overview(), view.correlation, pooled)
            seconds = outcome.seconds + each + time.perf_counter() - began
            mapped = Mapped(outcome.image, score_map, looking, method_score, 1000 * seconds)
            del outcome, view, score_map, looking  # what was asked for is the caller's alone, and gone when it lets go
            yield mapped
            del mapped

    def _score(self, images: list[_Under]) -> Iterator[tuple[np.ndarray, float | None, np.ndarray]]:
        """Patch scores (h, w), the method's score and the pooled features (D,) of every input of these images, in
        order, batch by batch."""
        inputs = ((pixels, image.place) for image in images for pixels in image.view.inputs())
        for batch in batches(inputs, self._scorer.batch):
            pixels = np.stack([one for one, _ in batch])
            places = np.array([place for _, place in batch]) if self._left_out else None
            with self._turn:
                grids, own, pooled = self._scorer(pixels, places)
            yield from zip(grids, [None] * len(batch) if own is None else own.tolist(), pooled, strict=True)


def _look(image: Image, overview: np.ndarray, correlation: float, pooled: list[np.ndarray]) -> Look:
    return examine(image.pixels, overview, correlation)(mean_of(pooled))


def mean_of(pooled: Sequence[np.ndarray]) -> np.ndarray:
    """Pooled features (D,) of an image from those of its inputs; none of an image that is not looked at anywhere."""
    if len(pooled) == 1:
        return pooled[0]
    return np.mean(pooled, axis=0, dtype=np.float64).astype(np.float32) if len(pooled) else np.full(1, np.nan)


@dataclass
class _Under:
    """An image on its way to a map."""

    image: Image
    view: View
    place: int  # in the order of learning, with `left_out`
    seconds: float  # spent on it so far


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed. On a CPU torch has no class of its own for it, only a text."""
    torch = sys.modules.get("torch")
    return (
        isinstance(error, MemoryError)
        or (torch is not None and isinstance(error, torch.OutOfMemoryError))
        or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem)
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error))
    )
