"""Image files of every kind, made by other libraries or by hand, to read and to damage."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from adcli import images
from adcli.errors import UnreadableImage
from adcli.images import read_image

RNG = np.random.default_rng(7)
GRAY = RNG.integers(0, 256, (48, 65), dtype=np.uint8)
RGB = RNG.integers(0, 256, (48, 65, 3), dtype=np.uint8)
SMOOTH = cv2.GaussianBlur(RGB, (0, 0), 3)
GRAY16 = RNG.integers(0, 65536, (48, 65), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (48, 65, 3), dtype=np.uint16)


def pil(pixels: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    picture = Pillow.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(stream, kind, **options)
    return stream.getvalue()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def pnm(pixels: np.ndarray, white: int) -> bytes:
    kind = 5 if pixels.ndim == 2 else 6
    return (
        b"P%d\n# a camera\n%d %d\n%d\n" % (kind, pixels.shape[1], pixels.shape[0], white)
        + pixels.astype(">u2" if white > 255 else "u1").tobytes()
    )


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels: np.ndarray, bits: int, colour: int, size: tuple[int, int] | None = None) -> bytes:
    """A PNG by hand, because Pillow writes no 16-bit RGB; `size` (width, height) lies in the header."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", *(size or (width, height)), bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def packed_tiff(values: np.ndarray, bits: int) -> bytes:
    """A gray TIFF of `bits` bits a pixel without padding between them, as 12-bit cameras write."""
    height, width = values.shape
    as_bits = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(as_bits.astype(np.uint8).reshape(height, -1), axis=1).tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 122), (277, 1), (278, height)]
    tags.append((279, len(rows)))
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8) + directory + bytes(122 - 8 - len(directory)) + rows


def read(folder: Path, data: bytes, name: str = "part.png", **options: int) -> images.Image:
    path = folder / name
    path.write_bytes(data)
    return read_image(path, **options)


def refusal(folder: Path, data: bytes, name: str = "part.png", **options: int) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read(folder, data, name, **options)
    sentence = str(caught.value)
    assert str(folder / name) in sentence, "the sentence names the file"
    assert sentence.endswith(".") and "\n" not in sentence, "it is one sentence"
    return sentence


