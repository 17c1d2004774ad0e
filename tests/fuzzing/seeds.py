"""Whole files to begin with."""

from __future__ import annotations

import numpy as np

from tests.encoded import ALPHA, EXACT, GRAY, GRAY16, RGB, SMOOTH, WHOLE, pil, tiff

SMALL = SMOOTH[:16, :16]
TWO = (GRAY > 127).astype(np.uint8) * 255


def images() -> dict[str, bytes]:
    """Every kind of image that is read, and some that are refused, by name."""
    return {
        **WHOLE,
        **{kind: data for kind, (data, _) in EXACT.items()},
        "png palette": pil(SMOOTH, "PNG", "P"),
        "png palette with alpha": pil(SMOOTH, "PNG", "P", transparency=3),
        "png of two colours": pil(TWO, "PNG", "1"),
        "png alpha": pil(ALPHA, "PNG"),
        "png gray and alpha": pil(ALPHA, "PNG", "LA"),
        "jpeg cmyk": pil(SMOOTH, "JPEG", "CMYK"),
        "jpeg unsampled": pil(SMOOTH, "JPEG", subsampling=0),
        "jpeg small": pil(SMALL, "JPEG"),
        "bmp palette": pil(SMOOTH, "BMP", "P"),
        "bmp of two colours": pil(TWO, "BMP", "1"),
        "bmp alpha": pil(ALPHA, "BMP"),
        "tiff palette": pil(SMOOTH, "TIFF", "P"),
        "tiff of two colours": pil(TWO, "TIFF", "1"),
        "tiff fax": pil(TWO, "TIFF", "1", compression="group4"),
        "tiff alpha": pil(ALPHA, "TIFF"),
        "tiff cmyk": pil(SMOOTH, "TIFF", "CMYK"),
        "tiff jpeg": pil(SMOOTH, "TIFF", compression="jpeg"),
        "tiff lzw gray": pil(GRAY, "TIFF", compression="tiff_lzw"),
        "tiff lzw smooth": pil(SMOOTH, "TIFF", compression="tiff_lzw"),
        "tiff deflate by libtiff": pil(SMOOTH, "TIFF", compression="tiff_adobe_deflate"),
        "tiff deflate tiles": tiff(RGB, photometric="rgb", tile=(16, 32), compression="zlib"),
        "tiff tiles 8": tiff(GRAY, tile=(32, 16)),
        "bigtiff deflate tiles": tiff(GRAY16, bigtiff=True, tile=(16, 16), compression="zlib", byteorder=">"),
        "bigtiff rgb": tiff(RGB, photometric="rgb", bigtiff=True, rowsperstrip=5),
        "tiff two pages": tiff(np.stack([GRAY, GRAY])),
        "tiff float": tiff(GRAY.astype(np.float32)),
        "webp lossless alpha": pil(ALPHA, "WEBP", lossless=True),
        "webp small": pil(SMALL, "WEBP"),
        "gif": pil(GRAY, "GIF"),
    }
