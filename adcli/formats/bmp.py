"""Windows bitmaps: file header, information header, colours, rows padded to four bytes."""

from __future__ import annotations

import struct

from adcli.formats.whole import Header, NotWhole, check_size, need


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
    need(offset >= 14 + header_size, "its rows begin inside its header")
    need(offset + (width * bits + 31) // 32 * 4 * height <= len(data), "its rows do not end inside the file")
    return Header(width, height)
