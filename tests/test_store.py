"""The model file: what is written is read, and written whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from adcli import store
from adcli.detectors.padim import PaDiMParams
from adcli.errors import EnvironmentFault, UsageError
from adcli.model import Provenance
from adcli.sizes import MinArea, MinSize
from adcli.store import load, save
from tests.models import CALIBRATION, DETECTORS, digest, make, real, same


@pytest.fixture
def path(tmp_path):
    save(make(), tmp_path / "model.h5")
    return tmp_path / "model.h5"


# What is written is read.


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("calibration", [CALIBRATION, None], ids=["calibrated", "uncalibrated"])
def test_every_field_comes_back_as_it_was(tmp_path, detector, calibration):
    model = make(detector, calibration)
    save(model, tmp_path / "model.h5")
    held, seen = load(tmp_path / "model.h5"), load(tmp_path / "model.h5", held=False)
    assert same(held.model, model) and same(seen.model, model)
    assert (seen.sha256, seen.detector_digest, seen.size_bytes) == (held.sha256, held.detector_digest, held.size_bytes)


def test_who_holds_no_arrays_needs_no_memory_for_them(tmp_path):
    save(make(weights={"conv1.weight": np.zeros((4 << 20,), np.float32)}), tmp_path / "model.h5")
    tracemalloc.start()
    try:
        model = load(tmp_path / "model.h5", held=False).model
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
        assert load(tmp_path / "model.h5").model.weights["conv1.weight"].nbytes < tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not model.weights["conv1.weight"].flags.writeable


def test_fields_that_may_be_absent_come_back_as_none(tmp_path):
    calibration = dataclasses.replace(
        CALIBRATION, check_threshold=None, max_false_reject=None, check_false_reject=None, confidence=None
    )
    model = make(calibration=calibration, pixel_pitch=None, sizes=(MinSize(MinArea(1.0, "share")),), scales=None)
    model = dataclasses.replace(model, spec=dataclasses.replace(model.spec, white_level=None))
    save(model, tmp_path / "model.h5")
    assert same(load(tmp_path / "model.h5").model, model)


def test_empty_arrays_texts_and_dictionaries_come_back_empty(tmp_path):
    model = make(weights={}, provenance=Provenance(np.zeros((0, 32), np.uint8), 0, "", {}))
    save(model, tmp_path / "model.h5")
    assert same(load(tmp_path / "model.h5").model, model)


def test_numbers_come_back_to_the_last_bit(tmp_path):
    for value in (0.1, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3):
        save(make(footprint=value), tmp_path / "model.h5")
        assert np.float64(load(tmp_path / "model.h5").model.footprint).tobytes() == np.float64(value).tobytes()


def test_equal_models_give_equal_bytes_and_reading_and_writing_again_too(tmp_path):
    model = make()
    save(model, tmp_path / "one.h5")
    save(model, tmp_path / "two.h5")
    save(load(tmp_path / "one.h5").model, tmp_path / "three.h5")
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1


def test_whole_numbers_in_real_fields_give_the_bytes_of_real_ones(tmp_path):
    save(make(footprint=1.0, pixel_pitch=2.0), tmp_path / "one.h5")
    model = make(footprint=1, pixel_pitch=2)
    save(dataclasses.replace(load(tmp_path / "one.h5").model, footprint=1, pixel_pitch=2), tmp_path / "two.h5")
    assert model.footprint == 1
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_the_file_holds_no_path_time_or_host(path, tmp_path):
    content = path.read_bytes()
    assert str(tmp_path).encode() not in content and os.uname().nodename.encode() not in content
    (tmp_path / "elsewhere").mkdir()
    save(load(path).model, tmp_path / "elsewhere" / "other name.h5")
    assert (tmp_path / "elsewhere" / "other name.h5").read_bytes() == content


def test_the_digests_are_those_that_the_format_describes(path):
    stored = load(path)
    with h5py.File(path) as file:
        assert file.attrs["digest"].decode() == digest(file)
        assert stored.detector_digest == digest(file, ("spec", "geometry", "weights", "detector", "guard"))
    assert stored.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert stored.size_bytes == path.stat().st_size


def test_the_detector_digest_changes_with_what_was_learnt_and_not_with_the_calibration(tmp_path):
    def digests(model):
        save(model, tmp_path / "model.h5")
        stored = load(tmp_path / "model.h5")
        return stored.detector_digest, stored.sha256

    model = make()
    name, sha256 = digests(model)
    for other in (
        dataclasses.replace(model, calibration=None),
        dataclasses.replace(model, calibration=dataclasses.replace(CALIBRATION, threshold=2.0)),
        dataclasses.replace(model, sizes=(MinSize(MinArea(25.0, "px")),), scales=None, pixel_pitch=0.1),
    ):
        assert digests(other)[0] == name and digests(other)[1] != sha256
    for other in (
        dataclasses.replace(model, spec=dataclasses.replace(model.spec, sigma=3.0)),
        dataclasses.replace(model, weights={**model.weights, "bn1.bias": real(2)}),
        dataclasses.replace(model, detector=dataclasses.replace(model.detector, mean=real(4, 3))),
        dataclasses.replace(model, detector=dataclasses.replace(model.detector, params=PaDiMParams(epsilon=0.02))),
    ):
        assert digests(other)[0] != name


# Writing is whole or nothing.


def test_a_reader_of_the_old_file_keeps_reading_it(path):
    old = load(path)
    with path.open("rb") as reader, h5py.File(path) as file:
        first = reader.read(100)
        save(make("patchcore"), path)
        assert first + reader.read() != path.read_bytes()
        assert np.array_equal(file["detector/mean"], old.model.detector.mean)
    assert load(path).model.spec.method == "patchcore"
    assert [entry.name for entry in path.parent.iterdir()] == ["model.h5"]


@pytest.mark.parametrize("step", ["look", "read_fields"])
@pytest.mark.parametrize("other", ["patchcore", "padim, channels"])
def test_a_model_that_is_replaced_while_it_is_read_is_read_again(path, monkeypatch, step, other):
    """Before its arrays are sought, and before they are read; by one of another shape, and of the same."""
    newer, usual = make(other), getattr(store, step)

    def replaced(*given):
        monkeypatch.setattr(store, step, usual)
        save(newer, path)
        return usual(*given)

    monkeypatch.setattr(store, step, replaced)
    stored = load(path)
    assert stored.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert same(stored.model, newer)


def test_a_model_that_is_removed_while_it_is_read_is_missing(path, monkeypatch):
    usual = store.look
    monkeypatch.setattr(store, "look", lambda *given: (path.unlink(), usual(*given))[1])
    with pytest.raises(UsageError, match="there is no model"):
        load(path)


def test_a_file_that_fails_while_it_is_named_is_the_machines_fault(path, monkeypatch):
    """Its arrays lie elsewhere in it: only the thread that takes the sha256 meets the damage."""

    def fail(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store, "name_of", fail)
    assert str(path) in one_fault(lambda: load(path))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_sign", fail)
    with pytest.raises(EnvironmentFault, match="could not be written"):
        save(make("patchcore"), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["model.h5"]


_FILL = """
import resource, sys
from pathlib import Path
from adcli.errors import EnvironmentFault, UsageError
from adcli.store import save
from tests.models import make, real
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    save(make(weights={"conv1.weight": real(200_000)}), Path(sys.argv[1]))
except EnvironmentFault as fault:
    print(fault)
    raise SystemExit(8)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")
