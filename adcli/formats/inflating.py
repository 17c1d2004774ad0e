"""A PNG's pixels, or the same PNG with them no longer compressed, for the decoder to go on from.

Three quarters of decoding a PNG is inflating it, and ISA-L (the package isal, of Intel's library) does that three times
as fast as zlib. So where isal is installed, it inflates, and the decoder is given the rows as stored blocks (RFC 1951,
3.2.4): the pixels are the decoder's own work as before, the checksum over the rows is the file's own, and the decoder
compares it. Whatever is not as it should be is left to the decoder as it came, whose word on it is final.

Rows of 8-bit gray or RGB that are filtered by nothing but their left or upper neighbours, as OpenCV writes all of them,
are sums, which numpy takes in a quarter of the time that the decoder takes for its stored blocks; ISA-L has compared
the checksum then.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from adcli.formats.isal import crc32, find_isal
from adcli.formats.png import BEGIN, row_bytes

_BLOCK = 65535  # bytes that one stored block holds
_MOST = 1 << 26  # bytes of rows; beyond, memory is worth more than time
_GRAY, _RGB = 0, 2  # colour types
_LEFT, _UP = 1, 2  # filters; 0 is none
_USUAL = b"\x78"  # deflate with the largest window, so that no distance is too far for one reader and not for another


def inflated(data: bytes) -> np.ndarray | bytearray | None:
    """Of a file that `read_png` has checked, the pixels (H, W) or (H, W, 3) RGB uint8, or the file with stored rows.

    None where it is to be decoded as it is.
    """
    isal = find_isal()
    if isal is None or not data.startswith(BEGIN):
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    size = height * row_bytes(width, depth, colour)
    if interlaced or size > _MOST:
        return None
    chunks = list(_chunks(data))
    places = [place for place, (kind, _, _) in enumerate(chunks) if kind == b"IDAT"]
    if not places or places != [*range(places[0], places[-1] + 1)]:
        return None
    first, last = chunks[places[0]], chunks[places[-1]]
    view = memoryview(data)
    stream = b"".join([view[start:end] for _, start, end in chunks[places[0] : places[-1] + 1]])
    if stream[:1] != _USUAL:
        return None
    inflating = isal.decompressobj()
    try:
        rows = inflating.decompress(stream, size + 1)
    except isal.error:
        return None
    if len(rows) != size or not inflating.eof or inflating.unused_data:
        return None
    plain = depth == 8 and colour in (_GRAY, _RGB) and not any(kind == b"tRNS" for kind, _, _ in chunks)
    if plain:  # ISA-L has compared the checksum
        pixels = _unfiltered(np.frombuffer(rows, np.uint8).reshape(height, -1), 3 if colour == _RGB else 1)
        if pixels is not None:
            return pixels
    return _with_stored(rows, stream[-4:], view[: first[1] - 8], view[last[2] + 4 :])


def _unfiltered(rows: np.ndarray, channels: int) -> np.ndarray | None:
    """Rows (H, 1 + W C) uint8, each after the number of its filter, as pixels; None where a filter is none of these."""
    filters, values = rows[:, 0], rows[:, 1:].reshape(len(rows), -1, channels)
    if filters.max() > _UP:
        return None
    left = filters == _LEFT
    if left.all():
        pixels = np.cumsum(values, axis=1, dtype=np.uint8)
    else:
        pixels = values.copy()
        pixels[left] = np.cumsum(values[left], axis=1, dtype=np.uint8)
        for row in np.flatnonzero(filters == _UP).tolist():
            if row:
                pixels[row] += pixels[row - 1]
    return pixels if channels == 3 else pixels[..., 0]


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of each chunk's data."""
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, at + 8 + length
        at += 12 + length


def _with_stored(
    rows: bytes,
    checksum: bytes,
    before: memoryview,
    after: memoryview,
) -> bytearray:
    """A PNG whose only chunk of pixels holds a zlib stream (RFC 1950) of stored blocks, each of them a bit that says
    whether it is the last, its length, its length inverted, and its bytes."""
    whole, rest = divmod(len(rows), _BLOCK)
    if not rest:
        whole, rest = whole - 1, _BLOCK
    length = 2 + whole * (5 + _BLOCK) + 5 + rest + 4
    made = bytearray(len(before) + 8 + length + 4 + len(after))
    at = len(before)
    made[:at] = before
    struct.pack_into(">I4s2s", made, at, length, b"IDAT", b"\x78\x01")
    blocks = np.frombuffer(made, np.uint8, whole * (5 + _BLOCK), at + 10).reshape(whole, 5 + _BLOCK)
    source = np.frombuffer(rows, np.uint8)
    blocks[:, :5] = 0, 255, 255, 0, 0
    blocks[:, 5:] = source[: whole * _BLOCK].reshape(whole, _BLOCK)
    end = at + 8 + length
    struct.pack_into("<BHH", made, end - 9 - rest, 1, rest, rest ^ 0xFFFF)
    made[end - 4 - rest : end - 4] = memoryview(rows)[whole * _BLOCK :]
    made[end - 4 : end] = checksum
    struct.pack_into(">I", made, end, crc32(memoryview(made)[at + 4 : end]))
    made[end + 4 :] = after
    return made
