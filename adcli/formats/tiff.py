"""TIFF 6.0 and BigTIFF: tag directories, and the strips or tiles of one page."""

from __future__ import annotations

import struct

from adcli.formats.strips import COMPRESSIONS, inflated_bytes
from adcli.formats.whole import Header, NotWhole, check_size, need

_PALETTE = 3
_DEPTHS = (1, 8, 10, 12, 14, 16)  # bits that OpenCV unpacks; others come back as None or scrambled
_UNSIGNED, _UNSTATED = 1, 4
_RGB, _YCBCR = 2, 6
_MOST_ENTRIES = 2**16  # of all tag directories: they may overlap, so the file's size is no bound
_MOST_PADDING = 4  # times the image's own pixels, or so many of 4 megapixels: tiles may share their data


_LETTERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of struct, by TIFF's number of a type


class _Pages:
    """The tag directories of a TIFF 6.0 or BigTIFF file."""

    def __init__(self, data: bytes):
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = 43 in data[2:4]
        entries, self.word, self.inline = ("Q", "Q", 8) if self.big else ("H", "I", 4)
        (at,) = self.unpack(self.word, 8 if self.big else 4)
        seen: set[int] = set()
        left = _MOST_ENTRIES
        self.tags: list[dict[int, tuple[int, int, int]]] = []  # of each page, tag -> type, count, where its values are
        while at and at not in seen:
            seen.add(at)
            (count,) = self.unpack(entries, at)
            at += struct.calcsize(entries)
            left -= count + 1
            need(count <= 4096 and left >= 0, "its tag directory makes no sense")
            page = {}
            for _ in range(count):
                tag, kind, number = self.unpack("HH" + self.word, at)
                at += 4 + self.inline
                page.setdefault(tag, (kind, number, at))  # of a tag given twice libtiff takes the first
                at += self.inline
            self.tags.append(page)
            (at,) = self.unpack(self.word, at)

    def unpack(self, layout: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + layout, self.data, at)

    def one(self, tag: int, default: int) -> int:
        """The first value of the first page's tag."""
        return self.values(tag, (default,))[0]

    def values(self, tag: int, default: tuple[int, ...] = (), page: int = 0) -> tuple[int, ...]:
        if tag not in self.tags[page]:
            return default
        kind, number, at = self.tags[page][tag]
        letter = _LETTERS.get(kind)
        need(letter is not None and number > 0, f"its tag {tag} has {number} values of the type {kind}")
        size = number * struct.calcsize(letter)
        if size > self.inline:
            (at,) = self.unpack(self.word, at)
        need(at + size <= len(self.data), "a tag's values do not end inside the file")
        return self.unpack(f"{number}{letter}", at)


def read_tiff(data: bytes, max_pixels: int) -> Header:
    """One page of 8 or 16 bits whose strips or tiles lie inside the file and hold what they should."""
    pages = _Pages(data)
    subfiles = [pages.values(254, (0,), page)[0] for page in range(len(pages.tags))]
    if sum(not subfile & 5 for subfile in subfiles) > 1:  # bit 0: a smaller version, bit 2: a transparency mask
        raise NotWhole(f"holds {len(subfiles)} pages, and which one shows the part is not known; save one of them")
    need(bool(subfiles) and not subfiles[0] & 5, "its first page is not its image")
    width, height, channels = pages.one(256, 0), pages.one(257, 0), pages.one(277, 1)
    check_size(width, height, max_pixels)
    bits = pages.values(258, (1,))
    need(len(set(bits)) == 1 and len(bits) in (1, channels), f"it has {channels} channels of {bits[:8]} bits")
    depth, planar = bits[0], pages.one(284, 1) == 2 and channels > 1
    _check_layout(pages, depth, channels, planar)
    _check_strips(pages, width, height, channels, depth, planar, max_pixels)
    # libtiff would turn the image by its orientation tag, and multiply 8-bit colours by an alpha marked unassociated.
    patches = [
        (pages.tags[0][tag][2], struct.pack(pages.order + "H", 1))
        for tag, harmless in ((274, 1), (338, 0))
        if pages.one(tag, harmless) != harmless and pages.tags[0][tag][:2] == (3, 1)
    ]
    if pages.one(278, height) > height:  # OpenCV takes memory for as many rows; 2^32 - 1 is TIFF's word for all
        kind, _, at = pages.tags[0][278]
        patches.append((at, struct.pack(pages.order + _LETTERS[kind], height)))
    return Header(width, height, 16 if depth > 8 else 8, tuple(patches))


