"""Held-out good images, scored: what a threshold is chosen from."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from adcli.errors import UnreadableImage, UsageError
from adcli.finding import FoundImage
from adcli.guard import Look
from adcli.image_scores import Traits, measure_traits
from adcli.model import Model, Scales
from adcli.parts import Grouping
from adcli.sizes import PixelSize
from adcli.tasks.mapping import Mapped, Mapper
from adcli.thresholds.estimators import QUANTILE, Evidence, Rule
from adcli.thresholds.joint import learn_scales
from adcli.thresholds.pixels import PixelPool, Pixels, PixelSummary
from adcli.types import Progress
from adcli.verdicts import measure, score_of

_SKETCH = (np.arange(256) + 0.5) / 256  # quantiles kept of each held-out map
_SKETCHED = 1 << 16  # pixels of a map that they are taken of, at least, where it has so many
_SET_APART = 0.25  # of the held-out images, to scale several sizes by where the images learnt from cannot
_LEAST_SET_APART = 5


@dataclass(frozen=True)
class HeldOut:
    """One held-out image."""

    image: FoundImage
    digest: str
    part: str  # the part it shows; its own digest where images are not grouped
    sizes: tuple[PixelSize, ...]  # minimum sizes in its pixels
    levels: np.ndarray  # (k,) float64, one a size
    footprint_px: int
    sketch: np.ndarray  # (256,) float32, quantiles of its map
    look: Look
    traits: Traits | None  # for the image scores; None where they are beyond all numbers
    method_score: float | None  # the method's own


@dataclass(frozen=True)
class Unit:
    """What a promise is made of: an image, or a part with all its images."""

    name: str  # the part, or the image as given
    score: float  # the highest of its images
    members: tuple[int, ...]  # places in `Gathered.images`
    highest: HeldOut


@dataclass(frozen=True)
class Gathered:
    """Held-out images as units, ascending by score, and what is left of those that could not be used."""

    images: list[HeldOut]
    units: list[Unit]
    evidence: Evidence
    scales: Scales | None
    unreadable: list[tuple[FoundImage, UnreadableImage]]
    notes: list[str]

    def highest(self, scores: np.ndarray) -> np.ndarray:
        """Of each unit, the highest of the scores (images,) of its images."""
        return np.array([scores[list(unit.members)].max() for unit in self.units])


@dataclass(frozen=True)
class _Measured:
    """Scored images, in their order."""

    images: list[HeldOut]
    broken: set[str]  # parts with an image that cannot be read
    unreadable: list[tuple[FoundImage, UnreadableImage]]
    notes: list[str]


def gather(model: Model, mapper: Mapper, images: Sequence[FoundImage], rule: Rule, progress: Progress) -> Gathered:
    """Scores held-out images. The model's scales are used where it has them.

    Raises:
        UsageError: no image can be read, an image shows no part, or a minimum size is larger than an image.
    """
    joint = len(model.sizes) > 1
    pool = None if joint else PixelPool(QUANTILE if rule.quantile is None else rule.quantile, len(images))
    found = _measure(model, mapper, images, pool, progress)
    measured, broken, notes = found.images, found.broken, found.notes
    lost = np.array([held.part in broken for held in measured])
    if lost.all():
        raise UsageError("every held-out part has an image that cannot be read, so none is left to calibrate on")
    pixels = None if pool is None else pool.pooled()
    if pixels is not None and lost.any():
        pixels = pixels.without(lost)
    measured = [held for held in measured if held.part not in broken]
    scales = model.scales
    if joint and scales is None:
        measured, scales = _set_apart(measured)
        notes.append(
            f"{scales.images} of these images scale the {len(model.sizes)} minimum sizes to each other, so the "
            "threshold stands on the others"
        )
    return _units(measured, pixels, scales, model.group_by is not None, found.unreadable, notes)


def learn_scales_from(model: Model, mapper: Mapper, images: Sequence[FoundImage], progress: Progress) -> Scales:
    """What brings several sizes to one scale, from images learnt from, which `mapper` maps as if left out."""
    alone = replace(model, group_by=None)
    return _scales(_measure(alone, mapper, images, None, progress).images, "leave-one-out")


def _measure(
    model: Model, mapper: Mapper, images: Sequence[FoundImage], pool: PixelPool | None, progress: Progress
) -> _Measured:
    """Scores images, each content once."""
    grouping = None if model.group_by is None else Grouping(model.group_by)
    parts = {image: grouping.of(image) for image in images} if grouping else {}

    def look(
        image: FoundImage, mapped: Mapped | UnreadableImage
    ) -> tuple[FoundImage, tuple[HeldOut, PixelSummary | None] | UnreadableImage]:
        if isinstance(mapped, UnreadableImage):
            return image, mapped
        held = _look(model, image, parts.get(image, mapped.image.sha256), mapped)
        return image, (held, None if pool is None else pool.summarise(mapped.score_map))

    measured: list[HeldOut] = []
    unreadable: list[tuple[FoundImage, UnreadableImage]] = []
    seen: set[str] = set()
    copies = 0
    progress("scoring held-out images", 0, len(images))
    for number, (image, outcome) in enumerate(mapper.stream(images, look), 1):
        if isinstance(outcome, UnreadableImage):
            unreadable.append((image, outcome))
        elif outcome[0].digest in seen:  # one image twice is no second witness
            copies += 1
        else:
            held, summary = outcome
            seen.add(held.digest)
            measured.append(held)
            if pool is not None and summary is not None:
                pool.add(summary)
        progress("scoring held-out images", number, len(images))
    if not measured:
        raise UsageError(f"none of the {len(images)} held-out images could be read; the first: {unreadable[0][1]}")
    notes = []
    if copies:
        notes.append(f"{copies} images are copies of others, byte for byte, and count once, where they come first")
    broken = {parts[image] for image, _ in unreadable if image in parts}
    if broken:
        notes.append(f"{len(broken)} parts are left out, one of whose images cannot be read")
    return _Measured(measured, broken, unreadable, notes)


def _look(model: Model, image: FoundImage, part: str, mapped: Mapped) -> HeldOut:
    width, height = mapped.image.width, mapped.image.height
    found = measure(model, mapped.score_map)
    for size, wished, level in zip(found.sizes, model.sizes, found.levels, strict=True):
        if level == -math.inf:
            inside = int(np.count_nonzero(mapped.score_map > -np.inf))
            asked = "--min-area" if size.area > inside else "--min-length or --min-width"
            has = f"{width}x{height} pixels" + ("" if inside == width * height else f", {inside} of them looked at")
            raise UsageError(
                f"no region of {image.given}, which has {has}, can have the minimum size {wished} "
                f"({size.area} px): no defect could ever count; give a smaller {asked}{_or_else(model)}"
            )
    # Sorted first: numpy sorts faster than it picks so many quantiles.
    sketch = np.quantile(np.sort(_inspected(mapped.score_map)), _SKETCH).astype(np.float32)
    footprint_px = model.footprint_area().pixels(width, height)
    traits, own = measure_traits(mapped.score_map), mapped.method_score
    digest, look = mapped.image.sha256, mapped.look
    return HeldOut(image, digest, part, found.sizes, found.levels, footprint_px, sketch, look, traits, own)


def _or_else(model: Model) -> str:
    """What else may be in the way of a region of the minimum size."""
    geometry = model.geometry
    return (", smaller tiles" if geometry.tiling else "") + (
        ", or a larger region of interest" if geometry.roi is not None else ""
    )


def _inspected(score_map: np.ndarray) -> np.ndarray:
    """Rows and columns at even steps, of what was looked at; all of that where so little was."""
    step = max(1, math.isqrt(score_map.size // _SKETCHED))
    values = score_map[::step, ::step]
    inside = values[values > -np.inf]
    return inside if inside.size else score_map[score_map > -np.inf]


def _scales(images: Sequence[HeldOut], evidence: str) -> Scales:
    centre, spread = learn_scales(np.stack([held.levels for held in images]))
    return Scales(centre, spread, len(images), evidence)


def _set_apart(measured: list[HeldOut]) -> tuple[list[HeldOut], Scales]:
    """Images to calibrate on, and the scales from those set apart: whole parts, chosen by name or content, which the
    scores have no part in."""
    ranked = sorted({held.part for held in measured}, key=_digest_of)
    apart = set(ranked[: max(_LEAST_SET_APART, math.ceil(_SET_APART * len(ranked)))])
    rest = [held for held in measured if held.part not in apart]
    if not rest:
        raise UsageError(
            f"{len(ranked)} held-out good images are too few for several minimum areas, {_LEAST_SET_APART} of which "
            f"scale the areas to each other: give at least {2 * _LEAST_SET_APART}, or one --min-area"
        )
    return rest, _scales([held for held in measured if held.part in apart], "held-out")


def _digest_of(part: str) -> bytes:
    return hashlib.sha256(part.encode(errors="surrogateescape")).digest()


def _units(
    measured: list[HeldOut],
    pixels: Pixels | None,
    scales: Scales | None,
    grouped: bool,
    unreadable: list[tuple[FoundImage, UnreadableImage]],
    notes: list[str],
) -> Gathered:
    scores = score_of(np.stack([held.levels for held in measured]), scales)
    members: dict[str, list[int]] = defaultdict(list)
    for place, held in enumerate(measured):
        members[held.part].append(place)
    units = []
    for part, places in members.items():
        highest = max(places, key=lambda place: scores[place])
        name = part if grouped else measured[highest].image.given
        units.append(Unit(name, float(scores[highest]), tuple(places), measured[highest]))
    units.sort(key=lambda unit: unit.score)
    owners = np.empty(len(measured), np.intp)
    for place, unit in enumerate(units):
        owners[list(unit.members)] = place
    evidence = Evidence(np.array([unit.score for unit in units]), pixels, owners, "part" if grouped else "image")
    return Gathered(measured, units, evidence, scales, unreadable, notes)
