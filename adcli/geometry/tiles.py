"""Tiles: a large image in pieces that the network sees one by one, and one map of the whole again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from adcli.errors import UsageError

LEAST_TILE = 32  # pixels
_MOST_TILE = 16384


class Box(NamedTuple):
    """A rectangle of pixels; bottom and right are the first row and column that are not in it."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """What lies in it of (H, W) or (H, W, 3)."""
        return pixels[self.top : self.bottom, self.left : self.right]

    @property
    def size(self) -> tuple[int, int]:
        """Its H, W."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True)
class Tiling:
    """Square tiles of `tile` pixels of the file, each sharing at least `overlap` with its neighbours."""

    tile: int
    overlap: int
    own_statistics: tuple[int, int] | None = None  # H, W of the images whose tiles are learnt each for itself

    def __post_init__(self) -> None:
        if not LEAST_TILE <= self.tile <= _MOST_TILE:
            raise UsageError(f"a tile of {self.tile} pixels is not possible: give {LEAST_TILE} to {_MOST_TILE}")
        if not 0 <= self.overlap < self.tile:
            raise UsageError(
                f"an overlap of {self.overlap} pixels is not possible with tiles of {self.tile}: give 0 to "
                f"{self.tile - 1}, such as {self.tile // 8}"
            )

    def smallest(self, sizes: Iterable[tuple[int, int]]) -> int:
        """Pixels of the smallest tile that images of these sizes (H, W) are cut into."""
        return min(min(self.tile, height) * min(self.tile, width) for height, width in sizes)

    def boxes(self, size: tuple[int, int]) -> list[Box]:
        """The tiles of an image of size (H, W), row by row."""
        rows, columns = (self.spans(length) for length in size)
        return [Box(*row, *column) for row in rows for column in columns]

    def spans(self, length: int) -> list[tuple[int, int]]:
        """Where the tiles of one axis begin and end.

        As few as the overlap allows, the first at one border of the image and the last at the other, the others evenly
        between them, so that no tile reaches beyond the image. An axis shorter than a tile is one span.
        """
        if length <= self.tile:
            return [(0, length)]
        step = self.tile - self.overlap
        count = -(-(length - self.overlap) // step)
        starts = [round(number * (length - self.tile) / (count - 1)) for number in range(count)]
        return [(start, start + self.tile) for start in starts]

    def shares(self, length: int) -> list[np.ndarray]:
        """What each span's pixels count for in the map of the whole, (span,) float32; they sum to 1 at every pixel.

        A span's weight rises over the overlap from its ends, but for those at the image's border, so a map that is made
        of tiles has no seam: at a tile's end, where its weight is least, it has no step to hide.
        """
        spans = self.spans(length)
        ramp = max(1, self.overlap)
        weights = []
        total = np.zeros(length)
        for start, end in spans:
            places = np.arange(start, end) + 0.5
            rise = np.full(end - start, np.inf) if start == 0 else places - start
            fall = np.full(end - start, np.inf) if end == length else end - places
            weight = np.minimum(np.minimum(rise, fall) / ramp, 1)
            weights.append(weight)
            total[start:end] += weight
        return [
            (weight / total[start:end]).astype(np.float32) for weight, (start, end) in zip(weights, spans, strict=True)
        ]
