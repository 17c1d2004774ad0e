"""The name of a file: the sha256 of its bytes, taken on a thread of its own."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from types import TracebackType

_BLOCK = 1 << 20  # bytes read at a time


class Naming:
    """Use it as a context manager, which waits for the thread; what is done meanwhile has another core to itself.

    Reading and hashing release the interpreter's lock.
    """

    def __init__(self, path: Path):
        """OSError where the file cannot be opened."""
        self._file = path.open("rb", buffering=0)
        self._thread = threading.Thread(target=self._run, name="adcli sha256")
        self._digest, self._size = hashlib.sha256(), 0
        self._fault: Exception | None = None

    def __enter__(self) -> Naming:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join()
        self._file.close()

    def result(self) -> tuple[str, int]:
        """The digest and the size in bytes. Raises OSError where the file could not be read to its end."""
        self._thread.join()
        if self._fault is not None:
            raise self._fault
        return self._digest.hexdigest(), self._size

    def _run(self) -> None:
        try:
            block = memoryview(bytearray(_BLOCK))
            while count := self._file.readinto(block):
                self._digest.update(block[:count])
                self._size += count
        except Exception as fault:  # raised where the result is asked for
            self._fault = fault
