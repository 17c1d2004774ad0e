"""Masks as PNG: what two other libraries read is what was written."""

from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from adcli.formats import read_header
from adcli.report.masks import encode_mask


@pytest.fixture(params=["zlib", "isal"], autouse=True)
def packed_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether ISA-L is installed or not."""
    module = pytest.importorskip("isal.isal_zlib") if request.param == "isal" else None
    monkeypatch.setattr("adcli.report.masks.find_isal", lambda: module)


def read_both_ways(data: bytes) -> np.ndarray:
    """By Pillow and by OpenCV, which agree; the file is whole, 8-bit and gray."""
    header = read_header(data, 1 << 24)
    picture = Pillow.open(io.BytesIO(data))
    assert picture.mode == "L"
    values = np.asarray(picture)
    np.testing.assert_array_equal(values, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    assert values.shape == (header.height, header.width)
    assert values.dtype == np.uint8
    return values


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (64, 63), (63, 64), (700, 523), (97, 4095)])
def test_any_mask_comes_back_as_it_was(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape)
    masks = [np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) < 0.5]
    for _ in range(6):
        mask = np.zeros(shape, bool)
        top, left = rng.integers(0, shape)
        mask[top : top + rng.integers(1, 90), left : left + rng.integers(1, 90)] = True
        masks.append(mask)
    for mask in masks:
        np.testing.assert_array_equal(read_both_ways(encode_mask(mask)), mask * np.uint8(255))


@pytest.mark.parametrize("rows", [4096, 4095, 8192, 65521, 65522])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_the_checksum_of_zeros_is_right_at_every_multiple_that_is_special(rows: int, place: float) -> None:
    mask = np.zeros((rows, 15), bool)  # 16 bytes a row
    mask[int((rows - 1) * place), 3] = True
    data = encode_mask(mask)
    begin = data.index(b"IDAT") + 4
    inflating = zlib.decompressobj()  # refuses a wrong checksum
    packed = inflating.decompress(data[begin:-16]) + inflating.flush()
    assert inflating.eof and not inflating.unused_data
    assert packed == np.pad(mask * np.uint8(255), ((0, 0), (1, 0))).tobytes()


def test_a_mask_that_is_part_of_another_array_is_written_as_it_looks() -> None:
    whole = np.random.default_rng(0).random((40, 60)) < 0.3
    for mask in (whole[5:30, 7:41], whole.T, whole[::2, ::-1]):
        np.testing.assert_array_equal(read_both_ways(encode_mask(mask)), mask * np.uint8(255))


def test_an_empty_mask_of_many_pixels_takes_few_bytes() -> None:
    assert len(encode_mask(np.zeros((4000, 6000), bool))) < 24_000_000 / 500
