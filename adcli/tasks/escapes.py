"""Which labelled defects get past the threshold in force. The model stays as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adcli.errors import UnreadableImage, UsageError
from adcli.layouts import GOOD, LabelledImage, Problem, check_masks, refuse
from adcli.metrics.detection import ONE_SIDED, by_size, defects_in, fit_curve, sure_from
from adcli.metrics.intervals import rate_interval
from adcli.metrics.masks import mask_at_size, read_truth
from adcli.model import Model
from adcli.store import load
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapped, Mapper
from adcli.types import Progress, Verdict, no_progress
from adcli.verdicts import Judgement, judge

ALL = "all"


@dataclass(frozen=True)
class Escapes:
    """Misses among labelled defective images. Rates have Clopper-Pearson intervals at 95 %."""

    rows: list[dict[str, Any]]  # one a defect type and one for all
    sentence: str  # what the row all promises
    sizes: list[dict[str, Any]]  # found rates by defect type and area; empty without masks
    curves: list[dict[str, Any]]  # detection against area, one a defect type and one for all; empty without masks
    defects: list[dict[str, Any]]  # every 8-connected defect of the masks
    images: list[dict[str, Any]]  # scores and verdicts, in order
    notes: list[str]
    problems: list[Problem]  # of the data set, none of them fatal
    unreadable: list[tuple[str, str]]
    model_sha256: str


def escapes(
    images: Sequence[LabelledImage],
    model_path: Path,
    *,
    problems: Sequence[Problem] = (),
    machine: Machine | None = None,
    progress: Progress = no_progress,
) -> Escapes:
    """Counts the defective images, and where there are masks the defects, that the model misses.

    Missed is an image whose verdict is OK; CHECK is not. A defect is found when a pixel of the mask that decided, of
    NG or else of CHECK regions, lies in it. Good images are passed over, and of equal files all but one.

    Args:
        problems: what was found while the images were listed; what is found in their masks is added.

    Raises:
        UnfitDataset: one of the problems is fatal. All masks are looked at before any image is scored.
        UsageError: there are no defective images, or none could be read.
        ModelFileError: the model has no threshold.
    """
    stored = load(model_path)
    model = stored.model
    model.require_calibration()
    bad = [image for image in images if image.group != GOOD]
    if not bad:
        refuse(problems)
        raise UsageError("there are no defective images, so nothing can escape: give some, or good ones to --plant")
    problems = [*problems, *check_masks(bad, progress)]
    refuse(problems)
    mapper = Mapper(model, machine or Machine())

    def finish(image: LabelledImage, mapped: Mapped | UnreadableImage) -> tuple[LabelledImage, Any]:
        return image, mapped if isinstance(mapped, UnreadableImage) else _look(model, image, mapped)

    looked: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    unreadable: list[tuple[str, str]] = []
    progress("scoring", 0, len(bad))
    for number, (image, outcome) in enumerate(mapper.stream(bad, finish), 1):
        if isinstance(outcome, UnreadableImage):
            unreadable.append((str(image.path), str(outcome)))
        else:
            looked.setdefault(outcome[0]["sha256"], outcome)  # one image twice is no second witness
        progress("scoring", number, len(bad))
    if not looked:
        raise UsageError(f"none of the {len(bad)} defective images could be read; the first: {unreadable[0][1]}")
    listed = [image for image, _ in looked.values()]
    defects = [defect for _, inside in looked.values() for defect in inside]
    groups = [*sorted({image["group"] for image in listed}), ALL]
    rows = []
    for group in groups:
        verdicts = [image["verdict"] for image in listed if group in (image["group"], ALL)]
        head = {"kind": ALL if group == ALL else "defect type", "group": group, "images": len(verdicts)}
        rows.append(head | _missed(verdicts))
    notes = [] if model.group_by is None else ["the model groups images to parts; here every image counts by itself"]
    notes += mapper.notes + _seen(model, looked, len(bad) - len(unreadable))
    if model.calibration.check_threshold is not None or rows[-1]["check"]:
        notes.append("CHECK counts as not missed, as somebody looks at it")
    sizes, curves = [], []
    if defects:
        for group in groups:
            inside = [defect for defect in defects if group in (defect["group"], ALL)]
            sizes += _by_size(group, inside)
            curves.append(_curve(group, inside, model.pixel_pitch))
        notes += _of_sizes(curves)
        if model.calibration.check_threshold is not None:
            notes.append("a defect in an NG image counts as found where NG regions lie, not where CHECK ones would")
    else:
        notes.append("no masks were found, so nothing is said of the size of defects")
    told = (rows, _promise(rows[-1]), sizes, curves, defects, listed)
    return Escapes(*told, notes, problems, unreadable, stored.sha256)


def _look(model: Model, image: LabelledImage, mapped: Mapped) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One image's verdict, and its defects where it has a mask."""
    judgement = decide(model, image.path, mapped)
    name = {"image": str(image.relative), "group": image.group}
    told = {"verdict": judgement.verdict.value, "score": judgement.score, "sha256": mapped.image.sha256}
    if not image.masks:
        return name | told, []
    truth = read_truth(image.masks, judgement.mask.shape, image.values).mask
    decided = judgement.mask
    if decided.shape != truth.shape:
        decided = mask_at_size(decided, truth.shape)
    scale, pitch = judgement.mask.size / truth.size, model.pixel_pitch  # areas are of the image's pixels
    return name | told, [
        name | {"area_px": area * scale, "area_mm2": None if pitch is None else area * scale * pitch**2, "found": found}
        for area, found in defects_in(truth, decided)
    ]


