"""Two runs of `score`: what became of each image."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from adcli.errors import UsageError
from adcli.report.runs import ImageLine, Run

_STEPS = {"OK": 0, "CHECK": 1, "NG": 2}
_TO_ERROR = 3  # an image that could be read and cannot be any more, or the other way round
_RECORDED = (
    *("model", "detector_digest", "method", "backbone", "engine", "precision", "stored_precision", "rule"),
    *("threshold", "check_threshold", "min_area", "sizes", "group_by", "pixel_pitch_mm"),
)


@dataclass(frozen=True)
class Change:
    """An image whose verdict is another one."""

    image: str  # as given to the second run
    before: str
    after: str
    score_before: float  # NaN where there is none
    score_after: float


@dataclass(frozen=True)
class ScoreShift:
    """How the scores of matched images moved, from the first run to the second."""

    n: int
    median: float
    rose: float  # share
    largest: float  # the difference that is largest in size, with its sign
    image: str  # that has it


@dataclass(frozen=True)
class Difference:
    """Something that the two runs did not have in common."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class RunComparison:
    """What changed from one run to another."""

    a: Path
    b: Path
    images: tuple[int, int]
    by_sha256: int  # images matched by their content
    by_name: int  # and the others, by their name below the folder that holds all images of their run
    only_a: list[str]
    only_b: list[str]
    verdicts: dict[tuple[str, str], int]  # of matched images, by (before, after)
    changes: list[Change]  # worst first
    shift: ScoreShift | None  # None where the scores are in other units, or no image has two
    differences: list[Difference]
    notes: list[str]

    @property
    def matched(self) -> int:
        """Images that both runs have."""
        return self.by_sha256 + self.by_name


def compare_runs(a: Run, b: Run) -> RunComparison:
    """Matches the images of two runs and tells what changed. One entry for each image of `a` is kept, none of `b`.

    Raises UsageError where there is nothing to compare: the same folder twice, an empty run, no image in common.
    """
    if a.folder.samefile(b.folder):
        raise UsageError(f"{a.folder} and {b.folder} are the same run: name two")
    pairs = _Pairs(a, b)
    if not pairs.matched:
        raise UsageError(
            f"{a.folder} and {b.folder} have no image in common, by content or by name: score the same images twice"
        )
    comparable, why_not = _comparable(a.record, b.record)
    notes = [*a.notes, *b.notes]
    if pairs.other_files:
        notes.append(
            f"{pairs.other_files} pairs have the same name and other contents: their changes may be the image's"
        )
    if a.started > b.started > "":
        notes.append(f"{a.folder} is newer than {b.folder}: changes are told from the first to the second all the same")
    if not comparable:
        notes.append(f"scores are not compared: {why_not}")
    return RunComparison(
        a.folder,
        b.folder,
        pairs.images,
        pairs.by_sha256,
        pairs.matched - pairs.by_sha256,
        pairs.only_a,
        pairs.only_b,
        dict(pairs.verdicts),
        sorted(pairs.changes, key=_badness),
        pairs.shift() if comparable else None,
        _differences(a.record, b.record),
        notes,
    )


