"""What `score` and `eval` have written, read back, also by other versions and from runs that broke off."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adcli.errors import EnvironmentFault, UsageError
from adcli.report.results import LINES, PENDING, RUN, WATCH
from adcli.types import Verdict

EVALUATION = "eval.json"
PER_IMAGE = "scores.csv"
_LARGEST_DOCUMENT = 64 * 2**20  # bytes; a table of a thousand rows has one
_HDF5 = b"\x89HDF\r\n\x1a\n"
_VERDICTS = {verdict.value for verdict in Verdict}


@dataclass(frozen=True)
class ImageLine:
    """One image of a run, as far as comparing needs it."""

    image: str  # path as given
    verdict: str
    score: float  # NaN where there is none
    sha256: str | None
    part: str | None


@dataclass
class Run:
    """The folder of one `score`. `notes` grows while its lines are read."""

    folder: Path
    record: dict[str, Any]  # run.json; of an unfinished run no more than its model
    is_finished: bool
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[ImageLine]:
        """Every image in order. Raises UsageError for a line that is damaged; a torn last one is left out."""
        path, strange = self.folder / LINES, 0
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    self.notes.append(f"the last line of {path} is torn, and left out")
                    break
                line, is_strange = _line(text, f"line {number} of {path}")
                strange += is_strange
                yield line
        if strange:
            self.notes.append(f"{strange} images in {path} have a score that is no finite number: it counts as none")

    @property
    def started(self) -> str:
        """When, as run.json says it; empty where it does not."""
        host = self.record.get("host")
        started = host.get("started") if isinstance(host, dict) else None
        return started if isinstance(started, str) else ""


@dataclass(frozen=True)
class Evaluation:
    """A document of `eval`."""

    path: Path
    rows: list[dict[str, Any]]
    model: str | None
    notes: list[str]
    digests: frozenset[str] | None  # of the images, where scores.csv lies beside the document


def open_result(path: Path) -> Run | Evaluation | None:
    """The result at a path: a folder of `score` or `eval`, its results.jsonl, or a JSON document. None: a model file.

    Raises UsageError for anything else, and EnvironmentFault for what may not be read.
    """
    try:
        if path.is_dir():
            return _open_folder(path)
        if not path.exists():
            raise UsageError(f"there is no {path}: give a folder of adcli score or eval, a JSON document, or a model")
        if not path.is_file():
            raise UsageError(f"{path} is no regular file: give a folder of adcli score or eval, or a JSON document")
        if path.name == LINES:
            return _open_run(path.parent)
        with path.open("rb") as file:
            if file.read(len(_HDF5)) == _HDF5:
                return None
        return _open_document(path)
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be read: {error.strerror or error}") from error


def _open_folder(path: Path) -> Run | Evaluation:
    has_lines, has_table = (path / LINES).is_file(), (path / EVALUATION).is_file()
    if has_lines and has_table:
        raise UsageError(
            f"{path} holds results of both score and eval: name {path / LINES} or {path / EVALUATION} instead"
        )
    if has_table:
        return _open_document(path / EVALUATION)
    if has_lines:
        return _open_run(path)
    if (path / PENDING).is_file():
        raise UsageError(
            f"{path} holds a run that has not finished an image yet: continue it with adcli score --resume"
        )
    raise UsageError(f"{path} has neither {LINES} nor {EVALUATION}: give a folder that score or eval --out has written")


def _open_run(folder: Path) -> Run:
    is_finished = (folder / RUN).is_file() and not (folder / PENDING).is_file()
    if is_finished:
        return Run(folder, _object(folder / RUN), True)
    if (folder / WATCH).is_file():
        run = Run(folder, _object(folder / WATCH), False)
        run.notes.append(f"{folder} is written by adcli watch: what it has scored so far is compared")
        return run
    record = _object(folder / PENDING).get("configuration") if (folder / PENDING).is_file() else None
    run = Run(folder, record if isinstance(record, dict) else {}, False)
    run.notes.append(f"the run in {folder} is not finished: what it has scored so far is compared")
    return run


def _open_document(path: Path) -> Evaluation:
    document = _object(path)
    rows = document.get("rows")
    if not isinstance(rows, list) or not rows:
        if "out" in document and "ok" in document:
            raise UsageError(
                f"{path} holds a run's totals only: give the folder {document['out']} that it was written to"
            )
        raise UsageError(f"{path} is no document of adcli eval: it has no rows")
    if not all(isinstance(row, dict) and isinstance(row.get("group"), str) for row in rows):
        raise UsageError(f"{path} is no document of adcli eval: a row has no group")
    model = document.get("model")
    notes = []
    unreadable = document.get("unreadable")
    if isinstance(unreadable, list) and unreadable:
        notes.append(f"{len(unreadable)} images of {path} could not be read, and are not in its table")
    table = path.with_name(PER_IMAGE)
    digests = _digests(table) if path.name == EVALUATION and table.is_file() else None
    return Evaluation(path, rows, model if isinstance(model, str) else None, notes, digests)


def _digests(path: Path) -> frozenset[str] | None:
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        try:
            return frozenset(row["sha256"] for row in csv.DictReader(file) if row.get("sha256"))
        except csv.Error:
            return None


def _object(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_DOCUMENT:
        raise UsageError(f"{path} is neither a model nor a JSON document of adcli: it is too large for one")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is neither a model nor a JSON document: {_first_line(error)}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} is no document of adcli: its JSON is no object")
    return document


def _line(text: bytes, where: str) -> tuple[ImageLine, bool]:
    """One record, and whether its score is something strange."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is no JSON: the file is damaged, so score the images again") from error
    if not isinstance(record, dict) or not isinstance(record.get("image"), str):
        raise UsageError(f"{where} names no image: the file is damaged, or not one of adcli score")
    verdict = record.get("verdict")
    if not isinstance(verdict, str) or verdict not in _VERDICTS:
        raise UsageError(f"{where} has the verdict {str(verdict)[:40]!r}, which this version of adcli does not know")
    given, digest, part = record.get("score"), record.get("sha256"), record.get("part")
    score = finite(given)
    return (
        ImageLine(
            record["image"],
            verdict,
            score,
            digest if isinstance(digest, str) and digest else None,
            part if isinstance(part, str) else None,
        ),
        given is not None and math.isnan(score),
    )


def finite(value: Any) -> float:
    """A JSON value as a finite number, else NaN."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value) if math.isfinite(value) else math.nan
        except OverflowError:  # a whole number beyond all floats
            return math.nan
    return math.nan


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
