"""ISA-L, Intel's library of fast compression (the package isal), where it is installed: same bytes, same checksums."""

from __future__ import annotations

import zlib
from functools import cache
from types import ModuleType


@cache
def find_isal() -> ModuleType | None:
    """What stands for zlib, or None."""
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib


def crc32(data: bytes | memoryview) -> int:
    """The checksum that PNG and gzip have."""
    return (find_isal() or zlib).crc32(data)
