"""OpenCV's decoder, and what the libraries inside it say meanwhile.

libjpeg goes on after damage: it fills the rest with gray and tells of it by nothing but a line on the C library's
`stderr`; so does libpng with too much image data. That line is the only sign of such damage, and it must not reach a
user's terminal as it stands. So it is caught, for the thread that decodes; what other threads write passes through.
With glibc only: its manual lets a program set the variable `stderr` ("Standard Streams") and make streams of its own
("Custom Streams"). Elsewhere nothing is heard, and the line goes where it always went.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from functools import cache

import cv2
import numpy as np

_STDERR, _UNBUFFERED = 2, 2  # file descriptor; _IONBF of glibc's stdio.h
_MOST_SAID = 200  # characters; a file must not fill a line of the results with what it makes a library say


def decode(data: bytes | bytearray) -> tuple[np.ndarray | None, str]:
    """The pixels in OpenCV's order, None where it refuses, and what was said: nothing, for a file without fault."""
    silence = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # of OpenCV 4 and of 5
    silence(0)  # it would write to stderr what is raised by the caller
    with _listening() as said:
        # Decoded from memory: the sha256 is of the same bytes, and on Windows cv2.imread cannot open all names.
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from error
            pixels = None
    return pixels, " ".join(b"".join(said).decode("ascii", "replace").split())[:_MOST_SAID]


_ears = threading.local()  # `.said`: what this thread's decoder has said, while it decodes


@contextlib.contextmanager
def _listening() -> Iterator[list[bytes]]:
    said: list[bytes] = []
    stream = _stream()
    if stream is None:
        yield said
        return
    _ears.said = said
    try:
        with stream:
            yield said
    finally:
        del _ears.said


@cache
def _stream() -> _Stream | None:
    return _Stream() if hasattr(ctypes, "pythonapi") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version") else None


_Write = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Functions(ctypes.Structure):
    """cookie_io_functions_t"""

    _fields_ = (("read", ctypes.c_void_p), ("write", _Write), ("seek", ctypes.c_void_p), ("close", ctypes.c_void_p))


@_Write
def _take(cookie: object, text: int, length: int) -> int:
    written = ctypes.string_at(text, length)
    said = getattr(_ears, "said", None)
    if said is not None:
        said.append(written)
    else:
        with contextlib.suppress(OSError):
            os.write(_STDERR, written)
    return length


class _Stream:
    """A stream of our own that is the C library's `stderr` while any thread decodes, and only then."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        library.fopencookie.restype = ctypes.c_void_p
        library.fopencookie.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Functions]
        library.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
        self._own = library.fopencookie(None, b"w", _Functions(None, _take, None, None))
        library.setvbuf(self._own, None, _UNBUFFERED, 0)  # else a line would arrive at whoever writes the next one
        self._variable = ctypes.c_void_p.in_dll(library, "stderr")
        self._before = self._variable.value
        self._lock = threading.Lock()
        self._decoding = 0

    def __enter__(self) -> None:
        with self._lock:
            self._decoding += 1
            self._variable.value = self._own

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._decoding -= 1
            if self._decoding == 0:
                self._variable.value = self._before
