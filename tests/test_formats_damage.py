"""Damage that fuzzing found to be read: each of these files gave pixels that were not in it, or took memory or time."""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from adcli.formats import read_header
from adcli.images import MAX_PIXELS
from tests.encoded import EXACT, GRAY, RGB, WHOLE, pil, png_chunk, read, refusal, tiff


def with_tag(data: bytes, tag: str, value: int, **also: int) -> bytes:
    """A TIFF whose tag has another value, and where given another `kind` or `code`."""
    changed = bytearray(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        found = file.pages[0].tags[tag]
        layout = {3: "H", 4: "I"}[found.dtype]
        struct.pack_into("<" + layout, changed, found.valueoffset, value)
        if "kind" in also:
            struct.pack_into("<H", changed, found.offset + 2, also["kind"])
        if "code" in also:
            struct.pack_into("<H", changed, found.offset, also["code"])
    return bytes(changed)


LZW, PACKED, FAX = (WHOLE[kind] for kind in ("tiff lzw", "tiff packbits", "tiff gray"))
LZW_SMOOTH = pil(np.add.outer(np.arange(48), np.arange(65)).astype(np.uint8), "TIFF", compression="tiff_lzw")
FAX = pil((GRAY > 127).astype(np.uint8) * 255, "TIFF", "1", compression="group4")


@pytest.mark.parametrize("data", [WHOLE["tiff rgb"], WHOLE["tiff rgb 16"]], ids=["8 bits", "16 bits"])
def test_a_colour_tiff_that_does_not_say_three_channels_is_refused(tmp_path: Path, data: bytes) -> None:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        lost = with_tag(data, "SamplesPerPixel", file.pages[0].samplesperpixel, code=65000)
    assert "channels" in refusal(tmp_path, lost)
    assert "channels" in refusal(tmp_path, with_tag(data, "SamplesPerPixel", 2))


def test_a_tiff_with_channels_of_different_depths_is_refused(tmp_path: Path) -> None:
    data = bytearray(WHOLE["tiff rgb"])
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        at = file.pages[0].tags["BitsPerSample"].valueoffset
    struct.pack_into("<H", data, at, 10)
    assert "3 channels of (10, 8, 8) bits" in refusal(tmp_path, bytes(data))


def test_a_tag_of_a_type_without_numbers_is_refused_and_not_taken_for_absent(tmp_path: Path) -> None:
    assert "tag 278" in refusal(tmp_path, with_tag(WHOLE["tiff gray"], "RowsPerStrip", 48, kind=8))


@pytest.mark.parametrize("rows", [2**32 - 1, 2**23])
@pytest.mark.parametrize("kind", ["tiff gray", "tiff gray 16", "tiff deflate 16", "tiff packed 12"])
def test_more_rows_a_strip_than_there_are_means_all_of_them(tmp_path: Path, kind: str, rows: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many = read(tmp_path, with_tag(WHOLE[kind], "RowsPerStrip", rows))
    np.testing.assert_array_equal(many.pixels, EXACT[kind][1])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024  # KiB


@pytest.mark.parametrize("data", [LZW, LZW_SMOOTH, PACKED, FAX], ids=["lzw", "smooth lzw", "packbits", "fax"])
def test_a_compressed_strip_that_is_listed_too_short_is_refused(tmp_path: Path, data: bytes) -> None:
    """OpenCV fills the rows with black."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        count = file.pages[0].databytecounts[0]
    for listed in (2, 8, count // 2, count - 8):
        assert "strip" in refusal(tmp_path, with_tag(data, "StripByteCounts", listed))


@pytest.mark.parametrize(("data", "at"), [(LZW_SMOOTH, 400), (PACKED, 0)], ids=["lzw", "packbits"])
def test_damage_that_changes_how_much_a_strip_holds_is_refused(tmp_path: Path, data: bytes, at: int) -> None:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        at += file.pages[0].dataoffsets[0]
    for lost in (bytes(8), b"\x81" * 8):
        assert "strip" in refusal(tmp_path, data[:at] + lost + data[at + 8 :])


def test_lzw_of_every_length_of_code_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for pixels in (rng.integers(0, 256, (90, 200), dtype=np.uint8), np.zeros((300, 400), np.uint8), RGB):
        for predictor in ({}, {"tiffinfo": {317: 2}}):
            data = pil(pixels, "TIFF", compression="tiff_lzw", **predictor)
            np.testing.assert_array_equal(read(tmp_path, data).pixels, pixels)


def test_tiles_that_share_their_data_do_not_unpack_without_end() -> None:
    stream, number = zlib.compress(bytes(10**6)), 1000
    begin = 8 + 2 + 10 * 12 + 4
    tags = [(256, 3, 1, number), (257, 3, 1, 1000), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    tags += [(322, 4, 1, 1), (323, 4, 1, 10**6), (324, 4, number, begin), (325, 4, number, begin + 4 * number)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    lists = struct.pack(f"<{2 * number}I", *[begin + 8 * number] * number, *[len(stream)] * number)
    began = time.perf_counter()
    with pytest.raises(Exception, match="far larger"):
        read_header(struct.pack("<2sHI", b"II", 42, 8) + directory + lists + stream, MAX_PIXELS)
    assert time.perf_counter() - began < 1


def test_directories_that_overlap_do_not_fill_the_memory() -> None:
    number, entries = 20000, 4096
    data = bytearray(8 + 16 * number + 2 + 12 * entries + 4)
    data[:8] = struct.pack("<2sHI", b"II", 42, 8)
    for place in range(8, 8 + 16 * number, 16):
        struct.pack_into("<H", data, place, entries)
        if place + 16 < 8 + 16 * number:
            struct.pack_into("<I", data, place + 2 + 12 * entries, place + 16)
    began = time.perf_counter()
    with pytest.raises(Exception, match="makes no sense"):
        read_header(bytes(data), MAX_PIXELS)
    assert time.perf_counter() - began < 5


def test_a_webp_on_a_larger_canvas_takes_no_memory_for_it(tmp_path: Path) -> None:
    data = bytearray(WHOLE["webp extended"])
    assert data[12:16] == b"VP8X"
    data[24:30] = (16000).to_bytes(3, "little") * 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "16001 x 16001" in refusal(tmp_path, bytes(data), max_pixels=10**6)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


def test_a_webp_of_two_images_is_refused(tmp_path: Path) -> None:
    body = WHOLE["webp lossy"][12:] + bytes(len(WHOLE["webp lossy"]) % 2)
    assert "2 images" in refusal(tmp_path, b"RIFF" + struct.pack("<I", 4 + 2 * len(body)) + b"WEBP" + body * 2)


def test_a_png_without_pixels_is_refused_before_what_follows_it_is_believed(tmp_path: Path) -> None:
    """OpenCV takes memory for a palette of any length behind the end."""
    data = WHOLE["png gray"][:33] + png_chunk(b"IEND", b"") + struct.pack(">I", 1448097880) + b"PLTE" + bytes(1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(tmp_path, data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024


@pytest.mark.parametrize("kind", ["bmp gray", "bmp rgb"])
def test_a_bmp_whose_rows_begin_inside_its_header_is_refused(tmp_path: Path, kind: str) -> None:
    for offset in (0, 40, struct.unpack_from("<I", WHOLE[kind], 10)[0] - 1):
        assert "begin inside" in refusal(tmp_path, WHOLE[kind][:10] + struct.pack("<I", offset) + WHOLE[kind][14:])
    assert "header" in refusal(tmp_path, WHOLE[kind][:14] + struct.pack("<I", 41) + WHOLE[kind][18:])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"1 2 3 4", "rows do not end"),
        (b"1 2 3 4 567890", "6 numbers"),
        (b"1 2 3 4 5 6 7", "6 numbers"),
        (b"1P2 3 4 5 6 7", "6 numbers"),
        (b"1 2 3 4 5 -6", "6 numbers"),
        (b"1 2 3 4 5 256", "above 255"),
        (b"1 2 3 4 5 99999999999", "above 255"),
    ],
)
def test_an_ascii_pgm_of_other_than_its_numbers_is_refused(tmp_path: Path, body: bytes, reason: str) -> None:
    assert reason in refusal(tmp_path, b"P2\n3 2\n255\n" + body + b"\n")


def test_an_ascii_pgm_may_have_comments_between_its_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, b"P2\n3 2\n255\n1 2 3 # the first row\n4 5 255\n").pixels
    np.testing.assert_array_equal(found, [[1, 2, 3], [4, 5, 255]])


def test_whole_files_of_every_compression_are_read(tmp_path: Path) -> None:
    for compression in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"):
        for pixels in (GRAY, RGB):
            found = read(tmp_path, pil(pixels, "TIFF", compression=compression)).pixels
            np.testing.assert_array_equal(found, pixels)
    np.testing.assert_array_equal(
        read(tmp_path, tiff(RGB, photometric="rgb", tile=(16, 32), compression="zlib")).pixels, RGB
    )
