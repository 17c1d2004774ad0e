"""Two tables of `eval`: what became of each metric."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adcli.errors import UsageError
from adcli.report.runs import Evaluation, finite

_COUNTS = ("good", "defective", "regions", "pixels")
_ALL = "all"


@dataclass(frozen=True)
class Delta:
    """One metric of one row, before and after; NaN where it is undefined or absent."""

    group: str
    metric: str
    before: float
    after: float
    before_interval: tuple[float, float]  # NaN twice where there is none
    after_interval: tuple[float, float]

    @property
    def change(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class TableComparison:
    """Metrics of two evaluations, row by row."""

    a: Path
    b: Path
    models: tuple[str | None, str | None]
    groups: list[str]  # the row of all images is the last
    metrics: list[str]
    deltas: list[Delta]  # every metric of every group
    only_a: list[str]  # groups
    only_b: list[str]
    notes: list[str]

    def all(self, metric: str) -> Delta:
        """A metric over all images."""
        return next(d for d in reversed(self.deltas) if d.metric == metric)


def compare_tables(a: Evaluation, b: Evaluation) -> TableComparison:
    """Raises UsageError where there is nothing to compare: the same document twice, or no row in common."""
    if a.path.samefile(b.path):
        raise UsageError(f"{a.path} and {b.path} are the same evaluation: name two")
    before, after = _by_group(a.rows), _by_group(b.rows)
    groups = [group for group in before if group in after]
    if not groups:
        raise UsageError(f"{a.path} and {b.path} have no row in common: evaluate the same images twice")
    if _ALL in groups:
        groups = [group for group in groups if group != _ALL] + [_ALL]
    metrics = list(dict.fromkeys(name for group in groups for row in (before, after) for name in _metrics(row[group])))
    deltas = [_delta(group, name, before[group], after[group]) for group in groups for name in metrics]
    models = a.model, b.model
    return TableComparison(
        a.path,
        b.path,
        models,
        groups,
        metrics,
        deltas,
        [group for group in before if group not in after],
        [group for group in after if group not in before],
        [*a.notes, *b.notes, *_notes(a, b, before[groups[-1]], after[groups[-1]])],
    )


def _by_group(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows by name. One category's own name tells nothing: it is its folder's."""
    categories = {row.get("category") or "" for row in rows if isinstance(row.get("category"), (str, type(None)))}
    if len(categories) < 2:
        return {row["group"]: row for row in rows}
    return {" ".join(filter(None, (str(row.get("category") or ""), row["group"]))): row for row in rows}


def _metrics(row: dict[str, Any]) -> list[str]:
    """Columns that hold a metric: no text, no count, no threshold, no end of an interval."""
    return [
        name
        for name, value in row.items()
        if (value is None or isinstance(value, (int, float)))
        and name not in _COUNTS
        and not name.endswith("threshold")
        and not any(name.endswith(end) and name.removesuffix(end) in row for end in ("_low", "_high"))
    ]


def _delta(group: str, name: str, before: dict[str, Any], after: dict[str, Any]) -> Delta:
    ends = [tuple(finite(row.get(name + end)) for end in ("_low", "_high")) for row in (before, after)]
    return Delta(group, name, finite(before.get(name)), finite(after.get(name)), ends[0], ends[1])


def _notes(a: Evaluation, b: Evaluation, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    notes = []
    if a.digests is not None and b.digests is not None:
        if a.digests != b.digests:
            shared, of_a, of_b = len(a.digests & b.digests), len(a.digests), len(b.digests)
            notes.append(f"{shared} images are in both, of {of_a} and {of_b}: the others' part in a change is not told")
    elif any(before.get(name) != after.get(name) for name in _COUNTS[:2]):
        notes.append("the numbers of images differ, so a change may be the images'")
    if a.model is not None and a.model == b.model:
        notes.append("both are of one model file")
    notes.append("intervals are each table's own: on the same images a change can be sure though they overlap")
    return notes
