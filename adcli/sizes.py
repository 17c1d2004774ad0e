"""What size a region must have to count, in every unit a user gives it in, and the size of a pixel."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal, NamedTuple, get_args

from adcli.errors import UsageError

FOOTPRINT = "footprint"  # a minimum area that is what one hot patch becomes
AreaUnit = Literal["px", "mm2", "share"]
LengthUnit = Literal["px", "mm"]
_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]{1,4})?) *"
_AREA = _NUMBER + "(px|mm2|mm²|%)?"  # compiled where it is needed: verbs that read no size start 2 ms sooner
_LENGTH = _NUMBER + "(px|mm|um|µm|μm)?"  # the micro sign and the Greek letter
_PITCH = _NUMBER + "(mm|um|µm|μm)"
_FORMS = (
    "write it as an area such as 25px, 0.4mm2 or 0.1% (of the image), as length=2mm, or as all that is asked for, "
    "0.1mm2:length=2mm:width=0.1mm."
)


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
        if not math.isfinite(exact):
            raise UsageError(f"A minimum area of {self} at {pixel_pitch:g} mm a pixel is more than any image has.")
        # Shares and pitches are decimals that floats do not hold exactly: 0.25 mm2 at 0.05 mm is 100 pixels, not 101.
        return max(1, math.ceil(exact * (1 - 1e-12)))

    def __str__(self) -> str:
        if self.unit == "share":
            return f"{_plain(_decimal(self.value) * 100)}%"
        return f"{_plain(_decimal(self.value))}{self.unit}"


@dataclass(frozen=True)
class MinLength:
    """The least length, or the least width, of a region that counts: in pixels, or in mm of the part."""

    value: float
    unit: LengthUnit

    def __post_init__(self) -> None:
        if self.unit not in get_args(LengthUnit):
            raise ValueError(f"a length's unit is one of {', '.join(get_args(LengthUnit))}, not {self.unit!r}")
        if not (math.isfinite(self.value) and self.value > 0):
            raise UsageError(
                f"A minimum length or width is a finite number above zero, not {self.value}; "
                "leave it out to ask for none."
            )

    @classmethod
    def parse(cls, text: str) -> MinLength:
        """From `40px` or `40`, `2mm`, or `500um`."""
        number, unit = _split(
            _LENGTH, text, f"'{text}' is not a minimum length or width; write it as 40px, 2mm or 500um."
        )
        if unit in ("", "px"):
            return cls(float(number), "px")
        return cls(float(number if unit == "mm" else number / 1000), "mm")

    def pixels(self, pixel_pitch: float | None = None) -> float:
        """This length in pixels; `pixel_pitch` in mm per pixel."""
        if self.unit == "px":
            return float(self.value)
        if pixel_pitch is None:
            raise UsageError(
                f"A minimum length or width of {self} needs the size of a pixel; "
                "give --pixel-pitch, such as 0.05mm, or the length in px."
            )
        # As the decimals that were written: 0.28 mm at 0.04 mm is 7 pixels, not the 7.000000000000001 of floats.
        return float(_decimal(self.value) / _decimal(pixel_pitch))

    def __str__(self) -> str:
        return f"{_plain(_decimal(self.value))}{self.unit}"


class PixelSize(NamedTuple):
    """A minimum size on one image, in its pixels; a length or width of 0 asks for none."""

    area: int
    length: float = 0.0
    width: float = 0.0


@dataclass(frozen=True)
class MinSize:
    """What a region must have to count, all of it: an area, and where given a length and a width (see regions)."""

    area: MinArea
    length: MinLength | None = None
    width: MinLength | None = None

    @classmethod
    def parse(cls, text: str) -> MinSize:
        """From `0.4mm2`, `0.1mm2:length=2mm:width=0.1mm`, or `length=2mm`, which goes with an area of 1 px."""
        first, *rest = text.split(":")
        if "=" in first:
            area, rest = MinArea(1, "px"), [first, *rest]
        elif re.fullmatch(_AREA, first.strip().lower()):
            area = MinArea.parse(first)
        else:
            raise UsageError(f"'{text}' is not a minimum size; {_FORMS}")
        asked: dict[str, MinLength] = {}
        for part in rest:
            name, equals, value = part.partition("=")
            name = name.strip().lower()
            if name in ("elongation", "fill"):
                raise UsageError(
                    f"'{part.strip()}' cannot be asked for: a region's {name} is not monotone in the threshold, it "
                    "rises and falls as the region grows, so only area, length and width can be asked for."
                )
            if not equals or name not in ("length", "width") or name in asked:
                raise UsageError(f"'{part.strip()}' in '{text}' is not part of a minimum size; {_FORMS}")
            asked[name] = MinLength.parse(value)
        return cls(area, **asked)

    def parts(self) -> tuple[MinArea | MinLength, ...]:
        """What is asked for, one by one."""
        return tuple(part for part in (self.area, self.length, self.width) if part is not None)

    def pixels(self, width: int, height: int, pixel_pitch: float | None = None) -> PixelSize:
        """The size on an image of `width` x `height`; `pixel_pitch` in mm per pixel."""
        return PixelSize(
            self.area.pixels(width, height, pixel_pitch),
            0.0 if self.length is None else self.length.pixels(pixel_pitch),
            0.0 if self.width is None else self.width.pixels(pixel_pitch),
        )

    def __str__(self) -> str:
        length = "" if self.length is None else f":length={self.length}"
        width = "" if self.width is None else f":width={self.width}"
        return f"{self.area}{length}{width}"


@dataclass(frozen=True)
class AskedSize:
    """What was asked of sizes: several of them, any of which counts, and a length and a width for those that have none
    of their own. None among the sizes is the model's footprint."""

    sizes: tuple[MinSize | None, ...] = ()
    length: MinLength | None = None
    width: MinLength | None = None

    @classmethod
    def parse(cls, sizes: Sequence[str], length: str | None = None, width: str | None = None) -> AskedSize | None:
        """From the words of the command line; None where nothing is asked."""
        if not sizes and length is None and width is None:
            return None
        return cls(
            tuple(dict.fromkeys(None if text.strip() == FOOTPRINT else MinSize.parse(text) for text in sizes)),
            None if length is None else MinLength.parse(length),
            None if width is None else MinLength.parse(width),
        )

    def over(self, default: tuple[MinSize, ...], footprint: MinArea) -> tuple[MinSize, ...]:
        """The sizes, those of `default` where none were named."""
        if not self.sizes:
            changed = {name: getattr(self, name) for name in ("length", "width") if getattr(self, name) is not None}
            return tuple(replace(size, **changed) for size in default)
        named = (MinSize(footprint) if size is None else size for size in self.sizes)
        return tuple(replace(size, length=size.length or self.length, width=size.width or self.width) for size in named)


def parse_pitch(text: str) -> float:
    """The size of a pixel in mm, from `0.05mm` or `50um`."""
    number, unit = _split(_PITCH, text, f"'{text}' is not the size of a pixel; write it as 0.05mm or 50um.")
    pitch = float(number if unit == "mm" else number / 1000)
    if not 1e-9 <= pitch <= 1e9:
        raise UsageError(f"The size of a pixel is above zero and finite, not '{text}'; write it as 0.05mm or 50um.")
    return pitch


def _split(pattern: str, text: str, refusal: str) -> tuple[Decimal, str]:
    """Number and unit, as decimals: 0.29% is 0.0029 to the last digit, which 0.29 / 100 in floats is not."""
    found = re.fullmatch(pattern, text.strip().lower())
    if found is None or found[1].count(".") > 1 or not re.match(r"\.?[0-9]", found[1]):
        raise UsageError(refusal)
    return Decimal(found[1]), found[2] or ""


def _decimal(value: float) -> Decimal:
    """The shortest decimal that is this float: what was written, wherever it has at most 15 digits."""
    return Decimal(repr(float(value)))


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