def _check_layout(pages: _Pages, depth: int, channels: int, planar: bool) -> None:
    """Values and colours that OpenCV hands out as they are stored."""
    sample_format, colours = pages.one(339, _UNSIGNED), pages.one(262, 1)
    if sample_format not in (_UNSIGNED, _UNSTATED) or depth > 16:
        kind = {_UNSIGNED: "integer", 2: "signed", 3: "float"}.get(sample_format, "complex or undefined")
        raise NotWhole(
            f"holds {depth}-bit {kind} values, whose black and white are not known; save it with 8 or 16 bits"
        )
    # OpenCV: 16-bit planes come back scrambled, 16-bit white-is-zero not inverted, CMYK as if it were RGB and alpha.
    unread = colours not in (0, 1, _RGB, _PALETTE, _YCBCR) or (depth > 8 and (planar or colours in (0, _PALETTE)))
    if unread or (colours == _YCBCR and pages.values(530, (2, 2)) != (1, 1)):
        raise NotWhole("has a colour layout that is not read; save it as gray or RGB, black as 0, channels interleaved")
    if colours == _PALETTE:
        need(len(pages.values(320)) == 3 * 2**depth, "its palette is not whole")
    # OpenCV leaves unwritten what a file of three colours has no channel for.
    if not (3 if colours in (_RGB, _YCBCR) else 1) <= channels <= 4:
        raise NotWhole(f"has {channels} channels; save it as gray or RGB")
    if depth not in _DEPTHS:
        raise NotWhole(f"holds {depth}-bit values, which are not read; save it with 8 or 16 bits")
    if pages.one(259, 1) not in COMPRESSIONS:
        raise NotWhole(
            f"has a compression whose damage would go unseen (TIFF's number {pages.one(259, 1)}); save it as PNG"
        )


def _check_strips(
    pages: _Pages, width: int, height: int, channels: int, depth: int, planar: bool, max_pixels: int
) -> None:
    tiled = 324 in pages.tags[0]
    offsets, counts = (pages.values(tag) for tag in ((324, 325) if tiled else (273, 279)))
    columns = pages.values(322)[0] if tiled else width
    rows = pages.values(323)[0] if tiled else min(pages.values(278, (height,))[0], height)
    check_size(columns, rows, max_pixels)
    down = -(-height // rows)
    number = -(-width // columns) * down * (channels if planar else 1)
    need(len(offsets) == len(counts) == number, f"it lists {len(offsets)} strips and {len(counts)} lengths of {number}")
    padded = number * columns * rows
    need(
        number == 1 or padded <= _MOST_PADDING * channels * max(width * height, 2**22),
        "its tiles are far larger than it is",
    )
    view, compression = memoryview(pages.data), pages.one(259, 1)
    row_bytes = (columns * (1 if planar else channels) * depth + 7) // 8
    for place, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        need(count > 0 and offset + count <= len(view), "a strip does not end inside the file")
        left = rows if tiled else min(rows, height - place % down * rows)  # the last strip may be shorter
        held = inflated_bytes(view[offset : offset + count], compression, rows * row_bytes)
        need(held >= left * row_bytes, "a strip is shorter than its rows")
        need(held <= rows * row_bytes or compression == 1, "a strip is longer than its rows")
