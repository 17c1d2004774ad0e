"""A log of JSON lines in which each line names the one before it, so that a change shows.

Every line has a key `previous`: the sha256 of the bytes of the line before it, without its line end, and null in the
first. To check a log by hand, digest each line (`sed -n 3p LOG | tr -d '\\n' | sha256sum`) and compare with `previous`
of the next. A line that was altered, removed, inserted or moved breaks the link of the line that follows; so the last
line is guarded only by its own digest, where that is kept elsewhere. This shows accidents and careless edits: whoever
can write the file can also write all of it anew.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adcli.errors import Busy
from adcli.files import faults, hold
from adcli.report.text import plain

_PATIENCE = 10.0  # seconds to wait for another run, which holds the log for the time of one write


def append_linked(path: Path, record: dict[str, Any]) -> str:
    """Appends one line, whole and on the disk, with the digest of the line before it; returns its own sha256.

    A torn last line, as a power cut leaves it, is closed first. What does not fit on the disk is taken back.

    Raises:
        EnvironmentFault: the log cannot be written.
        Busy: another run has held it for ten seconds.
    """
    path = Path(os.path.realpath(path))  # two links to one log have one lock
    with _hold_patiently(path.with_name(path.name + ".lock")), faults("write", path):
        previous, is_torn = _last_line(path)
        digest = None if previous is None else hashlib.sha256(previous).hexdigest()
        line = _encode(record | {"previous": digest})
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            size = os.fstat(handle).st_size
            data = b"\n" * is_torn + line + b"\n"
            try:
                if os.write(handle, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
    return hashlib.sha256(line).hexdigest()


def broken_links(path: Path) -> list[int]:
    """Numbers of the lines, from 1, that are no JSON object or do not name the line before them.

    A number n that is listed says that line n - 1 or n was altered, or that lines between them were removed or added.
    An empty list says that all lines but the last are as they were written. A file that is not there has no lines.
    """
    broken, digest = [], None
    for number, line in enumerate(_lines(path), 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or record.get("previous", "") != digest:
            broken.append(number)
        digest = hashlib.sha256(line).hexdigest()
    return broken


@contextlib.contextmanager
def _hold_patiently(lock: Path) -> Iterator[None]:
    give_up = time.monotonic() + _PATIENCE
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold(lock))
                break
            except Busy:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)
        yield


def _last_line(path: Path) -> tuple[bytes | None, bool]:
    """The bytes of the last line, and whether it has no line end; None where there are no lines."""
    line, is_torn = None, False
    for line in _lines(path, keep_ends=True):
        is_torn = not line.endswith(b"\n")
    return None if line is None else line.removesuffix(b"\n"), is_torn


def _lines(path: Path, keep_ends: bool = False) -> Iterator[bytes]:
    with faults("read", path):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                yield line if keep_ends else line.removesuffix(b"\n")


def _encode(record: dict[str, Any]) -> bytes:
    """JSON in UTF-8; the bytes of a name that are not become escaped surrogates."""
    return json.dumps(plain(record), ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace")
