"""Is this file a whole image, and how large? Asked of its bytes before any decoder sees them.

Decoders are lenient where an inspection must not be: OpenCV returns half a picture for a truncated JPEG (4.x), for a
TIFF with a damaged strip and for a run-length BMP, takes the first of several pages, and scrambles planar 16-bit TIFF.
Each format states where its data ends, so that can be checked in a fraction of the time it takes to decode.

What no structure can show: flipped bits in JPEG, lossy WebP, LZW and uncompressed data, and a cut JPEG scan that a
repair tool has closed with an end marker.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass


class NotWhole(Exception):
    """Why the bytes are refused: the rest of a sentence that begins with the file's name."""


@dataclass(frozen=True)
class Header:
    width: int
    height: int
    bits: int = 8  # of one decoded channel: 8 or 16
    patches: tuple[tuple[int, bytes], ...] = ()  # (offset, bytes) to write over before decoding


def read_header(data: bytes, max_pixels: int) -> Header:
    """The image's size, having checked that all of its data is there.

    Raises NotWhole for what is damaged, cut off, animated, of several pages, above `max_pixels`, or of another format.
    """
    if not data:
        raise NotWhole("is empty (0 bytes); copy it again")
    for magic, read in _READERS:
        if re.match(magic, data, re.DOTALL):
            try:
                return read(data, max_pixels)
            except (IndexError, OverflowError, struct.error) as error:
                raise NotWhole("is cut off or damaged: it ends before its image data does; copy it again") from error
    raise NotWhole("is not a PNG, JPEG, BMP, TIFF, WebP, PGM or PPM image; convert it to PNG")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise NotWhole(f"is damaged: its header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise NotWhole(f"is {width} x {height} pixels, more than the {max_pixels} that are read; cut it into parts")


def _need(present: bool, what: str) -> None:
    if not present:
        raise NotWhole(f"is cut off or damaged: {what}; copy it again")


def _png(data: bytes, max_pixels: int) -> Header:
    """PNG (ISO/IEC 15948) section 5: chunks of length, type, data and CRC, from IHDR to IEND."""
    _need(data[12:16] == b"IHDR", "it does not begin with its header chunk")
    width, height, depth = struct.unpack_from(">IIB", data, 16)
    _check_size(width, height, max_pixels)
    view, at, kind = memoryview(data), 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        (crc,) = struct.unpack_from(">I", data, end)
        _need(zlib.crc32(view[at + 4 : end]) == crc, "a checksum does not match")
        if kind == b"acTL" and struct.unpack_from(">I", data, at + 8)[0] > 1:
            raise NotWhole("is an animation, and which frame shows the part is not known; save one frame as PNG")
        at = end + 4
    return Header(width, height, 16 if depth == 16 else 8)


# Inside a scan, 0xFF is followed by 0 (a data byte), by D0..D7 (a restart), or it begins the next marker.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _jpeg(data: bytes, max_pixels: int) -> Header:
    """JPEG (ITU-T T.81) annex B: segments, and scans without a length, up to the end-of-image marker."""
    at, size, scans = 2, None, 0
    while True:
        _need(data[at] == 0xFF, "a segment does not begin with a marker")
        while data[at] == 0xFF:  # any number of fill bytes may precede a marker
            at += 1
        marker = data[at]
        at += 1
        if marker == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, at)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # the frame headers SOF0..15
            height, width = struct.unpack_from(">HH", data, at + 3)
            _check_size(width, height, max_pixels)
            size = width, height
        at += length
        if marker == 0xDA:
            found = _JPEG_MARKER.search(data, at)
            if found is None:
                raise NotWhole("is cut off: its last scan has no end marker; copy it again")
            at = found.start()
            scans += 1
    if size is None or scans == 0:
        raise NotWhole("is damaged: there is no image in it")
    return Header(*size)


