"""The database of runs: after any interruption its rows are the lines of results.jsonl, each once."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from adcli.errors import EnvironmentFault, UsageError
from adcli.report import database
from adcli.report.database import Database
from tests.cli.processes import needs_fork
from tests.rows import SCALARS, UTC, check_rows, query

ABOUT = {"model_sha256": "abc", "detector_digest": "d", "rule": "area", "out": "out", "host": "here", "images": 9}


def line(number: int, ms: float = 1.25, **more: Any) -> dict[str, Any]:
    regions = [{"area_px": 9 + number, "area_mm2": 0.09}, {"area_px": 4, "area_mm2": 0.04}] if number % 2 else []
    values = dict.fromkeys([*SCALARS, "conditions"]) | {"score": number / 3, "threshold": 1.1, "ms": ms, "width": 640}
    return values | {"image": f"{number}.png", "verdict": "NG" if number % 2 else "OK", "regions": regions} | more


def write(path: Path, lines: list[dict[str, Any]], torn: bytes = b"") -> None:
    path.write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in lines) + torn)


def test_rows_follow_the_lines_that_are_whole(tmp_path: Path) -> None:
    path, lines = tmp_path / "new" / "runs.db", tmp_path / "results.jsonl"
    made = [line(n) for n in range(6)]
    with Database(path) as opened:
        opened.begin(lines, "key", ABOUT)
        opened.follow()
        assert query(path) == []
        for count in (1, 4, 4, 6):
            write(lines, made[:count], torn=b'{"image": "torn')
            opened.follow()
            check_rows(path, made[:count])
        (run,) = query(path, "SELECT * FROM runs")
        assert (run["finished"], run["n_ok"]) == (None, None)
        opened.finish()
    (run,) = query(path, "SELECT * FROM runs")
    assert {name: run[name] for name in ABOUT} == ABOUT
    assert (run["key"], run["n_ok"], run["n_check"], run["n_ng"], run["n_error"]) == ("key", 3, 0, 3, 0)
    assert re.fullmatch(UTC, run["started"])
    assert re.fullmatch(UTC, run["finished"])
    assert {path.name for path in path.parent.iterdir()} == {"runs.db"}


def test_a_run_is_begun_once_however_often_it_is_resumed_and_others_stay(tmp_path: Path) -> None:
    path, lines = tmp_path / "runs.db", tmp_path / "results.jsonl"
    made = [line(n) for n in range(8)]
    for key, count in (("one", 3), ("two", 5), ("two", 5), ("one", 8)):
        write(lines, made[:count])
        with Database(path) as opened:
            opened.begin(lines, key, ABOUT)
            (run,) = query(path, f"SELECT * FROM runs WHERE key = '{key}'")
            assert run["finished"] is None
            opened.finish()
    assert [run["key"] for run in query(path, "SELECT * FROM runs ORDER BY id")] == ["one", "two"]
    check_rows(path, made, run=1)
    check_rows(path, made[:5], run=2)


def test_what_stayed_the_same_keeps_the_time_at_which_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lines = tmp_path / "runs.db", tmp_path / "results.jsonl"
    same = [line(0), line(1), line(2)]
    for moment, made in (("first", [*same, line(3), line(4)]), ("then", [*same, line(3, ms=2.0), line(4)])):
        monkeypatch.setattr(database, "_now", lambda moment=moment: moment)
        write(lines, made)
        with Database(path) as opened:
            opened.begin(lines, "key", ABOUT)
    assert [row["time"] for row in query(path)] == ["first"] * 3 + ["then"] * 2


def test_any_sequence_of_scoring_changing_and_dying_ends_with_the_rows_of_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_MOST_ROWS", 3)
    path, lines = tmp_path / "runs.db", tmp_path / "results.jsonl"
    rng = random.Random(0)
    stamp = iter(range(10**6))
    for key in map(str, range(5)):
        made: list[dict[str, Any]] = []
        for _ in range(6):  # lives of one run
            del made[rng.randrange(len(made) + 1) :]  # an image has changed: it is scored again, and what follows it
            write(lines, made)
            with Database(path) as opened:
                opened.begin(lines, key, ABOUT)
                for _ in range(rng.randrange(4)):
                    made += [line(len(made) + n, ms=next(stamp) / 8) for n in range(rng.randrange(8))]
                    write(lines, made)
                    if rng.random() < 0.7:  # else it dies between the lines and their rows
                        opened.follow()
        with Database(path) as opened:
            opened.begin(lines, key, ABOUT)
            opened.finish()
        check_rows(path, made, run=int(key) + 1)
    assert len(query(path, "SELECT * FROM runs WHERE finished IS NOT NULL")) == 5


def killed_at(count: int, path: Path, lines: Path, made: list[dict[str, Any]]) -> bool:
    """A run in a process of its own that gets kill -9 at its `count`-th statement; whether it came that far."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
        return os.WIFSIGNALED(status)
    left = count

    def watch(statement: str) -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        connect = sqlite3.connect
        sqlite3.connect = lambda *words, **more: watched(connect(*words, **more))

        def watched(connection: sqlite3.Connection) -> sqlite3.Connection:
            connection.set_trace_callback(watch)
            return connection

        with Database(path) as opened:
            opened.begin(lines, "key", ABOUT)
            for end in (4, 7, 10):
                write(lines, made[:end])
                opened.follow()
            opened.finish()
        os._exit(0)
    finally:
        os._exit(1)


