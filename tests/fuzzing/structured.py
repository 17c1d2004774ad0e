"""Damage that knows an image format: lengths and checksums are right, so what lies behind them is reached."""

from __future__ import annotations

import re
import struct
import zlib

import numpy as np

from tests.fuzzing.mutations import MOST_BYTES, damaged

_Chunks = list[tuple[bytes, bytes]]  # kind, body
_PNG_KINDS = (
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"iCCP",
    b"zTXt",
    b"gAMA",
    b"sBIT",
)
_WEBP_KINDS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF")
_TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 347)
_TAG_VALUES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 16, 32, 64, 1000, 32773, 32946, 50000, 65535, 2**31, 2**32 - 1)


def structured(data: bytes, rng: np.random.Generator) -> bytes:
    """The file damaged by what is known of its format; as it is where nothing is."""
    for magic, way in _FORMATS:
        if re.match(magic, data, re.DOTALL):
            try:
                return way(data, rng)[:MOST_BYTES]
            except (struct.error, IndexError):  # damaged before: its parts are not found any more
                return data
    return data


def _shuffled(chunks: _Chunks, rng: np.random.Generator, kinds: tuple[bytes, ...]) -> _Chunks:
    """One to three chunks damaged, renamed, doubled, dropped or moved."""
    chunks = list(chunks)
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        if not chunks:
            break
        number = int(rng.integers(len(chunks)))
        kind, body = chunks.pop(number)
        what = rng.random()
        if what < 0.5:
            chunks.insert(number, (kind, _damaged_body(kind, body, rng)))
        elif what < 0.65:
            chunks.insert(number, (kinds[rng.integers(len(kinds))], body))
        elif what < 0.8:
            chunks[number:number] = [(kind, body)] * 2
        elif what < 0.9:
            chunks.insert(int(rng.integers(len(chunks) + 1)), (kind, body))
    return chunks


def _damaged_body(kind: bytes, body: bytes, rng: np.random.Generator) -> bytes:
    if kind == b"IDAT" and rng.random() < 0.6:
        return _repacked(body, rng)
    return damaged(body, rng)


def _repacked(body: bytes, rng: np.random.Generator) -> bytes:
    """Deflated data, damaged while it was unpacked."""
    try:
        return zlib.compress(damaged(zlib.decompressobj().decompress(body, MOST_BYTES), rng))
    except zlib.error:
        return body


def _png(data: bytes, rng: np.random.Generator) -> bytes:
    chunks: _Chunks = []
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in _shuffled(chunks, rng, _PNG_KINDS)
    ]
    return data[:8] + b"".join(parts)


def _webp(data: bytes, rng: np.random.Generator) -> bytes:
    chunks: _Chunks = []
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    shuffled = _shuffled(chunks, rng, _WEBP_KINDS)
    body = b"".join(kind + struct.pack("<I", len(one)) + one + bytes(len(one) % 2) for kind, one in shuffled)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _jpeg(data: bytes, rng: np.random.Generator) -> bytes:
    """Segments damaged, doubled, dropped or moved; an end marker after half of a scan."""
    segments: _Chunks = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if data[at + 1] == 0xDA:  # with the scan
            found = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(data, end)
            end = len(data) if found is None else found.start()
        segments.append((data[at : at + 2], data[at + 2 : end]))
        at = end
    if rng.random() < 0.2:
        kind, body = segments[-1]
        return data[:2] + b"".join(map(b"".join, segments[:-1])) + kind + body[: rng.integers(len(body))] + b"\xff\xd9"
    markers = tuple(bytes([0xFF, marker]) for marker in (0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xEE, 0xFE))
    parts = []
    for kind, body in _shuffled(segments, rng, markers):
        if rng.random() < 0.8 and len(body) < 65536 and kind != b"\xff\xda":
            body = struct.pack(">H", len(body)) + body[2:]
        parts.append(kind + body)
    return data[:2] + b"".join(parts) + b"\xff\xd9"


def _tiff(data: bytes, rng: np.random.Generator) -> bytes:
    """Tags with other values, types and counts; deflated strips packed anew."""
    order, big = ("<", ">")[data[:2] == b"MM"], 43 in data[2:4]
    word, inline, many = ("Q", 8, "Q") if big else ("I", 4, "H")
    changed = bytearray(data)
    (at,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + many, data, at)
    entries = [at + struct.calcsize(many) + number * (4 + 2 * inline) for number in range(min(count, 100))]
    values = {}
    for entry in entries:
        tag, kind, number = struct.unpack_from(order + "HH" + word, data, entry)
        size = {1: 1, 3: 2, 4: 4, 16: 8}.get(kind, 0)
        place = entry + 4 + inline
        if size * number > inline:
            (place,) = struct.unpack_from(order + word, data, place)
        values[tag] = entry, kind, number, place, size
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        tag = int(rng.choice(list(values)))
        entry, kind, number, place, size = values[tag]
        what = rng.random()
        if what < 0.15:
            struct.pack_into(order + "H", changed, entry, int(rng.choice(_TAGS)))
        elif what < 0.25:
            struct.pack_into(order + "H", changed, entry + 2, int(rng.integers(20)))
        elif what < 0.35:
            struct.pack_into(order + word, changed, entry + 4, int(rng.choice(_TAG_VALUES)))
        elif size and number:
            where = place + size * int(rng.integers(number))
            value = int.from_bytes(data[where : where + size], ("little", "big")[order == ">"])
            value = int(rng.choice(_TAG_VALUES)) if rng.random() < 0.6 else value + int(rng.integers(-3, 4))
            changed[where : where + size] = (value % 256**size).to_bytes(size, ("little", "big")[order == ">"])
    if rng.random() < 0.3 and values.get(259) and 273 in values and values[273][2] == 1 and values[273][4]:
        offset, length = (
            int.from_bytes(data[place : place + size], ("little", "big")[order == ">"])
            for _, _, _, place, size in (values[273], values[279])
        )
        strip = _repacked(data[offset : offset + length], rng)
        _, _, _, place, size = values[279]
        changed[offset : offset + length] = strip[:length] if offset + length < len(data) else strip
        changed[place : place + size] = len(strip).to_bytes(8, "little")[:size][:: -1 if order == ">" else 1]
    return bytes(changed)


def _bmp(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.choice([1, 2]))):
        at, size = ((10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4))[rng.integers(9)]
        value = int(rng.choice([0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 64, 108, 124, 1000, 2**31, 2**32 - 2]))
        changed[at : at + size] = (value % 256**size).to_bytes(size, "little")
    return bytes(changed)


def _pnm(data: bytes, rng: np.random.Generator) -> bytes:
    """Other words in the header, and in an ASCII body."""
    words = re.split(rb"(\s)", data, maxsplit=60)
    for _ in range(int(rng.choice([1, 1, 2]))):
        number = int(rng.integers(min(len(words), 16)))
        words[number] = (
            *(b"0", b"-1", b"1", b"3", b"64", b"65", b"255", b"256", b"4095", b"65535", b"65536", b"99999", b"1e3"),
            *(b"", b" ", b"#", b"# a comment\n", b"\n", b"P2", b"P5", b"P6", b"4294967297", b"\x00", b"10" * 40),
        )[rng.integers(24)]
    return b"".join(words)


_FORMATS = (
    (rb"\x89PNG", _png),
    (rb"\xff\xd8", _jpeg),
    (rb"RIFF....WEBP", _webp),
    (rb"II[*+]\0|MM\0[*+]", _tiff),
    (rb"BM", _bmp),
    (rb"P[2356]", _pnm),
)
