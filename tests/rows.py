"""The rows of a database of runs, held against lines of results.jsonl."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

UTC = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
SCALARS = [
    *("image", "verdict", "reason", "part", "score", "threshold", "check_threshold", "min_area_px", "p_value"),
    *("width", "height", "sha256", "ms"),
]


def query(path: Path, text: str = "SELECT * FROM results ORDER BY run, number") -> list[dict[str, Any]]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall()[0][0] == "ok"
        return [dict(row) for row in connection.execute(text)]
    finally:
        connection.close()


def check_rows(path: Path, lines: list[dict[str, Any]], run: int = 1) -> None:
    """One row a line, in order, and nothing lost on the way."""
    rows = [row for row in query(path) if row["run"] == run]
    assert [row["number"] for row in rows] == list(range(1, len(lines) + 1))
    for row, one in zip(rows, lines, strict=True):
        assert {name: row[name] for name in SCALARS} == {name: one[name] for name in SCALARS}
        assert json.loads(row["regions"]) == one["regions"]
        assert json.loads(row["conditions"] or "null") == one["conditions"]
        largest = max(one["regions"], key=lambda region: region["area_px"], default={})
        assert row["n_regions"] == len(one["regions"])
        assert (row["largest_area_px"], row["largest_area_mm2"]) == (largest.get("area_px"), largest.get("area_mm2"))
        assert re.fullmatch(UTC, row["time"])
