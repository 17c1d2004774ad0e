"""Refusing files: cut off, damaged, changing, too large, of several pages, or no image at all; in one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from adcli import images
from adcli.errors import UnreadableImage
from adcli.formats import NotWhole, read_header
from adcli.images import MAX_PIXELS, digest_image, read_image
from tests import corpus_files
from tests.corpus_files import HUGE, JPEG, SCAN
from tests.encoded import EXACT, GRAY, GRAY16, WHOLE, packed_tiff, read, refusal

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the decoder's words are caught with glibc")
HEARD = ("premature end", "Corrupt JPEG data", "Too much image data")  # reasons in the decoder's words


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    data = WHOLE[kind]
    assert read(tmp_path, data).width == 65
    # Two bytes: a BMP of odd rows or a WebP chunk of odd length ends in padding that holds no image.
    for length in sorted({*range(0, len(data) - 3, max(1, len(data) // 200)), len(data) - 3}):
        refusal(tmp_path, data[:length])
        with pytest.raises(NotWhole):  # by its structure alone, since decoders differ: OpenCV 4 fills a JPEG with gray
            read_header(data[:length], MAX_PIXELS)


@pytest.mark.parametrize("kind", WHOLE)
def test_whatever_bytes_are_changed_the_only_error_is_a_refusal(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(3)
    data = WHOLE[kind]
    for _ in range(150):
        changed = bytearray(data)
        for at in rng.integers(0, min(len(data), 300), rng.integers(1, 5)):  # the headers, mostly
            changed[at] = rng.choice([0, 1, 127, 255, int(rng.integers(256))])
        with contextlib.suppress(UnreadableImage):
            read(tmp_path, bytes(changed), max_pixels=10**6)


@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive", "png gray", "webp lossless", "tiff gray 16"])
def test_bytes_after_the_image_do_no_harm(tmp_path: Path, kind: str) -> None:
    whole = read(tmp_path, WHOLE[kind])
    padded = read(tmp_path, WHOLE[kind] + bytes(100) + b"\xff\xd9 and more")
    np.testing.assert_array_equal(whole.pixels, padded.pixels)
    assert whole.sha256 != padded.sha256


@needs_glibc
@pytest.mark.parametrize("kind", ["jpeg", "jpeg progressive", "jpeg gray", "jpeg with restarts"])
def test_a_jpeg_that_was_cut_anywhere_and_closed_is_refused(tmp_path: Path, kind: str) -> None:
    data = WHOLE[kind]
    for length in range(2, len(data) - 4, 3):  # the last two bytes of a scan may be padding
        refusal(tmp_path, data[:length] + b"\xff\xd9")


@needs_glibc
def test_a_jpeg_with_zeros_anywhere_in_its_scan_is_refused(tmp_path: Path) -> None:
    for at in range(SCAN, len(JPEG) - 60, 5):
        refusal(tmp_path, JPEG[:at] + bytes(50) + JPEG[at + 50 :])


def test_a_png_with_a_bit_flipped_anywhere_is_refused(tmp_path: Path) -> None:
    data = EXACT["png rgb"][0]
    for at in range(0, len(data), 61):
        for bit in (0, 7):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            refusal(tmp_path, bytes(flipped))


@pytest.mark.parametrize("kind", ["tiff deflate", "tiff deflate 16"])
def test_a_deflated_tiff_with_a_damaged_strip_is_refused(tmp_path: Path, kind: str) -> None:
    data = EXACT[kind][0]
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        strips = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    for offset, count in strips:
        for at in range(offset, offset + count, 97):
            flipped = bytearray(data)
            flipped[at] ^= 16
            assert "damaged" in refusal(tmp_path, bytes(flipped))


@pytest.mark.parametrize(
    ("kind", "reason"), [("tiff deflate 16", "does not end"), ("tiff gray", "shorter than its rows")]
)
def test_a_tiff_strip_that_is_listed_too_short_is_refused(kind: str, reason: str) -> None:
    data = bytearray(EXACT[kind][0])
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags["StripByteCounts"]
        data[tag.valueoffset : tag.valueoffset + 4] = struct.pack("<I", tag.value[0] - 10)
        assert tag.dtype == 4 and tag.count == 1
    with pytest.raises(NotWhole, match=reason):
        read_header(bytes(data), MAX_PIXELS)


REFUSED = {**corpus_files.DAMAGED, **corpus_files.REFUSED, **corpus_files.BOMBS}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_rightly_is_refused_with_its_reason(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _, data, reason = REFUSED[kind]
    if reason in HEARD and platform.libc_ver()[0] != "glibc":
        pytest.skip("the decoder's words are caught with glibc")
    assert reason in refusal(tmp_path, data)
    assert capfd.readouterr().err == ""


def test_a_tiff_with_a_smaller_version_of_itself_is_one_image(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(GRAY)
        writer.write(GRAY[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read(tmp_path, stream.getvalue()).pixels, GRAY)


def test_a_tiff_whose_directories_form_a_ring_does_not_hang(tmp_path: Path) -> None:
    data = bytearray(packed_tiff(GRAY16 >> 4, 12))
    at = 8 + 2 + 9 * 12
    assert data[at : at + 4] == bytes(4), "the offset of the next directory"
    data[at : at + 4] = struct.pack("<I", 8)
    np.testing.assert_array_equal(read(tmp_path, bytes(data)).pixels, GRAY16 >> 4 << 4)


@pytest.mark.parametrize("kind", HUGE)
def test_an_image_above_the_limit_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    begun = time.perf_counter()
    assert "is 60000 x 50000 pixels, more than the 268435456" in refusal(tmp_path, HUGE[kind])
    assert time.perf_counter() - begun < 1


def test_the_limit_can_be_lowered_and_counts_pixels(tmp_path: Path) -> None:
    data = EXACT["webp lossless"][0]
    assert read(tmp_path, data, max_pixels=48 * 65).width == 65
    assert "65 x 48" in refusal(tmp_path, data, max_pixels=48 * 65 - 1)


def test_a_file_much_larger_than_its_pixels_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UnreadableImage, match="1099511627776 bytes"):
        read_image(path)


def test_digesting_refuses_what_shows_without_decoding(tmp_path: Path) -> None:
    path = tmp_path / "part.png"
    for data in (b"", EXACT["png gray"][0][:-30]):
        path.write_bytes(data)
        with pytest.raises(UnreadableImage, match=r"part\.png is"):
            digest_image(path)


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(UnreadableImage, match=r"folder\.png is a folder"):
        read_image(folder)
    with pytest.raises(UnreadableImage, match=r"gone\.png could not be read \(No such file"):
        read_image(tmp_path / "gone.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(UnreadableImage, match="not a regular file"):
            read_image(tmp_path / "pipe.png")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(EXACT["png gray"][0])

    def deny(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)  # root may read everything, so chmod alone would not test it
    with pytest.raises(UnreadableImage, match=r"secret\.png could not be read \(Permission denied\)"):
        read_image(path)


@pytest.mark.parametrize("how", ["grows", "is rewritten"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = tmp_path / "part.png"
    data = EXACT["png gray"][0]
    path.write_bytes(data)
    calls = []
    real = os.fstat

    def fstat(handle: int) -> os.stat_result:
        calls.append(handle)
        if len(calls) == 2:  # between the reading and the second look
            path.write_bytes(data + b"!" if how == "grows" else data)
            os.utime(path, ns=(0, 10**18))
        return real(handle)

    monkeypatch.setattr(images.os, "fstat", fstat)
    with pytest.raises(UnreadableImage, match="changed while it was being read"):
        read_image(path)
    assert len(calls) == 2


def test_checking_a_megapixel_png_costs_little_beside_decoding_it(tmp_path: Path) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(128, 60, (1024, 1024)), (0, 0), 2).clip(0, 255)
    data = cv2.imencode(".png", noise.astype(np.uint8))[1].tobytes()

    def best(call: object) -> float:
        times = []
        for _ in range(7):
            begun = time.perf_counter()
            call()
            times.append(time.perf_counter() - begun)
        return min(times)

    check = best(lambda: read_header(data, MAX_PIXELS))
    assert check < 0.25 * best(lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def test_a_tiff_of_a_thousand_channels_is_refused_before_it_is_inflated() -> None:
    entries = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1000)]
    entries += [(273, 4, 1, 8), (279, 4, 1, 4), (278, 3, 1, 64)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    data = b"II*\0" + struct.pack("<I", 16) + b"\0" * 8 + struct.pack("<H", len(entries)) + directory + b"\0" * 4
    with pytest.raises(NotWhole, match="1000 channels"):
        read_header(data, 2**28)
