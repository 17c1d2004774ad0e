"""One map, one verdict: score, mask and regions cannot disagree, because they are one rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adcli.model import Calibration, Model
from adcli.regions import area_score, find_regions
from adcli.thresholds import p_value
from adcli.types import Region, Verdict


@dataclass(frozen=True)
class Judgement:
    """What is said of one image, and by what."""

    verdict: Verdict
    reason: str | None
    score: float | None  # S_A, raw units; None where the minimum area is larger than the image
    min_area_px: int
    p_value: float | None
    regions: list[Region]  # those that decided, largest first
    mask: np.ndarray  # (H, W) bool, those regions and nothing else


def judge(model: Model, calibration: Calibration, score_map: np.ndarray) -> Judgement:
    """The verdict on a map (H, W) float32 of the file's size.

    NG exactly when the map has an 8-connected region strictly above the threshold of at least the minimum area; where
    there is a check threshold, CHECK when it has such a region above that one only.
    """
    height, width = score_map.shape
    area = model.min_area.pixels(width, height, model.pixel_pitch)
    score = area_score(score_map, area)
    nothing = np.zeros(score_map.shape, bool)
    if score == -math.inf:
        reason = f"the minimum area of {area} px is larger than the image"
        return Judgement(Verdict.CHECK, reason, None, area, None, [], nothing)
    rank = p_value(calibration.scores, score)
    for verdict, threshold in ((Verdict.NG, calibration.threshold), (Verdict.CHECK, calibration.check_threshold)):
        if threshold is not None and score > threshold:
            mask, regions = find_regions(score_map, threshold, area, model.pixel_pitch)
            return Judgement(verdict, None, score, area, rank, regions, mask)
    return Judgement(Verdict.OK, None, score, area, rank, [], nothing)
