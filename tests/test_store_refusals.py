"""Model files that are damaged, foreign or hostile are refused in one sentence, and never read in part."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import pickle
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from adcli import store
from adcli.errors import ModelFileError, UsageError
from adcli.store import load, save
from tests.models import altered, make, put, same


def refusal(path):
    """What is said of a file, whether its arrays are to be held or not."""
    texts = []
    for held in (False, True):
        with pytest.raises(ModelFileError) as caught:
            load(path, held=held)
        texts.append(str(caught.value))
        assert str(path) in texts[-1] and "\n" not in texts[-1]
    assert texts[0] == texts[1]
    return texts[0]


@pytest.fixture
def path(tmp_path):
    save(make(), tmp_path / "model.h5")
    return tmp_path / "model.h5"


@contextlib.contextmanager
def ended_within(seconds: float) -> Iterator[None]:
    """HDF5 has looped without end on damaged files, and holds the interpreter's lock while it does."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


# What is not whole is refused.


def test_a_file_cut_off_anywhere_is_refused(path):
    content = path.read_bytes()
    offsets = {0, 1, 7, 8, 9, 48, 95, 96, 511, 512, len(content) - 8, len(content) - 1}
    offsets |= {int(offset) for offset in np.random.default_rng(1).integers(0, len(content), 60)}
    for offset in offsets:
        path.write_bytes(content[:offset])
        cut = f"is cut off: {offset} bytes" + (f" of {len(content)}" if offset > 36 else "")
        assert (cut if offset >= 8 else "is not an adcli model: it is no HDF5 file") in refusal(path)


def test_of_a_file_that_hdf5_does_not_read_none_of_its_words_are_said(path):
    content = bytearray(path.read_bytes())
    content[48:56] = bytes(8)  # the root's header
    path.write_bytes(content)
    assert refusal(path) == f"{path} is damaged: HDF5 cannot read it; restore it, or fit it again"


def test_bytes_behind_the_end_change_nothing_or_are_refused(path):
    before = load(path)
    path.write_bytes(path.read_bytes() + bytes(1000))
    try:
        after = load(path)
    except ModelFileError:
        return
    assert same(after.model, before.model)


