"""Galleries in model files: written and checked in blocks, read where they lie, whatever becomes of the file's name."""

from __future__ import annotations

import contextlib
import dataclasses
import tracemalloc

import h5py
import numpy as np
import pytest

from adcli import gallery
from adcli.detectors.spade import SPADE, SPADEParams
from adcli.errors import ModelFileError
from adcli.gallery import Gallery, Spool
from adcli.model import Model
from adcli.store import load, save
from adcli.store.fields import read_fields, write_fields
from adcli.store.hdf5 import look
from tests.models import SHAPES, altered, digest, make, real, same

ROWS = real(4, 16)


@dataclasses.dataclass(frozen=True)
class Kept:
    """As little as a detector may be."""

    rows: Gallery


@pytest.fixture
def path(tmp_path):
    save(make("spade"), tmp_path / "model.h5")
    return tmp_path / "model.h5"


def with_rows(rows: Gallery) -> Model:
    pooled = np.zeros((len(rows), 4), np.float32)
    return dataclasses.replace(make("spade"), detector=SPADE(SPADEParams(3), SHAPES, 3, pooled, None, rows))


def written(folder, rows):
    with h5py.File(folder / "kept.h5", "w") as file:
        write_fields(file, Kept(rows))
        whole = digest(file)
    with looked_at(folder / "kept.h5") as root:
        return folder / "kept.h5", [root.digest_of_all(), whole]


@contextlib.contextmanager
def looked_at(file):
    with file.open("rb") as raw, h5py.File(file) as group:
        yield look(group, raw, file.stat().st_size)


def read(file):
    with looked_at(file) as root:
        return read_fields(root, Kept, file).rows


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f4", ">f2", "<i2", "u1", "<f8"])
def test_every_type_comes_back_little_endian_with_its_values(tmp_path, kind):
    rows = (ROWS * 50).astype(kind)
    file, _ = written(tmp_path, Gallery.of(rows))
    back = read(file)
    assert back.dtype == np.dtype(kind).newbyteorder("<") and back.shape == rows.shape
    assert np.array_equal(back.read(), rows) and np.array_equal(back.read(1, 3), rows[1:3])


def test_an_empty_gallery_comes_back_empty(tmp_path):
    for shape in ((0, 5), (3, 0)):
        file, sums = written(tmp_path, Gallery.of(np.zeros(shape, np.float16)))
        back = read(file)
        assert back.shape == shape and back.read().shape == shape and sums[0] == sums[1]


@pytest.mark.parametrize("block", [1, 7, 40, 64, 1000])
@pytest.mark.parametrize("shape", [(9,), (5, 3), (2, 3, 4), (1, 50), (3, 0)])
def test_digests_taken_in_blocks_are_those_of_the_whole(tmp_path, monkeypatch, shape, block):
    monkeypatch.setattr(gallery, "BLOCK_BYTES", block)
    _, sums = written(tmp_path, Gallery.of(real(*shape)))
    assert sums[0] == sums[1]


def test_a_gallery_is_read_from_the_file_and_not_held(path):
    rows = load(path).model.detector.gallery
    content = bytearray(path.read_bytes())
    at = bytes(content).index(rows.read().tobytes())
    with path.open("r+b") as file:
        file.seek(at)
        file.write(np.float16(3).tobytes())
    assert rows.read()[0, 0] == 3


def test_it_stays_readable_when_the_file_is_replaced_or_removed(path):
    model = load(path).model
    before = model.detector.gallery.read()
    save(with_rows(Gallery.of(np.zeros((6, 16), np.float16))), path)
    assert np.array_equal(model.detector.gallery.read(), before)
    second = load(path).model
    path.unlink()
    assert second.detector.gallery.read().shape == (6, 16) and np.array_equal(model.detector.gallery.read(), before)


def test_a_model_is_written_over_the_file_that_its_gallery_lies_in(path):
    content, stored = path.read_bytes(), load(path)
    save(dataclasses.replace(stored.model, calibration=None), path)
    again = load(path)
    assert again.detector_digest == stored.detector_digest and again.model.calibration is None
    assert np.array_equal(again.model.detector.gallery.read(), stored.model.detector.gallery.read())
    save(stored.model, path)
    assert path.read_bytes() == content and same(load(path).model, stored.model)


def test_the_memory_does_not_grow_with_the_gallery(tmp_path, monkeypatch):
    """64 MB in rows of 32 bytes, written, named by its digests, loaded and read, in blocks of 1 MB."""
    monkeypatch.setattr(gallery, "BLOCK_BYTES", 1 << 20)
    spool = Spool((16,), np.float16)
    for start in range(32):
        spool.append(np.full((1 << 16, 16), start, np.float16))
    rows = spool.gallery()
    assert rows.nbytes == 64 << 20
    detector = with_rows(rows).detector
    model = dataclasses.replace(make("spade"), detector=dataclasses.replace(detector, pooled=np.zeros((1 << 21, 0))))
    tracemalloc.start()
    try:
        save(model, tmp_path / "model.h5")
        back = load(tmp_path / "model.h5").model.detector.gallery
        total = sum(int(block.sum(dtype=np.int64)) for _, block in back.blocks())
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert total == sum(range(32)) * (1 << 20)


# What is no plain array in the file is refused.


def _unwritten(file):
    rows = file["detector/gallery"][()]
    del file["detector/gallery"]
    file["detector"].create_dataset("gallery", rows.shape, rows.dtype)


def _odd_type(file):
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(19, 11, 8, 0, 11)
    kind.set_precision(20)
    del file["detector/gallery"]
    space = h5py.h5s.create_simple((4, 16))
    made = h5py.h5d.create(file["detector"].id, b"gallery", kind, space)
    h5py.Dataset(made)[...] = np.ones((4, 16))


def _boolean(file):
    del file["detector/gallery"]
    file["detector"].create_dataset("gallery", data=np.ones((4, 16), bool))


def _other_shape(file):
    del file["detector/gallery"]
    file["detector"].create_dataset("gallery", data=np.ones((4, 17), np.float16))


def _other_kind(file):
    del file["detector/gallery"]
    file["detector"].create_dataset("gallery", data=np.ones((4, 16), np.int16))


def _big_endian(file):
    del file["detector/gallery"]
    file["detector"].create_dataset("gallery", data=np.ones((4, 16), ">f2"))


@pytest.mark.parametrize("change", [_unwritten, _odd_type, _boolean, _other_shape, _other_kind])
def test_a_gallery_that_is_no_such_rows_is_refused(path, change):
    with pytest.raises(ModelFileError) as refusal:
        load(altered(path, change))
    assert "gallery" in str(refusal.value) and "\n" not in str(refusal.value)


def test_another_writers_byte_order_is_understood(path):
    assert (load(altered(path, _big_endian)).model.detector.gallery.read() == 1).all()
