"""Holding a folder: one run at a time, and none kept out by a dead one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from adcli import files
from adcli.errors import Busy, EnvironmentFault
from adcli.files import hold

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX only")
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

HOLDER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from adcli.files import hold
    with hold(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
""")


def start_holder(lock: Path) -> subprocess.Popen:
    root = Path(files.__file__).parents[1]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    return holder


def owner(**changes: object) -> str:
    """A lock file's text that names this very process, with changes."""
    return json.dumps(
        {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.time(),
            "born": files._born(os.getpid()),
            **changes,
        }
    )


def test_a_lock_is_gone_after_its_block_also_after_an_exception(tmp_path: Path) -> None:
    lock = tmp_path / "out" / ".adcli.lock"
    with hold(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()
    with pytest.raises(ValueError, match="mine"), hold(lock):
        raise ValueError("mine")
    with hold(lock):
        pass
    assert list(lock.parent.iterdir()) == []


def test_a_lock_held_by_this_process_is_busy_too(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with hold(lock):
        with pytest.raises(Busy, match=f"process {os.getpid()}"), hold(lock):
            pass
        assert lock.exists()


def test_a_lock_held_by_a_living_process_is_busy_and_names_it_and_a_killed_one_is_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / ".adcli.lock"
    holder = start_holder(lock)
    try:
        with pytest.raises(Busy) as caught, hold(lock):
            pass
        sentence = str(caught.value)
        assert f"process {holder.pid} on host {socket.gethostname()}, for " in sentence and str(lock) in sentence
        assert " s)" in sentence
    finally:
        holder.kill()
    if os.name == "nt":
        return
    deadline = time.monotonic() + 10
    while Path(f"/proc/{holder.pid}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # dead, and not yet waited for: a lock must not wait for that either
        time.sleep(0.01)
    if not Path("/proc").exists():
        holder.wait()
    with hold(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()
    holder.wait()


@posix
def test_a_lock_of_a_process_that_ended_is_taken_over_with_nothing_left_of_it(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock = tmp_path / "lock"
    lock.write_text(owner(pid=ended.pid, born=None) + " " * 1000)
    with hold(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
        assert len(lock.read_text()) < 1000


@linux
def test_a_lock_whose_pid_was_reused_is_taken_over(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(owner(born="another-boot 123"))
    with hold(lock):
        assert json.loads(lock.read_text())["born"] == files._born(os.getpid())


@posix
@pytest.mark.parametrize(
    ("text", "age_s", "named"),
    [
        (owner(), 0, f"process {os.getpid()} on host"),
        (owner(pid=1, born=None), 0, "process 1 on host"),
        (owner(pid=2**22 + 1, host="line-7", started=time.time() - 7200), 0, "on host line-7, for 2 h"),
        (owner(host="line-7", started=time.time() - 3 * 86400), 0, "for 3 days"),
        (owner(host="line-7", started="soon"), 0, "on host line-7, for 0 s"),
        (owner(host="line-7", started=time.time() + 30 * 86400), 0, "for 0 s"),
        ("", 0, "unknown process"),
        ('{"pid": 12', 1, "unknown process"),
    ],
    ids=[
        "this one",
        "the first",
        "its own host",
        "days",
        "no time",
        "the future",
        "empty",
        "torn",
    ],  # the same each time
)
def test_a_lock_of_the_living_of_another_host_or_just_being_written_is_busy(
    tmp_path: Path, text: str, age_s: float, named: str
) -> None:
    lock = tmp_path / "lock"
    lock.write_text(text)
    os.utime(lock, (time.time() - age_s, time.time() - age_s))
    with pytest.raises(Busy, match=named), hold(lock):
        pass
    assert lock.read_text() == text


@posix
@pytest.mark.parametrize("text", ["", '{"pid": 12', "[]", '{"pid": "x"}'])
def test_a_lock_that_was_never_written_out_is_taken_over_after_a_while(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "lock"
    lock.write_text(text)
    os.utime(lock, (time.time() - 60, time.time() - 60))
    with hold(lock):
        pass
    assert not lock.exists()


@linux
def test_a_lock_that_the_system_holds_is_busy_although_its_pid_means_nothing_here(tmp_path: Path) -> None:
    """Two containers share a folder and a host name, and number their processes each for itself."""
    lock = tmp_path / "lock"
    holder = start_holder(lock)
    try:
        lock.write_text(owner(pid=2**22 + 1))
        with pytest.raises(Busy), hold(lock):
            pass
    finally:
        holder.kill()
        holder.wait()


@posix
def test_of_many_that_find_a_dead_lock_at_once_one_gets_it(tmp_path: Path) -> None:
    """Each holder notes when it comes and goes; no two may overlap."""
    script = textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from adcli.errors import Busy
        from adcli.files import hold
        lock, log = Path(sys.argv[1]), Path(sys.argv[2])
        print("ready", flush=True)
        sys.stdin.read()
        for _ in range(200):
            try:
                with hold(lock):
                    with open(log, "a") as file:
                        file.write(f"in {os.getpid()}\\n")
                        file.flush()
                        file.write(f"out {os.getpid()}\\n")
                if os.getpid() % 2:  # leave a dead lock behind, as a kill would
                    try:
                        with open(lock, "x") as file:
                            file.write('{"pid": 4194305, "host": "%s"}' % os.uname().nodename)
                    except FileExistsError:
                        pass
            except Busy:
                pass
    """)
    lock, log = tmp_path / "lock", tmp_path / "log"
    lock.write_text(owner(pid=2**22 + 1))
    log.touch()
    root = Path(files.__file__).parents[1]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(lock), str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        for _ in range(4)
    ]
    for racer in racers:
        racer.stdout.readline()
    for racer in racers:
        racer.stdin.close()
    assert [racer.wait(60) for racer in racers] == [0] * 4
    lines = log.read_text().split("\n")[:-1]
    assert len(lines) >= 2 and len(lines) % 2 == 0
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert entered.startswith("in ") and left == entered.replace("in", "out")


@posix
def test_a_lock_released_just_as_it_was_opened_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"
    lock.write_text(owner(pid=2**22 + 1))
    real, waits = files._flock, []

    def flock(handle: int, wait: bool) -> bool:
        waits.append(wait)
        if len(waits) == 1:
            lock.unlink()
        return real(handle, wait)

    monkeypatch.setattr(files, "_flock", flock)
    with hold(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert waits == [False, True]


@posix
def test_a_new_lock_waits_for_whoever_looks_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "lock"
    real = files._flock

    def flock(handle: int, wait: bool) -> bool:
        other = os.open(lock, os.O_RDWR)
        assert real(other, wait=False)
        threading.Timer(0.1, os.close, [other]).start()
        return real(handle, wait)

    monkeypatch.setattr(files, "_flock", flock)
    with hold(lock):
        handle = os.open(lock, os.O_RDWR)
        assert not real(handle, wait=False)
        os.close(handle)


@posix
def test_releasing_leaves_the_lock_of_another_alone(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with hold(lock):
        lock.unlink()  # someone was sure that we are gone
        lock.write_text("theirs")
    assert lock.read_text() == "theirs"


def test_a_lock_in_a_place_that_cannot_be_written_is_an_environment_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="Could not create the lock file"), hold(tmp_path / "file" / "lock"):
        pass


@posix
def test_a_lock_is_released_when_a_signal_ends_the_block(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = start_holder(lock)
    holder.send_signal(signal.SIGINT)
    holder.wait(10)
    assert not lock.exists()