@pytest.mark.parametrize("detector", ["padim, channels", "patchcore", "spade"])
def test_a_flipped_bit_is_refused_or_without_effect(tmp_path, detector):
    path = tmp_path / "model.h5"
    save(make(detector), path)
    before, content = load(path), path.read_bytes()
    rng = np.random.default_rng(2)
    refused = 0
    for offset in rng.integers(0, len(content), 200):
        damaged = bytearray(content)
        damaged[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            with ended_within(60):
                after = load(path)
        except ModelFileError as error:
            assert "\n" not in str(error)
            refused += 1
            with ended_within(60):
                refusal(path)
        else:
            assert same(after.model, before.model) and after.detector_digest == before.detector_digest
            assert same(load(path, held=False).model, before.model)
    assert refused > 20


def test_every_byte_of_an_array_or_text_is_guarded(path):
    """Where they lie in the file is found by their contents."""
    content, model = path.read_bytes(), load(path).model
    texts = [model.spec.backbone, model.calibration.rule, json.dumps(model.spec.layers), load(path).detector_digest]
    guarded = [model.detector.mean.tobytes(), model.weights["bn1.bias"].tobytes(), *map(str.encode, texts)]
    for part in guarded:
        assert part in content
        start = content.index(part)
        for offset in range(start, start + len(part)):
            damaged = bytearray(content)
            damaged[offset] ^= 1
            path.write_bytes(damaged)
            with ended_within(60):
                refusal(path)


# What is something else is refused.


@pytest.mark.parametrize("content", [b"", b"good, bad and ugly\n" * 100, b"\x89PNG\r\n\x1a\n" + bytes(99), bytes(4096)])
def test_files_that_are_not_hdf5_are_refused(tmp_path, content):
    (tmp_path / "model.h5").write_bytes(content)
    assert "not an adcli model" in refusal(tmp_path / "model.h5")


def test_a_foreign_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["data"] = np.arange(5)
    assert "no adcli model" in refusal(tmp_path / "foreign.h5")


def test_a_folder_is_refused_and_a_missing_file_names_the_command(tmp_path):
    refusal(tmp_path)
    with pytest.raises(UsageError, match=r"adcli fit GOOD --model .*none\.h5"):
        load(tmp_path / "none.h5")


def test_a_newer_schema_is_refused_by_its_number(path):
    def renew(file):
        put(file, "schema", store.SCHEMA + 1)
        file.attrs["later"] = "a text of variable length"
        file.create_dataset("chunks", (8,), "f4", chunks=(4,))

    assert f"schema {store.SCHEMA + 1}" in refusal(altered(path, renew, sign=False))


def test_an_unknown_method_is_named(path):
    assert "'crystal ball'" in refusal(altered(path, lambda file: put(file, "spec/method", "crystal ball")))


@pytest.mark.parametrize(
    "part",
    [
        "spec",
        "weights",
        "detector",
        "detector/mean",
        "detector/reduction",
        "detector/params",
        "provenance",
        "sizes",
        "calibration/scores",
    ],
)
def test_a_missing_part_is_named(path, part):
    def remove(file):
        del file[part]

    assert part.rpartition("/")[2] in refusal(altered(path, remove))


@pytest.mark.parametrize(
    "part",
    ["footprint", "spec/sigma", "spec/layers", "detector/shapes", "detector/params/epsilon", "provenance/versions"],
)
def test_a_missing_attribute_is_named(path, part):
    group, _, name = part.rpartition("/")

    def remove(file):
        del file[group or "/"].attrs[name]

    assert name in refusal(altered(path, remove))


@pytest.mark.parametrize("name", ["format", "schema", "digest", "detector_digest"])
def test_a_file_without_its_own_marks_is_refused(path, name):
    def remove(file):
        del file.attrs[name]

    refusal(altered(path, remove, sign=name != "digest"))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("footprint", "a third"),
        ("spec/seed", 1.5),
        ("spec/sigma", "4"),
        ("spec/method", 7),
        ("spec/layers", "5"),
        ("spec/layers", '"layer1"'),
        ("spec/layers", '{"layer1": 1}'),
        ("spec/layers", "[1, 2]"),
        ("spec/layers", "[layer1"),
        ("spec/image_size", "[32]"),
        ("spec/image_size", "[32, 48, 3]"),
        ("spec/image_size", '[32, "48"]'),
        ("detector/shapes", "[[3, 2], [4, 1]]"),
        ("detector/params/dims", "many"),
        ("sizes/0/area/unit", "acre"),
        ("sizes/0/area/value", float("nan")),
        ("spec/sigma", float("nan")),
        ("spec/white_level", float("inf")),
        ("footprint", float("nan")),
        ("calibration/median_pixel", float("-inf")),
        ("calibration/threshold", float("nan")),
        ("calibration/threshold", float("inf")),
        ("calibration/check_threshold", float("nan")),
        ("provenance/versions", "[]"),
        ("provenance/versions", '{"adcli": 1}'),
        ("footprint", [0.5, 0.5]),
    ],
)
def test_an_attribute_of_the_wrong_type_is_refused(path, part, value):
    refusal(altered(path, lambda file: put(file, part, value), sign=not isinstance(value, list)))


def test_a_group_for_an_array_and_an_array_for_a_group_are_refused(path):
    def group(file):
        del file["detector/mean"]
        file.create_group("detector/mean")

    def array(file):
        del file["spec"]
        file["spec"] = np.zeros(3)

    def text(file):
        del file["detector/mean"]
        file["detector/mean"] = "the mean"

    def number(file):
        del file["detector/mean"]
        file["detector/mean"] = np.float32(1)

    refusal(altered(path, group))
    refusal(altered(path, array))
    assert "no plain array" in refusal(altered(path, number))
    refusal(altered(path, text, sign=False))


