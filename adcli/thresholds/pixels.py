"""The pixels of the held-out maps, pooled: what the mean, the deviation and a quantile over all of them need.

Maps are seen once, one after another, and not kept. Of the pooled pixels only the highest are, so a quantile is one of
them, exactly, and never interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

# The tail must outlast leaving suspects out, which may hold most of it: so many maps' pixels are kept beside what the
# quantile needs, but no more than so many pixels.
_SPARE_MAPS, _SPARE_PIXELS = 5, 1 << 22
_SAMPLED = 61  # one value of so many, to find a level by
_TRIM = 1.5  # the tail is cut when it has grown by this factor: sorting out costs more than keeping


@dataclass(frozen=True)
class PixelSummary:
    """One map: its moments, and those of its pixels that may matter for the quantile."""

    count: int  # pixels inside the region of interest
    total: float
    squares: float  # sum of squares
    peak: float
    highest: np.ndarray  # (t,) float32


@dataclass(frozen=True)
class Pixels:
    """What is known of the pixels of all maps. One row a map."""

    counts: np.ndarray  # (n,) int64
    totals: np.ndarray  # (n,) float64
    squares: np.ndarray  # (n,) float64
    peaks: np.ndarray  # (n,) float64
    tail: np.ndarray  # (t,) float32, the highest pixels of all maps, in no order
    owners: np.ndarray  # (t,) int32, the map that each is of
    dropped: float  # the highest pixel that was not kept

    def mean(self) -> float:
        """Mean over all pixels."""
        return float(self.totals.sum() / self.counts.sum())

    def std(self) -> float:
        """Standard deviation over all pixels."""
        return math.sqrt(max(0.0, float(self.squares.sum() / self.counts.sum()) - self.mean() ** 2))

    def quantile(self, share: float) -> float:
        """The lowest pixel above which at most 1 - `share` of all pixels lie; NaN if the tail does not reach so far."""
        exceedances = math.floor((1 - Fraction(str(float(share)))) * int(self.counts.sum()))
        if exceedances >= self.tail.size:
            return math.nan
        place = self.tail.size - 1 - exceedances
        level = np.partition(self.tail, place)[place]
        return math.nan if level < self.dropped else float(level)

    def without(self, maps: np.ndarray) -> Pixels:
        """The same without some maps, (n,) bool."""
        kept = ~maps
        inside = kept[self.owners]
        new_place = np.cumsum(kept, dtype=np.int32) - 1
        return Pixels(
            self.counts[kept],
            self.totals[kept],
            self.squares[kept],
            self.peaks[kept],
            self.tail[inside],
            new_place[self.owners[inside]],
            self.dropped,
        )


class PixelPool:
    """Collects `Pixels`. `summarise` may run on any thread; `add` takes the maps in their order, on one."""

    def __init__(self, share: float, images: int):
        """Args: `share` of the pixels that lie below the quantile; `images` that are still to come."""
        self._above = float(1 - Fraction(str(float(share))))
        self._left = images
        self._seen = 0  # pixels so far
        self._largest = 0  # pixels of the largest map so far
        self._cut = -math.inf  # no pixel below it can be the quantile, unless later maps are larger than all before
        self._rows: list[tuple[int, float, float, float]] = []
        self._tails: list[np.ndarray] = []  # pieces of the tail, put together when it is cut
        self._owners: list[np.ndarray] = []
        self._kept = 0  # pixels in them
        self._dropped = -math.inf

    def summarise(self, score_map: np.ndarray) -> PixelSummary:
        """One map (H, W) float32; minus infinity is outside the region of interest."""
        cut = self._cut
        inside = score_map[score_map > -np.inf]
        return PixelSummary(
            count=inside.size,
            total=float(inside.sum(dtype=np.float64)),
            squares=float(np.einsum("i,i->", inside, inside, dtype=np.float64)),
            peak=float(inside.max()) if inside.size else -math.inf,
            highest=inside[inside >= cut],
        )

    def add(self, summary: PixelSummary) -> None:
        """Takes the next map."""
        owner = len(self._rows)
        self._rows.append((summary.count, summary.total, summary.squares, summary.peak))
        self._left -= 1
        self._largest = max(self._largest, summary.count)
        if summary.highest.size < summary.count:
            self._dropped = max(self._dropped, float(np.nextafter(np.float32(self._cut), np.float32(-np.inf))))
        self._tails.append(summary.highest)
        self._owners.append(np.full(summary.highest.size, owner, np.int32))
        self._kept += summary.highest.size
        self._seen += summary.count
        most = self._seen + max(0, self._left) * self._largest
        keep = math.ceil(self._above * most) + 1 + min(_SPARE_MAPS * self._largest, _SPARE_PIXELS)
        if self._kept > _TRIM * keep:
            tail, owners = self._together()
            lowest = _level_of(tail, keep)
            kept = tail >= lowest
            self._dropped = max(self._dropped, float(np.nextafter(lowest, np.float32(-np.inf))))
            self._tails, self._owners, self._kept = [tail[kept]], [owners[kept]], int(np.count_nonzero(kept))
            self._cut = max(self._cut, float(lowest))

    def _together(self) -> tuple[np.ndarray, np.ndarray]:
        """The tail (t,) float32 and the maps (t,) int32 that its pixels are of."""
        nothing = np.empty(0, np.float32), np.empty(0, np.int32)
        return np.concatenate([*self._tails, nothing[0]]), np.concatenate([*self._owners, nothing[1]])

    def pooled(self) -> Pixels:
        """All that was added."""
        rows = np.array(self._rows, np.float64).reshape(-1, 4)
        tail, owners = self._together()
        return Pixels(
            counts=rows[:, 0].astype(np.int64),
            totals=rows[:, 1],
            squares=rows[:, 2],
            peaks=rows[:, 3],
            tail=tail,
            owners=owners,
            dropped=self._dropped,
        )


def _level_of(values: np.ndarray, least: int) -> np.float32:
    """A level that at least so many values (n,) float32 reach, and seldom many more: sorting out all takes long."""
    some = values[::_SAMPLED]
    rank = math.ceil(1.02 * least / _SAMPLED)
    if rank < some.size:
        level = np.partition(some, some.size - rank)[some.size - rank]
        if np.count_nonzero(values >= level) >= least:
            return level
    return np.partition(values, values.size - least)[values.size - least]
