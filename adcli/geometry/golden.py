"""The golden image, as a model keeps it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Golden:
    """The image to which others are aligned."""

    pixels: np.ndarray  # (h, w) uint8, gray, reduced in size
    width: int  # of the file
    height: int
    digest: str  # sha256 of the file, hexadecimal

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 2 or self.pixels.size == 0:
            raise ValueError(f"a golden image is (h, w) uint8, not {self.pixels.shape} {self.pixels.dtype}")
