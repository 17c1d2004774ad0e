"""The region of interest as a user names it: a mask image, a box or a polygon."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from adcli.errors import UnreadableImage, UsageError
from adcli.geometry.roi import RegionOfInterest
from adcli.images import read_image

_NUMBER = r"(-?\d+(?:\.\d+)?)(%?)"
_BOX = re.compile(",".join([_NUMBER] * 4))
_POINT = re.compile(",".join([_NUMBER] * 2))
_RASTER = 2048  # pixels of the longer side of a region drawn in percent for images that have no size in common
_FORMS = "a mask image, a box x,y,w,h, or a polygon of x,y x,y x,y ..., in pixels or in %"


def read_roi(text: str, sizes: Sequence[tuple[int, int]]) -> RegionOfInterest:
    """The region that `text` names: a mask image, a box or a polygon, in pixels or in % of the image.

    A mask counts where it is above half of full scale; one whose largest value is 1 is 0/1. A box is x,y,w,h; a
    polygon is x,y of three corners or more, separated by spaces, and the pixels on its outline are in it.

    Args:
        sizes: (H, W) of the images that the region is for, each size once.

    Raises:
        UsageError: for what is none of these, does not fit the images, or is empty.
    """
    if not text.strip():
        raise UsageError(f"the region of interest is empty: give {_FORMS}")
    words = re.sub(r"\s*,\s*", ",", re.sub(r"\s*%", "%", text.replace(";", " "))).split()
    if len(words) == 1 and (box := _BOX.fullmatch(words[0])):
        numbers, percent = box.groups()[::2], box.groups()[1::2]
        return RegionOfInterest.of(_draw_box([float(n) for n in numbers], _canvas(text, _unit(text, percent), sizes)))
    points = [_POINT.fullmatch(word) for word in words]
    if len(points) > 1 and all(points):
        numbers = [float(number) for point in points for number in (point[1], point[3])]
        percent = _unit(text, [unit for point in points for unit in (point[2], point[4])])
        return RegionOfInterest.of(_draw_polygon(numbers, _canvas(text, percent, sizes)))
    path = Path(text)
    if not path.exists():
        raise UsageError(f"there is no file {text} to take a region of interest from: give {_FORMS}")
    mask = _read(path)
    if len(sizes) == 1 and mask.shape != sizes[0]:
        raise UsageError(
            f"the region of interest {text} is {mask.shape[1]}x{mask.shape[0]} pixels, and the images are "
            f"{sizes[0][1]}x{sizes[0][0]}: draw it on one of them"
        )
    return RegionOfInterest.of(mask)


def _read(path: Path) -> np.ndarray:
    try:
        values = read_image(path).pixels
    except UnreadableImage as error:
        raise UsageError(f"the region of interest cannot be used: {error}") from error
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise UsageError(f"the region of interest {path} is coloured: save it in gray, 255 where it counts")
        values = values[..., 0]
    largest = values.max()
    return values > (1 if largest <= 1 else 255 if largest <= 255 else 65535) / 2


def _unit(text: str, percent: Sequence[str]) -> bool:
    """Whether the numbers are in percent; they are all, or none is."""
    if len(set(percent)) > 1:
        raise UsageError(f"the region of interest {text!r} is partly in %: give all its numbers in % or all in pixels")
    return percent[0] == "%"


class _Canvas(NamedTuple):
    """What a drawing is made on."""

    text: str  # of the drawing
    size: tuple[int, int]  # H, W
    by_x: float  # pixels that one unit of x is
    by_y: float
    extent: str  # of the canvas, in the drawing's unit

    def refuse_beyond(self, x: float, y: float) -> None:
        """Raises UsageError for a point beyond the canvas."""
        if not (0 <= x <= self.size[1] and 0 <= y <= self.size[0]):
            raise UsageError(f"the region of interest {self.text} reaches beyond the image, which has {self.extent}")


def _canvas(text: str, percent: bool, sizes: Sequence[tuple[int, int]]) -> _Canvas:
    if percent:
        size = sizes[0] if len(sizes) == 1 else (_RASTER, _RASTER)
        return _Canvas(text, size, size[1] / 100, size[0] / 100, "100%x100%")
    if len(sizes) > 1:
        (h, w), (h2, w2) = sizes[:2]
        raise UsageError(
            f"the region of interest {text!r} is in pixels, and the images differ in size ({w}x{h} and {w2}x{h2} for "
            "two): give it in %, or as a mask image"
        )
    return _Canvas(text, sizes[0], 1.0, 1.0, f"{sizes[0][1]}x{sizes[0][0]} pixels")


def _draw_box(numbers: list[float], on: _Canvas) -> np.ndarray:
    left, right = round(numbers[0] * on.by_x), round((numbers[0] + numbers[2]) * on.by_x)
    top, bottom = round(numbers[1] * on.by_y), round((numbers[1] + numbers[3]) * on.by_y)
    if on.by_x == 1 and 0 < min(numbers[2:]) < 1:
        raise UsageError(f"the box {on.text} is less than a pixel wide or high: shares are written in %")
    on.refuse_beyond(left, top)
    on.refuse_beyond(right, bottom)
    mask = np.zeros(on.size, bool)
    mask[top:bottom, left:right] = True
    return mask


def _draw_polygon(numbers: list[float], on: _Canvas) -> np.ndarray:
    if len(numbers) < 6:
        raise UsageError(f"the polygon {on.text!r} has {len(numbers) // 2} corners: give at least three")
    corners = np.array(numbers).reshape(-1, 2) * (on.by_x, on.by_y)
    on.refuse_beyond(*corners.min(axis=0))
    on.refuse_beyond(*corners.max(axis=0))
    mask = np.zeros(on.size, np.uint8)
    last = on.size[1] - 1, on.size[0] - 1
    cv2.fillPoly(mask, [np.minimum(np.rint(corners), last).astype(np.int32)], 1)
    return mask.view(bool)
