"""Reading images: every kind that is read has the right values, and preparing them is what it says."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from adcli.errors import UsageError
from adcli.images import digest_image, prepare, read_image
from tests.encoded import ALPHA, EXACT, GRAY, GRAY16, RGB, RGB16, SMOOTH, pil, read, tiff


@pytest.mark.parametrize("kind", EXACT)
def test_lossless_files_are_read_value_by_value_whatever_their_suffix(tmp_path: Path, kind: str) -> None:
    data, expected = EXACT[kind]
    image = read(tmp_path, data, "part.dat")
    assert image.pixels.dtype == expected.dtype
    np.testing.assert_array_equal(image.pixels, expected)
    assert (image.width, image.height) == (expected.shape[1], expected.shape[0])
    assert image.sha256 == hashlib.sha256(data).hexdigest() == digest_image(tmp_path / "part.dat")


@pytest.mark.parametrize("name", ["Teil_ß_部品.png", "-part.png", "a b'\"$(x).png", "line\nbreak.png"])
def test_a_name_may_hold_any_character(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read(tmp_path, EXACT["png rgb"][0], name).pixels, RGB)


@pytest.mark.skipif(os.name == "nt", reason="Windows names are Unicode")
def test_a_name_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    path.write_bytes(EXACT["png gray"][0])
    np.testing.assert_array_equal(read_image(path).pixels, GRAY)


@pytest.mark.parametrize(("kind", "tolerance"), [("rgb", 3), ("gray", 3), ("cmyk", 4)])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_are_read_close_to_what_was_written(tmp_path: Path, kind: str, tolerance: int, progressive: bool) -> None:
    expected = SMOOTH[..., 0] if kind == "gray" else SMOOTH
    mode = "CMYK" if kind == "cmyk" else None
    data = pil(expected, "JPEG", mode, quality=98, subsampling=0, progressive=progressive)
    image = read(tmp_path, data)
    assert image.pixels.shape == expected.shape and image.pixels.dtype == np.uint8
    assert np.abs(image.pixels.astype(int) - expected).max() <= tolerance


def test_one_bit_becomes_0_and_255(tmp_path: Path) -> None:
    expected = np.where(GRAY > 127, 255, 0).astype(np.uint8)
    for kind, options in [("PNG", {}), ("TIFF", {}), ("BMP", {})]:
        stream = io.BytesIO()
        Pillow.fromarray(expected).convert("1", dither=Pillow.Dither.NONE).save(stream, kind, **options)
        np.testing.assert_array_equal(read(tmp_path, stream.getvalue()).pixels, expected)


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    palette = Pillow.fromarray(RGB).quantize(16)
    for kind in ("PNG", "BMP"):
        stream = io.BytesIO()
        palette.save(stream, kind)
        np.testing.assert_array_equal(read(tmp_path, stream.getvalue()).pixels, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    "data",
    [
        pil(ALPHA, "PNG"),
        pil(ALPHA, "WEBP", lossless=True, exact=True),
        tiff(ALPHA, photometric="rgb", extrasamples=["unassalpha"]),
        tiff(ALPHA, photometric="rgb", extrasamples=["unassalpha"], byteorder=">"),
        tiff(ALPHA, photometric="rgb", extrasamples=["assocalpha"], bigtiff=True),
    ],
)
def test_alpha_is_dropped_and_the_colours_below_it_stay_as_stored(tmp_path: Path, data: bytes) -> None:
    np.testing.assert_array_equal(read(tmp_path, data).pixels, RGB)


def test_gray_with_alpha_is_read_as_equal_channels(tmp_path: Path) -> None:
    data = pil(np.dstack([GRAY, GRAY.T.reshape(GRAY.shape)]), "PNG")
    np.testing.assert_array_equal(read(tmp_path, data).pixels, np.dstack([GRAY] * 3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_ignored(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x112] = orientation
    options = {"quality": 100} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    turned = read(tmp_path, pil(SMOOTH, kind, exif=exif, **options)).pixels
    np.testing.assert_array_equal(turned, read(tmp_path, pil(SMOOTH, kind, **options)).pixels)


@pytest.mark.parametrize("byteorder", "<>")
def test_the_orientation_tag_of_a_16_bit_tiff_is_ignored(tmp_path: Path, byteorder: str) -> None:
    data = tiff(GRAY16, byteorder=byteorder, extratags=[(274, 3, 1, 6, True)])
    np.testing.assert_array_equal(read(tmp_path, data).pixels, GRAY16)


# Resizing.


def area_average(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The mean over each target pixel's rectangle, pixels counted by the share that is inside: one matrix an axis."""

    def weights(old: int, new: int) -> np.ndarray:
        edges = np.arange(new + 1) * old / new
        left, right = edges[:-1, None], edges[1:, None]
        cell = np.arange(old)
        overlap = np.clip(np.minimum(right, cell + 1) - np.maximum(left, cell), 0, None)
        return overlap / overlap.sum(axis=1, keepdims=True)

    rows, columns = weights(pixels.shape[0], height), weights(pixels.shape[1], width)
    return np.einsum("hy,yx...,wx->hw...", rows, pixels.astype(float), columns)


