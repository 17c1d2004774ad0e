"""Windows bitmaps: file header, information header, colours, rows padded to four bytes."""

from __future__ import annotations

import struct

from adcli.formats.whole import Header, NotWhole, check_size, need

_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes of the information header, by its version


def read_bmp(data: bytes, max_pixels: int) -> Header:
    """Rows that lie inside the file, behind its headers."""
    offset, header_size = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)  # negative: stored from the top row down
    check_size(width, height, max_pixels)
    if compression not in (0, 3, 6):  # none, or none with channel masks
        raise NotWhole("is a compressed bitmap, whose damage would go unseen; save it as PNG")
    need(header_size in _HEADERS, f"no bitmap has a header of {header_size} bytes")
    colours = 0
    if bits <= 8:
        colours = (struct.unpack_from("<I", data, 46)[0] if header_size > 12 else 0) or 1 << bits
    need(offset >= 14 + header_size + colours * (4 if header_size > 12 else 3), "its rows begin inside its header")
    need(offset + (width * bits + 31) // 32 * 4 * height <= len(data), "its rows do not end inside the file")
    return Header(width, height)
