"""One candidate on trial: learnt from some good images, and put to synthetic defects on others."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adcli.blemishes import KINDS, LEAST_SIZE, blemish, most_size
from adcli.errors import UnreadableImage, UsageError
from adcli.finding import FoundImage
from adcli.images import Image, read_image
from adcli.model import Model
from adcli.tasks.candidates import Candidate
from adcli.tasks.engines import Machine
from adcli.tasks.fit import fit_to_all
from adcli.tasks.mapping import Mapped, Mapper
from adcli.tasks.recipe import Recipe
from adcli.types import Progress
from adcli.verdicts import measure

STRENGTHS = ((0.15, 0.4), (0.4, 1.0))  # drawn from, evenly in the logarithm: faint, and plain
SIZES = (1 / 32, 1 / 5)  # likewise, of the image's shorter side
LIMIT = 0.05  # false-positive rate up to which the overlap is averaged
_VISIBLE = 0.01  # of white: what a defect's mask must change by on average, else there is nothing to find
_MOST_PIXELS = 4096  # of a defect, and
_MOST_CLEAN = 16384  # of a clean map, that are kept, evenly over it

Cell = tuple[str, int]  # kind, index of the strength
CELLS: tuple[Cell, ...] = tuple((kind, level) for kind in KINDS for level in range(len(STRENGTHS)))


@dataclass(frozen=True)
class Probe:
    """A good image to plant on, and another one that foreign patches come from."""

    path: Path
    sha256: str
    donor: Path


@dataclass(frozen=True)
class Measurement:
    """What a candidate made of n probe images and the defects on each of them, K to an image. Undefined is NaN."""

    above: np.ndarray  # (n, K, n): 1 where the planted image i scores above the clean image j, 1/2 where both are equal
    overlap: np.ndarray  # (n, K): share of a defect above the level of a false-positive rate, averaged over LIMIT
    found: np.ndarray  # (n, K): whether the planted image scores above all clean ones

    def image_auroc(self) -> float:
        """Planted against clean images."""
        return _mean(self.above)

    def aupro(self) -> float:
        """The overlap, averaged over defects."""
        return _mean(self.overlap)

    def criterion(self) -> float:
        """Half of either: what candidates are compared by."""
        return (self.image_auroc() + self.aupro()) / 2

    def found_rate(self) -> float:
        """Share of defects above the highest clean score."""
        return _mean(self.found)

    def by_kind(self) -> dict[str, tuple[float, float]]:
        """Image AUROC and overlap of each kind of defect; NaN where none of a kind could be seen."""
        kinds = {}
        for kind in KINDS:
            places = [place for place, cell in enumerate(CELLS) if cell[0] == kind]
            kinds[kind] = (_mean(self.above[:, places]), _mean(self.overlap[:, places]))
        return kinds

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        """The criterion (R,) of draws of the probe images with replacement, each counted (R, n) times, as planted and
        as clean ones; the levels of the false-positive rates stay."""
        wins, pairs = np.nansum(self.above, 1), (~np.isnan(self.above)).sum(1)  # (n, n)
        overlap, defects = np.nansum(self.overlap, 1), (~np.isnan(self.overlap)).sum(1)  # (n,)
        won, met = (((counts @ table) * counts).sum(1) for table in (wins, pairs))  # (R,)
        auroc = won / np.maximum(met, 1)
        return (auroc + (counts @ overlap) / np.maximum(counts @ defects, 1)) / 2


@dataclass(frozen=True)
class Trial:
    """What one candidate came to."""

    candidate: Candidate
    recipe: Recipe
    measurement: Measurement
    seconds: float  # of the whole trial
    ms: float  # of one core's time, an image
    model_bytes: int  # of what the detector has learnt from so many images


@dataclass(frozen=True)
class _Source:
    """A probe image with the defect of a cell, or as it is."""

    probe: Probe
    place: int
    cell: int | None

    @property
    def path(self) -> Path:
        return self.probe.path


@dataclass(frozen=True)
class _Planted(Image):
    """An image, and the mask (H, W) of bool of its defect; None where it cannot be seen."""

    mask: np.ndarray | None


def run_trial(
    candidate: Candidate,
    recipe: Recipe,
    learnt: Sequence[FoundImage],
    probes: Sequence[Probe],
    machine: Machine,
    progress: Progress,
) -> Trial:
    """Learns from the one and plants on the other.

    Raises:
        AdcliError: the candidate cannot be learnt or cannot score: what `fit` and `score` would say.
    """
    began = time.perf_counter()
    model = fit_to_all(learnt, recipe, machine, progress).model
    scores = np.full((len(probes), 1 + len(CELLS)), np.nan)  # the first column is of the clean image
    clean: list[np.ndarray] = []
    inside: dict[tuple[int, int], np.ndarray] = {}
    times: list[float] = []
    total = len(probes) * (1 + len(CELLS))
    mapper = Mapper(model, machine)

    def finish(source: _Source, mapped: Mapped | UnreadableImage) -> tuple[_Source, Any]:
        return source, mapped if isinstance(mapped, UnreadableImage) else _look(model, mapped)

    stream = mapper.stream(_sources(probes), finish, _Reader(recipe))
    for number, (source, outcome) in enumerate(stream, 1):
        if not isinstance(outcome, UnreadableImage):  # `fit` will list it
            score, values, ms = outcome
            times.append(ms)
            if source.cell is None:
                clean.append(values)
                scores[source.place, 0] = score
            elif values.size:
                inside[source.place, source.cell] = values
                scores[source.place, 1 + source.cell] = score
        progress("scoring planted defects", number, total)
    if not clean:
        raise UsageError(f"{candidate.name} could score none of {len(probes)} images")
    measurement = _measurement(scores, clean, inside)
    seconds = time.perf_counter() - began
    return Trial(candidate, recipe, measurement, seconds, float(np.median(times)), _bytes_of(model.detector))


def _mean(values: np.ndarray) -> float:
    """Of those that are defined; NaN of none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def _sources(probes: Sequence[Probe]) -> Iterator[_Source]:
    for place, probe in enumerate(probes):
        yield _Source(probe, place, None)
        yield from (_Source(probe, place, cell) for cell in range(len(CELLS)))


