"""What is said of one image, and its pictures: the record that `score` and `watch` write, made in one place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adcli.errors import UnreadableImage, UsageError
from adcli.finding import FoundImage
from adcli.images import digest_image, read_image
from adcli.model import Calibration, Model
from adcli.report.masks import encode_mask
from adcli.report.overlays import LONGEST_JPEG, encode_jpeg
from adcli.report.results import picture_names
from adcli.tasks.mapping import Mapped
from adcli.tasks.pictures import overlay
from adcli.types import Verdict
from adcli.verdicts import Judgement, judge

PICTURES = ("ng", "all", "none")


@dataclass(frozen=True)
class Outputs:
    """What to write beside the results: of pictures, `ng` is NG and CHECK."""

    masks: str = "ng"
    overlays: str = "ng"
    maps: bool = False
    junit: bool = False
    sqlite: Path | str | None = None  # a database that takes the results of many runs
    html: bool = False  # report.html, the run on one page

    def in_folder(self) -> dict[str, object]:
        """Those that are files of the output folder."""
        return {name: value for name, value in asdict(self).items() if name != "sqlite"}

    def check(self) -> None:
        """Raises UsageError for a word that says not which pictures to write."""
        for name in (self.masks, self.overlays):
            if name not in PICTURES:
                raise UsageError(f"{name!r} says not which pictures to write: give {', '.join(PICTURES)}")


@dataclass(frozen=True)
class Job:
    """One image to score, the stem of its pictures, and the part it shows."""

    image: FoundImage
    stem: str
    part: str | None

    @property
    def path(self) -> Path:
        return self.image.path


def finish(
    job: Job, mapped: Mapped | UnreadableImage, *, model: Model, calibration: Calibration, outputs: Outputs
) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """The record of one image and its pictures, encoded; runs on a worker thread."""
    if isinstance(mapped, UnreadableImage):
        return _record(job, calibration, reason=str(mapped)) | {"sha256": mapped.sha256}, []
    began = time.perf_counter()
    judgement = judge(model, calibration, mapped)
    pictures = list(_pictures(job, mapped, judgement, model, calibration, outputs))
    ms = mapped.ms + 1000 * (time.perf_counter() - began)
    return _record(job, calibration, mapped, judgement, ms), pictures


def _record(
    job: Job,
    calibration: Calibration,
    mapped: Mapped | None = None,
    judgement: Judgement | None = None,
    ms: float | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    return {
        "image": job.image.given,
        "verdict": (Verdict.ERROR if judgement is None else judgement.verdict).value,
        "reason": reason if judgement is None else judgement.reason,
        "part": job.part,
        "score": judgement and judgement.score,
        "threshold": calibration.threshold,
        "check_threshold": calibration.check_threshold,
        "min_area_px": judgement and judgement.min_area_px,
        "p_value": judgement and judgement.p_value,
        "conditions": [asdict(one) for one in judgement.conditions] if judgement and judgement.conditions else None,
        "regions": [asdict(region) for region in judgement.regions] if judgement else [],
        "width": mapped and mapped.image.width,
        "height": mapped and mapped.image.height,
        "sha256": mapped and mapped.image.sha256,
        "ms": None if ms is None else round(ms, 3),
    }


def _pictures(
    job: Job, mapped: Mapped, judgement: Judgement, model: Model, calibration: Calibration, outputs: Outputs
) -> Iterator[tuple[str, bytes]]:
    mask_name, overlay_name, map_name = picture_names(job.stem)
    telling = judgement.verdict in (Verdict.NG, Verdict.CHECK)
    if outputs.masks == "all" or (outputs.masks == "ng" and telling):
        yield mask_name, encode_mask(judgement.mask)
    if outputs.overlays == "all" or (outputs.overlays == "ng" and telling):
        yield overlay_name, encode_jpeg(_within_jpeg(overlay(model, calibration, mapped, judgement)))
    if outputs.maps:
        yield map_name, encode_picture(".tiff", mapped.score_map)


def _within_jpeg(picture: np.ndarray) -> np.ndarray:
    """An overlay as large as a JPEG can be: a run does not end for a long web of material."""
    longest = max(picture.shape)
    if longest <= LONGEST_JPEG:
        return picture
    scale = LONGEST_JPEG / longest
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def encode_picture(suffix: str, pixels: np.ndarray) -> bytes:
    """The bytes of a picture file of this kind."""
    fine, data = cv2.imencode(suffix, pixels)
    if not fine:
        raise ValueError(f"{suffix} cannot hold {pixels.dtype} of shape {pixels.shape}")
    return data.tobytes()


def still_same(path: Path, sha256: str | None, reason: str | None) -> bool:
    """Whether a file is what it was when it was scored: the same bytes, or unreadable for the same reason."""
    try:
        if sha256 is None:  # what could not be decoded shows only by decoding it again
            read_image(path)
        return digest_image(path) == sha256
    except UnreadableImage as error:
        return reason == str(error)
