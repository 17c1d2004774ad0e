"""Pictures of a calibration, to be written beside the model, and the overlay of one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adcli.errors import EnvironmentFault, UnreadableImage
from adcli.files import write_whole
from adcli.finding import OWN_MARK, OWN_PICTURES, is_own_picture
from adcli.model import Calibration, Model
from adcli.parallel import Aside
from adcli.report.overlays import draw_overlay, draw_views
from adcli.sizes import MinSize
from adcli.tasks.mapping import Mapped, Mapper
from adcli.verdicts import Judgement, judge, map_thresholds

if TYPE_CHECKING:
    from adcli.tasks.calibrate import Calibrated, Suspect
    from adcli.tasks.evidence import HeldOut

_MODEL_SUFFIXES = (".h5", ".hdf5")


def pictures_beside(model: Path) -> list[Path]:
    """Where the pictures of a model's calibration lie."""
    name = model.stem if model.suffix in _MODEL_SUFFIXES else model.name  # lid.v1 and lid.v2 have their own
    return [model.with_name(name + suffix) for suffix in OWN_PICTURES]


def write_pictures(pictures: dict[str, bytes], model: Path) -> list[str]:
    """Writes the pictures beside the model, and removes those of an earlier calibration. Returns what did not succeed:
    the calibration itself is in the model by then."""
    notes = []
    for suffix, path in zip(OWN_PICTURES, pictures_beside(model), strict=True):
        if path.exists() and not is_own_picture(path):
            notes.append(f"{path} is no picture that adcli drew, and is left as it is")
            continue
        try:
            if suffix in pictures:
                write_whole(path, pictures[suffix])
            else:
                path.unlink(missing_ok=True)
        except (EnvironmentFault, OSError) as error:
            notes.append(f"the new threshold is in force, but its picture could not be written: {error}")
    return notes


def colour_scale(model: Model, calibration: Calibration) -> tuple[float, float, str]:
    """The scores at 0 and 1 of an overlay's colours, and what the first is."""
    # Of several sizes the lowest threshold: what lies above it may count, what lies below cannot.
    threshold = float(map_thresholds(model, calibration.threshold).min())
    low, low_name = calibration.overlay_low(threshold)
    return low, threshold, low_name


def views(
    model: Model, calibration: Calibration, mapped: Mapped, judgement: Judgement, longest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image, its overlay and its map, of one size and without lettering, (H', W', 3) uint8 BGR each."""
    low, threshold, _ = colour_scale(model, calibration)
    return draw_views(
        mapped.image.pixels,
        mapped.score_map,
        low=low,
        threshold=threshold,
        regions_mask=judgement.mask,
        longest=longest,
        white_level=model.spec.white_level,
    )


def overlay(model: Model, calibration: Calibration, mapped: Mapped, judgement: Judgement) -> np.ndarray:
    """One image with its map and the regions that decided, (H', W', 3) uint8 BGR."""
    low, threshold, low_name = colour_scale(model, calibration)
    said = "" if judgement.score is None else f"  {judgement.score:.4g}"
    return draw_overlay(
        mapped.image.pixels,
        mapped.score_map,
        low=low,
        low_name=low_name,
        white_level=model.spec.white_level,
        threshold=threshold,
        threshold_name="threshold" if len(model.sizes) == 1 else "lowest threshold",
        regions_mask=judgement.mask,
        title=f"{judgement.verdict.value}{said}",
    )


def draw_pictures(
    calibrated: Calibrated, highest: Sequence[HeldOut], mapper: Mapper
) -> tuple[dict[str, bytes], list[str]]:
    """The scores with their thresholds, and the images of the highest scores, by suffix; and what did not succeed.

    Whatever goes wrong in here, such as a configuration of matplotlib that it refuses, must not cost the calibration.
    """
    pictures: dict[str, bytes] = {}
    notes = []
    with Aside(lambda: _draw_scores(calibrated)) as scores:
        first, second = OWN_PICTURES
        for suffix, make in ((second, lambda: _draw_suspects(calibrated, highest, mapper)), (first, scores.result)):
            try:
                pictures[suffix] = make()
            except Exception as error:
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                notes.append(f"{suffix[1:]} could not be drawn: {reason}")
    return pictures, notes


def _draw_scores(calibrated: Calibrated) -> bytes:
    """Scores, thresholds, footprint and minimum area."""
    from adcli.report.pictures import DrawnThreshold, calibration_picture

    model, n = calibrated.model, calibrated.n
    calibration = model.require_calibration()
    how = "held-out" if calibration.evidence == "held-out" else "left-out"
    several = not _is_an_area(model.sizes)
    return calibration_picture(
        calibration.scores,
        [
            DrawnThreshold(one.rule, one.threshold, one is calibrated.in_force, one.promises)
            for one in calibrated.side_by_side
        ],
        check=calibration.check_threshold,
        footprint_px=calibrated.footprint_px[0],
        min_area_px=calibrated.area_px[0],
        pixel_pitch=model.pixel_pitch,
        score_name="image score $S_A$ (raw units)" if model.scales is None else "image score $U$ of several sizes",
        said=_spans(calibrated),
        several=[str(size) for size in model.sizes] if several else (),
        units=f"{how} {_units(model)}",
        title=f"{n} {calibration.evidence} good {_units(model)}, {model.spec.method} on {model.spec.backbone}",
        guarantee=f"NG above {calibration.threshold:.6g} ({calibration.rule}): {calibrated.in_force.guarantee}",
    )


def _draw_suspects(calibrated: Calibrated, highest: Sequence[HeldOut], mapper: Mapper) -> bytes:
    """The images of the highest scores on one sheet."""
    from adcli.report.sheets import Tile, contact_sheet

    model = calibrated.model
    calibration = model.require_calibration()

    def draw(image: object, mapped: Mapped | UnreadableImage) -> np.ndarray:
        if isinstance(mapped, UnreadableImage):  # gone since it was scored
            raise mapped
        return overlay(model, calibration, mapped, judge(model, calibration, mapped))

    drawn = mapper.stream([held.image for held in highest], draw)
    tiles = [
        Tile(picture, held.image.given, f"{rank}: {suspect.score:.6g}; {_without(suspect)}")
        for rank, (held, suspect, picture) in enumerate(zip(highest, calibrated.suspects, drawn, strict=True), 1)
    ]
    title = (
        f"The highest of {calibrated.n} scores of good {_units(model)}: NG above {calibration.threshold:.6g}. Orange "
        "without an outline is too small to count."
    )
    return contact_sheet(tiles, title, OWN_MARK)


def _units(model: Model) -> str:
    return "images" if model.group_by is None else "parts"


def _is_an_area(sizes: tuple[MinSize, ...]) -> bool:
    return len(sizes) == 1 and sizes[0].length is None and sizes[0].width is None


def _spans(calibrated: Calibrated) -> tuple[str, str] | None:
    """The two areas where images differ in size, else None."""
    areas = (calibrated.footprint_px, calibrated.area_px)
    return None if all(low == high for low, high in areas) else tuple(f"{low} to {high} px" for low, high in areas)


def _without(suspect: Suspect) -> str:
    return f"without it NG above {suspect.without:.6g}, without those above too {suspect.without_and_above:.6g}"
