"""How many bytes a TIFF's strip holds, against decoders that take one code after another."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from adcli.formats import NotWhole
from adcli.formats.strips import inflated_bytes
from tests.encoded import GRAY, RGB

LZW, DEFLATE, PACKBITS = 5, 8, 32773
MUCH = 10**9
RNG = np.random.default_rng(5)
PICTURES = {
    "noise": RNG.integers(0, 256, (300, 200), dtype=np.uint8),  # many Clears
    "black": np.zeros((300, 200), np.uint8),  # each code is the entry that it adds
    "few values": RNG.integers(0, 3, (300, 200), dtype=np.uint8),
    "ramp": np.tile(np.arange(200, dtype=np.uint8), (300, 1)),
    "one pixel": np.array([[7]], np.uint8),
}


def strips(picture: np.ndarray, compression: str) -> list[tuple[bytes, int]]:
    """Each strip that libtiff writes, and how many bytes of pixels are in it."""
    stream = io.BytesIO()
    Pillow.fromarray(picture).save(stream, "TIFF", compression=compression)
    data = stream.getvalue()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        per_strip = page.rowsperstrip * picture[0].nbytes
        places = enumerate(zip(page.dataoffsets, page.databytecounts, strict=True))
        return [
            (data[at : at + size], min(per_strip, picture.nbytes - number * per_strip)) for number, (at, size) in places
        ]


def lzw(data: bytes) -> bytes:
    """TIFF 6.0 section 13, code by code."""
    bits = "".join(f"{byte:08b}" for byte in data)
    table, width, at, out, before = [], 9, 0, [], None
    while at + width <= len(bits):
        code = int(bits[at : at + width], 2)
        at += width
        if code == 257:
            break
        if code == 256:
            table, width, before = [bytes([value]) for value in range(256)] + [b"", b""], 9, None
            continue
        assert code < len(table) + (before is not None)
        entry = table[code] if code < len(table) else before + before[:1]
        if before is not None:
            table.append(before + entry[:1])
        out.append(entry)
        before = entry
        width = 9 + sum(len(table) >= full for full in (511, 1023, 2047))
    return b"".join(out)


@pytest.mark.parametrize("picture", [*PICTURES.values(), GRAY, RGB], ids=[*PICTURES, "gray", "rgb"])
@pytest.mark.parametrize(
    ("name", "number"), [("tiff_lzw", LZW), ("packbits", PACKBITS), ("tiff_adobe_deflate", DEFLATE)]
)
def test_a_whole_strip_holds_its_pixels_and_a_cut_one_fewer(picture: np.ndarray, name: str, number: int) -> None:
    for data, size in strips(picture, name):
        assert inflated_bytes(memoryview(data), number, size) == size
        assert inflated_bytes(memoryview(data), number, MUCH) == size
        for length in RNG.integers(0, len(data) - 2, 20) if len(data) > 9 else [0]:
            try:
                assert inflated_bytes(memoryview(data[:length]), number, size) < size
            except NotWhole:
                assert number != LZW


@pytest.mark.parametrize("kind", PICTURES)
def test_lzw_is_measured_as_a_plain_decoder_does(kind: str) -> None:
    for data, _ in strips(PICTURES[kind], "tiff_lzw"):
        for length in (len(data), len(data) // 2, len(data) // 3):
            assert inflated_bytes(memoryview(data[:length]), LZW, MUCH) == len(lzw(data[:length]))


def test_lzw_with_changed_bytes_is_measured_or_refused_as_a_plain_decoder_does() -> None:
    rng = np.random.default_rng(1)
    (data, _), *_ = strips(PICTURES["few values"], "tiff_lzw")
    refused = 0
    for _ in range(200):
        changed = bytearray(data)
        changed[rng.integers(2, len(data))] ^= 1 << rng.integers(8)
        try:
            expected = len(lzw(bytes(changed)))
        except AssertionError:
            refused += 1
            with pytest.raises(NotWhole, match="impossible code"):
                inflated_bytes(memoryview(changed), LZW, MUCH)
        else:
            assert inflated_bytes(memoryview(changed), LZW, MUCH) == expected
    assert 5 < refused < 200


def test_packbits_is_measured_by_its_counts() -> None:
    for data, size in [
        (b"\x02abc", 3),
        (b"\xfeq", 3),
        (b"\x80\x80\x00a", 1),
        (b"", 0),
        (b"\x81a\x7f" + bytes(128), 256),
    ]:
        assert inflated_bytes(memoryview(data), PACKBITS, MUCH) == size
    for data in (b"\x02ab", b"\xfe"):
        with pytest.raises(NotWhole, match="ends inside a run"):
            inflated_bytes(memoryview(data), PACKBITS, MUCH)
