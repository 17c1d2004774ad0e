"""Which synthetic defects, planted on good images, get past the threshold in force. The model stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adcli.errors import UnreadableImage, UsageError
from adcli.finding import FoundImage
from adcli.images import Image, read_image
from adcli.metrics.intervals import rate_interval
from adcli.model import Model
from adcli.parallel import stream
from adcli.planting import KINDS, Size, check, fits, plant
from adcli.store import load
from adcli.tasks.engines import Machine
from adcli.tasks.escapes import decide
from adcli.tasks.mapping import Mapped, Mapper
from adcli.types import Progress, Verdict, no_progress

CONTRASTS = (0.05, 0.1, 0.2, 0.4)
_DEFAULT_SIZES = ("0.5x", "1x", "2x", "4x")

Cell = tuple[str, Size, float]  # kind, size, contrast


@dataclass(frozen=True)
class Planted:
    """What was found of synthetic defects."""

    rows: list[dict[str, Any]]  # one for every kind, size and contrast
    images: int  # good images planted on
    notes: list[str]
    unreadable: list[tuple[str, str]]
    model_sha256: str


@dataclass(frozen=True)
class _Good:
    """A good image to plant on."""

    given: str
    path: Path
    sha256: str
    width: int
    height: int
    min_area_px: int


@dataclass(frozen=True)
class _Plant:
    """An image to score: a good one with one synthetic defect, or as it is where the cell is None."""

    good: _Good
    cell: Cell | None = None
    size_px: float = 0.0
    number: int = 0

    @property
    def path(self) -> Path:
        return self.good.path


@dataclass(frozen=True)
class _PlantedImage(Image):
    """An image and the mask (H, W) of bool of the defect planted on it."""

    mask: np.ndarray


@dataclass
class _Count:
    """What came of the defects of one cell."""

    sizes: set[float] = field(default_factory=set)
    planted: int = 0
    excluded: int = 0
    found: int = 0
    check: int = 0  # of those found, by CHECK regions


def planted(
    images: Sequence[FoundImage],
    model_path: Path,
    *,
    sizes: Sequence[str] = (),
    contrasts: Sequence[float] = CONTRASTS,
    kinds: Sequence[str] = KINDS,
    per_image: int = 1,
    seed: int = 0,
    machine: Machine | None = None,
    progress: Progress = no_progress,
) -> Planted:
    """Plants synthetic defects on good images and counts those that the model finds.

    Every image gets `per_image` defects of every kind, size and contrast, each on a copy of its own. A defect is found
    when a pixel of the mask that decided lies in it, and left out where the mask of the image without it does already.
    What is planted depends on the seed, the file's bytes and the cell, not on other images, other cells or threads.

    Args:
        sizes: as `Size.parse` reads them; none: half to four times the diameter of the minimum area, where they fit.

    Raises:
        UsageError: the model learnt from an image, a defect does not fit into one, none could be read, or there is no
            such kind, size or contrast.
        ModelFileError: the model has no threshold.
    """
    stored, machine = load(model_path), machine or Machine()
    model = stored.model
    model.require_calibration()
    if per_image < 1 or not kinds or not contrasts:
        raise UsageError("nothing to plant: give at least one kind, one contrast and one defect an image")
    chosen = list(dict.fromkeys(map(Size.parse, sizes or _DEFAULT_SIZES)))
    goods, unreadable = _readable(model, images, machine.threads, progress)
    notes = ["these defects are synthetic: they tell about contrast and size, not about your defects"]
    if not sizes:
        chosen = _that_fit(model, goods, chosen, notes)
    cells = [(kind, size, by) for kind in dict.fromkeys(kinds) for size in chosen for by in dict.fromkeys(contrasts)]
    for kind, size, by in cells:
        for good in goods:
            check(kind, _pixels(model, good, size), by, good.width, good.height)
    if per_image > 1:
        notes.append("defects on one image are alike, and the intervals take them as independent")
    mapper = Mapper(model, machine)

    def sources() -> Iterator[_Plant]:
        for good in goods:
            yield _Plant(good)
            for cell in cells:
                yield from (_Plant(good, cell, _pixels(model, good, cell[1]), number) for number in range(per_image))

    def read(source: _Plant) -> Image:
        return _read(model, source, seed)

    def finish(source: _Plant, mapped: Mapped | UnreadableImage) -> tuple[_Plant, Any]:
        return source, mapped if isinstance(mapped, UnreadableImage) else _look(model, source, mapped)

    counts = {cell: _Count() for cell in cells}
    total = len(goods) * (1 + len(cells) * per_image)
    lost: dict[str, str] = {}
    before = np.empty(0, np.int64)
    progress("scoring planted defects", 0, total)
    for number, (source, outcome) in enumerate(mapper.stream(sources(), finish, read), 1):
        if isinstance(outcome, UnreadableImage):
            lost.setdefault(source.good.given, str(outcome))
        elif source.cell is None:
            before = outcome
        elif source.good.given not in lost:
            _add(counts[source.cell], source, before, *outcome)
        progress("scoring planted defects", number, total)
    rows = [_row(cell, count) for cell, count in counts.items()]
    if excluded := sum(count.excluded for count in counts.values()):
        notes.append(f"{excluded} defects were left out: without them, their place was NG or CHECK already")
    return Planted(rows, len(goods) - len(lost), notes + mapper.notes, unreadable + list(lost.items()), stored.sha256)


def _readable(
    model: Model, images: Sequence[FoundImage], threads: int, progress: Progress
) -> tuple[list[_Good], list[tuple[str, str]]]:
    """The images that can be planted on, of equal files one, and the others with the reason."""
    learnt = model.provenance.learnt_digests()

    def look(found: FoundImage) -> _Good | UnreadableImage:
        try:
            image = read_image(found.path)
        except UnreadableImage as error:
            return error
        area = model.sizes[0].area.pixels(image.width, image.height, model.pixel_pitch)
        return _Good(found.given, found.path, image.sha256, image.width, image.height, area)

    goods: dict[str, _Good] = {}
    unreadable: list[tuple[str, str]] = []
    progress("reading", 0, len(images))
    for number, (found, good) in enumerate(zip(images, stream(images, look, threads), strict=True), 1):
        if isinstance(good, UnreadableImage):
            unreadable.append((found.given, str(good)))
        else:
            goods.setdefault(good.sha256, good)
        progress("reading", number, len(images))
    if not goods:
        raise UsageError(f"none of the {len(images)} images could be read; the first: {unreadable[0][1]}")
    if known := [good.given for sha256, good in goods.items() if sha256 in learnt]:
        raise UsageError(
            f"the model learnt from {len(known)} of these {len(images)} images ({known[0]} for one), so a defect would "
            "stand out too well: plant on good images that it has not seen"
        )
    return list(goods.values()), unreadable


def _that_fit(model: Model, goods: list[_Good], sizes: list[Size], notes: list[str]) -> list[Size]:
    """The default sizes for which every image has room."""
    fitting = [
        size
        for size in sizes
        if all(fits(kind, _pixels(model, good, size), good.width, good.height) for kind in KINDS for good in goods)
    ]
    if not fitting:
        raise UsageError(
            f"no defect of about the minimum area {model.sizes[0].area} fits into the images: give --sizes"
        )
    if len(fitting) < len(sizes):
        dropped = ", ".join(str(size) for size in sizes if size not in fitting)
        notes.append(f"the size {dropped} of the minimum area's diameter does not fit and was left out")
    return fitting


def _pixels(model: Model, good: _Good, size: Size) -> float:
    return size.pixels(good.min_area_px, model.pixel_pitch)


def _read(model: Model, source: _Plant, seed: int) -> Image:
    """The image with its defect, drawn from a seed of its own."""
    image = read_image(source.path)
    if source.cell is None:
        return image
    kind, size, contrast = source.cell
    name = f"{seed} {source.good.sha256} {kind} {size} {contrast:g} {source.number}"
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))
    pixels, mask = plant(image.pixels, kind, source.size_px, contrast, rng, model.spec.white_level)
    return _PlantedImage(pixels, image.sha256, image.width, image.height, mask)


def _look(model: Model, source: _Plant, mapped: Mapped) -> Any:
    """Of an image as it is, the pixels that decided; of a planted one the defect's, whether found, and the verdict.

    Pixels are flat indices, because what waits for its turn should be small.
    """
    judgement = decide(model, source.path, mapped)
    if not isinstance(mapped.image, _PlantedImage):
        return np.flatnonzero(judgement.mask)
    mask = mapped.image.mask
    return np.flatnonzero(mask), bool((judgement.mask & mask).any()), judgement.verdict


def _add(count: _Count, source: _Plant, before: np.ndarray, places: np.ndarray, found: bool, verdict: Verdict) -> None:
    count.sizes.add(source.size_px)
    count.planted += 1
    if np.intersect1d(before, places, assume_unique=True).size:
        count.excluded += 1
    elif found:
        count.found += 1
        count.check += verdict is Verdict.CHECK


def _row(cell: Cell, count: _Count) -> dict[str, Any]:
    kind, size, contrast = cell
    n = count.planted - count.excluded
    low, high = rate_interval(count.found, n)
    return {
        "kind": kind,
        "size": str(size),
        "size_px": [min(count.sizes, default=None), max(count.sizes, default=None)],  # over the images
        "contrast": contrast,
        "planted": count.planted,
        "excluded": count.excluded,
        "n": n,
        "found": count.found,
        "check": count.check,
        "found_rate": count.found / n if n else float("nan"),
        "found_rate_low": low,
        "found_rate_high": high,
    }
