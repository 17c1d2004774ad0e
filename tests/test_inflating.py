"""PNGs inflated beforehand: the pixels, and the refusals, are those of the decoder alone."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from adcli import images
from adcli.decoding import decode
from adcli.errors import UnreadableImage
from adcli.formats import inflated as inflate
from adcli.formats import read_header
from adcli.images import read_image
from tests.encoded import (
    GRAY,
    RGB,
    WHOLE,
    pil,
    png,
    png_chunk,
    png_gray,
    png_header,
    png_interlaced,
    png_of,
    png_palette,
    png_rows,
)

RNG = np.random.default_rng(5)
LARGE = RNG.integers(0, 9, (300, 431, 3), dtype=np.uint8)


def of_opencv(pixels: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".png", pixels, options)[1].tobytes()


def filtered(pixels: np.ndarray, filters: list[int]) -> bytes:
    """A PNG whose rows have these filters, by the formulas of its specification, byte by byte."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else 3
    lines = pixels.reshape(height, -1).astype(int).tolist()
    rows = bytearray()
    for y, kind in enumerate(filters):
        rows.append(kind)
        for x, value in enumerate(lines[y]):
            left = lines[y][x - channels] if x >= channels else 0
            rows.append((value - (0, left, lines[y - 1][x] if y else 0)[kind]) % 256)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    return png_of((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows))))


SUMS = {
    "left": filtered(RGB, [1] * len(RGB)),
    "up": filtered(RGB, [2] * len(RGB)),
    "plain": filtered(RGB, [0] * len(RGB)),
    "left in gray": filtered(GRAY, [1] * len(GRAY)),
    "several": filtered(RGB, RNG.integers(0, 3, len(RGB)).tolist()),
    "several in gray": filtered(GRAY, RNG.integers(0, 3, len(GRAY)).tolist()),
    "as opencv writes": of_opencv(LARGE),
}
FILES = {
    **SUMS,
    **{kind: data for kind, data in WHOLE.items() if kind.startswith("png")},
    "palette": pil(GRAY, "PNG", mode="P"),
    "two colours": pil(GRAY > 99, "PNG", mode="1"),
    "alpha": pil(np.dstack([RGB, GRAY]), "PNG"),
    "gray and alpha": pil(np.dstack([GRAY, GRAY]), "PNG", mode="LA"),
    "one pixel": pil(GRAY[:1, :1], "PNG"),
    "many blocks": of_opencv(LARGE),
    "many chunks and filters": pil(LARGE, "PNG"),
    "sixteen bits": of_opencv(LARGE.astype(np.uint16) * 777),
    "a block exactly": png(np.zeros((255, 256), np.uint8), 8, 0),  # 65535 bytes
    "two blocks exactly": png(np.ones((510, 256), np.uint8), 8, 0),
    "a byte more": png(np.ones((1, 65535), np.uint8), 8, 0),
    "a text beside the pixels": png_gray((b"tEXt", b"Comment\0by hand")),
}


def fast_module() -> ModuleType:
    return pytest.importorskip("isal.isal_zlib", reason="needs the package isal")


