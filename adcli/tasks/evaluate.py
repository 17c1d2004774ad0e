"""Metric tables of a model on labelled images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adcli.errors import UnreadableImage, UsageError
from adcli.layouts import LabelledImage
from adcli.metrics import images as image_metrics
from adcli.metrics.curves import PixelRow, pixel_curves
from adcli.metrics.intervals import rate_interval
from adcli.metrics.masks import read_mask, to_size
from adcli.metrics.overlap import ImageOverlap, image_overlap, pool
from adcli.metrics.spool import MapSpool
from adcli.model import Model
from adcli.store import load
from adcli.tasks.mapping import Machine, Mapped, Mapper
from adcli.tasks.score import check_weights
from adcli.types import Progress, Verdict, no_progress
from adcli.verdicts import judge, measure

GOOD = "good"
ALL = "all"
LIMITS = (0.3, 0.05)  # of the false-positive rate that AUPRO integrates to: IJCV 2021, and MVTec AD 2
_RESAMPLES = 1000


@dataclass(frozen=True)
class Evaluated:
    """The table and what must be said with it."""

    rows: list[dict[str, Any]]  # one a defect type and one for all; NaN where undefined
    notes: list[str]
    images: list[dict[str, Any]]  # scores and verdicts, in order
    unreadable: list[tuple[str, str]]
    model_sha256: str
    calibrated: bool


@dataclass(frozen=True)
class _Outcome:
    """One image: its score, its verdict if there is a threshold, and its overlap with the truth."""

    image: LabelledImage
    sha256: str
    score: float
    method_score: float | None
    verdict: Verdict | None
    overlap: ImageOverlap | None


def evaluate(
    dataset: Sequence[LabelledImage],
    model_path: Path,
    *,
    category: str = "",
    machine: Machine | None = None,
    weights: Path | None = None,
    progress: Progress = no_progress,
) -> Evaluated:
    """Scores labelled images and tells how well they were told apart.

    The threshold and the minimum area are those stored in the model: nothing is chosen here, save what is labelled
    oracle. Without a threshold in the model, the metrics that need one are NaN.

    Raises:
        UsageError: a mask is damaged or does not fit its image, or no image could be read.
    """
    machine = machine or Machine()
    stored = load(model_path)
    if weights is not None:
        check_weights(stored.model, weights)
    mapper = Mapper(stored.model, machine)
    has_masks = any(image.mask is not None for image in dataset)
    outcomes: list[_Outcome] = []
    unreadable: list[tuple[str, str]] = []
    with MapSpool() as spool:

        def finish(image: LabelledImage, mapped: Mapped | UnreadableImage) -> tuple[LabelledImage, Any]:
            return image, mapped if isinstance(mapped, UnreadableImage) else _judge(stored.model, image, mapped)

        progress("scoring", 0, len(dataset))
        for number, (image, outcome) in enumerate(mapper.stream(dataset, finish), 1):
            if isinstance(outcome, UnreadableImage):
                unreadable.append((str(image.path), str(outcome)))
            else:
                judged, score_map, mask = outcome
                if has_masks:
                    inspected = score_map > -np.inf
                    spool.add(score_map, mask, image.group, None if inspected.all() else inspected)
                outcomes.append(judged)
            progress("scoring", number, len(dataset))
        if not outcomes:
            raise UsageError(f"none of the {len(dataset)} images could be read; the first: {unreadable[0][1]}")

        def count(stage: str, done: int, total: int) -> None:
            if total:
                progress(f"counting pixels, {stage}", done, total)

        curves = pixel_curves(spool, LIMITS, progress=count) if has_masks else None
    notes = _notes(stored.model, outcomes, has_masks) + mapper.notes
    uninspected = stored.model.geometry.uninspected()
    if uninspected != 0:
        where = f"{uninspected:.1%} of an image lies" if uninspected else "what the aligned frame does not cover is"
        notes.append(
            f"{where} outside the region of interest: its good pixels are not counted, and defects there count as "
            "missed"
        )
    rng = np.random.default_rng(stored.model.spec.seed)
    groups = sorted({outcome.image.group for outcome in outcomes} - {GOOD})
    rows = []
    for group in [*groups, ALL]:
        members = [o for o in outcomes if group == ALL or o.image.group in (group, GOOD)]
        pixels = None if curves is None else (curves.all if group == ALL else curves.groups[group])
        head = {"category": category, "kind": ALL if group == ALL else "defect type", "group": group}
        rows.append(head | _row(members, pixels, stored.model, rng))
        if pixels is not None:
            notes += [note for note in pixels.notes if note not in notes]
    listed = [
        {
            "image": str(o.image.relative),
            "group": o.image.group,
            "score": o.score,
            "verdict": o.verdict and o.verdict.value,
            "sha256": o.sha256,
        }
        for o in outcomes
    ]
    calibrated = stored.model.calibration is not None
    return Evaluated(rows, notes, listed, unreadable, stored.sha256, calibrated)


def _judge(model: Model, image: LabelledImage, mapped: Mapped) -> tuple[_Outcome, np.ndarray, np.ndarray | None]:
    """One image's outcome, and its map and mask (H, W) at the mask's size."""
    height, width = mapped.score_map.shape
    try:
        mask = None if image.mask is None else read_mask(image.mask, (height, width))
    except UnreadableImage as error:  # not the image's fault: without its mask the image has no truth
        raise UsageError(f"the mask of {image.path} cannot be used: {error}") from error
    if model.calibration is None:
        score, verdict, ng_mask = measure(model, mapped.score_map).score, None, None
    else:
        judgement = judge(model, model.calibration, mapped.score_map, mapped.look)
        score, verdict = -math.inf if judgement.score is None else judgement.score, judgement.verdict
        ng_mask = judgement.mask if verdict is Verdict.NG else np.zeros_like(judgement.mask)
    if score == -math.inf:
        size = model.sizes[0]
        raise UsageError(f"the model's minimum size of {size} is larger than {image.path}: calibrate it anew")
    size = (height, width) if mask is None else mask.shape
    score_map = _at_size(mapped.score_map, size)
    overlap = None
    if ng_mask is not None and (mask is not None or image.group == GOOD):
        if ng_mask.shape != size:
            ng_mask = to_size(ng_mask.astype(np.float32), size) > 0.5
        overlap = image_overlap(ng_mask, np.zeros(size, bool) if mask is None else mask)
    outcome = _Outcome(image, mapped.image.sha256, score, mapped.method_score, verdict, overlap)
    return outcome, score_map, mask


def _at_size(score_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map at another size; minus infinity stays where nothing was looked at, and does not spread."""
    if score_map.shape == size:
        return score_map
    inside = score_map > -np.inf
    if inside.all():
        return to_size(score_map, size)
    seen = cv2.resize(inside.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).view(bool)
    weight = to_size(inside.astype(np.float32), size)
    values = to_size(np.where(inside, score_map, np.float32(0)), size)
    return np.where(seen & (weight > 0), values / np.maximum(weight, np.float32(1e-6)), np.float32(-np.inf))


