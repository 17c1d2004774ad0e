"""A run against the held-out scores in a model file: are good images still what they were?"""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from adcli.errors import UsageError
from adcli.finding import FoundImage
from adcli.metrics.drift import RateTest, Shift, binomial_p_value, holm, rate_test, shift
from adcli.model import Calibration, Model
from adcli.parts import Grouping
from adcli.report.runs import ImageLine, Run
from adcli.store import Stored
from adcli.tasks.compared_runs import units

_NOWHERE = -1
FALSE_ALARM = 0.01  # of the whole report, where no other is asked for
_DEFECTS = (
    "images that are truly defective raise the NG share too: an alarm says that the images are no longer like those "
    "that the threshold was set on, not why"
)


@dataclass(frozen=True)
class RateCheck:
    """A reject rate: NG alone, or CHECK and NG."""

    name: str
    test: RateTest
    promised: float  # the rate that was promised of good images; NaN where none was
    promised_p_value: float  # binomial, were the promised rate the true one: the held-out images' luck is not counted
    adjusted: float  # Holm's p-value among all tests of this report


@dataclass(frozen=True)
class Group:
    """Images of one hour, lot or whatever their names tell."""

    name: str
    test: RateTest  # of NG
    median: float
    adjusted: float


@dataclass(frozen=True)
class Drift:
    """A run beside the held-out scores. Any alarm is false with a probability of at most `false_alarm`."""

    model: Path
    run: Path
    unit: str  # image, or part where several images show one
    n: int  # units with a score that the model has not seen
    left_out: dict[str, int]  # images, by why
    false_alarm: float
    rates: list[RateCheck]
    shift: Shift
    shift_adjusted: float
    groups: list[Group]
    notes: list[str]

    @property
    def alarms(self) -> list[str]:
        """What is not as it was, one clause each."""
        told = []
        for rate in self.rates:
            if rate.adjusted <= self.false_alarm:
                told.append(
                    f"{rate.test.above} of {self.n} {self.unit}s are {rate.name} where {rate.test.held_out_above} of "
                    f"{rate.test.held_out} held-out ones were (p = {rate.adjusted:.2g})"
                )
        if self.shift_adjusted <= self.false_alarm:
            moved = f"the scores are distributed otherwise (Kolmogorov-Smirnov {self.shift.distance:.3f}, "
            told.append(f"{moved}p = {self.shift_adjusted:.2g})")
        for group in self.groups:
            if group.adjusted <= self.false_alarm:
                found = f"{group.test.above} of {group.test.n} {self.unit}s of {group.name} are NG "
                told.append(f"{found}(p = {group.adjusted:.2g})")
        return told


def compare_with_calibration(
    stored: Stored, model_path: Path, run: Run, false_alarm: float, group_by: str | None, by_hour: bool
) -> Drift:
    """Raises UsageError where the run's scores are not in the units of the model, or none is left to compare."""
    model, calibration = stored.model, stored.model.require_calibration()
    _refuse_other_units(stored, model_path, run)
    if not calibration.scores.size:
        raise UsageError(f"the calibration in {model_path} holds no held-out scores to compare with: calibrate anew")
    gathered = _Gathered(model, calibration, run, _grouping(group_by, by_hour))
    scores, owners = np.asarray(gathered.scores), np.asarray(gathered.owners)
    if not scores.size:
        reasons = ", ".join(f"{count} {why}" for why, count in gathered.left_out.items()) or "it is empty"
        raise UsageError(f"{run.folder} has no score to compare with the calibration: {reasons}")
    if (group_by is not None or by_hour) and not gathered.names:
        raise UsageError(
            f"no image of {run.folder} is still where it was scored, so none has an hour: use --group-by"
            if by_hour
            else f"--group-by {group_by!r} finds nothing in any image's path of {run.folder}: give one that matches"
        )
    notes = [*run.notes, *_notes(calibration, run), _DEFECTS]
    if gathered.names and (strays := int((owners == _NOWHERE).sum())):
        notes.append(f"{strays} images belong to no group, and are not in the table")
    held_out = calibration.scores
    tests = [("NG", rate_test(held_out, scores, calibration.threshold), _promised(calibration))]
    if calibration.check_threshold is not None:
        checked = rate_test(held_out, scores, calibration.check_threshold)
        promised = math.nan if calibration.check_false_reject is None else calibration.check_false_reject
        tests.append(("CHECK or NG", checked, promised))
    moved = shift(held_out, scores)
    if not moved.spread:
        notes.append("half of the held-out scores are equal, so the shift of the median has no unit")
    groups = []
    for name, number in sorted(gathered.names.items()):
        members = scores[owners == number]
        groups.append((name, rate_test(held_out, members, calibration.threshold), float(np.median(members))))
    adjusted = holm(
        np.array([test.p_value for _, test, _ in tests] + [moved.p_value] + [test.p_value for _, test, _ in groups])
    ).tolist()
    rates = [
        RateCheck(name, test, promised, binomial_p_value(test.above, test.n, promised), p)
        for (name, test, promised), p in zip(tests, adjusted, strict=False)
    ]
    return Drift(
        model_path,
        run.folder,
        "image" if model.group_by is None else "part",
        len(scores),
        dict(gathered.left_out),
        false_alarm,
        rates,
        moved,
        adjusted[len(tests)],
        [Group(*group, p) for group, p in zip(groups, adjusted[len(tests) + 1 :], strict=True)],
        notes,
    )


