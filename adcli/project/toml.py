"""TOML 1.0, and on which line of it something stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from adcli.errors import UsageError

_LARGEST = 2**20  # bytes; a thousand parts take a tenth of it


def read_text(path: Path) -> str:
    """The text of a TOML file, without a byte order mark.

    Raises:
        UsageError: it is not there, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(
            f"the project file {path} cannot be read ({error.strerror}): give another with --project"
        ) from error
    if len(data) > _LARGEST:
        raise UsageError(
            f"{path} is larger than {_LARGEST} bytes, which no project file is: give another with --project"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: this is not UTF-8: save the file in that encoding") from error


def loads(text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises ValueError where it is none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("lists or tables in it are nested too deeply") from error


def line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """The lines of tables and keys, which the parser does not tell. A text over several lines may mislead this."""
    numbers: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[].*?)\]\s*(#.*)?$", line)
        if path := _dotted(header[1] if header else line.partition("=")[0]):
            table = path if header else table
            numbers.setdefault(path if header else table + path, number)
    return numbers


def _dotted(text: str) -> tuple[str, ...]:
    """The path that a header or the left side of a line spells; nothing where it is none."""
    try:
        table: Any = loads(f"{text} = 0")
    except ValueError:
        return ()
    path = []
    while isinstance(table, dict) and len(table) == 1:
        name, table = next(iter(table.items()))
        path.append(name)
    return tuple(path)
