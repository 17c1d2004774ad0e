"""Words that every room shares.

Letters for shapes, everywhere: N images, C channels, H x W pixels of an image or map, h x w patches of a grid,
D dimensions of one patch's feature vector. Pixel coordinates are x before y, of the original image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total) by whatever takes long; `total` is 0 where it is not known."""


def no_progress(stage: str, done: int, total: int) -> None:
    """The progress of a caller who does not want any."""


class Verdict(str, Enum):
    """What is said of one image."""

    OK = "OK"
    CHECK = "CHECK"
    NG = "NG"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Region:
    """An 8-connected set of pixels above a threshold, large enough to count."""

    area_px: int
    area_mm2: float | None
    length_px: float  # largest distance between two of its pixels' centres, plus one
    length_mm: float | None
    width_px: float  # smallest extent of its pixels' centres over all directions, plus one
    width_mm: float | None
    bbox: tuple[int, int, int, int]  # x, y, width, height
    centroid: tuple[float, float]  # x, y
    max: float  # largest score in it, raw units
    mean: float  # mean score in it, raw units
