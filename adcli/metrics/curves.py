"""Exact pooled pixel metrics of a spool of maps: AUROC, AP, AUPRO and the largest F1, in a few streaming passes.

A sample of the pixels says where fine cells are worth their memory; one pass counts all keys in them. Where the
pixels' unknown order inside cells leaves a metric open by more than the tolerance, the cells at fault are split and
only their pixels counted again. Memory is O(cells), whatever the number of pixels or images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adcli.metrics.brackets import rounding
from adcli.metrics.cells import KeyTree
from adcli.metrics.rows import PixelRow, RowCurves
from adcli.metrics.spool import GOOD, Counts, MapSpool
from adcli.types import Progress, no_progress

_ROOT_BITS = 14  # roots: their table stays in a core's own cache
_CELL_BITS = 21  # at most two million new cells a pass: 16 MiB an array
_SAMPLE = 1 << 21  # pixels that the first partition is planned from


@dataclass(frozen=True)
class PixelCurves:
    groups: dict[str, PixelRow]  # a defect type's images and all good ones
    all: PixelRow


def pixel_curves(
    spool: MapSpool,
    limits: Sequence[float] = (0.3, 0.05),  # Bergmann et al., IJCV 2021, and MVTec AD 2
    tolerance: float = 1e-6,
    progress: Progress = no_progress,
) -> PixelCurves:
    """Every defect type's row and the row of all, each metric within a bracket no wider than `tolerance`."""
    if not all(0 < limit <= 1 for limit in limits):
        raise ValueError(f"a limit on the false-positive rate is above 0 and at most 1, not {tuple(limits)}")
    good = total = spool.counts(GOOD)
    counts: dict[str | None, Counts] = {}
    for group in spool.groups:
        own = spool.counts(group)
        counts[group] = good.plus(own)
        total = total.plus(own)
    counts[None] = total  # None: the row of all
    if not tolerance >= 10 * rounding(total):
        raise ValueError(f"the tolerance is at least {10 * rounding(total):.0e} here, not {tolerance}")
    rows = {name: RowCurves(own, limits, tolerance) for name, own in counts.items()}
    lowest, highest = spool.key_range
    if total.defect_pixels and lowest <= highest:
        budget = 1 << min(_CELL_BITS, total.pixels.bit_length() + 2)
        tree = KeyTree(lowest, highest, min(_ROOT_BITS, budget.bit_length() - 1))
        drafts = {name: RowCurves(own, limits, tolerance) for name, own in counts.items()}
        every = max(1, total.pixels // _SAMPLE)
        demand = _count(spool, tree, drafts, lambda done: progress("sample", done, 0), every)
        tree.refine(np.arange(len(tree)), _first_plan(demand, tree.bits, budget))
        passes = 0
        while not passes or demand.any():
            if passes:
                tree.refine(*_next_plan(demand, tree.bits, budget // 2))
            passes += 1
            demand = _count(spool, tree, rows, lambda done, n=passes: progress(f"pass {n}", done, total.pixels))
    table = {name: row.result() for name, row in rows.items()}
    return PixelCurves(all=table.pop(None), groups=table)


def _count(
    spool: MapSpool,
    tree: KeyTree,
    rows: dict[str | None, RowCurves],
    progress: Callable[[int], None],
    every: int = 1,
) -> np.ndarray:
    """One pass: each group is read once and serves its own row and, summed up, the row of all.

    Returns for each cell into how many parts the row that wants most of it would split it. With `every` above 1 the
    negatives are estimated from a sample, with one more in each cell so that none is taken for empty.
    """
    done = 0
    demand = np.zeros(len(tree))

    def zeros(kind: type) -> np.ndarray:
        return np.zeros(len(tree) - tree.first_new, dtype=kind)

    def all_pixels(group: str) -> np.ndarray:
        nonlocal done
        histogram, before = zeros(np.int64), done
        for keys in spool.keys(group, every):
            tree.count(keys, histogram)
            done += len(keys)
            progress(done)
        if every > 1 and done > before:
            histogram = (histogram + 1) * max(1, spool.counts(group).pixels // (done - before))
        return histogram

    def one_group(group: str) -> None:
        own_negatives, own_positives, own_weight = all_pixels(group), zeros(np.int64), zeros(float)
        for keys, areas in spool.defect_keys(group):
            tree.count(keys, own_positives)
            tree.count(keys, own_weight, 1 / areas)
        own_negatives -= own_positives
        np.maximum(own_negatives, 0, out=own_negatives)  # only an estimate can be below
        for total, own in ((negatives, own_negatives), (positives, own_positives), (weight, own_weight)):
            total += own
        own_negatives += good
        rows[group].narrow(tree, own_negatives, own_positives, own_weight, demand)

    good = all_pixels(GOOD)
    negatives, positives, weight = good.copy(), zeros(np.int64), zeros(float)
    for group in spool.groups:
        one_group(group)
    rows[None].narrow(tree, negatives, positives, weight, demand)
    return demand


def _first_plan(demand: np.ndarray, bits: np.ndarray, budget: int) -> np.ndarray:
    """By how many bits to split each root: as wanted, or evenly less where that is more than the budget."""
    demand = np.minimum(demand, 2.0**bits)
    demand *= min(1.0, budget / max(1.0, demand.sum()))
    return np.minimum(np.rint(np.log2(np.maximum(demand, 1))), bits).astype(np.int64)


def _next_plan(demand: np.ndarray, bits: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Which cells to split and by how many bits, the most wanted first, into at most `budget` children."""
    cells = np.flatnonzero(demand > 1)  # never none: were no demand above 1, the bracket would be narrow enough
    split = np.minimum(np.ceil(np.log2(demand[cells])), bits[cells])
    split = np.minimum(split, budget.bit_length() - 1).astype(np.int64)
    order = np.argsort(-demand[cells], kind="stable")
    fits = np.sort(order[np.cumsum(1 << split[order]) <= budget])
    return cells[fits], split[fits]
