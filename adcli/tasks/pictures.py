"""Pictures of a calibration, to be written beside the model, and the overlay of one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from adcli.errors import UnreadableImage
from adcli.model import Calibration, Model
from adcli.report.overlays import draw_overlay
from adcli.report.pictures import DrawnThreshold, calibration_picture
from adcli.report.sheets import Tile, contact_sheet
from adcli.tasks.mapping import Mapped, Mapper
from adcli.verdicts import Judgement, judge, map_thresholds

if TYPE_CHECKING:
    from adcli.tasks.calibrate import Calibrated
    from adcli.tasks.evidence import HeldOut

CALIBRATION, SUSPECTS = ".calibration.png", ".suspects.jpg"
PICTURES = (CALIBRATION, SUSPECTS)


def overlay(model: Model, calibration: Calibration, mapped: Mapped, judgement: Judgement) -> np.ndarray:
    """One image with its map and the regions that decided, (H', W', 3) uint8 BGR."""
    # Of several sizes the lowest threshold: what lies above it may count, what lies below cannot.
    threshold = float(map_thresholds(model, calibration.threshold).min())
    low, low_name = calibration.overlay_low(threshold)
    said = "" if judgement.score is None else f"  {judgement.score:.4g}"
    return draw_overlay(
        mapped.image.pixels,
        mapped.score_map,
        low=low,
        low_name=low_name,
        white_level=model.spec.white_level,
        threshold=threshold,
        regions_mask=judgement.mask,
        title=f"{judgement.verdict.value}{said}",
    )


def draw_pictures(calibrated: Calibrated, highest: Sequence[HeldOut], mapper: Mapper) -> dict[str, bytes]:
    """The scores with their thresholds, and the images of the highest scores, by suffix."""
    model = calibrated.model
    calibration = model.require_calibration()
    what = "good images" if model.group_by is None else "good parts"
    estimates = [
        DrawnThreshold(one.rule, one.threshold, one is calibrated.in_force, one.promises)
        for one in calibrated.side_by_side
    ]
    pictures = {
        CALIBRATION: calibration_picture(
            calibration.scores,
            estimates,
            check=calibration.check_threshold,
            footprint_px=calibrated.footprint_px[0],
            min_area_px=calibrated.area_px[0],
            pixel_pitch=model.pixel_pitch,
            title=f"{calibrated.n} {calibration.evidence} {what}, {model.spec.method} on {model.spec.backbone}",
            guarantee=f"NG above {calibration.threshold:.6g} ({calibration.rule}): {calibrated.in_force.guarantee}",
        )
    }

    def draw(image: object, mapped: Mapped | UnreadableImage) -> np.ndarray | None:
        if isinstance(mapped, UnreadableImage):  # gone since it was scored
            return None
        return overlay(model, calibration, mapped, judge(model, calibration, mapped.score_map))

    drawn = mapper.stream([held.image for held in highest], draw)
    tiles = [
        Tile(picture, held.image.given, f"{rank}: {suspect.score:.6g}, without it NG above {suspect.without:.6g}")
        for rank, (held, suspect, picture) in enumerate(zip(highest, calibrated.suspects, drawn, strict=True), 1)
        if picture is not None
    ]
    if tiles:
        title = f"The highest of {calibrated.n} scores of {what}: NG above {calibration.threshold:.6g}"
        pictures[SUSPECTS] = contact_sheet(tiles, title)
    return pictures
