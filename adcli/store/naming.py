"""What names a file: its digest."""

from __future__ import annotations

import hashlib
from typing import IO

_BLOCK = 1 << 18  # bytes read at a time, which stay in a core's own cache until they are hashed


def name_of(file: IO[bytes]) -> tuple[str, int]:
    """The sha256 of an unbuffered file and its size in bytes. OSError where it cannot be read to its end.

    Reading and hashing release the interpreter's lock.
    """
    digest, size = hashlib.sha256(), 0
    block = memoryview(bytearray(_BLOCK))
    while count := file.readinto(block):
        digest.update(block[:count])
        size += count
    return digest.hexdigest(), size
