"""The image score S_A, the regions above a threshold, and the minimum area they must have.

The rule is the one of Bergmann et al., "MVTec AD" (CVPR 2019), section 4.3: raise the threshold until the largest
region on the good validation images is just below the minimum defect area. In exact form, for a map s and a minimum
area A,

    S_A(s) = the highest level v at which {s >= v} has an 8-connected component of at least A pixels,

which is the maximum of the grayscale area opening of s with area A. A map has a region of at least A pixels strictly
above a threshold exactly when S_A is above it, so verdict, mask and score are one number.

Maps are float32 of the image's own size. Minus infinity marks pixels outside the region of interest: they are in no
region.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

import cv2
import numpy as np

from adcli.errors import UsageError
from adcli.types import Region

_WIDEN = 4  # factor from one trial level's pixel count to the next; 2 to 4 differ little on smooth maps


def area_score(score_map: np.ndarray, min_area: int) -> float:
    """S_A of one map, (H, W) float32: the float64 of one of its values; minus infinity if no component is large enough.

    Components only grow as the level falls, so the level is found by search: widen from the `min_area` highest pixels
    until a component is large enough, then bisect over the values between the last two levels, looking only at the
    components that are still in play.
    """
    _check(score_map, min_area)
    if min_area == 1:
        return float(score_map.max()) + 0.0  # + 0.0 turns a negative zero into zero, here and below
    inside = np.count_nonzero(score_map > -np.inf)
    if inside < min_area:
        return -math.inf
    pixels, level = min_area, _nth_largest(score_map, min_area)
    window, too_high = _large_components(score_map, level, min_area), level  # no higher level has so many pixels
    while window is None:
        if pixels == inside:
            return -math.inf
        pixels = min(_WIDEN * pixels, inside)
        too_high, level = level, _nth_largest(score_map, pixels)
        window = _large_components(score_map, level, min_area)
    between = _between(window, level, too_high)
    while between.size:
        trial = _nth_largest(between, (between.size + 1) // 2)
        smaller = _large_components(window, trial, min_area)
        if smaller is None:
            too_high, between = trial, between.compress(between < trial)
        else:
            level, window = trial, smaller
            between = _between(window, level, too_high)
    return float(level) + 0.0


def _check(score_map: np.ndarray, min_area: int) -> None:
    if score_map.ndim != 2 or score_map.size == 0 or score_map.dtype != np.float32:
        raise ValueError(f"a map is (H, W) float32 with at least one pixel, not {score_map.shape} {score_map.dtype}")
    if min_area < 1:
        raise ValueError(f"the minimum area is at least 1 pixel, not {min_area}")
    if math.isnan(score_map.max()):  # the maximum is NaN where any pixel is
        raise ValueError("the map holds NaN")


def _nth_largest(values: np.ndarray, n: int) -> np.float32:
    return np.partition(values, values.size - n, axis=None)[values.size - n]


def _large_components(window: np.ndarray, level: np.float32, min_area: int) -> np.ndarray | None:
    """The components of {window >= level} with at least `min_area` pixels, cropped, all else -inf; or None."""
    above = window >= level
    labels = cv2.connectedComponents(above.view(np.uint8), connectivity=8)[1]
    # Areas by counting the pixels above: cv2's own statistics walk the whole picture, at seven times the labelling.
    places = np.flatnonzero(above)
    component = labels.ravel().take(places)
    large = np.bincount(component) >= min_area
    if not large.any():
        return None
    places = places.compress(large.take(component))
    width = window.shape[1]
    top, bottom = places[0] // width, places[-1] // width + 1
    kept = np.full((bottom - top, width), -np.inf, np.float32)
    kept.ravel()[places - top * width] = window.ravel().take(places)
    columns = np.flatnonzero(kept.max(axis=0) > -np.inf)
    return np.ascontiguousarray(kept[:, columns[0] : columns[-1] + 1])


def _between(window: np.ndarray, low: np.float32, high: np.float32) -> np.ndarray:
    return window.ravel().compress(((window > low) & (window < high)).ravel())


def find_regions(
    score_map: np.ndarray, threshold: float, min_area: int, pixel_pitch: float | None = None
) -> tuple[np.ndarray, list[Region]]:
    """The mask and the regions of one map: 8-connected, every pixel strictly above, at least `min_area` pixels.

    The regions come largest first, ties by their first pixel from the top, then from the left. The mask, (H, W) bool,
    is those regions and nothing else. `pixel_pitch` is in mm per pixel; without it areas in mm2 are None.
    """
    _check(score_map, min_area)
    above = score_map > _largest_float32_up_to(threshold)
    mask = np.zeros(score_map.shape, bool)
    places = np.flatnonzero(above)
    if places.size < min_area:
        return mask, []
    width = score_map.shape[1]
    top, bottom = places[0] // width, places[-1] // width + 1
    labels = cv2.connectedComponents(above[top:bottom].view(np.uint8), connectivity=8)[1]
    component = labels.ravel().take(places - top * width)
    large = (np.bincount(component) >= min_area).take(component)
    places, component = places.compress(large), component.compress(large)
    if not places.size:
        return mask, []
    mask.ravel()[places] = True
    return mask, _measure(score_map, places, component, pixel_pitch)


def _largest_float32_up_to(threshold: float) -> np.float32:
    """For a float32 s, s > threshold exactly when s > this: between the two there is no float32."""
    threshold = float(threshold)
    if math.isnan(threshold):
        raise ValueError("the threshold is NaN")
    with np.errstate(over="ignore"):
        nearest = np.float32(threshold)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > threshold else nearest


def _measure(
    score_map: np.ndarray, places: np.ndarray, component: np.ndarray, pixel_pitch: float | None
) -> list[Region]:
    """Regions of the pixels at `places` (flat, ascending), each pixel named by its component."""
    order = np.argsort(component, kind="stable")  # stable: within a component the pixels stay in reading order
    places = places.take(order)
    starts = np.flatnonzero(np.diff(component.take(order), prepend=-1))
    areas = np.diff(starts, append=places.size)
    y, x = np.divmod(places, score_map.shape[1])
    scores = score_map.ravel().take(places)
    left, right = np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts)
    top, bottom = y.take(starts), np.maximum.reduceat(y, starts)
    centre_x, centre_y = np.add.reduceat(x, starts) / areas, np.add.reduceat(y, starts) / areas
    highest = np.maximum.reduceat(scores, starts)
    mean = np.add.reduceat(scores.astype(np.float64), starts) / areas
    return [
        Region(
            area_px=int(areas[i]),
            area_mm2=None if pixel_pitch is None else int(areas[i]) * pixel_pitch**2,
            bbox=(int(left[i]), int(top[i]), int(right[i] - left[i] + 1), int(bottom[i] - top[i] + 1)),
            centroid=(float(centre_x[i]), float(centre_y[i])),
            max=float(highest[i]),
            mean=float(mean[i]),
        )
        for i in np.lexsort((places.take(starts), -areas))
    ]


AreaUnit = Literal["px", "mm2", "share"]
_AREA = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?) *(px|mm2|mm²|%)?")
_PITCH = re.compile(r"([0-9.]+(?:e[+-]?[0-9]+)?) *(mm|um|µm|μm)")  # the micro sign and the Greek letter


@dataclass(frozen=True)
class MinArea:
    """The least area of a region that counts: in pixels, in mm2 of the part, or as a share (0 to 1) of the image."""

    value: float
    unit: AreaUnit

    def __post_init__(self) -> None:
        if self.unit not in get_args(AreaUnit):
            raise ValueError(f"an area's unit is one of {', '.join(get_args(AreaUnit))}, not {self.unit!r}")
        if not (math.isfinite(self.value) and self.value >= 0):
            raise UsageError(f"A minimum area is a number that is not negative, not {self.value}.")
        if self.unit == "share" and self.value > 1:
            raise UsageError(f"A minimum area of {self} is more than the image; give at most 100%.")

    @classmethod
    def parse(cls, text: str) -> MinArea:
        """From `25px` or `25`, `0.4mm2`, or `0.1%` of the image's pixels."""
        number, unit = _split(
            _AREA, text, f"'{text}' is not a minimum area; write it as 25px, 0.4mm2 or 0.1% (of the image)."
        )
        if unit == "%":
            return cls(float(number / 100), "share")
        return cls(float(number), "mm2" if unit in ("mm2", "mm²") else "px")

    def pixels(self, width: int, height: int, pixel_pitch: float | None = None) -> int:
        """The least whole number of pixels that is this area, at least 1; `pixel_pitch` in mm per pixel."""
        if self.unit == "px":
            exact = self.value
        elif self.unit == "share":
            exact = self.value * width * height
        elif pixel_pitch is None:
            raise UsageError(
                f"A minimum area of {self} needs the size of a pixel; "
                "give --pixel-pitch, such as 0.05mm, or the area in px or %."
            )
        else:
            exact = self.value / pixel_pitch**2
        # Shares and pitches are decimals that floats do not hold exactly: 0.25 mm2 at 0.05 mm is 100 pixels, not 101.
        return max(1, math.ceil(exact * (1 - 1e-12)))

    def __str__(self) -> str:
        if self.unit == "share":
            return f"{_plain(Decimal(repr(float(self.value))) * 100)}%"
        return f"{_plain(Decimal(repr(float(self.value))))}{self.unit}"


def parse_pitch(text: str) -> float:
    """The size of a pixel in mm, from `0.05mm` or `50um`."""
    number, unit = _split(_PITCH, text, f"'{text}' is not the size of a pixel; write it as 0.05mm or 50um.")
    pitch = float(number if unit == "mm" else number / 1000)
    if not 1e-9 <= pitch <= 1e9:
        raise UsageError(f"The size of a pixel is above zero and finite, not '{text}'; write it as 0.05mm or 50um.")
    return pitch


def _split(pattern: re.Pattern[str], text: str, refusal: str) -> tuple[Decimal, str]:
    """Number and unit, as decimals: 0.29% is 0.0029 to the last digit, which 0.29 / 100 in floats is not."""
    found = pattern.fullmatch(text.strip().lower())
    if found is None or found[1].count(".") > 1 or not found[1].strip("."):
        raise UsageError(refusal)
    return Decimal(found[1]), found[2] or ""


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
