"""The folder that `watch` writes: what `score` writes an image, without an end.

After any interruption it is continued by opening it again. Pictures are on the disk before the line that names them,
and the line before the ledger; watch.json, in place of run.json, says what scores here.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from adcli.errors import UsageError
from adcli.files import write_whole
from adcli.report.appending import Appending
from adcli.report.ledger import Ledger, Stamp
from adcli.report.lines import encode_json, read_json
from adcli.report.results import LEDGER, LINES, PENDING, RUN, WATCH, held, picture_names

_SAME = {  # in watch.json: what a folder has one of, and what to do about another
    "folder": "name it as it was, or another --out",
    "working_directory": "start it from there, or name another --out",
    "model": "name another --out, so that a folder holds the verdicts of one model",
    "engine": "score with the same, or name another --out",
    "precision": "score with the same, or name another --out",
}


class WatchedFolder:
    """An output folder that this watch holds alone.

    Use it as a context manager: `add` takes results in any order, `flush` brings them to the disk and gives them back.
    """

    def __init__(self, out: Path, record: dict[str, Any], relative: Callable[[str], PurePosixPath]):
        """Args: `record` is for watch.json; `relative` gives the path that names an image's pictures."""
        self.out = out
        self.lines = out / LINES
        self.key = secrets.token_hex(16)  # names this watch, also after it was continued
        self.ledger = Ledger(out / LEDGER, relative)
        self._record = record
        self._appending = Appending(self.lines)
        self._rows: list[tuple[str, str, Stamp]] = []  # of the lines that wait
        self._results: list[dict[str, Any]] = []
        self._stale: list[Path] = []
        self._written: list[dict[str, Any]] = []  # on the disk, and not given back
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> WatchedFolder:
        self._stack.enter_context(held(self.out))
        try:
            self._begin()
            self._stack.enter_context(self.ledger)
            self.ledger.catch_up(self.lines)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None and self.waiting:
                self.flush()  # what was scored before the interruption is kept
        finally:
            self._appending.discard()
            self._stack.close()

    @property
    def waiting(self) -> int:
        """Results that are not on the disk."""
        return self._appending.waiting

    def stems(self, images: Sequence[str]) -> list[str]:
        """The stems of images that are scored next, and added or dropped before the next call."""
        stems: dict[str, str] = {}
        for image in images:
            if image not in stems:
                stems[image] = self.ledger.stem(image, set(stems.values()))
        return [stems[image] for image in images]

    def add(self, record: dict[str, Any], pictures: Iterable[tuple[str, bytes]], stem: str, stamp: Stamp) -> None:
        """Takes one image's record and pictures; those of an earlier file of the same name are replaced or removed.

        `stem` is the one that they were named by. They get the one that the lines before theirs leave free: the images
        that were to come in between may have been dropped, and from the lines alone the ledger is made anew.
        """
        image, given = record["image"], picture_names(stem)
        before = {of: one for of, one, _ in self._rows}
        stem = before.get(image) or self.ledger.stem(image, set(before.values()))
        names = dict(zip(given, picture_names(stem), strict=True))
        written = self._appending.add(record, ((names[name], data) for name, data in pictures))
        of_this = [self.out / name for name in picture_names(stem)]
        self._stale = [path for path in self._stale if path not in of_this]
        self._stale += [path for path in of_this if path.relative_to(self.out).as_posix() not in written]
        self._rows.append((image, stem, stamp))
        self._results.append(record)

    def flush(self) -> list[dict[str, Any]]:
        """Brings to the disk what waits, and gives the records; also those of a flush that failed after its lines."""
        rows, results, stale = self._rows, self._results, self._stale
        self._rows, self._results, self._stale = [], [], []
        if self.waiting:
            self._appending.flush(stale)
            self._written += results
            self.ledger.put(rows, self.lines.stat().st_size)
        written, self._written = self._written, []
        return written

    def _begin(self) -> None:
        begun = self.out / WATCH
        if begun.exists():
            record = read_json(begun)
            for name, remedy in _SAME.items():
                if record.get(name) != self._record[name]:
                    raise UsageError(
                        f"{self.out} was begun with another {name} ({record.get(name)}, now {self._record[name]}): "
                        f"{remedy}"
                    )
            self.key = record.get("key", self.key)
            return
        for name in (PENDING, RUN, LINES):
            if (self.out / name).exists():
                raise UsageError(f"{self.out} holds the results of adcli score: name another folder")
        write_whole(begun, encode_json({"key": self.key} | self._record, indent=2))