def _bmp(data: bytes, max_pixels: int) -> Header:
    """Windows bitmap: file header, information header, colours, rows padded to four bytes."""
    offset, header_size = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)  # negative: stored from the top row down
    _check_size(width, height, max_pixels)
    if compression not in (0, 3, 6):  # none, or none with channel masks
        raise NotWhole("is a compressed bitmap, whose damage would go unseen; save it as PNG")
    _need(offset + (width * bits + 31) // 32 * 4 * height <= len(data), "its rows do not end inside the file")
    return Header(width, height)


def _webp(data: bytes, max_pixels: int) -> Header:
    """WebP container specification: one RIFF chunk that holds the image's chunks."""
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    _need(end <= len(data), "its chunks do not end inside the file")
    at, size = 12, None
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        body = at + 8
        _need(body + length <= end, "a chunk does not end inside the file")
        if kind == b"VP8X" and data[body] & 2:
            raise NotWhole("is an animation, and which frame shows the part is not known; save one frame as PNG")
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, body + 6)
            size = width & 0x3FFF, height & 0x3FFF
        elif kind == b"VP8L":
            (packed,) = struct.unpack_from("<I", data, body + 1)
            size = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        at = body + length + length % 2
    if size is None:
        raise NotWhole("is damaged: there is no image in it")
    _check_size(*size, max_pixels)
    return Header(*size)


_PNM = re.compile(rb"P([2356])" + rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})" * 3 + rb"\s")


def _pnm(data: bytes, max_pixels: int) -> Header:
    """Netpbm's PGM and PPM: P2 and P3 in digits, P5 and P6 in bytes, two of them (big endian) above 255."""
    header = _PNM.match(data)
    if header is None:
        raise NotWhole("is damaged: its PGM or PPM header makes no sense")
    kind, width, height, white = (int(group) for group in header.groups())
    _check_size(width, height, max_pixels)
    if not 255 <= white <= 65535:  # OpenCV scales such a P2 and not such a P5
        raise NotWhole(f"has {white} as its white, where 255 to 65535 are read; save it with 255 or 65535")
    wide = white > 255
    if kind in (5, 6):
        size = width * height * (3 if kind == 6 else 1) * (2 if wide else 1)
        _need(header.end() + size <= len(data), "its rows do not end inside the file")
        if data.startswith(b"P%d" % kind, header.end() + size):
            raise NotWhole("holds several images, and which one shows the part is not known; save one of them as PNG")
    return Header(width, height, 16 if wide else 8)


class _Pages:
    """The tag directories of a TIFF 6.0 or BigTIFF file."""

    def __init__(self, data: bytes):
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = 43 in data[2:4]
        entries, self.word, self.inline = ("Q", "Q", 8) if self.big else ("H", "I", 4)
        (at,) = self.unpack(self.word, 8 if self.big else 4)
        seen: set[int] = set()
        self.tags: list[dict[int, tuple[int, int, int]]] = []  # of each page, tag -> type, count, where its values are
        while at and at not in seen:
            seen.add(at)
            (count,) = self.unpack(entries, at)
            at += struct.calcsize(entries)
            _need(count <= 4096, "its tag directory makes no sense")
            page = {}
            for _ in range(count):
                tag, kind, number = self.unpack("HH" + self.word, at)
                at += 4 + self.inline
                page[tag] = kind, number, at
                at += self.inline
            self.tags.append(page)
            (at,) = self.unpack(self.word, at)

    def unpack(self, layout: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + layout, self.data, at)

    def values(self, tag: int, default: tuple[int, ...] = (), page: int = 0) -> tuple[int, ...]:
        kind, number, at = self.tags[page].get(tag, (0, 0, 0))
        letter = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if letter is None or number == 0:
            return default
        size = number * struct.calcsize(letter)
        if size > self.inline:
            (at,) = self.unpack(self.word, at)
        _need(at + size <= len(self.data), "a tag's values do not end inside the file")
        return self.unpack(f"{number}{letter}", at)