@pytest.fixture(params=["zlib", "isal"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """zlib in place of ISA-L says the same of every file; where isal is installed, it has to as well."""
    module = zlib if request.param == "zlib" else fast_module()
    for room in ("isal", "inflating"):
        monkeypatch.setattr(f"adcli.formats.{room}.find_isal", lambda: module)


def alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray | str:
    """Pixels, or the refusal, without anything inflated beforehand."""
    with monkeypatch.context() as patch:
        patch.setattr(images, "inflated", lambda data: None)
        return outcome(path)


def outcome(path: Path) -> np.ndarray | str:
    try:
        return read_image(path).pixels
    except UnreadableImage as error:
        return str(error)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("kind", FILES)
def test_a_png_inflated_beforehand_has_the_pixels_of_the_file(kind: str) -> None:
    made = inflate(FILES[kind])
    assert made is not None
    assert isinstance(made, np.ndarray) or kind not in SUMS
    if isinstance(made, np.ndarray):
        expected, said = decode(FILES[kind])
        assert said == ""
        assert (made.dtype, made.flags.c_contiguous) == (np.uint8, True)
        np.testing.assert_array_equal(made, expected if made.ndim == 2 else expected[..., ::-1])
        return
    read_header(bytes(made), 1 << 24)  # whole, with right checksums
    expected, nothing = decode(FILES[kind])
    pixels, said = decode(made)
    assert nothing == said == ""
    assert pixels.dtype == expected.dtype
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.usefixtures("library")
def test_what_is_inflated_is_what_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part.png"
    path.write_bytes(FILES["many chunks and filters"])
    decoded = []
    monkeypatch.setattr(images, "decode", lambda data: decoded.append(bytes(data)) or decode(data))
    np.testing.assert_array_equal(read_image(path).pixels, LARGE)
    assert decoded == [bytes(inflate(FILES["many chunks and filters"]))]


_packed = zlib.compress(png_rows(GRAY))
DAMAGED = {
    "a wrong checksum of the rows": png_gray(rows=_packed[:-1] + bytes([_packed[-1] ^ 1])),
    "rows that end early": png_gray(rows=zlib.compress(png_rows(GRAY[:-1]))),
    "rows too many": png_gray(rows=zlib.compress(png_rows(GRAY) + bytes(66))),
    "bytes after the rows": png_gray(rows=_packed + b"more"),
    "no checksum": png_gray(rows=_packed[:-4]),
    "no stream": png_gray(rows=b"\x78\x01" + bytes(200)),
    "a filter that is none": png_gray(rows=zlib.compress(b"\x07" + png_rows(GRAY)[1:])),
    "a chunk between the pixels": png_of(
        png_header(65, 48), (b"IDAT", _packed[:100]), (b"tIME", bytes(7)), (b"IDAT", _packed[100:])
    ),
    "a small window": png_gray(rows=b"\x18\x19" + _packed[2:]),
    "cut off": FILES["png gray"][:-40],
    "interlaced": png_interlaced(),
    "a palette that is missing": png_palette(),
    "no pixels": png_of(png_header(65, 48), (b"IDAT", b"")),
}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("kind", DAMAGED)
def test_of_a_damaged_or_unusual_png_the_same_is_said(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part.png"
    path.write_bytes(DAMAGED[kind])
    expected = alone(path, monkeypatch)
    np.testing.assert_array_equal(outcome(path), expected)


@pytest.mark.usefixtures("library")
def test_any_byte_of_the_stream_may_be_damaged_and_the_same_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part.png"
    stream = zlib.compress(png_rows(GRAY[:6, :9]))
    for place in range(len(stream)):
        damaged = bytearray(stream)
        damaged[place] ^= 1 << int(RNG.integers(8))
        path.write_bytes(png_gray(rows=bytes(damaged), size=(9, 6)))
        np.testing.assert_array_equal(outcome(path), alone(path, monkeypatch))


@pytest.mark.usefixtures("library")
def test_what_is_no_png_or_too_large_is_left_to_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inflate(WHOLE["jpeg"]) is None
    assert inflate(png_interlaced()) is None
    monkeypatch.setattr("adcli.formats.inflating._MOST", 48 * 66 - 1)
    assert inflate(FILES["png gray"]) is None


def test_without_the_package_nothing_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adcli.formats.inflating.find_isal", lambda: None)
    assert inflate(FILES["png gray"]) is None


@pytest.mark.usefixtures("library")
def test_rows_that_inflate_to_far_more_than_the_picture_are_not_made() -> None:
    bomb = png_of(png_header(9, 6), (b"IDAT", zlib.compress(bytes(50_000_000), 9)))
    assert inflate(bomb) is None


@pytest.mark.usefixtures("library")
def test_the_chunks_beside_the_pixels_stay() -> None:
    data = FILES["palette"]
    made = bytes(inflate(data))
    begin = data.index(b"IDAT") - 4
    assert made[:begin] == data[:begin]
    length = 2 + 5 + 48 * 66 + 4
    assert struct.unpack_from(">I", made, begin) == (length,)
    assert made[begin + 12 + length :] == png_chunk(b"IEND", b"")
