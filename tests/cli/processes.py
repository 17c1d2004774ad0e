"""adcli in a process of its own, to be sent signals: forked from one that has imported the heavy libraries already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and sent signals here")


def _run(words: list[str], cwd: str, env: dict[str, str], stdin: str | None, out: str, err: str) -> None:
    os.chdir(cwd)
    os.environ.update(env)
    if stdin is not None:
        os.dup2(os.open(stdin, os.O_RDONLY), 0)
        sys.stdin = os.fdopen(0)
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOCTTY, 0o666), number)
    sys.argv = ["adcli", *words]
    sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))

    from adcli.__main__ import main

    main()


class Process:
    """`adcli WORDS`, started; its stdout and stderr go to files, or to the terminal `err`; stdin comes from a file."""

    def __init__(
        self,
        *words: object,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: Path | None = None,
        err: str | None = None,
    ):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torchvision", "adcli.api", "adcli.cli.app", "adcli.engines.torch"])
        number = len(list(cwd.glob("stdout.*")))
        self._out, self._err = cwd / f"stdout.{number}", cwd / f"stderr.{number}"
        inherited = {name: os.environ[name] for name in ("ADCLI_WEIGHTS_DIR", "TORCH_HOME")}
        given = None if stdin is None else str(stdin)
        arguments = ([str(word) for word in words], str(cwd), {**inherited, **(env or {})}, given)
        self._process = context.Process(target=_run, args=(*arguments, str(self._out), err or str(self._err)))
        self._process.start()

    @property
    def out(self) -> str:
        """stdout so far."""
        return self._out.read_text() if self._out.exists() else ""

    @property
    def err(self) -> str:
        """stderr so far, unless that is a terminal."""
        return self._err.read_text() if self._err.exists() else ""

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    def send(self, number: int) -> None:
        """Sends a signal, if the process is still there."""
        if self.is_alive():
            os.kill(self._process.pid, number)

    def wait(self, seconds: float = 60) -> int:
        """The exit code; minus the signal's number where that ended it, as with kill -9."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self.send(signal.SIGKILL)
            raise TimeoutError(f"still running after {seconds} s: {self.err}")
        return self._process.exitcode
