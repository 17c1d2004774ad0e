"""Synthetic defects on good images: of known place, size and contrast, and of no known resemblance to real ones."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from adcli.errors import UsageError

KINDS = ("spot", "scratch")
_BOW = 0.05  # the most that a scratch's ends leave its tangent, as a share of its length
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) *(px|mm|x)")


@dataclass(frozen=True)
class Size:
    """A spot's diameter or a scratch's length: in pixels, in mm, or times the diameter of the minimum area (x)."""

    value: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Size:
        """From `10px`, `0.5mm` or `2x`."""
        found = _SIZE.fullmatch(text.strip().lower())
        if found is None or not float(found[1]) > 0:
            raise UsageError(f"{text.strip()!r} is not a size of a planted defect: write it as 10px, 0.5mm or 2x")
        return cls(float(found[1]), found[2])

    def pixels(self, min_area_px: int, pixel_pitch: float | None) -> float:
        """In pixels of an image with that minimum area; `pixel_pitch` in mm per pixel."""
        if self.unit == "x":
            return self.value * 2 * math.sqrt(min_area_px / math.pi)  # the diameter of a disc of that area
        if self.unit == "px":
            return self.value
        if pixel_pitch is None:
            raise UsageError(
                f"a size of {self} needs the size of a pixel, which the model does not have: give sizes in px, or "
                "--pixel-pitch to adcli calibrate"
            )
        return self.value / pixel_pitch

    def __str__(self) -> str:
        return f"{self.value:g}{self.unit}"


def check(kind: str, size_px: float, contrast: float, width: int, height: int) -> None:
    """Refuses what cannot be planted on an image of that size, whatever is drawn."""
    if kind not in KINDS:
        raise UsageError(f"there is no kind of planted defect {kind!r}: known are {', '.join(KINDS)}")
    if not 0 < contrast <= 1:
        raise UsageError(f"a contrast is a share of the full range, above 0 and at most 1, not {contrast:g}")
    if not 1 <= size_px < math.inf:
        raise UsageError(f"a planted defect has a size of at least 1 px, not {size_px:.3g} px: plant larger ones")
    if not fits(kind, size_px, width, height):
        raise UsageError(f"a {kind} of {size_px:.4g} px does not fit into an image of {width}x{height}: plant smaller")


def fits(kind: str, size_px: float, width: int, height: int) -> bool:
    """Whether the defect has a pixel, and room in the image at every angle."""
    return 1 <= size_px < math.inf and 2 * _reach(kind, size_px) + 1 <= min(width, height)


def plant(
    pixels: np.ndarray,
    kind: str,
    size_px: float,
    contrast: float,
    rng: np.random.Generator,
    white_level: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A copy of an image with one synthetic defect somewhere inside, and the defect's mask (H, W) of bool.

    A spot is a disc of diameter `size_px` with a soft edge, a scratch a line of that length and a tenth of it wide (at
    least 1 px), slightly bent, at any angle. All channels become brighter or darker by `contrast` of the full range, at
    random where there is room for both; where there is too little for either, towards the side with more, and clipped.
    The mask is where at least half of that change was made.

    Args:
        pixels: (H, W) or (H, W, 3), uint8 or uint16.
        kind: one of KINDS.
        size_px: at least 1.
        contrast: above 0, at most 1.
        rng: draws the place, the angle and the sign, and nothing else.
        white_level: full range of 16-bit images; None: 65535. 8 bits have 255.

    Raises:
        UsageError: there is no such kind, size or contrast, or the defect does not fit into the image.
    """
    height, width = pixels.shape[:2]
    check(kind, size_px, contrast, width, height)
    reach = _reach(kind, size_px)
    x, y = rng.integers(reach, width - reach), rng.integers(reach, height - reach)
    alpha = _spot(reach, size_px) if kind == "spot" else _scratch(reach, size_px, rng)
    window = (slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1))
    touched = alpha > 0
    before = pixels[window][touched].astype(np.float64)  # (n,) or (n, 3)
    white = 255.0 if pixels.dtype == np.uint8 else white_level or 65535.0
    change = _sign(before, contrast * white, white, rng) * contrast * white * alpha[touched]
    after = np.clip(before + (change if before.ndim == 1 else change[:, None]), 0, np.maximum(before, white))
    planted = pixels.copy()
    planted[window][touched] = np.rint(after)
    mask = np.zeros((height, width), bool)
    mask[window] = alpha >= 0.5
    return planted, mask


def _reach(kind: str, size_px: float) -> int:
    """Pixels from the middle that a defect may touch, whatever its angle."""
    if kind == "spot":
        return math.ceil((size_px + _soft(size_px)) / 2)
    return math.ceil(math.hypot((size_px + 1) / 2, (_width(size_px) + 1) / 2 + _BOW * size_px))


def _soft(size_px: float) -> float:
    """Width of a spot's soft edge; never wider than the spot, so that its middle has the full contrast."""
    return max(1.0, size_px / 4)


def _width(size_px: float) -> float:
    return max(1.0, size_px / 10)


def _spot(reach: int, size_px: float) -> np.ndarray:
    """(2 reach + 1, 2 reach + 1) from 0 to 1: one half at the radius."""
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return np.clip((size_px / 2 - np.hypot(x, y)) / _soft(size_px) + 0.5, 0, 1)


def _scratch(reach: int, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """Likewise: a parabola through the middle, its edges one pixel soft."""
    angle, bow = rng.uniform(0, math.pi), rng.uniform(-_BOW, _BOW) * size_px
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    bent = bow * np.minimum(np.abs(2 * along / size_px), 1) ** 2
    aside = np.abs(across - bent)  # nearly the distance, as the slope is at most 0.2
    return np.clip((size_px + 1) / 2 - np.abs(along), 0, 1) * np.clip((_width(size_px) + 1) / 2 - aside, 0, 1)


def _sign(before: np.ndarray, change: float, white: float, rng: np.random.Generator) -> int:
    coin = 1 if rng.random() < 0.5 else -1
    up, down = before.max() + change <= white, before.min() >= change
    if up == down:
        return coin if up else (1 if before.mean() < white / 2 else -1)
    return 1 if up else -1
