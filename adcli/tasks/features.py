"""Features of good images on disk, for a method to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from adcli.detectors import Batch
from adcli.errors import UnreadableImage, UsageError
from adcli.finding import FoundImage
from adcli.geometry.augmentation import Augmentation
from adcli.geometry.views import View, Views
from adcli.guard import Look, examine
from adcli.images import read_pixels
from adcli.parallel import batches, stream
from adcli.tasks.holdout import LEAST_LEARNT
from adcli.tasks.mapping import mean_of
from adcli.types import Progress

if TYPE_CHECKING:
    from adcli.engines import LearningEngine
    from adcli.graphs import Reduce

_BATCH = 16  # inputs of the network

Fault = tuple[FoundImage, UnreadableImage]
Inputs = list[tuple[np.ndarray, "np.ndarray | None"]]  # prepared pixels, and which of their patches to learn from


class ImageFeatures:
    """The features batch by batch; each iteration reads the images anew, so memory stays flat.

    `unreadable` and `looks` are those of the latest iteration that came to its end.
    """

    def __init__(
        self,
        images: Sequence[FoundImage],
        sizes: Sequence[tuple[int, int]],
        views: Views,
        engine: LearningEngine,
        threads: int,
        batch: int,
        progress: Progress,
        augmentation: Augmentation | None = None,
        least: int = LEAST_LEARNT,
    ):
        """`sizes` are the images' H, W; `batch` is the number of inputs at a time, 0 for the usual one; of the images
        at least `least` are to be readable.

        With an augmentation the copies of an image follow it, each an input, with a look of its own.
        """
        self._views = views
        self._stacked = views.stacked
        shapes = engine.layer_shapes(views.image_size)
        self.grid = shapes[0][1:]  # h, w of one input
        self.shapes = tuple((channels, self._stacked * height, width) for channels, height, width in shapes)
        self._copies = (augmentation or Augmentation()).copies()
        self.n_images = sum(map(views.count, sizes)) // self._stacked * len(self._copies)
        self.unreadable: list[Fault] = []
        self.looks: list[Look] = []  # of the readable images, in their order, each followed by its copies'
        self._images = images
        self._engine = engine
        self._threads = threads if str(engine.device) == "cpu" else 1
        self._batch = batch or _BATCH
        self._progress = progress
        self._least = least

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches(self._engine):
            yield Batch(*self._engine.hand_over(batch.layers, batch.inside, self._stacked > 1))

    def reduced(self, reduce: Reduce) -> Iterator[Batch] | None:
        """The batches with what `reduce` makes of an input's layers, (N, n, D), as the only layer; None where that
        cannot be computed along with the network."""
        engine = self._engine.reduced(reduce) if self._stacked == 1 else None
        return None if engine is None else self._batches(engine)

    def _batches(self, engine: LearningEngine) -> Iterator[Batch]:
        faults: list[Fault] = []
        looks: list[Look] = []
        one_by_one = self._views.geometry.tiling is not None
        self._progress("learning from images", 0, len(self._images))
        yield from (self._by_tiles if one_by_one else self._by_images)(engine, faults, looks)
        readable = len(looks) // len(self._copies)
        if readable < self._least:  # no detector has to know what an undecodable image is
            raise UsageError(
                f"{readable} of the {len(self._images)} images to learn from can be read; the first that cannot: "
                f"{faults[0][1]}"
            )
        self.unreadable, self.looks = faults, looks

    def _by_images(self, engine: LearningEngine, faults: list[Fault], looks: list[Look]) -> Iterator[Batch]:
        """Each image one input; several images at once, from the file on."""
        done = 0
        chunks = batches(self._images, max(1, self._batch // len(self._copies)))
        for chunk, failed, seen, batch in stream(chunks, partial(self._read_batch, engine), self._threads):
            faults += failed
            looks += seen
            done += len(chunk)
            if batch is not None:
                yield batch
            self._progress("learning from images", done, len(self._images))

    def _read_batch(
        self, engine: LearningEngine, chunk: list[FoundImage]
    ) -> tuple[list[FoundImage], list[Fault], list[Look], Batch | None]:
        faults, waiting, inputs = [], [], []
        for image in chunk:
            try:
                view = self._open(image)
            except UnreadableImage as error:
                faults.append((image, error))
                continue
            for copy, look in self._copies_of(view):
                waiting.append(look)
                inputs.append((copy.input(0), copy.patches_to_learn(0, self.grid)))
        if not inputs:
            return chunk, faults, [], None
        batch, pooled = self._extract(engine, inputs)
        return chunk, faults, [look(row) for look, row in zip(waiting, pooled, strict=True)], batch

    def _by_tiles(self, engine: LearningEngine, faults: list[Fault], looks: list[Look]) -> Iterator[Batch]:
        """Several tiles of one image at once, so that memory does not grow with their number."""
        for done, image in enumerate(self._images, 1):
            try:
                view = self._open(image)
            except UnreadableImage as error:
                faults.append((image, error))
                continue
            size = self._batch if self._stacked == 1 else self._stacked
            for copy, look in self._copies_of(view):
                pooled: list[np.ndarray] = []
                tiles = partial(self._tiles, engine, copy)
                for batch, rows in stream(batches(range(len(copy)), size), tiles, self._threads):
                    pooled.extend(rows)
                    yield batch
                looks.append(look(mean_of(pooled)))
            self._progress("learning from images", done, len(self._images))

    def _tiles(self, engine: LearningEngine, view: View, numbers: list[int]) -> tuple[Batch, np.ndarray]:
        inputs = [(view.input(number), view.patches_to_learn(number, self.grid)) for number in numbers]
        return self._extract(engine, inputs)

    def _open(self, image: FoundImage) -> View:
        view = self._views.of(read_pixels(image.path))  # whose digests are known
        if not len(view):
            raise UnreadableImage(f"{image.path} has no pixel in the region of interest.")
        return view

    def _copies_of(self, view: View) -> Iterator[tuple[View, Callable[[np.ndarray], Look]]]:
        """The image and its copies, one at a time: each is as large as its file."""
        for angle, factor in self._copies:
            copy = view.turned(angle, factor)
            yield copy, examine(copy.pixels, copy.overview(), copy.correlation)

    def _extract(self, engine: LearningEngine, inputs: Inputs) -> tuple[Batch, np.ndarray]:
        """Features of the inputs, and pooled ones (N, D)."""
        pixels = np.stack([one for one, _ in inputs])
        inside = None
        if any(one is not None for _, one in inputs):
            everywhere = np.ones(self.grid, bool)
            inside = np.stack([everywhere if one is None else one for _, one in inputs])
        layers, pooled = engine.learn(pixels)
        return Batch(layers, inside), pooled
