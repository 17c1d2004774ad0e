"""Runs cases in forked processes: one that crashes, hangs or eats the memory is recorded, and ends nobody else.

A fork leaves threads of C libraries behind, so none may have begun before `fuzz` is called: cv2.setNumThreads(1) first.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.fuzzing.cases import Target, Violation, outcome, put

CASE_SECONDS = 10.0  # some 1000 times what a case takes
GROWTH_MB = 512  # of a worker's memory since its first case; a case needs some 20
SPACE_MB = 3072  # of a worker's addresses beside those it began with
_RESTART = 2000  # cases of one worker


@dataclass
class Report:
    """What became of a target's cases."""

    cases: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    peak_growth_mb: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)  # the first of each kind
    failed: Counter[str] = field(default_factory=Counter)  # all, by kind


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    number: int = -1  # the case it is at
    began: float = 0.0


def fuzz(target: Target, seed: int, seconds: float, workers: int, save: Path, first: int = 0) -> Report:
    """Cases `first`, first + 1, ... until the time is over; files of failed ones go below `save`."""
    report, began = Report(), time.monotonic()
    context = multiprocessing.get_context("fork")
    running: list[_Worker] = []
    following = first
    try:
        while True:
            is_over = time.monotonic() - began > seconds
            while not is_over and len(running) < workers:
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(target, seed, following, theirs), daemon=True)
                process.start()
                theirs.close()
                running.append(_Worker(process, ours, began=time.monotonic()))
                following += _RESTART
            if not running:
                break
            for worker in list(running):
                if is_over and worker.number < 0:
                    _end(worker, running)
            ready = wait([worker.pipe for worker in running], timeout=0.2)
            for worker in list(running):
                if worker.pipe in ready:
                    _listen(worker, running, report, target, seed, save, is_over)
                elif time.monotonic() - worker.began > CASE_SECONDS + 20 * (worker.number < 0):
                    number = worker.number
                    _end(worker, running)
                    _failed(report, target, seed, number, "hang", f"hang: more than {CASE_SECONDS:g} s", save)
    finally:
        for worker in list(running):
            _end(worker, running)
    report.seconds = time.monotonic() - began
    return report


def _listen(
    worker: _Worker, running: list[_Worker], report: Report, target: Target, seed: int, save: Path, is_over: bool
) -> None:
    try:
        kind, *told = worker.pipe.recv()
    except EOFError:  # it is gone without a word
        worker.process.join()
        code, number = worker.process.exitcode, worker.number
        _end(worker, running)
        name = signal.Signals(-code).name if code and code < 0 else f"exit {code}"
        _failed(report, target, seed, number, "crash", f"crash: {name}", save)
        return
    if kind == "begin":
        worker.number, worker.began = told[0], time.monotonic()
        return
    if kind == "done":
        _end(worker, running)
        return
    number, came, failure, took, growth = told
    report.cases += 1
    report.slowest_s = max(report.slowest_s, took)
    report.peak_growth_mb = max(report.peak_growth_mb, growth)
    report.outcomes[came] += 1
    if failure:
        _failed(report, target, seed, number, came, failure, save)
    if growth > GROWTH_MB:
        _failed(report, target, seed, number, "memory", f"memory: {growth:.0f} MB more", save)
        _end(worker, running)
    elif is_over:
        _end(worker, running)


def _failed(report: Report, target: Target, seed: int, number: int, kind: str, what: str, save: Path) -> None:
    report.failed[kind] += 1
    if report.failed[kind] > 3 or number < 0:
        return
    made_from, case = target.case(seed, number)
    folder = save / f"{target.name}-{seed}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    put({f"case/{name}": data for name, data in case.items()}, folder)
    (folder / "what.txt").write_text(f"{made_from}\n{what}\n", encoding="utf-8", errors="backslashreplace")
    report.failures.append(
        {
            "target": target.name,
            "seed": seed,
            "case": number,
            "from": made_from,
            "what": what[-2000:],
            "at": str(folder),
        }
    )


def _end(worker: _Worker, running: list[_Worker]) -> None:
    running.remove(worker)
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _work(target: Target, seed: int, first: int, pipe: Connection) -> None:
    """Cases one by one, each in an empty folder, telling of each before and after."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):  # C libraries write there
            os.dup2(nowhere, stream)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    limit = pages * resource.getpagesize() + SPACE_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = None  # the first case brings libraries and what they keep
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=base) as folder:
        for number in range(first, first + _RESTART):
            pipe.send(("begin", number))
            began = time.monotonic()
            came, failure = attempt(target, seed, number, Path(folder) / str(number))
            before = before or _peak_mb()
            pipe.send(("end", number, came, failure, time.monotonic() - began, _peak_mb() - before))
    pipe.send(("done",))


def attempt(target: Target, seed: int, number: int, folder: Path) -> tuple[str, str]:
    """One case, in a folder that is made and removed: what came of it, and the traceback if it failed."""
    folder.mkdir()
    try:
        made_from, case = target.case(seed, number)
        return target.check(made_from, case, folder), ""
    except BaseException as error:
        if isinstance(error, Violation):
            return f"FAILED {outcome(error, folder)}", traceback.format_exc()
        where = [frame for frame in traceback.extract_tb(error.__traceback__) if "adcli" in frame.filename][-1:]
        place = "".join(f" at {Path(frame.filename).name}:{frame.name}" for frame in where)
        return f"FAILED {type(error).__name__}{place}", traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
