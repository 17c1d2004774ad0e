"""A partition of the key range into cells, refined from pass to pass, and the curves' counts in them.

A cell is a run of 2^bits keys. The roots are equal cells; a pass splits those that still matter, and only pixels
inside them are counted again. A cell of one key holds nothing but ties, so it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np


class KeyTree:
    """Cells by number: the roots first, then each refinement's children. The newest cells are what a pass counts."""

    def __init__(self, lowest: int, highest: int, root_bits_max: int) -> None:
        """Equal cells from key `lowest` to `highest`, at most 2^root_bits_max of them."""
        self.lowest = lowest
        self._root_bits = max(0, (highest - lowest).bit_length() - root_bits_max)
        n = ((highest - lowest) >> self._root_bits) + 1
        self.first_new = 0
        self.low = np.arange(n, dtype=np.uint32) << np.uint32(self._root_bits)  # smallest key in it, less `lowest`
        self.bits = np.full(n, self._root_bits, dtype=np.uint32)
        self.parent = np.full(n, -1, dtype=np.int32)
        self.open = np.zeros(n, dtype=bool)  # has new cells under it
        self._child_bits = np.zeros(n, dtype=np.uint32)
        self._child_base = np.zeros(n, dtype=np.int64)
        self._all_roots_open = False
        self._first_open, self._open_keys = np.uint32(lowest), np.uint32(highest - lowest)

    def __len__(self) -> int:
        return len(self.low)

    def refine(self, cells: np.ndarray, split: np.ndarray) -> None:
        """Split each of `cells` into 2^split equal children, which are then the new cells."""
        self._all_roots_open = not self.first_new and len(cells) == len(self)
        ends = self.low[cells].astype(np.int64) + (np.int64(1) << self.bits[cells].astype(np.int64))
        first = int(self.low[cells].min())
        self._first_open, self._open_keys = np.uint32(self.lowest + first), np.uint32(ends.max() - first - 1)
        child_bits = self.bits[cells] - split.astype(np.uint32)
        counts = np.int64(1) << split.astype(np.int64)
        starts = np.cumsum(counts) - counts
        self.first_new = len(self)
        self._child_bits[cells] = child_bits
        # A key's child is then base + (key >> child_bits), as cells begin at multiples of their size.
        self._child_base[cells] = self.first_new + starts - (self.low[cells] >> child_bits)
        bits = np.repeat(child_bits, counts)
        within = (np.arange(counts.sum()) - np.repeat(starts, counts)).astype(np.uint32)
        n = len(bits)
        self.low = np.concatenate([self.low, np.repeat(self.low[cells], counts) + (within << bits)])
        self.bits = np.concatenate([self.bits, bits])
        self.parent = np.concatenate([self.parent, np.repeat(cells, counts).astype(np.int32)])
        self._child_bits = np.concatenate([self._child_bits, np.zeros(n, dtype=np.uint32)])
        self._child_base = np.concatenate([self._child_base, np.zeros(n, dtype=np.int64)])
        self.open = np.zeros(len(self), dtype=bool)
        while cells.size:
            self.open[cells] = True
            above = self.parent[cells]
            cells = np.unique(above[above >= 0])

    def count(self, keys: np.ndarray, into: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add to `into`, one entry per new cell, the keys (or their weights) that lie in it."""
        if not self._all_roots_open:
            # One subtraction and one comparison leave out all that lies below or above what is open: below wraps.
            near = keys - self._first_open <= self._open_keys
            keys = keys[near]
            weights = None if weights is None else weights[near]
        key = keys - np.uint32(self.lowest)
        cell = (key >> np.uint32(self._root_bits)).astype(np.intp)
        if not self.first_new:
            np.add.at(into, cell, into.dtype.type(1) if weights is None else weights)
            return
        while cell.size:
            if not self._all_roots_open:
                inside = self.open[cell]
                key, cell = key[inside], cell[inside]
                weights = None if weights is None else weights[inside]
            # take(mode="clip") reads the table as fancy indexing does, without checking every index first.
            base, bits = (table.take(cell, mode="clip") for table in (self._child_base, self._child_bits))
            cell = base + (key >> bits)
            if self._all_roots_open:
                cell -= self.first_new
                np.add.at(into, cell, into.dtype.type(1) if weights is None else weights)
                return
            new = cell >= self.first_new
            np.add.at(into, cell[new] - self.first_new, into.dtype.type(1) if weights is None else weights[new])

    def last_child(self, cells: np.ndarray) -> np.ndarray:
        """The number of the highest child of each open cell."""
        last_key = self.low[cells].astype(np.int64) + (np.int64(1) << self.bits[cells].astype(np.int64)) - 1
        return self._child_base[cells] + (last_key >> self._child_bits[cells])


@dataclass(frozen=True)
class RowCells:
    """Cells of one table row that hold defect pixels, by rising number; no other cell bends a curve."""

    cell: np.ndarray  # number in the KeyTree
    low: np.ndarray
    exact: np.ndarray  # one key only
    negatives_above: np.ndarray  # of the row, above the cell
    negatives: np.ndarray  # in it
    positives_above: np.ndarray
    positives: np.ndarray
    weight: np.ndarray  # in it: the sum of 1 / region area over its defect pixels

    @classmethod
    def counted(cls, tree: KeyTree, negatives: np.ndarray, positives: np.ndarray, weight: np.ndarray) -> RowCells:
        """From the counts of one row in new cells that cover the whole range."""
        new = np.flatnonzero(positives)
        cell = new + tree.first_new
        return cls(
            cell,
            tree.low[cell],
            tree.bits[cell] == 0,
            _after(negatives)[new],
            negatives[new],
            _after(positives)[new],
            positives[new],
            weight[new],
        )

    def split(self, tree: KeyTree, negatives: np.ndarray, positives: np.ndarray, weight: np.ndarray) -> RowCells:
        """With the cells that were refined replaced by their children; children of other rows' cells are left out."""
        found = RowCells.counted(tree, negatives, positives, weight)
        parent = tree.parent[found.cell]
        at = np.minimum(np.searchsorted(self.cell, parent), len(self.cell) - 1)
        own = self.cell[at] == parent
        found, at = found.some(own), at[own]
        # What `counted` found above a child is right up to the end of its parent, and the parent knows the rest.
        last = tree.last_child(parent[own]) - tree.first_new
        found = replace(
            found,
            negatives_above=found.negatives_above - _after(negatives)[last] + self.negatives_above[at],
            positives_above=found.positives_above - _after(positives)[last] + self.positives_above[at],
        )
        kept = self.some(~tree.open[self.cell])
        return RowCells(**{name: np.concatenate([getattr(kept, name), getattr(found, name)]) for name in _FIELDS})

    def some(self, which: np.ndarray) -> RowCells:
        return RowCells(**{name: getattr(self, name)[which] for name in _FIELDS})


_FIELDS = tuple(field.name for field in fields(RowCells))


def _after(counts: np.ndarray) -> np.ndarray:
    """The sum of all entries behind each."""
    up_to = np.cumsum(counts)
    return np.subtract(up_to[-1], up_to, out=up_to)
