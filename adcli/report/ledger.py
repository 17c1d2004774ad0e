"""Which files a watch has scored: a table beside results.jsonl, so that memory does not grow with them.

results.jsonl is the truth. The ledger adds what its lines do not say, a file's size and time of change, and is
committed after them: lines that it does not know of when it is opened, because the process was killed in between or the
ledger is gone, are entered with the file's digest instead, and the file is compared with that when it is met again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from adcli.errors import UsageError
from adcli.files import faults
from adcli.report.database import refusing, transaction
from adcli.report.lines import read_sized
from adcli.report.results import short_enough

_TABLES = (
    """CREATE TABLE files (
        folder BLOB NOT NULL,
        name BLOB NOT NULL,
        stem BLOB NOT NULL,
        taken BLOB NOT NULL UNIQUE,
        size INTEGER,
        mtime_ns INTEGER,
        sha256 TEXT,
        reason BLOB,
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID""",
    "CREATE TABLE reached (bytes INTEGER NOT NULL)",
    "INSERT INTO reached VALUES (0)",
)
_SYNCHRONOUS = "NORMAL"  # what a power cut takes, the lines give back
MOST_NAMES = 500  # in a query; SQLite before 3.32 takes 999 variables

Stamp = tuple[int, int]  # size in bytes, time of change in ns


class Ledger:
    """The table, open. Names are those in `image`; one that is not UTF-8 keeps its bytes.

    Use it as a context manager. `relative` gives the path that names an image's pictures.
    """

    def __init__(self, path: Path, relative: Callable[[str], PurePosixPath]):
        self._path = path
        self._relative = relative
        self._connection: sqlite3.Connection

    def __enter__(self) -> Ledger:
        try:
            self._open()
        except sqlite3.OperationalError as error:
            with refusing("open", self._path):
                raise error
        except sqlite3.DatabaseError:  # damaged, or of another version: the lines say all that must be known
            self._connection.close()
            for suffix in ("", "-wal", "-shm", "-journal"):
                with faults("remove", self._path):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            with refusing("open", self._path):
                self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def catch_up(self, lines: Path) -> None:
        """Enters the lines that are not in the table, and cuts off a torn last one.

        Raises UsageError for a damaged line with whole ones behind it.
        """
        with transaction(self._connection, self._path) as connection:
            ((reached,),) = connection.execute("SELECT bytes FROM reached")
            size = lines.stat().st_size if lines.exists() else 0
            if reached and not _ends_a_line(lines, reached):  # lines were taken away: none of the table is known
                connection.execute("DELETE FROM files")
                reached = 0
            for record, length in read_sized(lines, reached):
                self._enter(record)
                reached += length
            connection.execute("UPDATE reached SET bytes = ?", [reached])
        if reached < size:
            _check_torn(lines, reached)
            with faults("write", lines), lines.open("r+b") as file:
                file.truncate(reached)
                os.fsync(file.fileno())

    def known(self, folder: str, names: Sequence[str]) -> dict[str, Stamp | tuple[None, None]]:
        """Those of up to MOST_NAMES names of a folder that were scored, and as what; (None, None): see `unverified`."""
        marks = ", ".join("?" * len(names))
        with refusing("read", self._path):
            rows = self._connection.execute(
                f"SELECT name, size, mtime_ns FROM files WHERE folder = ? AND name IN ({marks})",
                [os.fsencode(folder), *map(os.fsencode, names)],
            ).fetchall()
        return {os.fsdecode(name): (size, mtime_ns) for name, size, mtime_ns in rows}

    def unverified(self, image: str) -> tuple[str | None, str | None] | None:
        """Digest and reason in the last line of an image whose size is not known; None where it is, or no line is."""
        with refusing("read", self._path):
            row = self._connection.execute(
                "SELECT sha256, reason FROM files WHERE folder = ? AND name = ? AND size IS NULL", _key(image)
            ).fetchone()
        if row is None:
            return None
        sha256, reason = row
        return sha256, None if reason is None else reason.decode(errors="surrogatepass")

    def verify(self, image: str, stamp: Stamp) -> None:
        """Says that the file as it is now is the one that was scored."""
        with transaction(self._connection, self._path) as connection:
            connection.execute(
                "UPDATE files SET size = ?, mtime_ns = ?, sha256 = NULL, reason = NULL WHERE folder = ? AND name = ?",
                [*stamp, *_key(image)],
            )

    def stem(self, image: str, others: set[str]) -> str:
        """The stem of an image's pictures: the one it had, or one that neither the table nor `others` has.

        The relative path without its suffix, which is kept where another image was there first.
        """
        with refusing("read", self._path):
            had = self._connection.execute("SELECT stem FROM files WHERE folder = ? AND name = ?", _key(image))
            for (stem,) in had:
                return os.fsdecode(stem)
            whole = str(self._relative(image))
            number = 1
            stem = short_enough(str(self._relative(image).with_suffix("")))
            while stem in others or self._is_taken(stem):
                stem = short_enough(whole if number == 1 else f"{whole}~{number}")
                number += 1
        return stem

    def put(self, rows: Sequence[tuple[str, str, Stamp]], reached: int) -> None:
        """Enters (image, stem, what the file was), whose lines end at the byte `reached`."""
        with transaction(self._connection, self._path) as connection:
            for image, stem, stamp in rows:
                self._write(image, stem, (*stamp, None, None))
            connection.execute("UPDATE reached SET bytes = ?", [reached])

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path.absolute(), isolation_level=None)
        connection = self._connection
        with contextlib.suppress(sqlite3.OperationalError):  # where the file system has no shared memory
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS}")
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
        if not tables:
            connection.execute("BEGIN")
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute("COMMIT")
        ((fine,),) = connection.execute("PRAGMA quick_check(1)")
        if fine != "ok":
            raise sqlite3.DatabaseError(fine)
        made = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table'")
        if {_folded(sql) for (sql,) in made} != {_folded(sql) for sql in _TABLES if sql.startswith("CREATE")}:
            raise sqlite3.DatabaseError("other tables")

    def _enter(self, record: dict[str, Any]) -> None:
        image = record["image"]
        reason = record["reason"]
        # It may name the file, and so hold bytes that are not UTF-8.
        encoded = None if reason is None else reason.encode(errors="surrogatepass")
        self._write(image, self.stem(image, set()), (None, None, record["sha256"], encoded))

    def _write(self, image: str, stem: str, facts: tuple[object, ...]) -> None:
        self._connection.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (folder, name) DO UPDATE SET "
            "size = excluded.size, mtime_ns = excluded.mtime_ns, sha256 = excluded.sha256, reason = excluded.reason",
            [*_key(image), os.fsencode(stem), _same_file(stem), *facts],
        )

    def _is_taken(self, stem: str) -> bool:
        taken = self._connection.execute("SELECT 1 FROM files WHERE taken = ?", [_same_file(stem)])
        return taken.fetchone() is not None


def _key(image: str) -> list[bytes]:
    slash = image.rfind("/") + 1
    return [os.fsencode(image[:slash]), os.fsencode(image[slash:])]


def _folded(sql: str) -> str:
    """A statement as SQLite keeps it, whatever the white space in it."""
    return " ".join(sql.split())


def _same_file(stem: str) -> bytes:
    return os.fsencode(os.path.normcase(stem))


def _ends_a_line(lines: Path, at: int) -> bool:
    if not lines.exists() or lines.stat().st_size < at:
        return False
    with lines.open("rb") as file:
        file.seek(at - 1)
        return file.read(1) == b"\n"


def _check_torn(lines: Path, at: int) -> None:
    """What a kill or a power cut leaves is the end of the file: with results behind it, it is other damage."""
    with lines.open("rb") as file:
        file.seek(at)
        behind = at + len(file.readline())
    if next(read_sized(lines, behind), None) is not None:
        raise UsageError(
            f"{lines} is damaged at byte {at}, with whole results behind it: mend or remove that line, and start again"
        )
