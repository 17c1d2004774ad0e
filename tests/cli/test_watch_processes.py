"""`watch` as a process: killed at any instant, stopped by signals, its pipes closed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.processes import Process, needs_fork
from tests.conftest import Adcli
from tests.rows import check_rows
from tests.tasks.folders import counted, records

QUICK = ("--poll", "0.02", "--settle", "0.1")


def lines(out: Path) -> int:
    path = out / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def is_done(process: Process, out: Path, count: int) -> bool:
    """Whether this process has nothing left to do."""
    health = json.loads((out / "health.json").read_bytes())
    mine = health["pid"] == process.pid and health["state"] == "watching"
    return mine and health["in_sight"] == 0 and lines(out) == count


def until(process: Process, true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        assert process.is_alive(), process.err
        time.sleep(0.01)


def deliver(sources: list[Path], into: Path, seconds: float) -> None:
    """Brings copies of images, by and by: written in pieces, renamed into place, into new folders, and one no image."""
    for number in range(48):
        data = sources[number % len(sources)].read_bytes() if number % 12 != 7 else b"no image"
        target = into / f"{number % 5}" / f"{number:02}.png"
        target.parent.mkdir(exist_ok=True)
        if number % 2:
            with target.open("wb", buffering=0) as file:
                for at in range(0, len(data), 2000):
                    file.write(data[at : at + 2000])
                    time.sleep(0.002)
        else:
            (into / "part.tmp").write_bytes(data)
            (into / "part.tmp").rename(target)
        time.sleep(seconds / 48)


@needs_fork
def test_killed_at_random_instants_it_scores_each_file_once_and_ends_as_score_would(
    dataset: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    into, out, rng = tmp_path / "in", tmp_path / "out", random.Random(time.time_ns())
    into.mkdir()
    pictures = ("-m", band_model, "--masks", "all", "--overlays", "all")
    command = ("watch", into, "--out", out, *pictures, "--sqlite", tmp_path / "runs.db", *QUICK, "--workers", "1")
    delivering = threading.Thread(target=deliver, args=(sorted((dataset / "test").rglob("*.png")), into, 3.0))
    delivering.start()
    kept: list[bytes] = []
    for _ in range(5):
        process = Process(*command, cwd=tmp_path)
        before = lines(out)
        until(process, lambda before=before: lines(out) > before or lines(out) == 48)
        time.sleep(rng.uniform(0.0, 0.4))
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        data = (out / "results.jsonl").read_bytes()
        whole = data[: data.rfind(b"\n") + 1].splitlines()
        assert whole[: len(kept)] == kept
        kept = whole
    delivering.join()
    process = Process(*command, cwd=tmp_path)
    until(process, lambda: is_done(process, out, 48))
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    found = records(out)
    assert adcli("score", into, "--out", tmp_path / "scored", *pictures).code == 5
    expected = {record["image"]: {**record, "ms": None} for record in records(tmp_path / "scored")}
    assert len(found) == len(expected) == 48
    assert {record["image"]: {**record, "ms": None} for record in found} == expected
    for kind in ("masks", "overlays"):
        files = [
            {p.relative_to(top): p.read_bytes() for p in top.rglob("*.*g")}
            for top in (out / kind, tmp_path / "scored" / kind)
        ]
        assert files[0] == files[1] != {}
    check_rows(tmp_path / "runs.db", found)
    assert not [path for path in out.rglob(".*") if path.name != ".adcli-watch.db"]


@needs_fork
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("is_busy", [True, False])
def test_a_signal_ends_it_with_its_code_and_whole_results(
    number: int, code: int, is_busy: bool, dataset: Path, model: Path, tmp_path: Path
) -> None:
    into, out = tmp_path / "in", tmp_path / "out"
    for copy in range(30 if is_busy else 1):
        shutil.copytree(dataset / "test" / "good", into / str(copy))
    process = Process("watch", into, "--out", out, "-m", model, *QUICK, "--json", "--workers", "1", cwd=tmp_path)
    until(process, lambda: lines(out) >= (1 if is_busy else 6))
    process.send(number)
    assert process.wait(20) == code
    found = records(out)
    assert 0 < len(found) < 180
    assert [json.loads(line) for line in process.out.splitlines()] == found
    assert process.err == f"stopped; {len(found)} images scored: {counted(found)}\n"
    health = json.loads((out / "health.json").read_text())
    assert (health["state"], health["images"]) == ("stopped", len(found))
    assert not (out / ".adcli.lock").exists()


@needs_fork
def test_of_two_watches_into_one_folder_the_second_ends_with_9(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    shutil.copytree(dataset / "test" / "good", tmp_path / "in")
    command = ("watch", tmp_path / "in", "--out", tmp_path / "out", "-m", model, *QUICK)
    first = Process(*command, cwd=tmp_path)
    until(first, lambda: lines(tmp_path / "out") == 6)
    second = adcli(*command, "--once")
    assert second.code == 9
    assert str(first.pid) in second.sentence
    assert adcli("score", tmp_path / "in", "--out", tmp_path / "out", "-m", model).code == 9
    first.send(signal.SIGTERM)
    assert first.wait() == 143


def test_a_closed_pipe_ends_it_with_141_and_loses_no_result(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    into, out = tmp_path / "in", tmp_path / "out"
    for copy in range(4):
        shutil.copytree(dataset / "test" / "good", into / str(copy))
    command = ("watch", into, "--out", out, "-m", model, *QUICK, "--json")
    call = [sys.executable, "-m", "adcli", *map(str, command)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = json.loads(process.stdout.readline())
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == ""
    kept = records(out)
    assert kept[0] == first
    rest = [json.loads(line) for line in adcli(*command, "--once").out.splitlines()]
    found = records(out)
    assert found == kept + rest
    assert len({record["image"] for record in found}) == len(found) == 24


@needs_fork
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_pipe_is_answered_while_it_is_open_and_ends_with_its_input_or_a_signal(
    is_stopped: bool, dataset: Path, model: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = Process("watch", "-", "-m", model, cwd=tmp_path, stdin=pipe)
    paths = [f"{dataset}/test/good/{number:03}.png" for number in (0, 1, 0)]
    with pipe.open("w") as file:
        for number, path in enumerate(paths, 1):
            file.write(path + "\n")
            file.flush()
            until(process, lambda number=number: process.out.count("\n") == number)
        if is_stopped:
            process.send(signal.SIGTERM)
            assert process.wait(30) == 143
        else:
            paths.append(f"{dataset}/test/good/002.png")
            file.write(paths[-1])  # the last line need not end
    if not is_stopped:
        assert process.wait(30) == 0
    found = [json.loads(line) for line in process.out.splitlines()]
    assert [record["image"] for record in found] == paths
    what = "stopped; 3" if is_stopped else "4"
    assert process.err == f"{what} images scored: {counted(found)}\n"
