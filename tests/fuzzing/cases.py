"""What is fuzzed: how a case comes from a generator, and what must hold for it."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Case = dict[str, bytes]  # the content of files by their relative path


class Violation(Exception):
    """Something that must hold does not."""


@dataclass(frozen=True)
class Target:
    """`make` gives a case and names what it was made from; `check` takes both and an empty folder, tries the case and
    says what came of it. Whatever `check` raises is a failure: the stated exceptions it takes for an outcome."""

    name: str
    make: Callable[[np.random.Generator], tuple[str, Case]]
    check: Callable[[str, Case, Path], str]

    def case(self, seed: int, number: int) -> tuple[str, Case]:
        """The case of that number, the same in every process."""
        return self.make(np.random.default_rng([seed, number, *self.name.encode()]))


def put(case: Case, folder: Path) -> None:
    """Writes the files of a case."""
    for name, data in case.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def outcome(error: BaseException, folder: Path) -> str:
    """An exception as a kind of outcome: its class and sentence, without what differs from case to case."""
    text = str(error).replace(str(folder), "").replace("\n", " ")
    text = re.sub(r"'[^']{0,60}'", "'...'", text)
    text = re.sub(r"-?\d[\d.,x]*(e[+-]?\d+)?", "N", text)
    return f"{type(error).__name__}: {text[:120]}".encode("ascii", "backslashreplace").decode()


@contextlib.contextmanager
def poisoned(byte: int) -> Iterator[None]:
    """Fresh memory is filled with this byte, so that what a decoder leaves unwritten shows; with glibc only."""
    fill = -6  # M_PERTURB of glibc's malloc.h; what is allocated is filled with the complement
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):  # another system's library
        mallopt = None
    if mallopt:
        mallopt(fill, byte)
    try:
        yield
    finally:
        if mallopt:
            mallopt(fill, 0)