def _tiff(data: bytes, max_pixels: int) -> Header:
    """TIFF 6.0: one page of 8 or 16 bits whose strips or tiles all lie inside the file."""
    pages = _Pages(data)
    subfiles = [pages.values(254, (0,), page)[0] for page in range(len(pages.tags))]
    if sum(not subfile & 5 for subfile in subfiles) > 1:  # bit 0: a smaller version, bit 2: a transparency mask
        raise NotWhole(f"holds {len(subfiles)} pages, and which one shows the part is not known; save one of them")
    _need(bool(subfiles) and not subfiles[0] & 5, "its first page is not its image")

    def one(tag: int, default: int) -> int:
        return pages.values(tag, (default,))[0]

    width, height, channels = one(256, 0), one(257, 0), one(277, 1)
    _check_size(width, height, max_pixels)
    depth, sample_format, planar = max(pages.values(258, (1,))), one(339, 1), one(284, 1) == 2 and channels > 1
    if sample_format in (2, 3) or depth > 16:
        kind = {2: "signed", 3: "float"}.get(sample_format, "integer")
        raise NotWhole(
            f"holds {depth}-bit {kind} values, whose black and white are not known; save it with 8 or 16 bits"
        )
    # OpenCV: 16-bit planes come back scrambled, 16-bit white-is-zero not inverted, CMYK as if it were RGB and alpha.
    if one(262, 1) not in (0, 1, 2, 3, 6) or (depth > 8 and (planar or one(262, 1) == 0)):
        raise NotWhole("has a colour layout that is not read; save it as gray or RGB, black as 0, channels interleaved")
    if not 1 <= channels <= 4:
        raise NotWhole(f"has {channels} channels; save it as gray or RGB")
    _check_strips(pages, width, height, channels, depth, planar, max_pixels)
    # libtiff would turn the image by its orientation tag, and multiply 8-bit colours by an alpha marked unassociated.
    patches = tuple(
        (pages.tags[0][tag][2], struct.pack(pages.order + "H", 1))
        for tag, harmless in ((274, 1), (338, 0))
        if one(tag, harmless) != harmless and pages.tags[0][tag][:2] == (3, 1)
    )
    return Header(width, height, 16 if depth > 8 else 8, patches)


def _check_strips(
    pages: _Pages, width: int, height: int, channels: int, depth: int, planar: bool, max_pixels: int
) -> None:
    tiled = 324 in pages.tags[0]
    offsets, counts = (pages.values(tag) for tag in ((324, 325) if tiled else (273, 279)))
    columns = pages.values(322)[0] if tiled else width
    rows = pages.values(323)[0] if tiled else min(pages.values(278, (height,))[0], height)
    _check_size(columns, rows, max_pixels)
    number = -(-width // columns) * -(-height // rows) * (channels if planar else 1)
    _need(
        len(offsets) == len(counts) == number, f"it lists {len(offsets)} strips and {len(counts)} lengths of {number}"
    )
    ends = [offset + count for offset, count in zip(offsets, counts, strict=True)]
    _need(min(counts) > 0 and max(ends) <= len(pages.data), "a strip does not end inside the file")
    row_bytes = (columns * (1 if planar else channels) * depth + 7) // 8
    compression = pages.values(259, (1,))[0]
    if compression == 1:
        needed = row_bytes * (rows * number if tiled else height * (channels if planar else 1))
        _need(sum(counts) >= needed, "its strips are shorter than its rows")
    elif compression in (8, 32946):  # deflate ends in a checksum, at whose failure OpenCV goes on with what it has
        view = memoryview(pages.data)
        for offset, end in zip(offsets, ends, strict=True):
            strip = zlib.decompressobj()
            try:
                strip.decompress(view[offset:end], rows * row_bytes + 1)
            except zlib.error as error:
                raise NotWhole("is damaged: a strip's checksum does not match; copy it again") from error
            _need(strip.eof, "a strip's data does not end")


def _gif(data: bytes, max_pixels: int) -> Header:
    raise NotWhole("is a GIF, which may hold several frames and has 256 colours; save the frame as PNG")


_READERS = (
    (rb"\x89PNG\r\n\x1a\n", _png),
    (rb"\xff\xd8\xff", _jpeg),
    (rb"BM", _bmp),
    (rb"RIFF....WEBP", _webp),
    (rb"P[2356][\s#]", _pnm),
    (rb"II[*+]\0|MM\0[*+]", _tiff),
    (rb"GIF8", _gif),
)
