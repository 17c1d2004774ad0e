"""One map, one verdict: score, mask and regions cannot disagree, because they are one rule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from adcli.guard import Look
from adcli.image_scores import image_scores, measure_traits, words_for
from adcli.model import Calibration, Model, Scales
from adcli.regions import area_score, find_regions, row_tops
from adcli.sizes import PixelSize
from adcli.thresholds import p_value
from adcli.thresholds.joint import joint_score, level_thresholds
from adcli.types import Region, Verdict


@dataclass(frozen=True)
class Measured:
    """How strange a map is: the level that each minimum size reaches, and the one score they make."""

    sizes: tuple[PixelSize, ...]  # in pixels of this image
    levels: np.ndarray  # (k,) float64, S of each size; minus infinity where no region can have it
    score: float  # the level itself, or U of several
    tops: np.ndarray  # (H,) float32, the highest score of every row


@dataclass(frozen=True)
class Condition:
    """One of several sizes, and what it asks of this image."""

    min_area_px: int
    min_length_px: float
    min_width_px: float
    threshold: float  # NG above it, in the units of the map
    check_threshold: float | None
    score: float | None  # the level it reaches; None where the image is too small for it


@dataclass(frozen=True)
class Judgement:
    """What is said of one image, and by what."""

    verdict: Verdict
    reason: str | None
    score: float | None  # None where the minimum size is larger than the image
    min_area_px: int
    p_value: float | None
    regions: list[Region]  # those that decided, largest first
    mask: np.ndarray  # (H, W) bool, those regions and nothing else
    conditions: list[Condition] | None  # None for a single size


def measure(model: Model, score_map: np.ndarray) -> Measured:
    """The image score of a map (H, W) float32 of the file's size.

    With several sizes and no scales yet, which a model without a threshold may have, it is the first size's level.
    """
    height, width = score_map.shape
    sizes = tuple(size.pixels(width, height, model.pixel_pitch) for size in model.sizes)
    tops = row_tops(score_map)
    levels = np.array([area_score(score_map, size, tops) for size in sizes])
    return Measured(sizes, levels, float(score_of(levels, model.scales)), tops)


def score_of(levels: np.ndarray, scales: Scales | None) -> Any:
    """The image scores (...) of the levels (..., k) that several sizes reach."""
    return levels[..., 0] if scales is None else joint_score(levels, scales.centre, scales.spread)


def map_thresholds(model: Model, threshold: float) -> np.ndarray:
    """The threshold of the image score as one of the map for each size, (k,)."""
    if model.scales is None:
        return np.array([threshold])
    return level_thresholds(threshold, model.scales.centre, model.scales.spread)


class Seen(Protocol):
    """What is known of an image when it is judged."""

    @property
    def score_map(self) -> np.ndarray:
        """(H, W) float32 of the file's size."""
        ...

    @property
    def look(self) -> Look:
        """Asked for only where the input guard has a say."""
        ...

    @property
    def method_score(self) -> float | None:
        """The method's own image score, where it has one."""
        ...


def judge(model: Model, calibration: Calibration, seen: Seen) -> Judgement:
    """The verdict on an image, by its map, how it looks, and the method's own image score.

    NG exactly when the map has an 8-connected region strictly above the threshold that has the minimum size; where
    there is a check threshold, CHECK when it has such a region above that one only. With several sizes each has a
    threshold of its own, and the mask is the union of the regions that any of them finds. What would be OK is CHECK,
    with an empty mask and the reason, where the input guard is on and objects to the look of the image, or where an
    image stage is on and its score is above its limit.
    """
    score_map = seen.score_map
    measured = measure(model, score_map)
    area = measured.sizes[0].area
    nothing = np.zeros(score_map.shape, bool)
    conditions = _conditions(model, calibration, measured)
    if measured.score == -math.inf:
        where = "the image" if not model.geometry.partial else "the inspected area of the image"
        reason = f"the minimum size of {model.sizes[0]} ({area} px) is larger than {where}"
        if area <= np.count_nonzero(score_map > -np.inf):
            reason = f"no region of {where} is as long or wide as the minimum size of {model.sizes[0]}"
        return Judgement(Verdict.CHECK, reason, None, area, None, [], nothing, conditions)
    score = measured.score
    rank = p_value(calibration.scores, score)
    for verdict, threshold in ((Verdict.NG, calibration.threshold), (Verdict.CHECK, calibration.check_threshold)):
        if threshold is not None and score > threshold:
            mask, regions = _decided(model, score_map, measured, map_thresholds(model, threshold))
            return Judgement(verdict, None, score, area, rank, regions, mask, conditions)
    objections = []
    if model.guard is not None and calibration.guard is not None:
        objections.append(model.guard.objection(seen.look, calibration.guard.limit))
    objections.append(_stage_objection(model, calibration, score_map, seen.method_score))
    reason = "; ".join(filter(None, objections)) or None
    verdict = Verdict.OK if reason is None else Verdict.CHECK
    return Judgement(verdict, reason, score, area, rank, [], nothing, conditions)


def _stage_objection(
    model: Model, calibration: Calibration, score_map: np.ndarray, method_score: float | None
) -> str | None:
    """What the image stage says of an image above its limit; None for any other, and where it is off."""
    stage = calibration.image_stage
    if stage is None:
        return None
    value = image_scores(measure_traits(score_map), method_score, calibration.structcore)[stage.score]
    words = words_for(stage.score, getattr(model.detector, "image_stage", None))
    if value is None or math.isnan(value):  # what is no number is like no good image
        return f"the image as a whole is unusual: {words} is no number"
    if value <= stage.limit:
        return None
    return f"the image as a whole is unusual: {words} is {value:.6g}, above {stage.limit:.6g}"


def _decided(
    model: Model, score_map: np.ndarray, measured: Measured, levels: np.ndarray
) -> tuple[np.ndarray, list[Region]]:
    """Mask and regions. Regions of several sizes that overlap or touch are one."""
    found = [
        find_regions(score_map, level, size, model.pixel_pitch, measured.tops)
        for size, level in zip(measured.sizes, levels, strict=True)
    ]
    if len(found) == 1:
        return found[0]
    mask = np.logical_or.reduce([mask for mask, _ in found])
    inside = np.where(mask, score_map, np.float32(-np.inf))
    return mask, find_regions(inside, float(levels.min()), PixelSize(1), model.pixel_pitch)[1]


def _conditions(model: Model, calibration: Calibration, measured: Measured) -> list[Condition] | None:
    if model.scales is None:
        return None
    thresholds = map_thresholds(model, calibration.threshold)
    check = calibration.check_threshold
    below = [None] * len(thresholds) if check is None else map_thresholds(model, check).tolist()
    return [
        Condition(size.area, size.length, size.width, float(at), check_at, None if level == -math.inf else float(level))
        for size, at, check_at, level in zip(measured.sizes, thresholds, below, measured.levels, strict=True)
    ]