class _Gathered:
    """The units of a run that say something of the model: their scores, and the number of each one's group."""

    def __init__(self, model: Model, calibration: Calibration, run: Run, group_of: Callable[[str], str | None]):
        self.scores, self.owners = array("d"), array("q")
        self.names: dict[str, int] = {}
        self.left_out: Counter[str] = Counter()
        learnt = {row.tobytes().hex() for row in model.provenance.learnt}
        held_out = {row.tobytes().hex() for row in calibration.digests}
        parts: dict[str, int] = {}
        for line in run.lines():
            why = self._why_not(line, learnt, held_out)
            if why:
                self.left_out[why] += 1
                continue
            part = None if model.group_by is None else line.part
            if part is not None and part in parts:  # as strange as its strangest image, in the first one's group
                self.scores[parts[part]] = max(self.scores[parts[part]], line.score)
                continue
            if part is not None:
                parts[part] = len(self.scores)
            name = group_of(line.image)
            self.scores.append(line.score)
            self.owners.append(self.names.setdefault(name, len(self.names)) if name else _NOWHERE)

    def _why_not(self, line: ImageLine, learnt: set[str], held_out: set[str]) -> str | None:
        if line.sha256 in learnt:
            return "that the model learnt from"
        if line.sha256 in held_out:
            return "that were held out themselves"
        if line.verdict == "ERROR":
            return "unreadable"
        return "without a score" if math.isnan(line.score) else None


def _grouping(group_by: str | None, by_hour: bool) -> Callable[[str], str | None]:
    if by_hour:
        return _hour
    if group_by is None:
        return lambda image: None
    grouping = Grouping(group_by)
    return lambda image: grouping.find(FoundImage(Path(image), image, PurePosixPath(image)))


def _hour(image: str) -> str | None:
    """The hour in which the file was last written, in local time; None where it is gone."""
    try:
        return time.strftime("%Y-%m-%d %H:00", time.localtime(Path(image).stat().st_mtime))
    except (OSError, ValueError, OverflowError):
        return None


def _refuse_other_units(stored: Stored, model_path: Path, run: Run) -> None:
    if run.record.get("model") == stored.sha256:
        return
    digest = run.record.get("detector_digest")
    if digest != stored.detector_digest:
        who = "does not say which model scored it" if digest is None else "was scored by another model"
        raise UsageError(f"{run.folder} {who}, not by {model_path}: compare it with the model that scored it")
    model = stored.model
    own = units({"sizes": [str(size) for size in model.sizes], "pixel_pitch_mm": model.pixel_pitch})
    if len(model.sizes) > 1 or units(run.record) != own or run.record.get("group_by") != model.group_by:
        raise UsageError(
            f"{run.folder} was scored before {model_path} got its present sizes or parts: score the images again"
        )


def _promised(calibration: Calibration) -> float:
    """The reject rate that the rule promises: as asked, or 1 / (n + 1) of the largest score."""
    if calibration.max_false_reject is not None:
        return calibration.max_false_reject
    return 1 / (calibration.scores.size + 1) if calibration.rule in ("area", "max") else math.nan


def _notes(calibration: Calibration, run: Run) -> list[str]:
    notes = []
    if calibration.evidence != "held-out":
        notes.append(
            "the calibration stands on images scored as if left out, so the stated false alarms are approximate"
        )
    rule = calibration.rule
    if calibration.threshold not in calibration.scores and rule not in ("max", "by hand"):
        notes.append(f"the rule {rule} sets no order statistic of the scores: the stated false alarms are approximate")
    threshold = run.record.get("threshold")
    if threshold is not None and threshold != calibration.threshold:
        notes.append(f"{run.folder} was judged by the threshold {threshold}; NG is counted by {calibration.threshold}")
    for name in ("engine", "precision"):
        used = run.record.get(name)
        own = getattr(calibration, name)
        if used is not None and used != own:
            notes.append(f"{run.folder} was scored with the {name} {used}, the held-out images with {own}")
    return notes
