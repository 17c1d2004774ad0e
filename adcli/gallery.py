"""Rows of numbers that may be more than the memory holds: a stretch of a file, read a block at a time.

While a method learns, that file is a temporary one without a name; in a model it is the model file, whose arrays lie in
one piece. Either way the file stays open as long as the gallery is held, so that replacing or removing it changes
nothing for who reads.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from adcli.errors import EnvironmentFault

BLOCK_BYTES = 64 << 20  # read at a time
_PIECE_BYTES = 1 << 18  # of a buffer that stays in a core's own cache
RESIDENT_BYTES = 512 << 20  # galleries up to this size are held in memory once they are read


class Gallery:
    """Rows (N, ...) of one type, C-contiguous in a file. Safe to read from several threads."""

    def __init__(self, file: IO[bytes], offset: int, shape: Sequence[int], dtype: np.dtype | type | str):
        self._file, self._offset = file, offset
        self.shape, self.dtype = tuple(int(side) for side in shape), np.dtype(dtype)
        self._row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize  # bytes
        self._turn = threading.Lock()
        self._whole: np.ndarray | None = None

    @classmethod
    def of(cls, rows: np.ndarray) -> Gallery:
        """A gallery of rows that are in memory, for small ones and for tests."""
        spool = Spool(rows.shape[1:], rows.dtype)
        spool.append(rows)
        return spool.gallery()

    def through(self, path: Path) -> Gallery:
        """The same rows through a handle of their own. OSError where the file cannot be opened."""
        return Gallery(path.open("rb", buffering=0), self._offset, self.shape, self.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self._row

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop (n, ...). Raises EnvironmentFault when the file cannot be read."""
        stop = len(self) if stop is None else min(stop, len(self))
        if self._whole is not None:
            return self._whole[start:stop]
        rows = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype)
        if rows.size:
            self._fill(memoryview(rows.reshape(-1).view(np.uint8)), self._offset + start * self._row)
        return rows

    def blocks(self, rows: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, rows (n, ...)) one block after another, `rows` at a time or as many as BLOCK_BYTES hold."""
        rows = rows or max(1, BLOCK_BYTES // max(1, self._row))
        for start in range(0, len(self), rows):
            yield start, self.read(start, start + rows)

    def pieces(self) -> Iterator[memoryview]:
        """All bytes one piece after another, each only until the next is asked for: they share one small buffer."""
        piece = memoryview(bytearray(min(_PIECE_BYTES, self.nbytes)))
        for start in range(0, self.nbytes, _PIECE_BYTES):
            piece = piece[: self.nbytes - start]
            self._fill(piece, self._offset + start)
            yield piece

    def take(self, places: np.ndarray) -> np.ndarray:
        """The rows at these places (n,), in their order."""
        rows = np.empty((len(places), *self.shape[1:]), self.dtype)
        for number, place in enumerate(places.tolist()):
            rows[number] = self.read(place, place + 1)[0]
        return rows

    def resident(self) -> Gallery:
        """Itself, held in memory from now on where it is no larger than RESIDENT_BYTES."""
        if self._whole is None and self.nbytes <= RESIDENT_BYTES:
            self._whole = self.read()
        return self

    def _fill(self, view: memoryview, at: int) -> None:
        done = 0
        try:
            while done < len(view):
                with self._turn:  # not pread: Windows has none
                    self._file.seek(at + done)
                    count = self._file.readinto(view[done:])
                if not count:
                    raise EnvironmentFault("a gallery's file has become shorter while it was read")
                done += count
        except OSError as error:
            raise EnvironmentFault(f"a gallery cannot be read: {error.strerror}") from error


class Spool:
    """Rows on their way into a gallery, in a temporary file that goes with the gallery."""

    def __init__(self, row_shape: Sequence[int], dtype: np.dtype | type | str, folder: Path | None = None):
        self._row_shape, self._dtype, self._count = tuple(row_shape), np.dtype(dtype), 0
        self._file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 (the gallery closes it)

    def append(self, rows: np.ndarray) -> None:
        """Adds rows (n, ...). Raises EnvironmentFault when the disk is full."""
        if rows.shape[1:] != self._row_shape:
            raise ValueError(f"rows of the shape {rows.shape[1:]}, where {self._row_shape} are kept")
        left = memoryview(np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8)) if rows.size else b""
        try:
            while len(left):
                left = left[self._file.write(left) :]
        except OSError as error:
            raise EnvironmentFault(
                f"the features do not fit into {tempfile.gettempdir()}: {os.strerror(error.errno or 0)}; make room, or "
                "name another folder in the environment variable TMPDIR"
            ) from error
        self._count += len(rows)

    def gallery(self) -> Gallery:
        """What was added. The spool takes no more."""
        return Gallery(self._file, 0, (self._count, *self._row_shape), self._dtype)
