"""Image files in, pixels out: read whole or refused, and resized to what a backbone takes.

`find_images` and `FoundImage` live in `adcli.finding`, which needs no OpenCV, and are offered here too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from adcli.decoding import decode
from adcli.errors import UnreadableImage, UsageError
from adcli.finding import FoundImage, find_images
from adcli.formats import MAGIC_BYTES, Header, NotWhole, check_kind, inflated, read_header

__all__ = ["MAX_PIXELS", "FoundImage", "Image", "digest_image", "find_images", "prepare", "read_image", "read_pixels"]

MAX_PIXELS = 2**28  # 268 megapixels, 0.8 GB as 8-bit RGB: above any area sensor, below what stops a 4 GB machine
_BAND = 256  # rows of a file
_MAX_BYTES_PER_PIXEL = 16  # twice 16-bit RGB and alpha; what is larger is mostly not image


@dataclass(frozen=True)
class Image:
    """The pixels of one file as stored, and the digest of the bytes they were decoded from."""

    pixels: np.ndarray  # (H, W) gray or (H, W, 3) RGB, uint8 or uint16
    sha256: str
    width: int
    height: int


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """Read one image file, or raise UnreadableImage with the reason; no image is ever read in part.

    Gray stays gray, 1, 2 and 4 bits become 0..255, palettes and CMYK JPEGs become RGB. Alpha is dropped, the colours
    below it as stored. The orientation tag is ignored. Colour profiles and gamma are not applied. 9 to 16 bits become
    uint16: values in 16-bit containers as stored (12-bit cameras: see `white_level` of `prepare`), packed 10-, 12- and
    14-bit TIFF scaled to 65535. Refused: floats, 32 bits, several pages or frames, other formats, over `max_pixels`.
    """
    with _faults(path):
        data = _read_whole(path, max_pixels)
        header = read_header(data, max_pixels)
        return Image(_decode(data, header), hashlib.sha256(data).hexdigest(), header.width, header.height)


def read_pixels(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels that `read_image` reads, without a digest."""
    with _faults(path):
        data = _read_whole(path, max_pixels)
        return _decode(data, read_header(data, max_pixels))


def digest_image(path: Path, max_pixels: int = MAX_PIXELS) -> str:
    """sha256 of an image file; raises UnreadableImage like `read_image`, for all that shows without decoding."""
    return identify_image(path, max_pixels)[0]


