"""One way of using several cores: whole pieces of work on a few threads, results in order; or one piece beside others.

numpy, cv2 and torch release the interpreter's lock while they compute. Each piece runs on one core from end to end, so
there is no barrier inside it, and a busy machine slows it down by its share instead of stalling it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8  # of glibc's malloc.h
_MADV_HUGEPAGE = 14  # of Linux's mman-common.h
_HEAP, _KEPT, _LARGE_PAGE = 1 << 29, 1 << 26, 1 << 21  # bytes

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def keep_freed_memory() -> None:
    """Has glibc hold on to what arrays of some megabytes gave back, for the next ones, instead of asking the system
    for zeroed pages again each time, which took a fifth of an evaluation; and has the first of them lie in pages of
    2 MiB, of which far fewer are asked for. Elsewhere nothing happens."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        for parameter, value in ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, 2 * _HEAP), (_MMAP_THRESHOLD, 2 * _HEAP)):
            libc.mallopt(parameter, value)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes, libc.madvise.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if block := libc.malloc(_HEAP):  # none of it is touched, and it is what is given out next
            start = -(-block // _LARGE_PAGE) * _LARGE_PAGE
            libc.madvise(start, (block + _HEAP - start) // _LARGE_PAGE * _LARGE_PAGE, _MADV_HUGEPAGE)
            libc.free(block)
        libc.mallopt(_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_TOP_PAD, _KEPT // 4)


def stream(items: Iterable[Item], work: Callable[[Item], Result], workers: int) -> Iterator[Result]:
    """work(item) for every item, in the order of the items, on `workers` threads.

    Takes items only as fast as results are consumed: at most workers + 1 pieces are under way or waiting. An exception
    of `work` is raised where its result would have been; pieces not begun are then dropped.
    """
    from concurrent.futures import ThreadPoolExecutor

    source = iter(items)
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="adcli")
    waiting: deque[Future[Result]] = deque()
    try:
        waiting.extend(pool.submit(work, item) for item in islice(source, workers + 1))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(source, 1))
            yield result
    finally:
        for future in waiting:
            future.cancel()
        pool.shutdown(wait=True)


class Aside(Generic[Result]):
    """What a function returns, on another core. Use it as a context manager, which waits for the thread."""

    def __init__(self, work: Callable[[], Result]):
        self._work = work
        self._thread = threading.Thread(target=self._run, name="adcli aside")
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


def portions(items: Iterable[Item], size: int, workers: int) -> Iterator[list[Item]]:
    """The items in lists of at most `size`. Where their number is known, the last lists are shorter, down to a quarter,
    so that all workers come to their end at about the same time."""
    left = len(items) if isinstance(items, Sized) else None
    least = -(-size // 4)
    source = iter(items)
    while portion := list(islice(source, size if left is None else max(least, min(size, -(-left // (2 * workers)))))):
        left = None if left is None else left - len(portion)
        yield portion


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
