"""Setting the threshold on good images that the model never saw."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adcli.detectors import check_image_stage
from adcli.errors import UnreadableImage, UsageError
from adcli.files import hold, remove_own_leftovers
from adcli.finding import FoundImage
from adcli.images import digest_image
from adcli.metrics.intervals import rate_interval
from adcli.model import Calibration, Model, Scales, digest_rows
from adcli.parallel import stream
from adcli.parts import Grouping
from adcli.sizes import AskedSize
from adcli.store import load, save
from adcli.tasks.engines import Machine
from adcli.tasks.evidence import Gathered, HeldOut
from adcli.tasks.guarding import set_guard
from adcli.tasks.image_stage import set_image_stage, usual_maps
from adcli.tasks.pictures import draw_pictures, write_pictures
from adcli.tasks.precision import Settled, settle
from adcli.thresholds import Estimate
from adcli.thresholds.estimators import Evidence, Rule, check, check_enough, choose, estimates, needed, side_by_side
from adcli.types import Progress, no_progress

SUSPECTS = 5
HELD_OUT, LEAVE_ONE_OUT = "held-out", "leave-one-out"


@dataclass(frozen=True)
class Suspect:
    """One of the highest held-out scores, and what the threshold becomes without it. NaN: too few images are left."""

    image: str  # path as given
    part: str | None
    score: float
    without: float
    without_and_above: float  # without this one and all that score higher


@dataclass(frozen=True)
class Lot:
    """Images that came together, judged by the threshold that the same rule sets from all others."""

    name: str
    n: int
    median: float  # of their scores
    threshold: float  # from the others; NaN where those are too few
    rejected: int | None
    rate_low: float  # Clopper-Pearson, 95 % two-sided
    rate_high: float


@dataclass(frozen=True)
class Calibrated:
    """What calibration found."""

    model: Model
    before: Calibration | None  # what was in force until now
    above_before: (
        int | None
    )  # of these units, above the NG threshold that was in force; None where scores differ in kind
    in_force: Estimate
    check: Estimate | None
    side_by_side: list[Estimate]
    suspects: list[Suspect]
    lots: list[Lot]
    area_px: tuple[int, int]  # smallest and largest minimum area over the held-out images
    footprint_px: tuple[int, int]  # likewise of the footprint
    unreadable: list[tuple[FoundImage, UnreadableImage]]
    n: int  # units: images, or parts
    images: int
    notes: list[str]
    pictures: dict[str, bytes]  # by suffix, to be written beside the model


def calibrate(
    images: Sequence[FoundImage],
    path: Path,
    *,
    rule: Rule | None = None,
    size: AskedSize | None = None,
    pixel_pitch: float | None = None,
    group_by: str | None = None,
    leave_out_group: str | None = None,
    machine: Machine | None = None,
    pictures: bool = True,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> Calibrated:
    """Replaces the calibration in a model file, and writes pictures of it beside the file; a dry run writes nothing.

    Raises:
        UsageError: there is no model, an image is one that it learnt from, the rule makes no sense, or the minimum
            size is larger than an image.
        GateFailed: there are too few images for the rate that is asked for.
        ModelFileError: the file is no model, or damaged.
        Busy: another run holds the model.
    """
    rule, machine = rule or Rule(), machine or Machine()
    check(rule)
    lots_of = None if leave_out_group is None else Grouping(leave_out_group, "--leave-out-group")
    if not path.exists():
        load(path)  # refuses, before a folder is made for its lock
    with hold(path.with_name(path.name + ".lock")):
        remove_own_leftovers(path)
        former = load(path).model
        model = resized(former, size, pixel_pitch, group_by)
        if rule.image_stage is not None:
            check_image_stage(model.spec.method, model.detector, rule.image_stage)
        check_enough(rule, len(images), joint=len(model.sizes) > 1)  # there are no more units than images
        _refuse_learnt(model, images, machine.threads, progress)
        for image in images if lots_of is not None else ():
            lots_of.of(image)  # refuses, before any is scored
        settled = settle(model, images, rule, machine, progress)
        calibrated = calibrate_model(model, settled, rule, progress, former=former, lots_of=lots_of, pictures=pictures)
        if not dry_run:
            save(calibrated.model, path)
            calibrated.notes.extend(write_pictures(calibrated.pictures, path))
    return calibrated


def resized(model: Model, size: AskedSize | None, pixel_pitch: float | None, group_by: str | None) -> Model:
    """The model with what is asked for; scales belong to the sizes they were learnt for."""
    sizes = model.sizes if size is None else size.over(model.sizes, model.footprint_area())
    pitch = model.pixel_pitch if pixel_pitch is None else pixel_pitch
    for one in sizes:
        one.pixels(1, 1, pitch)  # refuses mm without the size of a pixel, before any image is scored
    # Scales of held-out images are learnt anew: those that set them apart must not come back under the threshold.
    learnt = model.scales is not None and model.scales.evidence == LEAVE_ONE_OUT
    in_mm = any(part.unit.startswith("mm") for one in sizes for part in one.parts())
    same = learnt and sizes == model.sizes and (pitch == model.pixel_pitch or not in_mm)
    return replace(
        model,
        sizes=sizes,
        scales=model.scales if same else None,
        pixel_pitch=pitch,
        group_by=model.group_by if group_by is None else group_by or None,
    )


def calibrate_model(
    model: Model,
    settled: Settled,
    rule: Rule,
    progress: Progress,
    *,
    evidence: str = HELD_OUT,
    left_out: np.ndarray | None = None,
    former: Model | None = None,
    lots_of: Grouping | None = None,
    pictures: bool = True,
) -> Calibrated:
    """Puts the threshold that scored images ask for into the model, which is otherwise as it was.

    `left_out` are the input guard's scores by the `place` of images that the model learnt from. `former` is the model
    before it was asked for other sizes or groups, where it was.
    """
    mapper, gathered, trial = settled.mapper, settled.gathered, settled.trial
    in_force, below = choose(gathered.evidence, rule)
    in_force = _as_far_as(evidence, in_force)
    below = None if below is None else _as_far_as(evidence, below)
    guard, guard_notes = set_guard(model, gathered, rule, left_out)
    image_stage, stage_notes = set_image_stage(model, gathered, rule)
    sketches = np.stack([held.sketch for held in gathered.images])
    calibration = Calibration(
        rule=in_force.rule,
        guarantee=in_force.guarantee,
        check_guarantee=None if below is None else below.guarantee,
        engine=mapper.engine,
        precision=mapper.precision,
        threshold=in_force.threshold,
        check_threshold=None if below is None else below.threshold,
        max_false_reject=rule.max_false_reject,
        check_false_reject=rule.check_false_reject,
        confidence=rule.confidence,
        evidence=evidence,
        scores=gathered.evidence.scores,
        digests=digest_rows({held.digest for held in gathered.images}),
        median_pixel=float(np.median(sketches)),
        low_pixel=float(np.quantile(sketches, 0.01)),
        guard=guard,
        structcore=usual_maps(gathered),
        image_stage=image_stage,
        precision_check=None if trial is None else trial.check(in_force.threshold),
    )
    areas = [held.sizes[0].area for held in gathered.images]
    footprints = [held.footprint_px for held in gathered.images]
    compared = (_as_far_as(evidence, found) for found in side_by_side(gathered.evidence, rule))
    listed = [in_force if one.rule == in_force.rule else one for one in compared]
    calibrated = Calibrated(
        model=replace(model, scales=gathered.scales, calibration=calibration),
        before=model.calibration,
        above_before=_above_before(former or model, model, gathered),
        in_force=in_force,
        check=below,
        side_by_side=listed if in_force in listed else [in_force, *listed],
        suspects=_suspects(gathered, rule, model.group_by is not None),
        lots=[] if lots_of is None else _lots(gathered, rule, lots_of),
        area_px=(min(areas), max(areas)),
        footprint_px=(min(footprints), max(footprints)),
        unreadable=gathered.unreadable,
        n=len(gathered.units),
        images=len(gathered.images),
        notes=_notes(gathered.images, in_force, below, rule, model.calibration)
        + gathered.notes
        + guard_notes
        + stage_notes
        + mapper.notes
        + settled.notes,
        pictures={},
    )
    if not pictures:
        return calibrated
    progress("drawing", 0, 0)
    highest = [unit.highest for unit in gathered.units[: -SUSPECTS - 1 : -1]]
    drawn, failed = draw_pictures(calibrated, highest, mapper)
    return replace(calibrated, pictures=drawn, notes=calibrated.notes + failed)


def _as_far_as(evidence: str, found: Estimate) -> Estimate:
    """An estimate with the reservation that its evidence asks for."""
    if evidence == HELD_OUT or found.guarantee is None:
        return found
    return replace(found, guarantee=f"Approximately, by leaving one out at a time: {found.guarantee}")


def _above_before(former: Model, model: Model, gathered: Gathered) -> int | None:
    """Units above the threshold that was in force; None where their scores are other ones than those it was set on."""

    def kind(one: Model, scales: Scales | None) -> tuple[object, ...]:
        constants = None if scales is None else (scales.centre.tolist(), scales.spread.tolist())
        return one.sizes, one.pixel_pitch, one.group_by, constants

    if former.calibration is None or kind(former, former.scales) != kind(model, gathered.scales):
        return None
    return int((gathered.evidence.scores > former.calibration.threshold).sum())


def _suspects(gathered: Gathered, rule: Rule, grouped: bool) -> list[Suspect]:
    n, evidence = len(gathered.units), needed(gathered.evidence, rule)

    def without(lowest: int, highest: int) -> float:
        left_out = np.zeros(n, bool)
        left_out[lowest:highest] = True
        return _threshold(evidence.without(left_out), rule)

    return [
        Suspect(
            unit.highest.image.given,
            unit.name if grouped else None,
            unit.score,
            without(place, place + 1),
            without(place, n),
        )
        for place, unit in reversed(list(enumerate(gathered.units))[-SUSPECTS:])
    ]


def _lots(gathered: Gathered, rule: Rule, lots_of: Grouping) -> list[Lot]:
    """Each lot against the threshold that the same rule sets from the others."""
    members: dict[str, list[int]] = defaultdict(list)
    for place, unit in enumerate(gathered.units):
        names = {lots_of.of(gathered.images[image].image) for image in unit.members}
        if len(names) > 1:
            raise UsageError(
                f"the part {unit.name} has images in several groups of --leave-out-group ({', '.join(sorted(names))}): "
                "a part comes from one"
            )
        members[names.pop()].append(place)
    if len(members) < 2:
        raise UsageError(
            f"--leave-out-group {lots_of.pattern!r} finds one group only ({next(iter(members))}): none can be left out"
        )
    lots, evidence = [], needed(gathered.evidence, rule)
    for name, places in sorted(members.items()):
        left_out = np.zeros(len(gathered.units), bool)
        left_out[places] = True
        threshold = _threshold(evidence.without(left_out), rule)
        scores = evidence.scores[places]
        median = float(np.median(scores))
        if math.isnan(threshold):
            lots.append(Lot(name, len(places), median, threshold, None, math.nan, math.nan))
        else:
            rejected = int((scores > threshold).sum())
            lots.append(Lot(name, len(places), median, threshold, rejected, *rate_interval(rejected, len(places))))
    return lots


def _threshold(evidence: Evidence, rule: Rule) -> float:
    """What the rule makes of the evidence; NaN where it is too little."""
    return estimates(evidence, rule)[0].threshold if evidence.scores.size else math.nan


def _notes(
    measured: list[HeldOut], in_force: Estimate, below: Estimate | None, rule: Rule, before: Calibration | None
) -> list[str]:
    notes = []
    # A length or width makes up for a small area.
    small = [
        held
        for held in measured
        if all(size.area < held.footprint_px and not size.length and not size.width for size in held.sizes)
    ]
    if small:
        notes.append(
            f"the minimum area ({small[0].sizes[0].area} px) is below what one hot patch becomes in the map "
            f"({small[0].footprint_px} px) in {len(small)} of {len(measured)} images: the rule is then nearly the "
            "plain maximum"
        )
    if below is not None and below.threshold == in_force.threshold:
        notes.append("the check threshold is the NG threshold, so no image will be CHECK: ask for a higher rate")
    for name, asked in ({} if before is None else _asked_before(before)).items():
        if asked is not None and getattr(rule, name) is None:
            option, value = "--" + name.replace("_", "-"), asked if isinstance(asked, str) else f"{asked:g}"
            notes.append(f"{option} {value}, which was asked for before, is no longer: give it again to keep it")
    return notes


def _asked_before(before: Calibration) -> dict[str, float | str | None]:
    """What a calibration was asked for and the next one forgets, by the fields of `Rule`."""
    stage = before.image_stage
    return {
        "max_false_reject": before.max_false_reject,
        "check_false_reject": before.check_false_reject,
        "guard_reject": before.guard and before.guard.max_reject,
        "image_stage": stage and stage.score,
        "image_stage_reject": stage and stage.max_reject,
    }


def _refuse_learnt(model: Model, images: Sequence[FoundImage], threads: int, progress: Progress) -> None:
    """Raises UsageError when an image is one of those the model learnt from: its score would be too low."""
    learnt = model.provenance.learnt_digests()

    def seen(image: FoundImage) -> bool:
        try:
            return digest_image(image.path) in learnt
        except UnreadableImage:
            return False  # listed when it is scored

    known = [image.given for image, is_seen in zip(images, stream(images, seen, threads), strict=True) if is_seen]
    if known:
        raise UsageError(
            f"the model learnt from {len(known)} of these {len(images)} images ({known[0]} for one), so their scores "
            "would be too low: calibrate on good images that it has not seen"
        )
