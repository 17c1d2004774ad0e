"""A command that is run for each result, in their order, while the next images are scored."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

from adcli.errors import UsageError
from adcli.report.lines import encode_json

_MOST_WAITING = 64  # results; scoring waits for a command that is slower than it
_LEAST = 0.1  # seconds that a run has which was begun in time


class Hook:
    """The command, run on a thread of its own with each record as JSON on its standard input.

    Use it as a context manager: at the end what waits is run; where the end was asked for or forced, as much of it as
    fits into the time of one timeout.
    """

    def __init__(
        self, command: str, timeout: float, say: Callable[[str], None], stop: Callable[[], bool] = lambda: False
    ):
        """Args: `command` is split as a shell would, and run without one; `timeout` in seconds a run; `stop` tells
        whether the end was asked for.

        Raises UsageError where there is no such program.
        """
        try:
            self._words = shlex.split(command, posix=os.name != "nt")
        except ValueError as error:
            raise UsageError(f"--exec {command} cannot be split into words: {error}") from error
        if not self._words or shutil.which(self._words[0]) is None:
            name = self._words[0] if self._words else "(an empty command)"
            raise UsageError(f"--exec: there is no program {name}: give its path, or sh -c '...' for a line of shell")
        self._timeout = timeout
        self._tell = say
        self._stop = stop
        self._counts: Counter[str] = Counter()
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(_MOST_WAITING)
        self._until = float("inf")  # when, by the monotonic clock, nothing is begun any more
        self._thread = threading.Thread(target=self._work, name="adcli exec", daemon=True)

    def __enter__(self) -> Hook:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.hurry()
        told = False
        while self._thread.is_alive():
            if self._stop():
                self.hurry()
            if not told:
                with contextlib.suppress(queue.Full):
                    self._waiting.put(None, timeout=_LEAST)
                    told = True
            else:
                self._thread.join(_LEAST)
        if dropped := self._counts["dropped"]:
            self._say(f"--exec was not run for the last {dropped} results: it is too slow for the time left")

    def run(self, record: dict[str, Any]) -> None:
        """Has the command run for a result; waits while too many wait already."""
        self._waiting.put(record)

    def hurry(self) -> None:
        """Says that the end has come: what waits, and what is still handed in, has the time of one timeout."""
        self._until = min(self._until, time.monotonic() + self._timeout)

    def counts(self) -> dict[str, object]:
        """How the runs ended so far."""
        names = ("ok", "failed", "timed_out", "dropped")
        return {f"exec_{name}": self._counts[name] for name in names} | {"exec_waiting": self._waiting.qsize()}

    def _say(self, sentence: str) -> None:
        with contextlib.suppress(Exception):  # nobody reads stderr: the counts tell it too, and the thread must go on
            self._tell(sentence)

    def _work(self) -> None:
        while (record := self._waiting.get()) is not None:
            try:
                ended = "dropped" if time.monotonic() > self._until else self._run(record)
            except Exception as error:  # without this thread, scoring would wait for it for ever
                self._say(f"--exec failed for {record['image']}: {error or type(error).__name__}")
                ended = "failed"
            self._counts[ended] += 1

    def _run(self, record: dict[str, Any]) -> str:
        image, data = record["image"], encode_json(record)
        try:
            # Away from the terminal's Ctrl-C, which asks the watch to stop and not the command. What it prints must not
            # get among the results on standard output.
            process = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=_stderr(), start_new_session=os.name != "nt"
            )
        except OSError as error:
            self._say(f"--exec could not be run for {image}: {error.strerror or error}")
            return "failed"
        seconds = min(self._timeout, max(_LEAST, self._until - time.monotonic()))
        with process:
            try:
                process.communicate(data, seconds)
            except subprocess.TimeoutExpired:
                _kill(process)
                self._say(f"--exec took more than {round(seconds, 1):g} s for {image} and was ended")
                return "timed_out"
            except BaseException:
                _kill(process)  # or leaving this block would wait for it
                raise
        if process.returncode:
            self._say(f"--exec ended with {process.returncode} for {image}")
            return "failed"
        return "ok"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends the command and what it has started."""
    with contextlib.suppress(OSError):
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _stderr() -> int:
    try:
        os.fstat(2)
    except OSError:  # closed
        return subprocess.DEVNULL
    return 2
