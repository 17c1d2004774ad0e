"""The rows of a run in a database of many runs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from adcli.errors import UsageError
from adcli.model import Calibration
from adcli.report.results import is_taken
from adcli.store import Stored

if TYPE_CHECKING:
    from adcli.report.database import Database


@contextlib.contextmanager
def open_database(path: Path | str | None, out: Path) -> Iterator[Database | None]:
    """The database, open before the folder is touched: one that cannot be written must not cost its results."""
    if path is None:
        yield None
        return
    from adcli.report.database import Database  # here, as not every Python has sqlite3

    path = Path(path)
    if is_taken(out, path):
        raise UsageError(f"--sqlite {path} is a name that adcli writes to itself: give the database another")
    with Database(path) as database:
        yield database


def about_run(stored: Stored, calibration: Calibration, out: Path, images: int) -> dict[str, object]:
    """The run, for the database."""
    return {
        "model_sha256": stored.sha256,
        "detector_digest": stored.detector_digest,
        "rule": calibration.rule,
        "out": str(out.absolute()),
        "host": socket.gethostname(),
        "images": images,
    }
