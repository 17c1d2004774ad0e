"""Runs and their results in one SQLite database, for days and weeks of them.

The database follows results.jsonl: a row is written once its line is on the disk, never before, and on resume rows that
differ from the lines are dropped and written anew. So whatever was interrupted, each line has exactly one row.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from adcli.errors import EnvironmentFault, UsageError
from adcli.files import faults
from adcli.report.lines import read_sized

SCHEMA = 1
APPLICATION = 0x6164636C  # "adcl": whose database it is (PRAGMA application_id)
_PATIENCE = 10.0  # seconds to wait for another run, which holds the database for the time of one group
_MOST_ROWS = 1000  # in a transaction

_TABLES = (
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        model_sha256 TEXT NOT NULL,
        detector_digest TEXT NOT NULL,
        rule TEXT NOT NULL,
        started TEXT NOT NULL,
        finished TEXT,
        out TEXT NOT NULL,
        host TEXT NOT NULL,
        images INTEGER NOT NULL,
        n_ok INTEGER,
        n_check INTEGER,
        n_ng INTEGER,
        n_error INTEGER
    )""",
    """CREATE TABLE results (
        run INTEGER NOT NULL REFERENCES runs (id),
        number INTEGER NOT NULL,
        image TEXT NOT NULL,
        verdict TEXT NOT NULL,
        reason TEXT,
        part TEXT,
        score REAL,
        threshold REAL NOT NULL,
        check_threshold REAL,
        min_area_px INTEGER,
        p_value REAL,
        conditions TEXT,
        n_regions INTEGER NOT NULL,
        largest_area_px INTEGER,
        largest_area_mm2 REAL,
        regions TEXT NOT NULL,
        width INTEGER,
        height INTEGER,
        sha256 TEXT,
        ms REAL,
        time TEXT NOT NULL,
        PRIMARY KEY (run, number)
    )""",
    "CREATE INDEX results_by_time ON results (time)",
    "CREATE INDEX results_by_verdict ON results (verdict, time)",
)
_COLUMNS = (
    *("run", "number", "image", "verdict", "reason", "part", "score", "threshold", "check_threshold", "min_area_px"),
    *("p_value", "conditions", "n_regions", "largest_area_px", "largest_area_mm2", "regions", "width", "height"),
    *("sha256", "ms", "time"),
)
_INSERT = f"INSERT INTO results ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_SAME = ("image", "verdict", "score", "sha256", "ms")  # two scorings of an image differ in one of these


