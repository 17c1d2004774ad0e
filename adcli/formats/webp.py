"""WebP (its container specification): one RIFF chunk that holds the image's chunks."""

from __future__ import annotations

import struct

from adcli.formats.whole import Header, NotWhole, check_size, need


def read_webp(data: bytes, max_pixels: int) -> Header:
    """Chunks that lie inside the file; the decoder refuses an image chunk that is too short for its size."""
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    need(end <= len(data), "its chunks do not end inside the file")
    at, sizes = 12, []
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        body = at + 8
        need(body + length <= end, "a chunk does not end inside the file")
        if kind == b"VP8X" and data[body] & 2:
            raise NotWhole("is an animation, and which frame shows the part is not known; save one frame as PNG")
        if kind == b"VP8X":
            canvas = (int.from_bytes(data[body + first : body + first + 3], "little") + 1 for first in (4, 7))
            check_size(*canvas, max_pixels)  # OpenCV takes memory for it
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, body + 6)
            sizes.append((width & 0x3FFF, height & 0x3FFF))
        elif kind == b"VP8L":
            (packed,) = struct.unpack_from("<I", data, body + 1)
            sizes.append(((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1))
        at = body + length + length % 2
    need(len(sizes) == 1, f"it holds {len(sizes)} images")
    check_size(*sizes[0], max_pixels)
    return Header(*sizes[0])