def identify_image(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[str, tuple[int, int]]:
    """sha256 and H, W of an image file; raises UnreadableImage like `digest_image`."""
    with _faults(path):
        data = _read_whole(path, max_pixels)
        header = read_header(data, max_pixels)
        return hashlib.sha256(data).hexdigest(), (header.height, header.width)


def image_size(path: Path) -> tuple[int, int]:
    """H, W of an image file; raises UnreadableImage like `digest_image`."""
    with _faults(path):
        header = read_header(_read_whole(path, MAX_PIXELS), MAX_PIXELS)
        return header.height, header.width


@contextlib.contextmanager
def _faults(path: Path) -> Iterator[None]:
    try:
        yield
    except NotWhole as reason:
        raise UnreadableImage(f"{path} {reason}.") from reason
    except OSError as error:
        raise UnreadableImage(f"{path} could not be read ({error.strerror or error}).") from error
    except MemoryError as error:
        raise UnreadableImage(f"{path} does not fit into this machine's memory; cut it into parts.") from error


def _read_whole(path: Path, max_pixels: int) -> bytes:
    """The file's bytes; looks at the file before and after, because cameras write while we read."""
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # NUL
        raise NotWhole("is no name that a file can have") from error
    if not stat.S_ISREG(mode):  # opening a pipe would wait for its writer
        raise NotWhole("is a folder, not an image" if path.is_dir() else "is not a regular file")
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if before.st_size > 2**20 + _MAX_BYTES_PER_PIXEL * max_pixels:
            raise NotWhole(f"has {before.st_size} bytes, more than {max_pixels} pixels need; cut it into parts")
        check_kind(file.read(MAGIC_BYTES))
        file.seek(0)
        data = file.read()
        after = os.fstat(file.fileno())
    if not len(data) == before.st_size == after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise NotWhole("changed while it was being read; score it again once it is written")
    return data


def _decode(data: bytes, header: Header) -> np.ndarray:
    if header.patches:
        data = bytearray(data)
        for offset, patch in header.patches:
            data[offset : offset + len(patch)] = patch
    source = data if header.bare is None else header.bare
    quick = inflated(source)
    if isinstance(quick, np.ndarray):
        return quick
    pixels, said = (None, "") if quick is None else decode(quick)
    if pixels is None or said:
        pixels, said = decode(source)
    if pixels is None:
        raise NotWhole(f"could not be decoded{said and f' ({said})'}; copy it again, or save it as PNG")
    if said:  # pixels came all the same, but not those of the part
        raise NotWhole(f"is damaged ({said}); copy it again, or save it as PNG")
    if pixels.shape[:2] != (header.height, header.width) or pixels.dtype != (
        np.uint8 if header.bits == 8 else np.uint16
    ):
        raise NotWhole(
            f"was decoded as {pixels.shape[1]} x {pixels.shape[0]} {pixels.dtype}, where its header says "
            f"{header.width} x {header.height} of {header.bits} bits; save it as PNG"
        )
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return pixels


def prepare(pixels: np.ndarray, size: tuple[int, int], white_level: float | None = None) -> np.ndarray:
    """Pixels of a file -> float32 (H, W, 3) RGB in [0, 1] of `size` (H, W); the aspect ratio is not kept.

    8 bits are divided by 255, 16 bits by `white_level`, or 65535 where it is None; what is above it becomes 1.
    An axis that shrinks is averaged (INTER_AREA) before the other grows (INTER_LINEAR): OpenCV's own INTER_AREA stops
    averaging as soon as one axis grows.
    """
    if white_level is not None and not white_level > 0:
        raise UsageError(
            f"The white level must be above 0, not {white_level}; give the sensor's, such as 4095 for 12 bits."
        )
    # Resized with 16 bits: within 8e-6 of the exact average (8 bits: 2e-3), and on 6-megapixel RGB twice as fast as
    # float32 in half the memory.
    if pixels.dtype == np.uint8:
        pixels, white = _sixteen_bits(pixels, size), 65535.0
    else:
        white = 65535.0 if white_level is None else white_level
    height, width = size
    smaller = min(width, pixels.shape[1]), min(height, pixels.shape[0])  # cv2 says width first
    if smaller != pixels.shape[1::-1]:
        pixels = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA)
    if smaller != (width, height):
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return np.minimum(pixels * np.float32(1 / white), np.float32(1))


def _sixteen_bits(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """8-bit pixels times 257, which takes 0..255 to 0..65535 exactly; where they are 4 or 8 times as high and wide as
    `size`, (H, W), already averaged down to it, at two thirds of the time and to the same numbers."""
    times = pixels.shape[0] // size[0]
    if times not in (4, 8) or pixels.shape[:2] != (times * size[0], times * size[1]):
        return np.multiply(pixels, np.uint16(257), dtype=np.uint16)
    # By halves, for which OpenCV has vectors, and some rows at a time, which stay in a core's own cache. Averages of
    # 256 times 4, 16 or 64 numbers are whole ones, so it is the last line that rounds, and like OpenCV: to even.
    small = np.empty((*size, *pixels.shape[2:]), np.float32)
    for top in range(0, size[0], _BAND // times):
        band = np.multiply(pixels[times * top : times * top + _BAND], np.uint16(256), dtype=np.uint16)
        while band.shape[1] > size[1]:
            band = cv2.resize(band, (band.shape[1] // 2, len(band) // 2), interpolation=cv2.INTER_AREA)
        small[top : top + len(band)] = band
    return np.rint(small * np.float32(257 / 256)).astype(np.uint16)