class _Pairs:
    """The images of two runs, matched: by content first, by name where that is unknown or another."""

    def __init__(self, a: Run, b: Run):
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.changes: list[Change] = []
        self.by_sha256 = self.matched = self.other_files = 0
        self._differences = array("d")
        self._largest = (0.0, "")
        lines = list(_kept(a))
        by_digest: dict[str, list[int]] = {}
        for number, line in enumerate(lines):
            if line.sha256 is not None:
                by_digest.setdefault(line.sha256, []).append(number)
        free = [True] * len(lines)
        left, count, folder = [], 0, _Common()
        for line in _kept(b):
            count += 1
            folder.add(line.image)
            same = by_digest.get(line.sha256 or "")
            if not same:
                left.append(line)
                continue
            number = next((n for n in same if lines[n].image == line.image), same[0])
            same.remove(number)
            free[number] = False
            self.by_sha256 += 1
            self._add(lines[number], line)
        self.images = len(lines), count
        self.only_b = self._match_names(lines, free, left, folder)
        self.only_a = [line.image for line, is_free in zip(lines, free, strict=True) if is_free]

    def _match_names(self, lines: list[ImageLine], free: list[bool], left: list[ImageLine], b: _Common) -> list[str]:
        """Matches the rest by the name as given, then by the name below the common folder; returns who is left."""
        a = _Common()
        for line in lines:
            a.add(line.image)
        for name_a, name_b in ((str, str), (a.below, b.below)):
            names: dict[str, int] = {}
            for number, line in enumerate(lines):
                if free[number]:
                    names.setdefault(name_a(line.image), number)
            still = []
            for line in left:
                number = names.pop(name_b(line.image), None)
                if number is None:
                    still.append(line)
                    continue
                free[number] = False
                self.other_files += None not in (lines[number].sha256, line.sha256)
                self._add(lines[number], line)
            left = still
        return [line.image for line in left]

    def _add(self, a: ImageLine, b: ImageLine) -> None:
        self.matched += 1
        self.verdicts[a.verdict, b.verdict] += 1
        if a.verdict != b.verdict:
            self.changes.append(Change(b.image, a.verdict, b.verdict, a.score, b.score))
        difference = b.score - a.score
        if math.isfinite(difference):
            self._differences.append(difference)
            if not self._largest[1] or abs(difference) > abs(self._largest[0]):
                self._largest = difference, b.image

    def shift(self) -> ScoreShift | None:
        if not self._differences:
            return None
        values = np.asarray(self._differences)
        return ScoreShift(len(values), float(np.median(values)), float((values > 0).mean()), *self._largest)


class _Common:
    """The folder that holds all images of a run."""

    def __init__(self) -> None:
        self._parts: tuple[str, ...] | None = None

    def add(self, image: str) -> None:
        parts = PurePosixPath(image).parent.parts
        if self._parts is None:
            self._parts = parts
        elif parts[: len(self._parts)] != self._parts:
            equal = [one == other for one, other in zip(parts, self._parts, strict=False)]
            self._parts = parts[: [*equal, False].index(False)]

    def below(self, image: str) -> str:
        return "/".join(PurePosixPath(image).parts[len(self._parts or ()) :])


def _kept(run: Run) -> Iterable[ImageLine]:
    """The lines of a run, at least one."""
    is_empty = True
    for line in run.lines():
        is_empty = False
        yield line
    if is_empty:
        raise UsageError(f"{run.folder} holds no image: there is nothing to compare")


def _badness(change: Change) -> tuple[int, bool, float, str]:
    """The longest step first; of those that are equal, what may let a defect pass; then the scores that differ most."""
    before, after = _STEPS.get(change.before), _STEPS.get(change.after)
    step = _TO_ERROR if before is None or after is None else abs(after - before)
    is_laxer = before is not None and (after is None or after < before)
    difference = abs(change.score_after - change.score_before)
    return -step, not is_laxer, -difference if math.isfinite(difference) else 0.0, change.image


def _comparable(a: dict[str, Any], b: dict[str, Any]) -> tuple[bool, str]:
    """Whether the scores of two runs are in the same units, and if not, why."""
    if a.get("model") is not None and a.get("model") == b.get("model"):
        return True, ""
    if a.get("detector_digest") is None or b.get("detector_digest") is None:
        return False, "a run does not say by which detector its scores are"
    if a["detector_digest"] != b["detector_digest"]:
        return False, "they are of two detectors"
    if units(a) is None or units(a) != units(b):
        return False, "they are of other minimum sizes"
    if len(units(a) or ()) > 2:
        return False, "several minimum sizes are put on one scale at each calibration, and there were two"
    return True, ""


def units(record: dict[str, Any]) -> tuple[Any, ...] | None:
    """What the numbers of one detector depend on: the pixel pitch, where a size is in mm, and the sizes."""
    sizes = record.get("sizes", [record.get("min_area")])
    if not isinstance(sizes, list) or not all(isinstance(size, str) for size in sizes) or not sizes:
        return None
    return (record.get("pixel_pitch_mm") if any("mm" in size for size in sizes) else None, *sizes)


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[Difference]:
    """What both records tell, and tell differently."""
    before, after = _flat(a), _flat(b)
    return [
        Difference(name, before[name], after[name]) for name in before if name in after and before[name] != after[name]
    ]


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    flat = {name: record[name] for name in _RECORDED if name in record}
    versions, host = record.get("versions"), record.get("host")
    if isinstance(versions, dict):
        flat |= {f"version of {name}": version for name, version in versions.items()}
    if isinstance(host, dict) and "device" in host:
        flat["device"] = host["device"]
    return flat
