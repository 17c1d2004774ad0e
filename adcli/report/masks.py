"""A mask as a PNG of 8-bit gray, 0 or 255, with next to nothing done for the rows that are empty.

A mask is mostly zeros, and compressing those took longer than finding them. So only the rows from the first to the last
that is not empty are compressed; the zeros above and below them are pieces made once. Deflate's blocks can be put one
after another where each piece ends in a full flush (RFC 1951, 3.2.3; zlib's manual: Z_FULL_FLUSH), and the checksum
(Adler-32, RFC 1950) of zeros is a product.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache

import numpy as np

from adcli.formats.isal import find_isal

_BEGIN = b"\x89PNG\r\n\x1a\n"
_GRAY = bytes([8, 0, 0, 0, 0])  # bits, colour type, and the only compression, filters and order (ISO/IEC 15948, 11.2.2)
_LEAST_PIECE = 12  # zeros come in powers of two from 2 to this on; the rest is compressed with what is not
_MODULUS = 65521  # of Adler-32


def encode_mask(mask: np.ndarray) -> bytes:
    """The file's bytes of a mask (H, W) bool."""
    height, width = mask.shape
    filled = np.flatnonzero(mask.any(axis=1))
    top, bottom = (filled[0], filled[-1] + 1) if filled.size else (0, 0)
    rows = np.zeros((bottom - top, 1 + width), np.uint8)  # each begins with the number of its filter: none
    np.negative(mask[top:bottom].view(np.uint8), out=rows[:, 1:])  # 255 is -1
    before, after = int(top) * (1 + width), int(height - bottom) * (1 + width)
    pieces, left = _zeros(before)
    packer = _packer()
    pieces += [packer.compress(bytes(left)), packer.compress(rows)]
    below, left = _zeros(after)
    pieces += [packer.compress(bytes(left)), packer.flush(zlib.Z_FULL_FLUSH), *below]
    # Adler-32: a sum of the bytes and one of its own values; zeros change the latter alone.
    checksum = (find_isal() or zlib).adler32(rows, before % _MODULUS << 16 | 1)
    low = checksum & 0xFFFF
    checksum = ((checksum >> 16) + after * low) % _MODULUS << 16 | low
    stream = b"".join([b"\x78\x01", *pieces, b"\x03\x00", struct.pack(">I", checksum)])  # an empty block is the last
    header = struct.pack(">II", width, height) + _GRAY
    return _BEGIN + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
        for kind, body in ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    )


def _packer() -> zlib._Compress:
    isal = find_isal()
    return _zlib_packer() if isal is None else isal.compressobj(1, zlib.DEFLATED, -15)  # an eighth of the time


def _zlib_packer() -> zlib._Compress:
    return zlib.compressobj(1, zlib.DEFLATED, -15, 8, zlib.Z_RLE)


def _zeros(count: int) -> tuple[list[bytes], int]:
    """Pieces of a stream that are zeros, and how many zeros are left to be compressed."""
    powers = range(_LEAST_PIECE, count.bit_length())
    return [_piece(power) for power in powers if count >> power & 1], count & ((1 << _LEAST_PIECE) - 1)


@cache
def _piece(power: int) -> bytes:
    """2 to `power` zeros."""
    packer = _zlib_packer()  # what ISA-L is given in pieces it packs in pieces, which makes more bytes
    block = bytes(1 << _LEAST_PIECE)
    packed = [packer.compress(block) for _ in range(1 << power - _LEAST_PIECE)]
    return b"".join([*packed, packer.flush(zlib.Z_FULL_FLUSH)])
