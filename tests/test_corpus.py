"""One real run over everything an inspection line may hand over: each of it has the verdict that the page says."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from adcli import images
from adcli.finding import SUFFIXES
from tests.conftest import ROOT, Adcli
from tests.corpus import ERROR, GOOD, MOVING, NO_INPUT, SCORED, Case, corpus, make_corpus
from tests.corpus_files import READ
from tests.encoded import WHOLE
from tests.tasks.folders import records

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="pipes, any byte in a name, and the decoder's words: Linux with glibc"
)

CASES = [case for cases in corpus().values() for case in cases]
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Run:
    """What one process left behind."""

    code: int
    err: str
    memory: int  # bytes at its peak
    records: dict[str, dict]


def run(folder: Path, model: Path, *words: str) -> Run:
    """`adcli score`, as a process, because decoders write to file descriptor 2 and not to Python's stderr."""
    call = [sys.executable, "-m", "adcli", "score", *words, "-m", str(model), "--out", "out"]
    call += ["--masks", "all", "--overlays", "all"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "err").open("wb") as err:
        process = subprocess.Popen(call, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    lines = {record["image"]: record for record in records(folder / "out")}
    return Run(process.returncode, (folder / "err").read_text(), peak, lines)


@pytest.fixture(scope="module")
def scored(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("corpus")
    _, inputs = make_corpus(root)
    return run(root, model, *inputs)


def given(case: Case) -> str:
    return case.name if case.named else f"in/{case.name}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case.name)[:40])
def test_each_of_it_has_the_verdict_that_it_should(scored: Run, case: Case) -> None:
    record = scored.records.get(given(case))
    if case.verdict == NO_INPUT:
        assert record is None
    elif case.verdict == SCORED:
        assert record["verdict"] in ("OK", "CHECK", "NG")
        assert record["score"] > 0
    else:
        assert record["verdict"] == ERROR
        assert case.reason in record["reason"]
        assert record["score"] is None and record["regions"] == []


def test_nothing_else_was_scored(scored: Run) -> None:
    inside = {"in/linked/part.png"}
    assert set(scored.records) == {given(case) for case in CASES if case.verdict != NO_INPUT} | inside


def test_the_corpus_is_large_and_no_name_occurs_twice() -> None:
    assert len(CASES) >= 80
    assert len({case.name for case in CASES}) == len(CASES)
    seen = {suffix for case in CASES for suffix in SUFFIXES if case.name.endswith(suffix)}
    assert seen == SUFFIXES


def test_the_run_ends_with_5_and_only_adcli_speaks(scored: Run) -> None:
    assert scored.code == 5
    errors = [record["reason"] for record in scored.records.values() if record["verdict"] == ERROR]
    lines = scored.err.splitlines()
    assert lines[0].startswith("passed over in folders: 2 files are no image by suffix (1 .gif, 1 .txt)")
    assert [line.startswith("adcli: ERROR: ") for line in lines[1:]] == [True] * 5 + [False]
    assert lines[-1] == f"adcli: {len(errors) - 5} more images are ERROR: out/results.jsonl has their reasons"
    assert all(line.isprintable() for line in lines)


def test_bombs_take_no_memory(scored: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(READ["wide.png"][1])
    alone = run(tmp_path, model, "wide.png")
    assert alone.code == 0
    assert scored.memory - alone.memory < 200 * MEBIBYTE


def test_what_changes_or_vanishes_while_the_run_goes_on_is_an_error(
    model: Path, adcli: Adcli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("in").mkdir()
    for name in (*MOVING, "a stays.png"):
        Path("in", name).write_bytes(GOOD)
    moving = {Path("in", name).stat().st_ino: name for name in MOVING}
    last, fstat = max(MOVING), os.fstat

    def look(handle: int) -> os.stat_result:
        before = fstat(handle)
        for name in (moving.pop(before.st_ino, None), moving.pop(vanishing, None)):
            if name is not None:
                MOVING[name][1](Path("in", name))  # after the first look, before the bytes are read
        return before

    vanishing = Path("in", last).stat().st_ino
    monkeypatch.setattr(images.os, "fstat", look)
    ran = adcli("score", "in", "-m", model, "--out", "out", "--workers", "1", "--batch-size", "1")
    assert ran.code == 5 and last == "vanishes.png"
    reasons = {record["image"].removeprefix("in/"): record["reason"] for record in records(Path("out"))}
    assert reasons.pop("a stays.png") is None
    assert {name for name, (_, _, reason) in MOVING.items() if reason in reasons[name]} == set(MOVING) == set(reasons)


# What the decoder says.


def test_what_other_threads_write_to_stderr_meanwhile_passes_through(tmp_path: Path) -> None:
    (tmp_path / "hole.jpg").write_bytes(WHOLE["jpeg"][:-200] + bytes(100) + WHOLE["jpeg"][-100:])
    script = """
import ctypes, sys, threading
from adcli import decoding
data = open("hole.jpg", "rb").read()
library = ctypes.CDLL(None)
stream = ctypes.c_void_p.in_dll(library, "stderr")
before = stream.value
said = []
def write():
    for _ in range(200):
        library.fputs(b"mine\\n", ctypes.c_void_p(stream.value))
def decode():
    said.extend(decoding.decode(data)[1] for _ in range(200))
threads = [threading.Thread(target=work) for work in (write, decode, decode)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert stream.value == before
print(len(said), *set(said))
"""
    call = [sys.executable, "-c", script]
    done = subprocess.run(
        call, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stderr == "mine\n" * 200
    assert done.stdout.startswith("400 Corrupt JPEG data: ") and done.stdout.count("Corrupt") == 1