EXACT = {
    "png gray": (pil(GRAY, "PNG"), GRAY),
    "png rgb": (pil(RGB, "PNG"), RGB),
    "png gray 16": (pil(GRAY16, "PNG"), GRAY16),
    "png rgb 16": (png(RGB16, 16, 2), RGB16),
    "tiff gray": (tiff(GRAY), GRAY),
    "tiff rgb": (tiff(RGB, photometric="rgb"), RGB),
    "tiff planes": (tiff(np.moveaxis(RGB, 2, 0).copy(), photometric="rgb", planarconfig="separate"), RGB),
    "tiff gray 16": (tiff(GRAY16), GRAY16),
    "tiff gray 16 big endian": (tiff(GRAY16, byteorder=">"), GRAY16),
    "tiff rgb 16": (tiff(RGB16, photometric="rgb"), RGB16),
    "tiff strips": (tiff(GRAY, rowsperstrip=7), GRAY),
    "tiff tiles": (tiff(GRAY16, tile=(16, 32)), GRAY16),
    "tiff deflate": (tiff(GRAY, compression="zlib", predictor=True, rowsperstrip=7), GRAY),
    "tiff deflate 16": (tiff(GRAY16, compression="zlib"), GRAY16),
    "tiff lzw": (pil(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "tiff packbits": (pil(GRAY, "TIFF", compression="packbits"), GRAY),
    "tiff white is zero": (tiff(255 - GRAY, photometric="miniswhite"), GRAY),
    "bigtiff": (tiff(GRAY16, bigtiff=True), GRAY16),
    "tiff packed 12": (packed_tiff(GRAY16 >> 4, 12), GRAY16 >> 4 << 4),
    "pgm": (pil(GRAY, "PPM"), GRAY),
    "ppm": (pil(RGB, "PPM"), RGB),
    "pgm 16": (pnm(GRAY16, 65535), GRAY16),
    "ppm 16": (pnm(RGB16, 65535), RGB16),
    "pgm 12 in 16": (pnm(GRAY16 >> 4, 4095), GRAY16 >> 4),
    "pgm ascii": (b"P2\n# by hand\n3 2\n255\n1 2 3\n4 5 255\n", np.array([[1, 2, 3], [4, 5, 255]], np.uint8)),
    "pgm ascii 16": (b"P2\n3 1\n65535\n1 2 65535\n", np.array([[1, 2, 65535]], np.uint16)),
    "ppm ascii": (b"P3\n1 2\n255\n1 2 3 4 5 255\n", np.array([[[1, 2, 3]], [[4, 5, 255]]], np.uint8)),
    "bmp gray": (pil(GRAY, "BMP"), GRAY),
    "bmp rgb": (pil(RGB, "BMP"), RGB),
    "webp lossless": (pil(RGB, "WEBP", lossless=True), RGB),
    "webp lossless gray": (pil(GRAY, "WEBP", lossless=True), np.dstack([GRAY] * 3)),
}


ALPHA = np.dstack([RGB, GRAY])

WHOLE = {
    **{kind: data for kind, (data, _) in EXACT.items() if "ascii" not in kind},
    "jpeg": pil(SMOOTH, "JPEG"),
    "jpeg progressive": pil(SMOOTH, "JPEG", progressive=True),
    "jpeg gray": pil(SMOOTH[..., 0], "JPEG"),
    "jpeg with restarts": pil(SMOOTH, "JPEG", restart_marker_blocks=2),
    "jpeg with a thumbnail": pil(SMOOTH, "JPEG", exif=b"Exif\0\0" + pil(SMOOTH[:8, :8], "JPEG")),
    "webp lossy": pil(SMOOTH, "WEBP"),
    "webp extended": pil(ALPHA, "WEBP"),
}


# Parts of files, to be put together wrongly.

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = png_chunk(b"IEND", b"")


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    return PNG_SIGNATURE + b"".join(png_chunk(kind, body) for kind, body in chunks) + PNG_END


def png_header(width: int, height: int, bits: int = 8, colour: int = 0, interlaced: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)


def png_rows(pixels: np.ndarray) -> bytes:
    """Rows as PNG compresses them: a filter byte, then the row's bytes."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def png_gray(*before: tuple[bytes, bytes], rows: bytes | None = None, size: Sequence[int] = (65, 48)) -> bytes:
    """GRAY with chunks before its pixels, or with other compressed rows in place of its own."""
    body = zlib.compress(png_rows(GRAY)) if rows is None else rows
    return png_of(png_header(*size), *before, (b"IDAT", body))


def png_interlaced() -> bytes:
    """GRAY in the seven passes of Adam7 (PNG section 8.2): first column, first row, steps."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(png_rows(GRAY[y::down, x::across]) for x, y, across, down in passes)
    return png_of(png_header(65, 48, interlaced=1), (b"IDAT", zlib.compress(rows)))


def png_palette(*before: tuple[bytes, bytes]) -> bytes:
    rows = zlib.compress(png_rows(GRAY // 128))
    return png_of(png_header(65, 48, colour=3), *before, (b"IDAT", rows))


def jpeg_sized(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header states another size."""
    return re.sub(
        rb"(\xff[\xc0\xc2]\0.\x08)....",
        lambda f: f[1] + struct.pack(">HH", height, width),
        data,
        count=1,
        flags=re.DOTALL,
    )


def tiff_of(data: bytes, compression: int, size: Sequence[int] = (65, 48), bits: int = 8, colours: int = 1) -> bytes:
    """A gray TIFF of one strip."""
    tags = [(256, size[0]), (257, size[1]), (258, bits), (259, compression), (262, colours), (273, 122), (277, 1)]
    tags += [(278, size[1]), (279, len(data))]
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4) + data


def bmp_header(width: int, height: int, compression: int = 0, offset: int = 54) -> bytes:
    return b"BM" + struct.pack(
        "<IHHIIiiHHIIiiII", 0, 0, 0, offset, 40, width, height, 1, 24, compression, 0, 0, 0, 0, 0
    )


def animated(kind: str) -> bytes:
    frames = [Pillow.fromarray(255 - RGB), Pillow.fromarray(RGB // 2)]
    return pil(RGB, kind, save_all=True, append_images=frames)


def several_pages() -> bytes:
    return tiff(np.stack([GRAY, GRAY]))


def with_thumbnail_page() -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(GRAY)
        writer.write(GRAY[::2, ::2], subfiletype=1)
    return stream.getvalue()


def quantized(kind: str) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(RGB).quantize(16).save(stream, kind)
    return stream.getvalue()


def turned(kind: str) -> bytes:
    exif = Pillow.Exif()
    exif[0x112] = 6
    return pil(SMOOTH, kind, exif=exif)


def few_bits(bits: int) -> bytes:
    """A PNG of 2 or 4 bits a pixel."""
    width = -(-65 * bits // 8)
    return png_of(png_header(65, 48, bits), (b"IDAT", zlib.compress(png_rows(GRAY[:, :width]))))


def lzw_with_a_hole() -> bytes:
    data = bytearray(EXACT["tiff lzw"][0])
    data[1000:1200] = bytes(200)
    return bytes(data)
