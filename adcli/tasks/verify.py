"""Limit samples before a shift: the verdicts that are expected against the model's, and a log of every check."""

from __future__ import annotations

import contextlib
import getpass
import platform
import socket
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adcli.errors import UnreadableImage, UsageError
from adcli.model import Calibration, Model
from adcli.report.chain import append_linked
from adcli.store import load
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapped, Mapper
from adcli.tasks.samples import Sample, read_samples
from adcli.types import Progress, Verdict, no_progress
from adcli.verdicts import judge
from adcli.versions import library_versions


@dataclass(frozen=True)
class Checked:
    """One sample and what the model says of it."""

    sample: Sample
    verdict: Verdict
    score: float | None
    sha256: str | None  # of the image; None where it could not be read
    missing: str | None  # what the sample lacks to be met

    @property
    def is_met(self) -> bool:
        """Whether the verdict is an expected one, reached in the region given."""
        return self.missing is None


@dataclass(frozen=True)
class Verified:
    """Every sample in the order of the list, and what checked it."""

    rows: list[Checked]
    samples: Path
    samples_sha256: str
    model: Path
    model_sha256: str
    detector_digest: str
    calibration: Calibration
    machine: dict[str, str]  # engine, precision and device
    notes: list[str]

    @property
    def missed(self) -> list[Checked]:
        """The samples that are not met."""
        return [row for row in self.rows if not row.is_met]


def verify(
    samples: Path, model_path: Path, *, machine: Machine | None = None, progress: Progress = no_progress
) -> Verified:
    """Scores the samples of a list as `score` would. A sample that cannot be read is missed, and the check goes on.

    Raises:
        UsageError: the list cannot be read, or a line of it says not what is expected.
        ModelFileError: the model is damaged, or has no threshold.
        EnvironmentFault: a device is missing.
    """
    listed, samples_sha256 = read_samples(samples)
    stored = load(model_path)
    calibration = stored.model.require_calibration()
    mapper = Mapper(stored.model, machine or Machine())
    rows = []
    progress("scoring", 0, len(listed))
    for row in mapper.stream(listed, partial(_check, model=stored.model, calibration=calibration)):
        rows.append(row)
        progress("scoring", len(rows), len(listed))
    used = {"engine": mapper.engine, "precision": mapper.precision, "device": mapper.device}
    notes = [*_one_sided(listed), *mapper.notes]
    digests = stored.sha256, stored.detector_digest
    return Verified(rows, Path(samples), samples_sha256, Path(model_path), *digests, calibration, used, notes)


def log_beside(samples: Path) -> Path:
    """Where the log of a list of samples is kept unless told otherwise."""
    return Path(samples).with_name(f"{Path(samples).stem}.verified.jsonl")


def check_log(log: Path, samples: Path, model_path: Path) -> None:
    """Refuses to append lines to a file that is something else."""
    for other, what in ((samples, "the list of samples"), (model_path, "the model")):
        with contextlib.suppress(OSError):
            if log.samefile(other):
                raise UsageError(f"the log cannot be {log}, which is {what}: give --log another file")
    if log.exists() and not log.is_file():
        raise UsageError(f"the log cannot be {log}, which is no regular file: give --log a file")
    if log.exists() and log.stat().st_size and not log.open("rb").read(1) == b"{":
        raise UsageError(f"the log cannot be {log}, which holds something else: give --log another file")


def record(verified: Verified, log: Path, by: str | None = None) -> str:
    """Appends a line to the log, passed or missed; returns the line's sha256. `by` None: the login name.

    Raises:
        EnvironmentFault: the log cannot be written.
        Busy: another run holds it.
    """
    return append_linked(
        log,
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "by": by or _login_name(),
            "result": "missed" if verified.missed else "passed",
            "model": str(verified.model),
            "model_sha256": verified.model_sha256,
            "detector_digest": verified.detector_digest,
            "threshold": verified.calibration.threshold,
            "check_threshold": verified.calibration.check_threshold,
            "samples": str(verified.samples),
            "samples_sha256": verified.samples_sha256,
            "n": len(verified.rows),
            "missed": [row.sample.given for row in verified.missed],
            "versions": library_versions(),
            "host": {"name": socket.gethostname(), "system": platform.platform(), **verified.machine},
        },
    )


def _check(sample: Sample, mapped: Mapped | UnreadableImage, *, model: Model, calibration: Calibration) -> Checked:
    """The verdict on one sample, and what it lacks; runs on a worker thread."""
    if isinstance(mapped, UnreadableImage):
        return Checked(sample, Verdict.ERROR, None, None, str(mapped))
    judgement = judge(model, calibration, mapped)
    missing = None
    if judgement.verdict not in sample.expected:
        because = f": {judgement.reason}" if judgement.reason else ""
        missing = f"{judgement.verdict.value} is not {_words(sample.expected)}{because}"
    elif sample.region is not None:
        x, y, width, height = sample.region
        box = f"{x} {y} {width} {height}"
        if x + width > mapped.image.width or y + height > mapped.image.height:
            missing = f"the region {box} reaches beyond the image of {mapped.image.width} x {mapped.image.height} px"
        elif not judgement.mask[y : y + height, x : x + width].any():
            missing = f"no pixel of the mask lies in the region {box}"
    return Checked(sample, judgement.verdict, judgement.score, mapped.image.sha256, missing)


def _words(expected: tuple[Verdict, ...]) -> str:
    return "/".join(verdict.value for verdict in expected)


def _one_sided(samples: list[Sample]) -> list[str]:
    """What a list does not check."""
    may_be_ok = [Verdict.OK in sample.expected for sample in samples]
    if all(may_be_ok):
        return ["every sample may be OK: a model that finds nothing would pass this list"]
    if not any(may_be_ok):
        return ["no sample may be OK: a model that rejects everything would pass this list"]
    return []


def _login_name() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container's number without a name; no such database on Windows
        return None
