"""Setting the threshold on good images that the model never saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adcli import thresholds
from adcli.errors import UnreadableImage, UsageError
from adcli.files import hold
from adcli.finding import FoundImage
from adcli.images import digest_image
from adcli.model import Calibration, Model, digest_rows
from adcli.parallel import stream
from adcli.regions import MinArea, area_score
from adcli.store import load, save
from adcli.tasks.mapping import Machine, Mapped, Mapper
from adcli.thresholds import Estimate
from adcli.types import Progress, no_progress

RULES = ("area", "conformal")
SUSPECTS = 5
_SKETCH = (np.arange(256) + 0.5) / 256  # quantiles kept of each held-out map


@dataclass(frozen=True)
class Rule:
    """Which estimator sets the threshold. Words as on the command line."""

    name: str = "area"
    max_false_reject: float | None = None
    confidence: float | None = None
    check_false_reject: float | None = None
    threshold: float | None = None  # by hand


@dataclass(frozen=True)
class Calibrated:
    """What calibration found."""

    model: Model
    before: Calibration | None  # what was in force until now
    above_before: int  # of these images, above the NG threshold that was in force
    in_force: Estimate
    check: Estimate | None
    side_by_side: list[Estimate]
    suspects: list[tuple[str, float]]  # the highest held-out scores, path as given
    without_suspects: list[float]  # the area rule's threshold without the first, the first two, ...
    area_px: tuple[int, int]  # smallest and largest minimum area over the held-out images
    footprint_px: tuple[int, int]  # likewise of the footprint
    unreadable: list[tuple[FoundImage, UnreadableImage]]
    n: int
    notes: list[str]


@dataclass(frozen=True)
class _HeldOut:
    """One held-out image."""

    given: str
    digest: str
    score: float
    sketch: np.ndarray  # (256,) float32, quantiles of its map
    min_area_px: int
    footprint_px: int


def calibrate(
    images: Sequence[FoundImage],
    path: Path,
    *,
    rule: Rule | None = None,
    min_area: MinArea | None = None,
    pixel_pitch: float | None = None,
    machine: Machine | None = None,
    progress: Progress = no_progress,
) -> Calibrated:
    """Replaces the calibration in a model file.

    Raises:
        UsageError: there is no model, an image is one that it learnt from, the rule makes no sense, or the minimum
            area is larger than an image.
        GateFailed: there are too few images for the rate that is asked for.
        ModelFileError: the file is no model, or damaged.
        Busy: another run holds the model.
    """
    rule, machine = rule or Rule(), machine or Machine()
    check_rule(rule, len(images))
    if not path.exists():
        load(path)  # refuses, before a folder is made for its lock
    with hold(path.with_name(path.name + ".lock")):
        model = load(path).model
        _refuse_learnt(model, images, machine.threads, progress)
        mapper = Mapper(replace(model, calibration=None), machine)
        model = replace(model, min_area=min_area or model.min_area, pixel_pitch=pixel_pitch or model.pixel_pitch)
        calibrated = calibrate_model(model, mapper, images, rule, progress)
        save(calibrated.model, path)
    return calibrated


def calibrate_model(
    model: Model, mapper: Mapper, images: Sequence[FoundImage], rule: Rule, progress: Progress
) -> Calibrated:
    """Scores held-out images and puts the threshold in force into the model, which is otherwise as it was."""
    measured: list[_HeldOut] = []
    unreadable: list[tuple[FoundImage, UnreadableImage]] = []

    def measure(image: FoundImage, mapped: Mapped | UnreadableImage) -> tuple[FoundImage, _HeldOut | UnreadableImage]:
        return image, mapped if isinstance(mapped, UnreadableImage) else _measure(model, image, mapped)

    progress("scoring held-out images", 0, len(images))
    for number, (image, outcome) in enumerate(mapper.stream(images, measure), 1):
        if isinstance(outcome, _HeldOut):
            measured.append(outcome)
        else:
            unreadable.append((image, outcome))
        progress("scoring held-out images", number, len(images))
    if not measured:
        raise UsageError(f"none of the {len(images)} held-out images could be read; the first: {unreadable[0][1]}")
    measured = list({image.digest: image for image in measured}.values())  # one image twice is no second witness
    measured.sort(key=lambda image: image.score)
    scores = np.array([image.score for image in measured])
    in_force, check = _estimate(scores, rule)
    pixels = np.stack([image.sketch for image in measured])
    calibration = Calibration(
        rule=in_force.rule,
        engine=mapper.engine,
        precision=mapper.precision,
        threshold=in_force.threshold,
        check_threshold=None if check is None else check.threshold,
        max_false_reject=rule.max_false_reject,
        check_false_reject=rule.check_false_reject,
        confidence=rule.confidence,
        scores=scores,
        digests=digest_rows(image.digest for image in measured),
        median_pixel=float(np.median(pixels)),
        low_pixel=float(np.quantile(pixels, 0.01)),
    )
    areas = [image.min_area_px for image in measured]
    footprints = [image.footprint_px for image in measured]
    return Calibrated(
        model=replace(model, calibration=calibration),
        before=model.calibration,
        above_before=0 if model.calibration is None else int((scores > model.calibration.threshold).sum()),
        in_force=in_force,
        check=check,
        side_by_side=thresholds.side_by_side(scores),
        suspects=[(image.given, image.score) for image in measured[: -SUSPECTS - 1 : -1]],
        without_suspects=[float(score) for score in scores[: -SUSPECTS - 2 : -1][1:]],
        area_px=(min(areas), max(areas)),
        footprint_px=(min(footprints), max(footprints)),
        unreadable=unreadable,
        n=len(measured),
        notes=_notes(measured) + mapper.notes,
    )


def _measure(model: Model, image: FoundImage, mapped: Mapped) -> _HeldOut:
    width, height = mapped.image.width, mapped.image.height
    area = model.min_area.pixels(width, height, model.pixel_pitch)
    score = area_score(mapped.score_map, area)
    if score == -math.inf:
        raise UsageError(
            f"the minimum area {model.min_area} is {area} pixels in {image.given}, which has {width}x{height}: no "
            "defect could ever count; give a smaller --min-area"
        )
    sketch = np.quantile(mapped.score_map[::2, ::2], _SKETCH).astype(np.float32)
    footprint_px = MinArea(model.footprint, "share").pixels(width, height)
    return _HeldOut(image.given, mapped.image.sha256, score, sketch, area, footprint_px)


def check_rule(rule: Rule, n: int) -> None:
    """Refuses what no `n` held-out images can give, before the time to learn and to score is spent."""
    _estimate(np.zeros(n), rule)


def _estimate(scores: np.ndarray, rule: Rule) -> tuple[Estimate, Estimate | None]:
    """The estimate in force, and the check threshold's where a band is asked for. Raises GateFailed for too few."""
    if rule.name not in RULES:
        raise UsageError(f"there is no rule {rule.name!r}: known are {', '.join(RULES)}")
    if rule.threshold is not None:
        if rule.max_false_reject is not None or rule.check_false_reject is not None or rule.name != "area":
            raise UsageError("a threshold by hand leaves no rate to be chosen: give --threshold alone")
        return thresholds.by_hand(scores, rule.threshold), None
    rate = rule.max_false_reject
    if rate is None:
        for option, value in (("--confidence", rule.confidence), ("--check-false-reject", rule.check_false_reject)):
            if value is not None:
                raise UsageError(f"{option} needs the rate of false rejects: add --max-false-reject, such as 0.01")
        if rule.name == "conformal":
            raise UsageError("the conformal rule needs its rate: add --max-false-reject, such as 0.01")
        return thresholds.require(thresholds.area_rule(scores)), None
    if rule.check_false_reject is not None:
        check, in_force = thresholds.band(scores, rule.check_false_reject, rate, rule.confidence)
        return thresholds.require(in_force), thresholds.require(check)
    if rule.confidence is not None:
        return thresholds.require(thresholds.guaranteed(scores, rate, rule.confidence)), None
    return thresholds.require(thresholds.conformal(scores, rate)), None


def _notes(measured: list[_HeldOut]) -> list[str]:
    notes = []
    small = [image for image in measured if image.min_area_px < image.footprint_px]
    if small:
        notes.append(
            f"the minimum area ({small[0].min_area_px} px) is below what one hot patch becomes in the map "
            f"({small[0].footprint_px} px): the rule is then nearly the plain maximum"
        )
    return notes


def _refuse_learnt(model: Model, images: Sequence[FoundImage], threads: int, progress: Progress) -> None:
    """Raises UsageError when an image is one of those the model learnt from: its score would be too low."""
    learnt = {row.tobytes() for row in model.provenance.learnt}

    def seen(image: FoundImage) -> bool:
        try:
            return bytes.fromhex(digest_image(image.path)) in learnt
        except UnreadableImage:
            return False  # listed when it is scored

    known = [image.given for image, is_seen in zip(images, stream(images, seen, threads), strict=True) if is_seen]
    if known:
        raise UsageError(
            f"the model learnt from {len(known)} of these {len(images)} images ({known[0]} for one), so their scores "
            "would be too low: calibrate on good images that it has not seen"
        )