def interpolate(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with half-pixel centres, edges repeated."""

    def axis(values: np.ndarray, new: int) -> np.ndarray:
        old = len(values)
        centre = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(centre).astype(int)
        share = (centre - low).reshape(-1, *[1] * (values.ndim - 1))
        return values[low] * (1 - share) + values[np.minimum(low + 1, old - 1)] * share

    return axis(axis(pixels.astype(float), height).swapaxes(0, 1), width).swapaxes(0, 1)


@pytest.mark.parametrize(("pixels", "white"), [(GRAY, 255), (RGB, 255), (GRAY16, 65535), (RGB16, 65535)])
@pytest.mark.parametrize("size", [(24, 13), (17, 31), (48, 65), (48, 20), (1, 1)])
def test_shrinking_averages_areas_to_16_bit_accuracy(pixels: np.ndarray, white: float, size: tuple[int, int]) -> None:
    expected = area_average(pixels, *size) / white
    if expected.ndim == 2:
        expected = np.dstack([expected] * 3)
    prepared = prepare(pixels, size)
    assert prepared.dtype == np.float32 and prepared.flags.c_contiguous
    np.testing.assert_allclose(prepared, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("times", [2, 4, 8, 16])
def test_by_halves_the_averages_are_to_the_bit_those_of_16_bit_pixels(times: int, channels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(times)
    pixels = rng.integers(0, 256, (19 * times, 30 * times, *channels), dtype=np.uint8)
    pixels[: 3 * times] = rng.integers(0, 2, pixels[: 3 * times].shape, dtype=np.uint8)  # many at the half of a number
    pixels[-times:] = 255
    np.testing.assert_array_equal(prepare(pixels, (19, 30)), prepare(pixels.astype(np.uint16) * 257, (19, 30)))


@pytest.mark.parametrize("pixels", [GRAY, RGB])
@pytest.mark.parametrize("size", [(96, 130), (100, 65), (49, 200)])
def test_enlarging_interpolates_between_pixel_centres(pixels: np.ndarray, size: tuple[int, int]) -> None:
    expected = interpolate(pixels, *size) / 255
    if expected.ndim == 2:
        expected = np.dstack([expected] * 3)
    np.testing.assert_allclose(prepare(pixels, size), expected, atol=1e-4, rtol=0)


def test_an_axis_that_shrinks_is_averaged_although_the_other_grows() -> None:
    expected = interpolate(area_average(GRAY, 12, 65), 12, 130) / 255
    np.testing.assert_allclose(prepare(GRAY, (12, 130))[..., 1], expected, atol=1e-4, rtol=0)
    turned = prepare(np.ascontiguousarray(GRAY.T), (130, 12)).swapaxes(0, 1)
    np.testing.assert_allclose(turned, prepare(GRAY, (12, 130)), atol=2e-5, rtol=0)


def test_black_is_0_and_white_is_1_at_every_depth() -> None:
    for dtype, white, level in [(np.uint8, 255, None), (np.uint16, 65535, None), (np.uint16, 4095, 4095.0)]:
        for size in [(9, 9), (40, 40)]:
            assert (prepare(np.zeros((20, 20), dtype), size, level) == 0).all()
            assert (prepare(np.full((20, 20), white, dtype), size, level) == 1).all()


def test_a_12_bit_camera_in_16_bits_looks_as_in_8_bits_at_its_white_level() -> None:
    eight = prepare(GRAY, (16, 16))
    twelve = prepare(GRAY.astype(np.uint16) * 16, (16, 16), white_level=255 * 16)
    np.testing.assert_allclose(twelve, eight, atol=2e-4)


def test_values_above_the_white_level_become_1() -> None:
    assert (prepare(np.full((8, 8), 5000, np.uint16), (4, 4), white_level=4095) == 1).all()


def test_the_white_level_is_for_16_bits_only() -> None:
    np.testing.assert_array_equal(prepare(GRAY, (16, 16), white_level=4095), prepare(GRAY, (16, 16)))


@pytest.mark.parametrize("level", [0, -1, float("nan")])
def test_a_white_level_that_is_no_level_is_refused(level: float) -> None:
    with pytest.raises(UsageError, match="must be above 0"):
        prepare(GRAY16, (8, 8), white_level=level)


def test_preparing_leaves_the_pixels_alone() -> None:
    before = RGB.copy()
    prepare(RGB, (20, 100))
    prepare(RGB, RGB.shape[:2])[:] = 0
    np.testing.assert_array_equal(RGB, before)
