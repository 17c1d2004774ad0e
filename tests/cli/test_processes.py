"""The process itself: its signals, its pipes, its locks, and that it ends with the codes that the tests in-process
see."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from adcli.files import hold
from tests.cli.processes import Process, needs_fork
from tests.conftest import QUICK, Adcli

ADCLI = [sys.executable, "-m", "adcli"]


@pytest.mark.parametrize("words", ["--version", "nope", "fit", "fit --help", "info none.h5", "methods -x"])
def test_the_process_and_the_call_in_this_one_agree(words: str, adcli: Adcli, here: Path) -> None:
    process = subprocess.run([*ADCLI, *words.split()], capture_output=True, text=True)
    called = adcli(*words.split())
    assert process.returncode == called.code
    for printed, same in ((process.stdout, called.out), (process.stderr, called.err)):
        assert printed.replace("python -m adcli", "adcli").split() == same.split()  # lines depend on the width


def test_the_installed_command_is_the_module(here: Path) -> None:
    installed = Path(sysconfig.get_path("scripts")) / "adcli"
    if not installed.exists():
        pytest.skip("adcli is not installed beside this Python")
    for words in (["--version"], ["info", "none.h5"]):
        one, two = (subprocess.run([*call, *words], capture_output=True) for call in ([installed], ADCLI))
        assert (one.returncode, one.stdout, one.stderr) == (two.returncode, two.stdout, two.stderr)


def test_without_a_verb_the_help_goes_to_stderr_and_the_code_is_2(adcli: Adcli) -> None:
    for words in ((), ("weights",)):
        ran = adcli(*words)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("Usage: adcli")
        assert ran.err.count("\n") > 5
        assert adcli(*words, "--help").out == ran.err


@pytest.mark.parametrize("words", ["methods", "methods --json", "--help", "--version", "fit --help", "weights list"])
def test_a_closed_pipe_ends_with_141_and_without_a_word(words: str, here: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run([*ADCLI, *words.split()], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert process.returncode == 141
    assert process.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_behind_stdout_ends_with_8_and_one_sentence() -> None:
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run([*ADCLI, "methods"], stdout=full, stderr=subprocess.PIPE)
    assert process.returncode == 8
    assert process.stderr == b"adcli: No space left on device\n"


@pytest.mark.skipif(os.name == "nt", reason="a shell that can close streams")
@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        ("methods", ">&-", 0),
        ("methods --json", ">&-", 0),
        ("info none.h5", "2>&-", 2),
        ("", ">&- 2>&-", 2),
        ("methods", "<&-", 0),
        ("score - --out out", "<&-", 2),
    ],
)
def test_closed_streams_change_no_exit_code(words: str, closed: str, code: int, here: Path) -> None:
    line = f'"$0" -m adcli {words} {closed}'
    process = subprocess.run(["/bin/sh", "-c", line, sys.executable], capture_output=True)
    assert process.returncode == code
    assert b"Traceback" not in process.stderr


@needs_fork
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", ["fit", "calibrate", "eval"])
def test_a_signal_ends_every_verb_with_its_code_and_leaves_no_file(
    verb: str, number: int, code: int, dataset: Path, own_model: Path, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    for copy in range(30):
        for path in (dataset / "test" / "good").iterdir():
            (parts / f"{copy:02}{path.name}").write_bytes(path.read_bytes() + bytes([copy]))  # another digest
    words = {
        "fit": ("fit", parts, "-m", tmp_path / "new.h5", *QUICK),
        "calibrate": ("calibrate", parts, "-m", own_model),
        "eval": (
            "eval",
            "--good",
            parts,
            "--bad",
            dataset / "test" / "dent",
            "-m",
            own_model,
            "--out",
            tmp_path / "out",
        ),
    }[verb]
    before = own_model.read_bytes()
    process = Process(*words, "--workers", "1", cwd=tmp_path)
    lock = tmp_path / {"fit": "new.h5.lock", "calibrate": "own.h5.lock", "eval": "out/.adcli.lock"}[verb]
    until = time.monotonic() + 30
    while not lock.exists() and process.is_alive() and time.monotonic() < until:
        time.sleep(0.005)
    time.sleep(0.1)
    process.send(number)
    assert process.wait() == code
    assert process.err == process.out == ""
    assert own_model.read_bytes() == before
    left = {path.name for path in tmp_path.iterdir()} | {path.name for path in tmp_path.glob("out/*")}
    assert left - {"out"} == {"parts", "own.h5", "stdout.0", "stderr.0"}


@needs_fork
def test_of_two_runs_into_one_folder_the_second_ends_with_9_and_the_first_goes_on(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    parts = tmp_path / "parts"
    for copy in range(5):
        shutil.copytree(dataset / "test" / "good", parts / str(copy))
    first = Process("score", parts, "--out", tmp_path / "out", "-m", model, "--workers", "1", cwd=tmp_path)
    while not (tmp_path / "out" / ".adcli-run.json").exists():
        assert first.is_alive()
        time.sleep(0.002)
    first.send(signal.SIGSTOP)
    second = adcli("score", parts, "--out", tmp_path / "out", "-m", model)
    assert second.code == 9
    assert str(first.pid) in second.sentence
    first.send(signal.SIGCONT)
    assert first.wait() == 0
    assert (tmp_path / "out" / "results.jsonl").read_bytes().count(b"\n") == 30


def test_a_lock_of_a_dead_run_is_no_obstacle(dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path) -> None:
    with hold(own_model.with_name("own.h5.lock")):
        left_behind = own_model.with_name("own.h5.lock").read_text()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock = left_behind.replace(f'"pid": {os.getpid()}', f'"pid": {dead.pid}')
    assert lock != left_behind
    own_model.with_name("own.h5.lock").write_text(lock)
    assert adcli("calibrate", dataset / "test" / "good", "-m", own_model).code == 0


def test_calls_in_this_process_leave_its_signal_handlers_alone(adcli: Adcli) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    adcli("methods")
    adcli("nope")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
