"""PNG (ISO/IEC 15948) section 5: chunks of length, type, data and CRC, from IHDR to IEND."""

from __future__ import annotations

import struct

from adcli.formats.isal import crc32
from adcli.formats.whole import Header, NotWhole, check_size, need

BEGIN = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: gray, RGB, palette, gray and alpha, RGB and alpha
_KINDS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # that all readers know
_PALETTE = 3
_MOST_INFLATED = 1032  # times: deflate's shortest code is 2 bits, for at most 258 bytes (RFC 1951, 3.2.5)


def read_png(data: bytes, max_pixels: int) -> Header:
    """Chunks with the right checksums, and enough of them for the pixels that the header states."""
    need(data[8:16] == b"\0\0\0\rIHDR", "it does not begin with its header chunk")
    width, height, depth, colour, compression, filters, interlace = struct.unpack_from(">II5B", data, 16)
    check_size(width, height, max_pixels)
    is_known = colour in _CHANNELS and depth in (1, 2, 4, 8, 16) and interlace < 2
    need(is_known and compression == filters == 0, "its header makes no sense")
    view, at, kind = memoryview(data), 8, b""
    kept, chunks, compressed = [view[:8]], 0, 0
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        (crc,) = struct.unpack_from(">I", data, end)
        need(crc32(view[at + 4 : end]) == crc, "a checksum does not match")
        if _is_critical(kind):  # and a reader that does not know it must not go on (section 5.4)
            need(
                kind in _KINDS and (kind == b"IHDR") == (at == 8), f"a chunk {kind!r} is not one that it may have there"
            )
        if kind == b"acTL" and struct.unpack_from(">I", data, at + 8)[0] > 1:
            raise NotWhole("is an animation, and which frame shows the part is not known; save one frame as PNG")
        if kind == b"IDAT":
            compressed += length
        # The rest (profiles, texts, gamma, times) changes no stored value, but libpng would inflate it and comment it.
        if _is_critical(kind) and not (kind == b"PLTE" and colour != _PALETTE):
            kept.append(view[at : end + 4])
        chunks += 1
        at = end + 4
    rows = height * row_bytes(width, depth, colour)
    need(compressed * _MOST_INFLATED >= rows, f"{compressed} bytes cannot hold its {width} x {height} pixels")
    return Header(width, height, 16 if depth == 16 else 8, bare=None if len(kept) == chunks + 1 else b"".join(kept))


def row_bytes(width: int, depth: int, colour: int) -> int:
    """Of one row as it is compressed: the number of its filter, then its pixels (sections 7.2 and 9)."""
    return 1 + (width * depth * _CHANNELS[colour] + 7) // 8


def _is_critical(kind: bytes) -> bool:
    """By the case of its first letter; a decoder must understand it."""
    return not kind[0] & 0x20