def _row(members: list[_Outcome], pixels: PixelRow | None, model: Model, rng: np.random.Generator) -> dict[str, Any]:
    scores = np.array([o.score for o in members])
    defective = np.array([o.image.group != GOOD for o in members])
    nan = math.nan
    intervals = image_metrics.bootstrap(scores, defective, rng, _RESAMPLES)
    best_image = image_metrics.f1max(scores, defective)
    row: dict[str, Any] = {
        "good": int((~defective).sum()),
        "defective": int(defective.sum()),
        "regions": pixels.counts.regions if pixels else None,
        "pixels": pixels.counts.pixels if pixels else None,
        "image_auroc": image_metrics.auroc(scores, defective),
        "image_auroc_low": intervals.auroc[0],
        "image_auroc_high": intervals.auroc[1],
        "image_ap": image_metrics.average_precision(scores, defective),
        "image_ap_low": intervals.ap[0],
        "image_ap_high": intervals.ap[1],
        "pixel_auroc": pixels.auroc.value if pixels else nan,
        "pixel_ap": pixels.ap.value if pixels else nan,
    }
    for limit in LIMITS:
        row[f"aupro_{limit:g}"] = pixels.aupro[limit].value if pixels else nan
    row |= _at_threshold(members, defective, model)
    row |= {
        "image_f1max": best_image.f1.value,
        "image_f1max_threshold": best_image.threshold,
        "pixel_f1max": pixels.f1max.f1.value if pixels else nan,
        "pixel_f1max_threshold": pixels.f1max.threshold if pixels else nan,
    }
    own = [o.method_score for o in members]
    if None not in own:
        row["method_image_auroc"] = image_metrics.auroc(np.array(own), defective)
    return row


def _at_threshold(members: list[_Outcome], defective: np.ndarray, model: Model) -> dict[str, Any]:
    """Rates at the stored threshold. "At threshold" is the NG mask as `score` writes it; CHECK counts as not NG."""
    calibration = model.calibration
    keys = ("tnr", "tnr_low", "tnr_high", "tpr", "tpr_low", "tpr_high", "check_rate")
    pixel_keys = ("region_overlap", "iou", "pixel_f1", "pixel_precision", "pixel_recall")
    if calibration is None:
        return dict.fromkeys([*keys, *pixel_keys], math.nan) | {"threshold": None, "check_threshold": None}
    ng = np.array([o.verdict is Verdict.NG for o in members])
    accepted, rejected = int((~ng & ~defective).sum()), int((ng & defective).sum())
    good, bad = int((~defective).sum()), int(defective.sum())
    rates = [
        *(accepted / good if good else math.nan, *rate_interval(accepted, good)),
        *(rejected / bad if bad else math.nan, *rate_interval(rejected, bad)),
        sum(o.verdict is Verdict.CHECK for o in members) / len(members),
    ]
    row = dict(zip(keys, rates, strict=True))
    overlaps = [o.overlap for o in members]
    if None in overlaps:
        row |= dict.fromkeys(pixel_keys, math.nan)
    else:
        pooled = pool(overlaps)
        names = ("region_overlap", "iou", "f1", "precision", "recall")
        row |= {key: pooled[name] for key, name in zip(pixel_keys, names, strict=True)}
    return row | {"threshold": calibration.threshold, "check_threshold": calibration.check_threshold}


def _notes(model: Model, outcomes: list[_Outcome], has_masks: bool) -> list[str]:
    notes = ["AUROC, AP and AUPRO need no threshold; F1max is an oracle: its threshold is chosen on these very images"]
    if model.calibration is None:
        notes.append("the model has no threshold yet, so what needs one is undefined: adcli calibrate sets it")
    if not has_masks:
        notes.append("no masks were found, so pixel metrics are undefined")
    kinds = {outcome.image.group == GOOD for outcome in outcomes}
    for kind, word in ((True, "good"), (False, "defective")):
        if kind not in kinds:
            notes.append(f"there are no {word} images, so metrics that compare the two are undefined")
    digests = {outcome.sha256 for outcome in outcomes}
    seen = model.provenance.learnt_digests() & digests
    if seen:
        notes.append(f"{len(seen)} of these images are ones the model learnt from: the table flatters it")
    if model.calibration is not None:
        chosen = {row.tobytes().hex() for row in model.calibration.digests} & digests
        if chosen:
            notes.append(f"{len(chosen)} of these images were held out to set the threshold: TNR flatters it")
    return notes
