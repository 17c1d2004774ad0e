"""Netpbm's PGM and PPM: P2 and P3 in digits, P5 and P6 in bytes, two of them (big endian) above 255."""

from __future__ import annotations

import re

from adcli.formats.whole import Header, NotWhole, check_size, need

_HEADER = re.compile(rb"P([2356])" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})" * 3 + rb"\s")
_COMMENT = re.compile(rb"#[^\r\n]*")
_LONGEST = 2**16  # bytes of header; comments may be long, but a search through blanks must end


def read_pnm(data: bytes, max_pixels: int) -> Header:
    """Rows that end inside the file, of one image, whose white is known."""
    header = _HEADER.match(data, 0, _LONGEST)
    if header is None:
        raise NotWhole("is damaged: its PGM or PPM header makes no sense")
    kind, width, height, white = (int(group) for group in header.groups())
    check_size(width, height, max_pixels)
    if not 255 <= white <= 65535:  # OpenCV scales such a P2 and not such a P5
        raise NotWhole(f"has {white} as its white, where 255 to 65535 are read; save it with 255 or 65535")
    samples = width * height * (3 if kind in (3, 6) else 1)
    size = samples * (2 if white > 255 else 1) if kind in (5, 6) else 2 * samples - 1  # digits and what parts them
    need(header.end() + size <= len(data), "its rows do not end inside the file")
    if kind in (2, 3):  # OpenCV skips what is no digit, and takes what is above white
        numbers = _COMMENT.sub(b" ", data[header.end() :]).split()
        need(len(numbers) == samples and all(map(bytes.isdigit, numbers)), f"it does not hold {samples} numbers")
        need(all(len(one) <= 10 and int(one) <= white for one in numbers), f"a number in it is above {white}")
    if kind in (5, 6) and data.startswith(b"P%d" % kind, header.end() + size):
        raise NotWhole("holds several images, and which one shows the part is not known; save one of them as PNG")
    return Header(width, height, 16 if white > 255 else 8)
