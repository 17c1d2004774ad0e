"""Is this file a whole image, and how large? Asked of its bytes before any decoder sees them.

Decoders are lenient where an inspection must not be: OpenCV returns half a picture for a truncated JPEG, for an 8-bit
TIFF with a damaged strip and for a run-length BMP, takes the first of several pages, and scrambles planar 16-bit TIFF.
Each format states where its data ends, so that can be checked in a fraction of the time it takes to decode.

What no structure can show: changed bits in lossy WebP, in LZW and in uncompressed data, and those in a JPEG that leave
it decodable; `adcli.decoding` hears of the other JPEGs.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from adcli.formats.bmp import read_bmp
from adcli.formats.inflating import inflated
from adcli.formats.jpeg import read_jpeg
from adcli.formats.png import read_png
from adcli.formats.pnm import read_pnm
from adcli.formats.tiff import read_tiff
from adcli.formats.webp import read_webp
from adcli.formats.whole import Header, NotWhole

__all__ = ["MAGIC_BYTES", "Header", "NotWhole", "check_kind", "inflated", "read_header"]

MAGIC_BYTES = 16  # enough of a file's beginning to know its format

_READERS = {
    rb"\x89PNG\r\n\x1a\n": read_png,
    rb"\xff\xd8\xff": read_jpeg,
    rb"BM": read_bmp,
    rb"RIFF....WEBP": read_webp,
    rb"P[2356][\s#]": read_pnm,
    rb"II[*+]\0|MM\0[*+]": read_tiff,
}


def check_kind(beginning: bytes) -> None:
    """Refuses, by its first `MAGIC_BYTES`, what is of no format that is read: a film need not be loaded for that."""
    _reader(beginning)


def read_header(data: bytes, max_pixels: int) -> Header:
    """The image's size, having checked that all of its data is there.

    Raises NotWhole for what is damaged, cut off, animated, of several pages, above `max_pixels`, or of another format.
    """
    try:
        return _reader(data)(data, max_pixels)
    except (IndexError, OverflowError, struct.error) as error:
        raise NotWhole("is cut off or damaged: it ends before its image data does; copy it again") from error


def _reader(data: bytes) -> Callable[[bytes, int], Header]:
    if not data:
        raise NotWhole("is empty (0 bytes); copy it again")
    for magic, reader in _READERS.items():
        if re.match(magic, data, re.DOTALL):
            return reader
    if data.startswith(b"GIF8"):
        raise NotWhole("is a GIF, which may hold several frames and has 256 colours; save the frame as PNG")
    raise NotWhole("is not a PNG, JPEG, BMP, TIFF, WebP, PGM or PPM image; convert it to PNG")
