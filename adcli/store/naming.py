"""Digests that are taken on a thread of their own, beside other work."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import IO, Generic, TypeVar

_BLOCK = 1 << 18  # bytes read at a time, which stay in a core's own cache until they are hashed

Result = TypeVar("Result")


class Aside(Generic[Result]):
    """What a function returns, on another core. Use it as a context manager, which waits for the thread.

    Reading and hashing release the interpreter's lock.
    """

    def __init__(self, work: Callable[[], Result]):
        self._work = work
        self._thread = threading.Thread(target=self._run, name="adcli digest")
        self._result: Result | None = None
        self._fault: Exception | None = None

    def __enter__(self) -> Aside[Result]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join()

    def result(self) -> Result:
        """What it returned. Raises what it raised."""
        self._thread.join()
        if self._fault is not None:
            raise self._fault
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work()
        except Exception as fault:  # raised where the result is asked for
            self._fault = fault


def name_of(file: IO[bytes]) -> tuple[str, int]:
    """The sha256 of an unbuffered file and its size in bytes. OSError where it cannot be read to its end."""
    digest, size = hashlib.sha256(), 0
    block = memoryview(bytearray(_BLOCK))
    while count := file.readinto(block):
        digest.update(block[:count])
        size += count
    return digest.hexdigest(), size
