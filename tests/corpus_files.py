"""What an inspection line may hand over as an image file: whole, odd, damaged, foreign and hostile."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from tests.encoded import (
    ALPHA,
    EXACT,
    GRAY,
    GRAY16,
    PNG_SIGNATURE,
    RGB,
    RGB16,
    SMOOTH,
    WHOLE,
    animated,
    bmp_header,
    few_bits,
    jpeg_sized,
    lzw_with_a_hole,
    packed_tiff,
    pil,
    png,
    png_gray,
    png_header,
    png_interlaced,
    png_of,
    png_palette,
    png_rows,
    pnm,
    quantized,
    several_pages,
    tiff,
    tiff_of,
    turned,
    with_thumbnail_page,
)

JPEG, PROGRESSIVE = WHOLE["jpeg"], WHOLE["jpeg progressive"]
SCAN = JPEG.rfind(b"\xff\xda") + 14  # where the entropy-coded bytes of its only scan begin
HEADER = png_header(65, 48)[1]
_deflater = zlib.compressobj(9)
ZEROS = b"".join(_deflater.compress(bytes(2**20)) for _ in range(256)) + _deflater.flush()
BLOWN_UP = "256 MiB of zeros in 256 KiB"

# name: what it is, bytes. Each is scored.
READ: dict[str, tuple[str, bytes]] = {
    "gray.png": ("8-bit gray", EXACT["png gray"][0]),
    "rgb.png": ("8-bit RGB", EXACT["png rgb"][0]),
    "gray16.png": ("16-bit gray", EXACT["png gray 16"][0]),
    "rgb16.png": ("16-bit RGB", EXACT["png rgb 16"][0]),
    "rgba.png": ("8-bit RGB with alpha: alpha is dropped", pil(ALPHA, "PNG")),
    "rgba16.png": ("16-bit RGB with alpha", png(np.dstack([RGB16, GRAY16]), 16, 6)),
    "gray-alpha.png": ("gray with alpha", pil(np.dstack([GRAY, GRAY]), "PNG")),
    "1-bit.png": ("1 bit: 0 and 255", pil(GRAY, "PNG", "1")),
    "2-bit.png": ("2 bits: 0 to 255 in steps of 85", few_bits(2)),
    "4-bit.png": ("4 bits: 0 to 255 in steps of 17", few_bits(4)),
    "palette.png": ("palette: its colours", quantized("PNG")),
    "palette-alpha.png": (
        "palette with transparent entries: their colours",
        png_palette((b"PLTE", b"\1\2\3\4\5\6"), (b"tRNS", b"\0\x7f")),
    ),
    "interlaced.png": ("Adam7 interlacing", png_interlaced()),
    "profile.png": ("a colour profile that is junk: not looked at", png_gray((b"iCCP", b"a\0\0junk"))),
    "text-bomb.png": (f"{BLOWN_UP} beside the pixels: not inflated", png_gray((b"zTXt", b"a\0\0" + ZEROS))),
    "one-frame.png": ("an animation of one frame", png_gray((b"acTL", struct.pack(">II", 1, 0)))),
    "trailing.png": ("bytes behind the end", EXACT["png gray"][0] + b"and more"),
    "1x1.png": ("one pixel", png(GRAY[:1, :1], 8, 0)),
    "wide.png": ("a web of 200000 x 1", png(np.zeros((1, 200000), np.uint8), 8, 0)),
    "high.png": ("a web of 1 x 200000", png(np.zeros((200000, 1), np.uint8), 8, 0)),
    "rgb.jpg": ("baseline", JPEG),
    "progressive.jpg": ("progressive", PROGRESSIVE),
    "gray.jpeg": ("gray", WHOLE["jpeg gray"]),
    "restarts.jpg": ("with restart markers", WHOLE["jpeg with restarts"]),
    "thumbnail.jpg": ("a thumbnail inside", WHOLE["jpeg with a thumbnail"]),
    "cmyk.jpg": ("CMYK: as RGB, without its profile", pil(SMOOTH, "JPEG", "CMYK")),
    "turned.jpg": ("an EXIF orientation: ignored, the sensor's rows are scored", turned("JPEG")),
    "trailing.jpg": ("bytes behind the end", JPEG + bytes(100)),
    "a-jpeg.png": ("a JPEG: its bytes count, not its suffix", JPEG),
    "a-png.tif": ("a PNG: its bytes count, not its suffix", EXACT["png gray"][0]),
    "gray.bmp": ("8-bit gray", EXACT["bmp gray"][0]),
    "rgb.bmp": ("24 bits", EXACT["bmp rgb"][0]),
    "palette.bmp": ("palette: its colours", quantized("BMP")),
    "top-down.bmp": ("rows from the top", bmp_header(65, -48) + bytes(196 * 48)),
    "gray.tiff": ("8-bit gray", EXACT["tiff gray"][0]),
    "gray16.tif": ("16-bit gray", EXACT["tiff gray 16"][0]),
    "rgba16.tif": (
        "16-bit RGB with alpha",
        tiff(np.dstack([RGB16, GRAY16]), photometric="rgb", extrasamples=["unassalpha"]),
    ),
    "10-bit.tif": ("10 bits packed: scaled to 65535", packed_tiff(GRAY16 >> 6, 10)),
    "12-bit.tif": ("12 bits packed: scaled to 65535", EXACT["tiff packed 12"][0]),
    "14-bit.tif": ("14 bits packed: scaled to 65535", packed_tiff(GRAY16 >> 2, 14)),
    "1-bit.tif": ("1 bit: 0 and 255", pil(GRAY, "TIFF", "1")),
    "planes.tif": ("8-bit planes", EXACT["tiff planes"][0]),
    "tiles.tif": ("tiles", EXACT["tiff tiles"][0]),
    "lzw.tif": ("LZW", EXACT["tiff lzw"][0]),
    "deflate.tif": ("deflate with a predictor", EXACT["tiff deflate"][0]),
    "packbits.tif": ("PackBits", EXACT["tiff packbits"][0]),
    "palette.tif": ("palette: its colours", quantized("TIFF")),
    "white-is-zero.tif": ("8 bits, white as zero: inverted", EXACT["tiff white is zero"][0]),
    "big.tif": ("BigTIFF", EXACT["bigtiff"][0]),
    "big-endian.tif": ("big endian", EXACT["tiff gray 16 big endian"][0]),
    "thumbnail.tif": ("a second page marked as a smaller version", with_thumbnail_page()),
    "turned.tif": ("an orientation tag: ignored", turned("TIFF")),
    "gray.pgm": ("P5", EXACT["pgm"][0]),
    "digits.pgm": ("P2, digits", EXACT["pgm ascii"][0]),
    "rgb16.ppm": ("P6, 16 bits", EXACT["ppm 16"][0]),
    "12-in-16.pgm": ("12 bits in 16, white 4095: as stored", EXACT["pgm 12 in 16"][0]),
    "lossy.webp": ("lossy", WHOLE["webp lossy"]),
    "lossless.webp": ("lossless", EXACT["webp lossless"][0]),
    "alpha.webp": ("with alpha", WHOLE["webp extended"]),
}  # fmt: skip

# name: what it is, bytes, what its reason says. Each is an ERROR.
DAMAGED: dict[str, tuple[str, bytes, str]] = {
    "empty.png": ("no byte", b"", "is empty (0 bytes)"),
    "one-byte.png": ("one byte", b"\x89", "is not a PNG"),
    "signature.png": ("a signature and nothing more", PNG_SIGNATURE, "cut off"),
    "text.png": ("a text", b"not an image\n" * 100, "is not a PNG"),
    "zeros.png": ("zeros, as an interrupted copy leaves", bytes(4096), "is not a PNG"),
    **{
        f"half.{suffix}": ("its first half", data[: len(data) // 2], "cut off")
        for suffix, data in {
            "png": EXACT["png gray"][0],
            "jpg": JPEG,
            "bmp": EXACT["bmp rgb"][0],
            "tif": EXACT["tiff gray"][0],
            "pgm": EXACT["pgm"][0],
            "webp": WHOLE["webp lossy"],
        }.items()
    },
    "no-end.png": ("all but its last chunk", EXACT["png gray"][0][:-12], "ends before its image data does"),
    "no-end.jpg": ("all but its end marker", JPEG[:-2], "no end marker"),
    "flipped.png": (
        "one bit changed",
        EXACT["png gray"][0][:500] + bytes([EXACT["png gray"][0][500] ^ 4]) + EXACT["png gray"][0][501:],
        "a checksum does not match",
    ),
    "few-rows.png": ("20 of 48 rows, checksums right", png(GRAY[:20], 8, 0, size=(65, 48)), "could not be decoded"),
    "many-rows.png": ("twice its rows", png_gray(rows=zlib.compress(2 * png_rows(GRAY))), "Too much image data"),
    "no-pixels.png": ("no pixels", png_of(png_header(65, 48)), "0 bytes cannot hold its 65 x 48 pixels"),
    "no-palette.png": ("a palette's indices without a palette", png_palette(), "could not be decoded"),
    "odd-depth.png": ("3 bits", png_of(png_header(65, 48, 3), (b"IDAT", b"")), "its header makes no sense"),
    **{
        f"{name}.png": (what, png_of((b"IHDR", header), (b"IDAT", zlib.compress(png_rows(GRAY)))), told)
        for name, what, header, told in (
            ("compressed-otherwise", "a compression of its own", HEADER[:10] + b"\7" + HEADER[11:], "makes no sense"),
            ("filtered-otherwise", "filters of its own", HEADER[:11] + b"\x40" + HEADER[12:], "makes no sense"),
            ("laced-otherwise", "an interlace of its own", HEADER[:12] + b"\2", "makes no sense"),
            ("long-header", "a header of 14 bytes", HEADER + b"\0", "does not begin with its header"),
        )
    },
    "two-headers.png": ("its header twice", png_gray(png_header(65, 48)), "is not one that it may have there"),
    "for-others.png": ("a chunk that must be known", png_gray((b"MUST", b"")), "is not one that it may have there"),
    "no-width.png": ("0 x 48", png(GRAY, 8, 0, size=(0, 48)), "its header says 0 x 48"),
    "closed.jpg": ("half a scan, closed with an end marker", JPEG[: SCAN + 100] + b"\xff\xd9", "premature end"),
    "hole.jpg": ("zeros inside its scan", JPEG[: SCAN + 40] + bytes(80) + JPEG[SCAN + 120 :], "Corrupt JPEG data"),
    "few-scans.jpg": (
        "progressive, closed before its last scan",
        PROGRESSIVE[: PROGRESSIVE.rfind(b"\xff\xda")] + b"\xff\xd9",
        "leave colours or details out",
    ),
    "restart-lost.jpg": (
        "a restart marker lost",
        WHOLE["jpeg with restarts"].replace(b"\xff\xd1", b"\0\0", 1),
        "restarts of",
    ),
    "no-scan.jpg": ("a header and no scan", JPEG[: SCAN - 14] + b"\xff\xd9", "no image in it"),
    "hole.tif": ("LZW with zeros inside", lzw_with_a_hole(), "a strip"),
    "damaged.tif": (
        "deflate with a byte changed",
        EXACT["tiff deflate"][0][:-40] + b"\x55" + EXACT["tiff deflate"][0][-39:],
        "checksum does not match",
    ),
    "short-runs.tif": ("PackBits that end early", tiff_of(b"\x81\0" * 10, 32773), "shorter than its rows"),
    "no-palette.tif": (
        "palette indices without a palette",
        tiff_of(GRAY.tobytes(), 1, colours=3),
        "palette is not whole",
    ),
    "two.webp": (
        "two images in one file",
        b"RIFF" + struct.pack("<I", 4 + 2 * len(WHOLE["webp lossy"][12:])) + b"WEBP" + 2 * WHOLE["webp lossy"][12:],
        "it holds 2 images",
    ),
    "header-rows.bmp": ("rows that begin in its header", bmp_header(4, 4, offset=0) + bytes(100), "inside its header"),
    "short.pgm": ("P2 with two numbers missing", b"P2\n3 2\n255\n100 200 100 200", "does not hold 6 numbers"),
    "no-numbers.pgm": ("words where its size should be", b"P5\nwide high\n255\n", "makes no sense"),
}  # fmt: skip

REFUSED: dict[str, tuple[str, bytes, str]] = {
    "animated.png": ("several frames", animated("PNG"), "is an animation"),
    "animated.webp": ("several frames", animated("WEBP"), "is an animation"),
    "gif.png": ("a GIF", pil(GRAY, "GIF"), "is a GIF"),
    "pages.tif": ("two pages", several_pages(), "2 pages"),
    "two.pgm": ("two images", EXACT["pgm"][0] * 2, "several images"),
    "float32.tif": ("32-bit float", tiff(GRAY.astype(np.float32)), "32-bit float"),
    "float64.tif": ("64-bit float", tiff(GRAY.astype(np.float64)), "64-bit float"),
    "float16.tif": ("16-bit float", tiff(GRAY.astype(np.float16)), "16-bit float"),
    "uint32.tif": ("32-bit integers", tiff(GRAY.astype(np.uint32)), "32-bit integer"),
    "int16.tif": ("signed", tiff(GRAY16.astype(np.int16)), "16-bit signed"),
    "4-bit.tif": ("4 bits", packed_tiff(GRAY.astype(np.uint16) >> 4, 4), "4-bit values"),
    "cmyk.tif": ("CMYK", pil(RGB, "TIFF", "CMYK"), "colour layout"),
    "planes16.tif": (
        "16-bit planes",
        tiff(np.moveaxis(RGB16, 2, 0).copy(), photometric="rgb", planarconfig="separate"),
        "colour layout",
    ),
    "white-is-zero16.tif": ("16 bits, white as zero", tiff(GRAY16, photometric="miniswhite"), "colour layout"),
    "gray-alpha16.tif": (
        "16-bit gray with alpha",
        tiff(np.dstack([GRAY16, GRAY16]), photometric="minisblack", extrasamples=["unspecified"]),
        "decoded as",
    ),
    "fax.tif": ("fax compression", pil(GRAY, "TIFF", "1", compression="group4"), "damage would go unseen"),
    "jpeg.tif": ("JPEG inside TIFF", tiff_of(WHOLE["jpeg gray"], 7), "damage would go unseen"),
    "run-length.bmp": ("run-length compression", bmp_header(4, 2, 1) + bytes(100), "compressed bitmap"),
    "arithmetic.jpg": ("arithmetic coding", JPEG.replace(b"\xff\xc0", b"\xff\xc9", 1), "of a kind that is not read"),
    "12-bit.jpg": ("12 bits", JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "of a kind that is not read"),
    "white-100.pgm": ("100 as its white", pnm(GRAY // 3, 100), "100 as its white"),
    "bits.pnm": ("P4, a bitmap", b"P4 8 1\n\xaa", "is not a PNG"),
    "jpeg2000.jpg": ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "is not a PNG"),
    "heic.jpg": ("HEIC, as telephones write", b"\0\0\0\x1cftypheic" + bytes(100), "is not a PNG"),
}  # fmt: skip

HUGE = {
    "png": png(GRAY, 8, 0, size=(60000, 50000)),
    "jpg": jpeg_sized(JPEG, 60000, 50000),
    "bmp": bmp_header(60000, -50000),
    "pgm": b"P5 60000 50000 255\n",
    "tif": tiff_of(zlib.compress(bytes(3000)), 8, (60000, 50000)),
}
BELOW_THE_LIMIT = 16384, 16383  # pixels of what may be read, 0.8 GB as RGB

BOMBS: dict[str, tuple[str, bytes, str]] = {
    **{
        f"huge.{suffix}": ("60000 x 50000 in its header", data, "is 60000 x 50000 pixels")
        for suffix, data in HUGE.items()
    },
    "bomb.png": ("16384 x 16383 in its header, 3 kB of data", png_gray(size=BELOW_THE_LIMIT), "bytes cannot hold"),
    "bomb.jpg": ("the same", jpeg_sized(JPEG, *BELOW_THE_LIMIT), "bytes cannot hold"),
    "bomb-progressive.jpg": ("the same", jpeg_sized(PROGRESSIVE, *BELOW_THE_LIMIT), "bytes cannot hold"),
    "bomb.tif": ("the same, LZW", tiff_of(bytes(3000), 5, BELOW_THE_LIMIT), "strip"),
    "bomb-deflate.tif": ("the same, deflate", tiff_of(zlib.compress(bytes(3000)), 8, BELOW_THE_LIMIT), "strip"),
    "bomb.webp": (
        "16383 x 16383 in its header",
        WHOLE["webp lossy"][:26] + struct.pack("<HH", 16383, 16383) + WHOLE["webp lossy"][30:],
        "could not be decoded",
    ),
    "bomb.pgm": ("16384 x 16383 in its header", b"P5 16384 16383 255\n" + bytes(100), "rows do not end inside"),
    "bomb.bmp": ("16384 x 16383 in its header", bmp_header(*BELOW_THE_LIMIT), "rows do not end inside"),
    "data-bomb.png": (
        f"{BLOWN_UP}, for an image of 65 x 48",
        png_gray(rows=ZEROS),
        "Too much image data",
    ),
    "scans.jpg": (
        "thousands of scans, each a pass over the image",
        PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.rfind(b"\xff\xda") : -2] * 2000,
        "more than 200 scans",
    ),
    "long.png": ("2000000 x 1", png_gray(size=(2000000, 1)), "longer than the 1000000"),
    "blanks.pgm": ("a header of blanks", b"P5" + b" " * 10**6, "makes no sense"),
    "tile.tif": (
        "65 x 48 pixels in one tile of 16384 x 16368",
        struct.pack("<2sHIH", b"II", 42, 8, 10)
        + b"".join(
            struct.pack("<HHII", tag, 4, 1, value)
            for tag, value in (
                (256, 65), (257, 48), (258, 8), (259, 5), (262, 1),
                (277, 1), (322, 16384), (323, 16368), (324, 134), (325, 100),
            )
        )
        + bytes(104),
        "shorter than its rows",
    ),
}  # fmt: skip
