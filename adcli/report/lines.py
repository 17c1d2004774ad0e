"""JSON lines: how they are written, and how they are read back after any interruption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adcli.errors import UsageError
from adcli.report.kept import parse


def encode_json(value: Any, indent: int | None = None) -> bytes:
    """JSON and a newline. Names that are no UTF-8 keep their bytes as escaped surrogates."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, allow_nan=False, indent=indent).encode() + b"\n"


def read_json(path: Path) -> dict[str, Any]:
    """A run's record, finished or not."""
    try:
        content = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: start over with --force in another folder") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no record of a run: start over with --force in another folder")
    return content


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a results.jsonl, one at a time, up to the first line that is not whole."""
    return (record for record, _ in read_sized(path))


def read_sized(path: Path, start: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """The same from the byte `start` on, which begins a line; each with the bytes of its line."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                record = parse(line)
            except ValueError:  # a torn write that a later newline closed
                return
            yield record, len(line)