def decide(model: Model, path: Path, mapped: Mapped) -> Judgement:
    """The verdict by the threshold in force. Raises UsageError where the minimum area is larger than the image."""
    judgement = judge(model, model.require_calibration(), mapped)
    if judgement.score is None:
        raise UsageError(f"the model's minimum size of {model.sizes[0]} is larger than {path}: calibrate it anew")
    return judgement


def _missed(verdicts: list[str]) -> dict[str, Any]:
    n, missed = len(verdicts), verdicts.count(Verdict.OK.value)
    low, high = rate_interval(missed, n)
    return {
        "missed": missed,
        "check": verdicts.count(Verdict.CHECK.value),
        "ng": verdicts.count(Verdict.NG.value),
        "miss_rate": missed / n,
        "miss_rate_low": low,
        "miss_rate_high": high,
        "miss_rate_bound": rate_interval(missed, n, ONE_SIDED)[1],  # one-sided
    }


def _promise(row: dict[str, Any]) -> str:
    """The one-sided bound in words, rounded towards less."""
    start = f"{row['missed']} of {row['images']} missed: "
    if row["missed"] == row["images"]:
        return f"{start}nothing can be promised"
    share = math.floor(1000 * (1 - row["miss_rate_bound"])) / 10
    return f"{start}at least {share:g} % of images with such defects are found, with 95 % confidence"


def _seen(model: Model, digests: Sequence[str], read: int) -> list[str]:
    """What makes the counts say less than they seem to."""
    notes = []
    if read > len(digests):
        notes.append(f"{read - len(digests)} images equal another one byte by byte and were left out")
    for rows, what in (
        (model.provenance.learnt, "are ones the model learnt from: what it misses there says little"),
        (model.calibration.digests, "were held out to set the threshold: each raised it, if it did anything"),
    ):
        if known := len({row.tobytes().hex() for row in rows} & set(digests)):
            notes.append(f"{known} of these images {what}")
    return notes


def _by_size(group: str, defects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    bins = by_size([defect["area_px"] for defect in defects], [defect["found"] for defect in defects])
    return [
        {"group": group, "area_px_from": row.pop("low"), "area_px_below": row.pop("high")} | row
        for row in map(asdict, bins)
    ]


def _curve(group: str, defects: list[dict[str, Any]], pitch: float | None) -> dict[str, Any]:
    """Areas from which on defects are found, by the curve and without one."""
    areas, found = [defect["area_px"] for defect in defects], [defect["found"] for defect in defects]
    fitted, sure = fit_curve(areas, found), sure_from(areas, found)
    row = {"group": group, "n": len(found), "found": sum(found), "largest_px": max(areas), "b0": fitted.b0}
    row["b1"] = fitted.b1
    for name, area in (("a50", fitted.a50), ("a90", fitted.a90), ("a90_95", fitted.a90_95), ("sure_from", sure)):
        row[f"{name}_px"] = area
        row[f"{name}_mm2"] = None if pitch is None else area * pitch**2
    return row | {"note": fitted.note}


def _of_sizes(curves: list[dict[str, Any]]) -> list[str]:
    """What must be said of the curves, each thing once with the defect types that it concerns."""
    said: dict[str, list[str]] = {}
    for row in curves:
        if row["note"]:
            said.setdefault(row["note"], []).append(row["group"])
        if row["a90_95_px"] > row["largest_px"]:
            said.setdefault("a90/95 is above the largest defect given: extrapolated", []).append(row["group"])
        if not math.isnan(row["sure_from_px"]):
            reason = "the area by counting is chosen by looking, so it flatters, and is true of this mix of sizes only"
            said.setdefault(reason, []).append(row["group"])
    return [f"{', '.join(groups)}: {reason}" for reason, groups in said.items()]