def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(path):
    before = path.read_bytes()
    for limit in (0, 100, 1000, 5000, 20_000, 400_000, 1_100_000):  # at some of them HDF5 would end the process
        run = subprocess.run(
            [sys.executable, "-c", _FILL, str(path), str(limit)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert (run.returncode, run.stderr) == (8, "")
        assert str(path) in run.stdout and run.stdout.count("\n") == 1
        assert path.read_bytes() == before
        assert [entry.name for entry in path.parent.iterdir()] == ["model.h5"]


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_room_that_is_asked_for_is_what_a_file_takes(tmp_path, detector):
    model = make(detector, weights={"conv1.weight": np.zeros(1 << 20, np.float32)})
    save(model, tmp_path / "model.h5")
    assert abs((tmp_path / "model.h5").stat().st_size - store.bytes_of(model)) < store._ROOM / 4


def test_the_room_of_many_records_is_asked_for(tmp_path):
    model = make()
    model = dataclasses.replace(model, sizes=model.sizes * 2500, scales=None)
    save(model, tmp_path / "model.h5")
    assert 1.2 * store._ROOM < (tmp_path / "model.h5").stat().st_size < store.bytes_of(model) + store._ROOM


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no such call")
def test_hdf5_writes_where_room_is_taken(path, monkeypatch):
    taken, real_file = [], store.h5py.File

    def open_file(name, mode, **how):
        taken.append(Path(name).stat().st_size)
        return real_file(name, mode, **how)

    monkeypatch.setattr(store.h5py, "File", open_file)
    save(make(), path)
    assert taken == [store._ROOM, store.bytes_of(make()) + store._ROOM]
    assert path.stat().st_size < taken[1]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no such call")
def test_a_disk_that_takes_no_room_before_is_written_to(path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.EOPNOTSUPP, "no such thing")

    monkeypatch.setattr(os, "posix_fallocate", unknown)
    save(make(), path)
    assert load(path)


@pytest.mark.parametrize("short", [1, 1 << 20])
def test_a_system_that_takes_no_room_before_is_asked_for_it(path, monkeypatch, short):
    before, needed = path.read_bytes(), store.bytes_of(make()) + store._ROOM
    usage = type(store.shutil.disk_usage(path))
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(store, "write_fields", lambda *_: pytest.fail("written"))
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, needed - short))
    with pytest.raises(EnvironmentFault, match=r"could not be written to .*: make room, or choose another folder"):
        save(make(), path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_disk_that_tells_nothing_of_itself_is_written_to(tmp_path, monkeypatch):
    usage = type(store.shutil.disk_usage(tmp_path))
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage(0, 0, 0))
    save(make(), tmp_path / "model.h5")
    assert load(tmp_path / "model.h5")


def one_fault(act):
    with pytest.raises(EnvironmentFault) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_folder_is_one_sentence(tmp_path):
    target = tmp_path / "none" / "model.h5"
    assert str(target) in one_fault(lambda: save(make(), target))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "model.h5"
    assert str(target) in one_fault(lambda: save(make(), target))


@pytest.fixture
def nobody():
    """Root may write anywhere: for these tests it becomes somebody else."""
    if not hasattr(os, "geteuid"):
        pytest.skip("needs Unix permissions")
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_folder_that_cannot_be_written_is_one_sentence(nobody):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        try:
            target = Path(folder) / "model.h5"
            told = one_fault(lambda: save(make(), target))
            assert str(target) in told and "permission" in told
            assert list(Path(folder).iterdir()) == []
        finally:
            Path(folder).chmod(0o755)


def test_a_file_that_cannot_be_read_is_the_machines_fault(nobody):
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.h5"
        save(make(), target)
        target.chmod(0)
        assert str(target) in one_fault(lambda: load(target))