def test_what_a_reader_does_not_know_is_ignored(path):
    def add(file):
        file.create_group("later")
        put(file, "later/note", "unknown")
        file["later/numbers"] = np.arange(4.0)
        file["spec"].attrs["crop"] = 7

    assert same(load(altered(path, add)).model, load(path).model)


def test_texts_of_variable_length_are_refused_unread(path):
    """A damaged heap of such texts can make HDF5 loop without end."""

    def change(file):
        file["spec"].attrs["backbone"] = "random-resnet18"

    assert "backbone" in refusal(altered(path, change, sign=False))
    with h5py.File(path) as file:
        kinds = []
        file.visititems(lambda _, node: kinds.extend(node.attrs.get_id(name).dtype.kind for name in node.attrs))
    assert set(kinds) == {"S", "i", "f", "b"}


# What is hostile is refused, before it is followed or read.


def _external_link(file, other):
    del file["detector/mean"]
    file["detector/mean"] = h5py.ExternalLink(str(other), "/detector/mean")


def _external_group(file, other):
    del file["weights"]
    file["weights"] = h5py.ExternalLink(str(other), "/weights")


def _soft_link(file, other):
    file.move("detector/mean", "detector/really")
    file["detector/mean"] = h5py.SoftLink("/detector/really")


def _external_storage(file, other):
    del file["detector/mean"]
    file["detector"].create_dataset("mean", (4, 3), "f4", external=[(str(other), 0, 48)])


def _virtual(file, other):
    del file["detector/mean"]
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource(str(other), "detector/mean", (4, 3))
    file["detector"].create_virtual_dataset("mean", layout)


def _two_names(file, other):
    file["weights/again"] = file["weights/bn1.bias"]


def _inside_itself(file, other):
    file["spec/spec"] = file["spec"]


@pytest.mark.parametrize(
    "trick",
    [_external_link, _external_group, _soft_link, _external_storage, _virtual, _two_names, _inside_itself],
    ids=lambda trick: trick.__name__.strip("_"),
)
def test_nothing_outside_the_file_or_under_two_names_is_followed(path, tmp_path, trick):
    other = tmp_path / "other.h5"
    shutil.copy(path, other)
    hostile = altered(path, lambda file: trick(file, other), sign=trick is not _inside_itself)
    text = refusal(hostile)
    assert "link" in text or "array" in text


@pytest.mark.parametrize("options", [{"chunks": (1 << 16,)}, {"chunks": (1 << 16,), "compression": "gzip"}, {}])
def test_a_shape_larger_than_the_file_is_refused_without_memory_for_it(path, options):
    def claim(size, file):
        del file["detector/mean"]
        file["detector"].create_dataset("mean", (size,), "f4", **options)  # of which nothing is ever written

    for size in (1 << 27, 1 << 45):
        hostile = altered(path, lambda file, size=size: claim(size, file), sign=False)
        tracemalloc.start()
        try:
            text = refusal(hostile)
            assert tracemalloc.get_traced_memory()[1] < 32 << 20
        finally:
            tracemalloc.stop()
        assert "mean" in text


def test_a_deeply_nested_text_is_refused(path):
    def nest(file):
        put(file, "spec/layers", "[" * 60_000 + "]" * 60_000)

    refusal(altered(path, nest))


def test_groups_nested_without_end_are_refused(path):
    def nest(file):
        group = file
        for _ in range(3000):
            group = group.create_group("g")

    refusal(altered(path, nest, sign=False))


def test_nothing_is_unpickled(path, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    payload = pickle.dumps(Bomb())

    def plant(file):
        del file["detector/mean"]
        file["detector"].create_dataset("mean", data=np.void(payload))

    def plant_text(file):
        file["spec"].attrs["backbone"] = np.void(payload)

    refusal(altered(path, plant))
    refusal(altered(path, plant_text, sign=False))
    assert not (tmp_path / "exploded").exists()
    assert b"pickle" not in path.read_bytes()
