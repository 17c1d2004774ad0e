"""Copies of a good image to learn from beside it: turned about its centre, darker and brighter.

A copy shows what a good part may look like and the few good images do not. Scoring makes none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from adcli.errors import UsageError

_MOST_ANGLES = 72
_BRIGHTEST = 10.0  # beyond it a copy is white
_NUMBER = r"([0-9]*\.?[0-9]+)"


@dataclass(frozen=True)
class Augmentation:
    """Each image is learnt from at `rotations` angles, each of them as it is, darker and brighter."""

    rotations: int = 1  # k 360 / rotations degrees, counter-clockwise, k = 0 the image as it is
    darkest: float = 1.0  # factors of all pixels in [0, 1]; what becomes more than 1 is 1
    brightest: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.rotations <= _MOST_ANGLES:
            raise UsageError(f"{self.rotations} angles are not possible: give --rotate 2 to {_MOST_ANGLES}, such as 8")
        if not 0 < self.darkest <= 1 <= self.brightest <= _BRIGHTEST:
            raise UsageError(
                f"a brightness of {self.darkest:g}:{self.brightest:g} is not possible: give factors on either side of "
                f"1, at most {_BRIGHTEST:g}, such as 0.8:1.2"
            )

    @classmethod
    def parse(cls, rotations: int | None, brightness: str | None) -> Augmentation | None:
        """The words of --rotate and --brightness; None where neither asks for a copy.

        Raises:
            UsageError: for what is no number of angles, or no range about 1.
        """
        factors = ("1", "1")
        if brightness is not None:
            found = re.fullmatch(f"{_NUMBER}:{_NUMBER}", brightness.strip())
            if found is None:
                raise UsageError(f"{brightness!r} is no range of brightness: write LOW:HIGH, such as 0.8:1.2")
            factors = found[1], found[2]
        asked = cls(1 if rotations is None else rotations, float(factors[0]), float(factors[1]))
        return None if asked == cls() else asked

    def copies(self) -> list[tuple[float, float]]:
        """Angle in degrees and factor of each copy, the image itself first."""
        factors = [1.0, *(factor for factor in (self.darkest, self.brightest) if factor != 1)]
        return [(360 * turn / self.rotations, factor) for turn in range(self.rotations) for factor in factors]

    def facts(self) -> dict[str, int | list[float]]:
        """What tables and JSON say of it."""
        return {"rotations": self.rotations, "brightness": [self.darkest, self.brightest]}
