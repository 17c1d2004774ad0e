"""The region of interest: outside it nothing is learnt, thresholded or counted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from adcli.errors import UsageError


@dataclass(frozen=True)
class RegionOfInterest:
    """Which pixels count, on an image of `width` x `height`; on an image of another size, the same shares of it."""

    width: int
    height: int
    bits: np.ndarray  # (H, ceil(W / 8)) uint8: 1 where a pixel counts, eight a byte, the first in the highest bit
    digest: str  # sha256 over width, height and bits, hexadecimal

    def __post_init__(self) -> None:
        if self.bits.dtype != np.uint8 or self.bits.shape != (self.height, -(-self.width // 8)):
            raise ValueError(f"{self.width}x{self.height} pixels are not what bits of {self.bits.shape} hold")
        if self.digest != _digest(self.width, self.height, self.bits):
            raise ValueError("the region of interest does not match its digest")
        if not self.bits.any():
            raise ValueError("the region of interest is empty")

    @classmethod
    def of(cls, mask: np.ndarray) -> RegionOfInterest:
        """From a mask (H, W) of bool. Raises UsageError for an empty one."""
        if not mask.any():
            raise UsageError("the region of interest is empty: no pixel of an image would be looked at")
        height, width = mask.shape
        bits = np.packbits(mask, axis=1)
        return cls(width, height, bits, _digest(width, height, bits))

    def mask(self) -> np.ndarray:
        """(H, W) bool at its own size; not to be written to."""
        return self._unpacked

    @cached_property
    def _unpacked(self) -> np.ndarray:
        mask = np.unpackbits(self.bits, axis=1, count=self.width).astype(bool)
        mask.setflags(write=False)
        return mask

    def on(self, size: tuple[int, int]) -> np.ndarray:
        """(H, W) bool for an image of that size: the pixels whose centres lie in the region."""
        mask = self.mask()
        if mask.shape == tuple(size):
            return mask
        import cv2

        return cv2.resize(mask.view(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT).view(bool)

    @property
    def share(self) -> float:
        """Share of an image that is in the region."""
        return float(self.mask().mean())


def _digest(width: int, height: int, bits: np.ndarray) -> str:
    return hashlib.sha256(f"{width}x{height} ".encode() + bits.tobytes()).hexdigest()