class Database:
    """A database that is open, and the run that is written into it.

    Use it as a context manager: `begin` finds or makes the run, `follow` writes what results.jsonl has and the
    database has not, `finish` closes the run.

    Raises:
        UsageError: the path is no file.
        EnvironmentFault: it is not a database of adcli's or a newer one's, cannot be written, is full, or another
            program has held it for ten seconds. What was committed stays.
    """

    def __init__(self, path: Path):
        self.path = path
        with faults("open", path):
            if path.exists() and not path.is_file():
                kind = "a folder" if path.is_dir() else "no regular file"
                raise UsageError(f"{path} is {kind}: name a file for the database")
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lines = Path()
        self._run = self._rows = self._offset = 0
        with refusing("open", path):
            # Absolute, as :memory: has a meaning of its own.
            self._connection = sqlite3.connect(path.absolute(), timeout=_PATIENCE, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def begin(self, lines: Path, key: str, about: Mapping[str, object]) -> None:
        """Finds the run of that key or makes it from the columns in `about`, and brings it to what the lines say."""
        self._lines, self._rows, self._offset = lines, 0, 0
        named = {"key": key, "started": _now()} | about
        with self._writing() as connection:
            connection.execute(
                f"INSERT INTO runs ({', '.join(named)}) VALUES ({', '.join('?' * len(named))}) "
                "ON CONFLICT (key) DO UPDATE SET finished = NULL",
                [_value(value) for value in named.values()],
            )
            ((self._run,),) = connection.execute("SELECT id FROM runs WHERE key = ?", [key])
            rows = connection.execute(
                f"SELECT number, {', '.join(_SAME)} FROM results WHERE run = ? ORDER BY number", [self._run]
            )
            for row, (record, size) in zip(rows, read_sized(lines), strict=False):
                if row != (self._rows + 1, *(_value(record[column]) for column in _SAME)):
                    break
                self._rows, self._offset = self._rows + 1, self._offset + size
            rows.close()
            connection.execute("DELETE FROM results WHERE run = ? AND number > ?", [self._run, self._rows])
        self.follow()

    def follow(self) -> None:
        """Writes the rows of all lines that are on the disk and have none yet."""
        while self._lines.exists() and self._lines.stat().st_size > self._offset:
            sized = list(islice(read_sized(self._lines, self._offset), _MOST_ROWS))
            if not sized:
                return
            now = _now()
            rows = [_row(self._run, self._rows + n, record, now) for n, (record, _) in enumerate(sized, 1)]
            with self._writing() as connection:
                connection.executemany(_INSERT, rows)
            self._rows += len(rows)
            self._offset += sum(size for _, size in sized)

    def finish(self, is_endless: bool = False) -> None:
        """Writes what is left, the totals and the end of the run; of an endless one also how many images it had."""
        self.follow()
        counts = ", ".join(
            f"n_{verdict.lower()} = (SELECT count(*) FROM results WHERE run = runs.id AND verdict = '{verdict}')"
            for verdict in ("OK", "CHECK", "NG", "ERROR")
        )
        with self._writing() as connection:
            connection.execute(f"UPDATE runs SET finished = ?, {counts} WHERE id = ?", [_now(), self._run])
            if is_endless:
                connection.execute("UPDATE runs SET images = ? WHERE id = ?", [self._rows, self._run])

    def _prepare(self) -> None:
        with self._writing() as connection:
            ((application,),) = connection.execute("PRAGMA application_id")
            ((schema,),) = connection.execute("PRAGMA user_version")
            ((objects,),) = connection.execute("SELECT count(*) FROM sqlite_master")
            if not (application or schema or objects):
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {SCHEMA}")
            elif application != APPLICATION:
                raise EnvironmentFault(f"{self.path} is a database of another program: name a file of its own")
            elif schema > SCHEMA:
                raise EnvironmentFault(
                    f"{self.path} has the schema {schema} of a newer adcli, and this one knows {SCHEMA}: update adcli, "
                    "or name another file"
                )
        with refusing("write", self.path):
            self._connection.execute("PRAGMA synchronous = FULL")  # a finished run is not caught up after a power cut
        # Readers then do not wait for runs nor runs for readers. Refused where the file system has no shared memory,
        # and while another run is just beginning, in which case the next run asks again.
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA journal_mode = WAL")

    def _writing(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        return transaction(self._connection, self.path)


@contextlib.contextmanager
def refusing(verb: str, path: Path) -> Iterator[None]:
    """Turns SQLite's errors into EnvironmentFault: what could not be done, to which file, and what helps."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # extended codes have more bits; Python 3.10 has none
        # https://www.sqlite.org/rescode.html
        remedy = {
            3: "give yourself the permission or name another file",  # PERM
            5: "stop the program that holds it, or name another file",  # BUSY
            6: "stop the program that holds it, or name another file",  # LOCKED
            8: "give yourself the permission or name another file",  # READONLY
            10: "free some space or name another file",  # IOERR
            13: "free some space or name another file",  # FULL
        }.get(code, "name another file")
        raise EnvironmentFault(f"Could not {verb} the database {path} ({error}); {remedy}.") from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[sqlite3.Connection]:
    """A transaction, for whose beginning this waits; committed at the end, or else undone."""
    with refusing("write", path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # the disk that was full: closing undoes it too
                    connection.execute("ROLLBACK")


def _row(run: int, number: int, record: Mapping[str, Any], now: str) -> Sequence[object]:
    regions = record["regions"]
    largest = regions[0] if regions else {"area_px": None, "area_mm2": None}
    values = record | {
        "run": run,
        "number": number,
        "conditions": record["conditions"] and json.dumps(record["conditions"]),
        "n_regions": len(regions),
        "largest_area_px": largest["area_px"],
        "largest_area_mm2": largest["area_mm2"],
        "regions": json.dumps(regions),
        "time": now,
    }
    return [_value(values[column]) for column in _COLUMNS]


def _value(value: Any) -> Any:
    """What SQLite can hold: undecodable bytes of a file's name become backslash escapes, as in results.csv."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