@needs_fork
@pytest.mark.parametrize("before", ["nothing", "rows that differ"])
def test_killed_at_any_statement_the_run_is_continued_without_gap_or_double(before: str, tmp_path: Path) -> None:
    made = [line(n) for n in range(10)]
    for count in range(1, 200):
        path, lines = tmp_path / f"{count}.db", tmp_path / f"{count}.jsonl"
        if before != "nothing":
            write(lines, [line(n, ms=7.0 if n > 1 else 1.25) for n in range(6)])
            with Database(path) as opened:
                opened.begin(lines, "key", ABOUT)
        write(lines, made[:2])
        reached = killed_at(count, path, lines, made)
        write(lines, made)
        with Database(path) as opened:
            opened.begin(lines, "key", ABOUT)
            opened.finish()
        check_rows(path, made)
        (run,) = query(path, "SELECT * FROM runs")
        assert run["n_ok"] + run["n_ng"] == 10
        if not reached:
            break
    assert 30 < count < 199


def test_names_that_are_no_text_are_held_with_their_bytes_escaped(tmp_path: Path) -> None:
    made = [line(0, image="bytes\udcff\n\x00'\".png", reason="检查 \udc80"), line(1, conditions=[{"score": None}])]
    write(tmp_path / "results.jsonl", made)
    for _ in range(2):
        with Database(tmp_path / "\udcfe.db") as opened:
            opened.begin(tmp_path / "results.jsonl", "key", ABOUT | {"out": "\udcff"})
    made[0] |= {"image": "bytes\\udcff\n\x00'\".png", "reason": "检查 \\udc80"}
    check_rows(tmp_path / "\udcfe.db", made)


def test_a_database_is_marked_indexed_and_in_wal_mode(tmp_path: Path) -> None:
    with Database(tmp_path / "runs.db"):
        pass
    (mode,) = query(tmp_path / "runs.db", "PRAGMA journal_mode")
    (version,) = query(tmp_path / "runs.db", "PRAGMA user_version")
    assert (mode["journal_mode"], version["user_version"]) == ("wal", 1)
    for where, index in (("time > '2030'", "time"), ("verdict = 'NG' AND time > '2030'", "verdict")):
        (plan,) = query(tmp_path / "runs.db", f"EXPLAIN QUERY PLAN SELECT * FROM results WHERE {where}")
        assert f"INDEX results_by_{index}" in plan["detail"]


def test_the_page_has_every_column_and_its_query_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs/cli.md").read_text("utf-8").partition("### The database")[2]
    write(tmp_path / "results.jsonl", [line(n) for n in range(4)])
    with Database(tmp_path / "runs.db") as opened:
        opened.begin(tmp_path / "results.jsonl", "key", ABOUT)
    for table in ("runs", "results"):
        described = re.search(rf"^\| `{table}` \| (.*) \|$", page, re.M)[1]
        columns = [row["name"] for row in query(tmp_path / "runs.db", f"SELECT name FROM pragma_table_info('{table}')")]
        written = re.findall(r"`(\w+)`", described)
        assert [name for name in columns if name not in written] == []
        assert set(written) <= {*columns, "runs"}
    (row,) = query(tmp_path / "runs.db", re.search(r'^sqlite3 line-3.db "(.*)"$', page, re.M)[1])
    assert list(row.values())[1:] == [4, 0.5]


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_what_is_no_database_of_adclis_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with Database(path):
        pass
    change(path, "PRAGMA user_version = 2")
    newer = path.read_bytes()
    path.unlink()
    change(path, "CREATE TABLE orders (id)")
    for data, said in (
        (b"a letter to a friend" * 100, "not a database"),
        (path.read_bytes(), "another program"),
        (newer, "schema 2 of a newer adcli"),
    ):
        path.write_bytes(data)
        with pytest.raises(EnvironmentFault, match=said) as caught:
            Database(path)
        assert str(path) in str(caught.value)
        assert path.read_bytes() == data
    with pytest.raises(UsageError, match="is a folder"):
        Database(tmp_path)
    with pytest.raises(EnvironmentFault):
        Database(path / "below a file")


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"")
    with Database(tmp_path / "runs.db"):
        pass
    assert query(tmp_path / "runs.db") == []


def test_two_runs_wait_for_each_other(tmp_path: Path) -> None:
    made = [line(n) for n in range(60)]
    faults = []

    def work(key: str) -> None:
        try:
            with Database(tmp_path / "runs.db") as opened:
                opened.begin(tmp_path / key, key, ABOUT)
                for count in range(0, 61, 5):
                    write(tmp_path / f"{key}.new", made[:count])
                    (tmp_path / f"{key}.new").replace(tmp_path / key)
                    opened.follow()
                opened.finish()
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(key,)) for key in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    for run in (1, 2, 3, 4):
        check_rows(tmp_path / "runs.db", made, run)
