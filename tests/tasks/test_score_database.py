"""`score --sqlite`: stopped, killed, locked out and out of room, its rows are in the end those of results.jsonl."""

from __future__ import annotations

import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adcli import api
from adcli.report import database
from adcli.report.database import Database
from adcli.store import load
from adcli.tasks.score import Outputs
from tests.cli.processes import Process, needs_fork
from tests.conftest import Adcli
from tests.rows import check_rows, query
from tests.tasks.folders import records


@pytest.fixture(scope="module")
def many(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More images than are scored in a moment, every tenth unreadable."""
    folder = tmp_path_factory.mktemp("many")
    sources = sorted((dataset / "test").rglob("*.png"))
    for number in range(160):
        data = b"no image" if number % 10 == 7 else sources[number % len(sources)].read_bytes()
        (folder / f"{number:03}.png").write_bytes(data)
    return folder


@needs_fork
def test_killed_at_random_instants_and_resumed_each_image_is_in_the_database_once(
    many: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    out, path = tmp_path / "out", tmp_path / "runs.db"
    command = ("score", many, "--out", out, "-m", band_model, "--sqlite", path, "--resume")
    rng = random.Random(time.time_ns())
    killed = 0
    for latest in (0.0, 0.6, 0.6, 0.6, 0.6):  # seconds; the first surely before the end
        process = Process(*command, "--workers", "1", cwd=tmp_path)
        until = time.monotonic() + 20
        while not (out / ".adcli-run.json").exists() and process.is_alive() and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, latest))
        process.send(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        if (out / "run.json").exists():
            break
    assert killed >= 1
    assert adcli(*command).code == 5
    check_rows(path, records(out))
    assert len(records(out)) == 160
    (run,) = query(path, "SELECT * FROM runs")
    counts = json.loads((out / "run.json").read_bytes())["counts"]
    assert {verdict: run[f"n_{verdict.lower()}"] for verdict in counts} == counts
    assert (run["images"], run["out"], run["model_sha256"]) == (160, str(out), load(band_model).sha256)


@needs_fork
def test_two_runs_into_two_folders_share_a_database(many: Path, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    processes = [
        Process("score", many, "--out", tmp_path / name, "-m", model, "--sqlite", path, "--workers", "1", cwd=tmp_path)
        for name in ("a", "b")
    ]
    for process in processes:
        assert process.wait() == 5, process.err
    for run in query(path, "SELECT * FROM runs"):
        assert run["finished"]
        check_rows(path, records(Path(run["out"])), run["id"])
    assert len(query(path)) == 320


def test_a_later_run_adds_to_the_database_inside_the_folder_and_never_removes_it(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("score", dataset / "test" / "good", "--out", out, "-m", model)
    assert adcli(*command, "--sqlite", out / "runs.db").code == 0
    assert adcli(*command, env={"ADCLI_SQLITE": str(out / "runs.db")}).code == 0
    assert adcli(*command, "--sqlite", out / "runs.db", "--resume").code == 0  # a finished run: nothing to do
    assert adcli(*command).code == 0
    assert [run["n_ok"] + run["n_ng"] for run in query(out / "runs.db", "SELECT * FROM runs")] == [6, 6]
    assert len(query(out / "runs.db")) == 12


@pytest.mark.parametrize("name", ["results.jsonl", "results.csv", "run.json", "junit.xml", "masks/runs.db", ".", ".."])
def test_a_database_where_score_writes_itself_and_a_folder_are_refused(
    name: str, dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    told = adcli("score", dataset / "test" / "good", "--out", out, "-m", model, "--sqlite", out / name)
    assert told.code == 2
    assert told.sentence
    assert not list(out.iterdir())


def test_a_file_that_is_no_database_costs_no_results(dataset: Path, model: Path, adcli: Adcli, tmp_path: Path) -> None:
    command = ("score", dataset / "test" / "good", "--out", tmp_path / "out", "-m", model)
    adcli(*command)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    (tmp_path / "letter").write_bytes(b"a letter to a friend" * 100)
    told = adcli(*command, "--sqlite", tmp_path / "letter")
    assert told.code == 8
    assert "not a database" in told.sentence
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_database_that_is_locked_midway_ends_with_8_and_the_run_is_resumed(
    many: Path, model: Path, adcli: Adcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, path = tmp_path / "out", tmp_path / "runs.db"
    command = ("score", many, "--out", out, "-m", model, "--sqlite", path)
    follow, blocker = Database.follow, []

    def locked(self: Database) -> None:
        if not blocker and query(path):
            blocker.append(sqlite3.connect(path, isolation_level=None))
            blocker[0].execute("BEGIN IMMEDIATE")
        follow(self)

    monkeypatch.setattr(database, "_PATIENCE", 0.1)
    monkeypatch.setattr(Database, "follow", locked)
    told = adcli(*command)
    assert told.code == 8
    assert re.search(r"runs\.db \(database is locked\)", told.sentence)
    blocker[0].close()
    kept = records(out)
    assert 16 < len(kept) < 160
    assert len(query(path)) < len(kept)
    without = adcli("score", many, "--out", out, "-m", model, "--resume")
    assert without.code == 2
    assert "sqlite" in without.sentence
    assert adcli(*command, "--resume").code == 5
    assert records(out)[: len(kept)] == kept
    check_rows(path, records(out))


def test_a_run_is_resumed_whole_into_another_database(
    many: Path, model: Path, adcli: Adcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Database, "finish", lambda self: {}["stop"])
        with pytest.raises(KeyError):
            api.score(many, tmp_path / "out", model, outputs=Outputs(sqlite=str(tmp_path / "one.db")))
    command = ("score", many, "--out", tmp_path / "out", "-m", model, "--resume")
    assert adcli(*command, "--sqlite", tmp_path / "two.db").code == 5
    check_rows(tmp_path / "two.db", records(tmp_path / "out"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a small database."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system of its own takes Linux and root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def test_a_full_disk_ends_with_8_and_the_run_is_resumed_with_more_room(
    small_disk: Path, many: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("score", many, "--out", out, "-m", model, "--sqlite", small_disk / "runs.db")
    told = adcli(*command)
    assert told.code == 8
    assert "runs.db" in told.sentence
    kept = records(out)
    assert len(kept) < 160
    remount(small_disk, "size=16m")
    assert adcli(*command, "--resume").code == 5
    assert records(out)[: len(kept)] == kept
    check_rows(small_disk / "runs.db", records(out))


def test_a_database_on_a_disk_that_is_read_only_ends_with_8(
    small_disk: Path, dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    remount(small_disk, "size=16m")
    for name in ("old.db", "new.db"):
        if name == "old.db":
            with Database(small_disk / name):
                pass
        remount(small_disk, "ro")
        told = adcli("score", dataset / "test", "--out", tmp_path, "-m", model, "--sqlite", small_disk / name)
        assert told.code == 8
        assert name in told.sentence
        assert not (tmp_path / "results.jsonl").exists()
        remount(small_disk, "rw")