class _Reader:
    """Opens a probe image and plants on it, the same for every candidate; the latest files stay in memory."""

    def __init__(self, recipe: Recipe):
        self._seed, self._white_level = recipe.seed, recipe.white_level
        self._open = functools.lru_cache(maxsize=6)(read_image)

    def __call__(self, source: _Source) -> Image:
        image = self._open(source.path)
        if source.cell is None:
            return image
        probe, pixels = source.probe, image.pixels
        kind, level = CELLS[source.cell]
        name = f"{self._seed} {probe.sha256} {kind} {level}"
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))
        side = min(pixels.shape[:2])
        largest = most_size(pixels.shape)
        if largest < LEAST_SIZE:
            raise UnreadableImage(f"{probe.path} is too small to plant a defect on.", image.sha256)
        size = float(np.clip(_drawn(rng, SIZES) * side * (2 if kind == "scratch" else 1), LEAST_SIZE, largest))
        strength = _drawn(rng, STRENGTHS[level])
        donor = self._open(probe.donor).pixels
        planted, mask = blemish(pixels, donor, kind, size, strength, rng, self._white_level)
        white = 255 if pixels.dtype == np.uint8 else self._white_level or 65535
        change = np.abs(planted[mask].astype(np.float64) - pixels[mask]).mean()
        return _Planted(planted, image.sha256, image.width, image.height, mask if change >= _VISIBLE * white else None)


def _drawn(rng: np.random.Generator, between: tuple[float, float]) -> float:
    return math.exp(rng.uniform(*map(math.log, between)))


def _look(model: Model, mapped: Mapped) -> tuple[float, np.ndarray, float]:
    """The image score; values of the map, of a planted image those of the defect; milliseconds."""
    score_map = mapped.score_map
    score = measure(model, score_map).score
    if not isinstance(mapped.image, _Planted):
        return score, _some(score_map.ravel(), _MOST_CLEAN), mapped.ms
    mask = mapped.image.mask
    values = np.empty(0, np.float32) if mask is None else _some(score_map[mask], _MOST_PIXELS)
    return score, values, mapped.ms


def _some(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many of what was looked at, evenly taken."""
    values = values[values > -np.inf]
    return values if values.size <= most else values[np.linspace(0, values.size - 1, most).astype(np.intp)]


def _measurement(scores: np.ndarray, clean: list[np.ndarray], inside: dict[tuple[int, int], np.ndarray]) -> Measurement:
    """From image scores (n, 1 + K), the clean maps and the maps within each defect.

    The share of a defect above the level of a false-positive rate f is a step function of f, and its mean over
    f from 0 to LIMIT is that of max(0, 1 - f(v) / LIMIT) over the defect's pixels, f(v) being the share of clean pixels
    at least as high as v.
    """
    good, planted = scores[:, 0], scores[:, 1:]
    ascending = np.sort(np.concatenate(clean))
    overlap = np.full(planted.shape, np.nan)
    for place, values in inside.items():
        rate = 1 - np.searchsorted(ascending, values, side="left") / ascending.size
        overlap[place] = np.maximum(0, 1 - rate / LIMIT).mean()
    above = np.where(planted[..., None] > good, 1.0, np.where(planted[..., None] == good, 0.5, 0.0))
    above[np.isnan(planted)] = np.nan
    above[..., np.isnan(good)] = np.nan
    found = np.where(np.isnan(planted), np.nan, planted > np.nanmax(good))
    return Measurement(above, overlap, found)


def _bytes_of(detector: Any) -> int:
    """What lies in a detector's arrays, also in those of detectors within it."""
    total = 0
    for field in dataclasses.fields(detector):
        value = getattr(detector, field.name)
        for part in value if isinstance(value, (tuple, list)) else [value]:
            total += _bytes_of(part) if dataclasses.is_dataclass(part) else int(getattr(part, "nbytes", 0))
    return total
