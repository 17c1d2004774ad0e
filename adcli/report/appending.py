"""results.jsonl as it grows: by whole groups, and each line after the pictures that belong to it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adcli.files import Staging, faults
from adcli.report.lines import encode_json


class Appending:
    """Lines and pictures that wait for the disk."""

    def __init__(self, lines: Path):
        self._path = lines
        self._staging = Staging()
        self._lines: list[bytes] = []

    @property
    def waiting(self) -> int:
        """Lines that are not on the disk."""
        return len(self._lines)

    def add(self, record: dict[str, Any], pictures: Iterable[tuple[str, bytes]]) -> list[str]:
        """Takes a record and its pictures, (path relative to the lines' folder, bytes); gives the pictures' paths."""
        names = []
        try:
            for relative, data in pictures:
                self._staging.stage(self._path.parent / relative, data)
                names.append(relative)
        except BaseException:
            self._lines.clear()  # with one picture all that wait are discarded: their images are not done
            raise
        self._lines.append(encode_json(record))
        return names

    def flush(self, before_lines: Iterable[Path] = ()) -> None:
        """Brings pictures to the disk, removes the files `before_lines`, then appends the lines."""
        lines, self._lines = self._lines, []  # gone with their pictures, should the commit fail
        self._staging.commit()
        for path in before_lines:
            with faults("remove", path):
                path.unlink(missing_ok=True)
        if lines:
            with faults("write", self._path), self._path.open("ab") as file:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())

    def discard(self) -> None:
        """Deletes what waits."""
        self._lines.clear()
        self._staging.discard()
