"""JPEG (ITU-T T.81) annex B: segments, and scans without a length, up to the end-of-image marker."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from adcli.formats.whole import Header, NotWhole, check_size, need

_MOST_SCANS = 200  # encoders write ten; each costs a pass over the whole image, however few its bytes
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive

# Inside a scan, 0xFF is followed by 0 (a data byte), by D0..D7 (a restart), or it begins the next marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True)
class _Frame:
    width: int
    height: int
    progressive: bool
    sampling: dict[int, tuple[int, int]]  # of each component: horizontal and vertical, relative to the largest

    def units(self, components: list[int]) -> tuple[int, int]:
        """How many units, and how many 8 x 8 blocks, a scan of these components codes (A.2)."""
        widest, tallest = (max(factors) for factors in zip(*self.sampling.values(), strict=True))
        if len(components) == 1:  # not interleaved: the blocks that hold pixels
            across, down = self.sampling[components[0]]
            columns, rows = -(-self.width * across // widest), -(-self.height * down // tallest)
            blocks = -(-columns // 8) * -(-rows // 8)
            return blocks, blocks
        units = -(-self.width // (8 * widest)) * -(-self.height // (8 * tallest))
        return units, units * sum(self.sampling[one][0] * self.sampling[one][1] for one in components)


def read_jpeg(data: bytes, max_pixels: int) -> Header:
    """Segments and scans up to the end, each scan long enough for its blocks and with all of its restarts."""
    at, scans, interval = 2, 0, 0
    frame: _Frame | None = None
    missing: dict[int, list[int]] = {}  # of each component and its 64 coefficients: how many low bits are still to come
    while True:
        need(data[at] == 0xFF, "a segment does not begin with a marker")
        while data[at] == 0xFF:  # any number of fill bytes may precede a marker
            at += 1
        marker = data[at]
        at += 1
        if marker == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _FRAMES:
            need(frame is None, "it has two frame headers")
            frame = _read_frame(data, at, marker, max_pixels)
            missing = {component: [16] * 64 for component in frame.sampling}
        elif marker == 0xDD:
            (interval,) = struct.unpack_from(">H", data, at + 2)
        elif marker == 0xDA:
            need(frame is not None, "a scan precedes the frame header")
            found = _MARKER.search(data, at + length)
            if found is None:
                raise NotWhole("is cut off: its last scan has no end marker; copy it again")
            _check_scan(data, at, at + length, found.start(), frame, interval, missing)
            scans += 1
            if scans > _MOST_SCANS:
                raise NotWhole(f"has more than {_MOST_SCANS} scans, which no camera writes; save it as PNG")
            at = found.start()
            continue
        at += length
    if frame is None or scans == 0:
        raise NotWhole("is damaged: there is no image in it")
    need(not any(map(any, missing.values())), "its scans leave colours or details out")
    return Header(frame.width, frame.height)


def _read_frame(data: bytes, at: int, marker: int, max_pixels: int) -> _Frame:
    bits, height, width, number = struct.unpack_from(">BHHB", data, at + 2)
    check_size(width, height, max_pixels)
    if marker not in _HUFFMAN_FRAMES or bits != 8:
        raise NotWhole("is a JPEG of a kind that is not read (lossless, arithmetic or 12-bit); save it as PNG")
    sampling = {}
    for place in range(at + 8, at + 8 + 3 * number, 3):
        factors = data[place + 1] >> 4, data[place + 1] & 15
        need(all(1 <= factor <= 4 for factor in factors), "its frame header makes no sense")
        sampling[data[place]] = factors
    need(1 <= len(sampling) == number, "its frame header makes no sense")
    return _Frame(width, height, marker == 0xC2, sampling)


def _check_scan(
    data: bytes, at: int, start: int, end: int, frame: _Frame, interval: int, missing: dict[int, list[int]]
) -> None:
    """Notes in `missing` what a scan brings; its entropy-coded bytes go from `start` to `end`."""
    number = data[at + 2]
    components = [data[at + 3 + 2 * place] for place in range(number)]
    need(bool(components) and set(components) <= set(frame.sampling), "a scan is of no colour of the frame")
    units, blocks = frame.units(components)
    first, last, low = data[at + 3 + 2 * number], data[at + 4 + 2 * number], data[at + 5 + 2 * number] & 15
    if not frame.progressive:
        first, last, low = 0, 63, 0
    need(first <= last <= 63, "a scan's header makes no sense")
    for component in components:
        missing[component][first : last + 1] = [low] * (last + 1 - first)
    # Each block has a code for its mean and one for its end. A progressive scan of means has the former; of the rest
    # one code may stand for 32767 blocks.
    bits = 2 * blocks if not frame.progressive else blocks if first == 0 else 0
    need(8 * (end - start) >= bits, f"{end - start} bytes cannot hold its {frame.width} x {frame.height} pixels")
    if interval:
        restarts = sum(data.count(bytes((0xFF, marker)), start, end) for marker in range(0xD0, 0xD8))
        needed = -(-units // interval) - 1
        need(needed <= restarts <= needed + 1, f"a scan has {restarts} restarts of {needed}")
