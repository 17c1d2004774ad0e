"""The model reader: a model, or one of the stated refusals, however the file is damaged."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from adcli.errors import EnvironmentFault, ModelFileError, UsageError
from adcli.store import load, save
from tests.fuzzing.cases import Case, Target, Violation, outcome, put
from tests.fuzzing.mutations import damaged
from tests.models import CALIBRATION, DETECTORS, digest, make, same
from tests.models import put as put_attribute

NAME = "model.h5"
_WORDS = (
    b"OHDR",
    b"OCHK",
    b"FRHP",
    b"FHDB",
    b"BTHD",
    b"BTLF",
    b"SNOD",
    b"TREE",
    b"HEAP",
    b"GCOL",
    b"\x89HDF\r\n\x1a\n",
)
_TEXTS = ("0", "[]", "{}", "[[]]", "null", "NaN", "1e999", "[1, 2]", '["a", "b"]', "patchcore", "padim", "bf16")
_NUMBERS = (0, -1, 1, 2**31, 2**63 - 1, -(2**63), 0.0, -0.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
_SHAPES = ((), (0,), (1,), (3,), (0, 0), (1, 1), (4, 3), (3, 4), (1, 2, 3, 4), (5, 0, 5))


def model_target(folder: Path) -> Target:
    """Bytes damaged as disks and copies damage them; and parts changed by a hand that also mends the file's digest."""
    files = _files(folder)
    whole = list(files.values())

    def random_case(rng: np.random.Generator) -> tuple[str, Case]:
        kind = list(files)[rng.integers(len(files))]
        if rng.random() < 0.6:
            return f"bytes of {kind}", {NAME: damaged(files[kind], rng, whole, _WORDS)}
        return f"parts of {kind}", {NAME: _altered(files[kind], rng)}

    return Target("models", random_case, check_model)


def forged_target(folder: Path) -> Target:
    """Metadata damaged and HDF5's own checksums made right again, which only an attacker does.

    The library has no other defence, and crashes: what is found here tells how often, and nothing of adcli.
    """
    files = _files(folder)
    blocks = {kind: checked_blocks(data) for kind, data in files.items()}

    def random_case(rng: np.random.Generator) -> tuple[str, Case]:
        kind = list(files)[rng.integers(len(files))]
        return f"forged {kind}", {NAME: _with_checksums(files[kind], blocks[kind], rng)}

    return Target("forged", random_case, check_model)


def _files(folder: Path) -> dict[str, bytes]:
    """A model file of every detector, with and without a calibration."""
    files = {}
    for detector in DETECTORS:
        for calibration, note in ((CALIBRATION, ""), (None, ", uncalibrated")):
            save(make(detector, calibration), folder / NAME)
            files[detector + note] = (folder / NAME).read_bytes()
    return files


def check_model(kind: str, case: Case, folder: Path) -> str:
    """Refused as stated, or read: then it can be written, and is the same again."""
    put(case, folder)
    try:
        model = load(folder / NAME).model
    except (ModelFileError, UsageError, EnvironmentFault) as error:
        return outcome(error, folder)
    save(model, folder / "again.h5")
    if not same(load(folder / "again.h5").model, model):
        raise Violation("the model is another one after it was written again")
    return f"a model, from {kind.partition(' ')[0]}"


def _altered(data: bytes, rng: np.random.Generator) -> bytes:
    """Attributes and arrays of other values, types and shapes, or gone; the digest is that of what is there."""
    stream = io.BytesIO(data)
    with h5py.File(stream, "r+") as file:
        places: list[str] = []
        file.visit(places.append)
        for _ in range(int(rng.choice([1, 1, 2, 4]))):
            place = places[rng.integers(len(places))]
            if place in file:
                _alter(file, place, rng)
        with contextlib.suppress(ValueError, AttributeError, TypeError):  # what no digest can be of
            put_attribute(file, "digest", digest(file))
    return stream.getvalue()


def _alter(file: h5py.File, place: str, rng: np.random.Generator) -> None:
    node, what = file[place], rng.random()
    names = list(node.attrs)
    if names and what < 0.6:
        name = names[rng.integers(len(names))]
        if what < 0.1:
            del node.attrs[name]
            return
        value: Any = (*_TEXTS, *_NUMBERS)[rng.integers(len(_TEXTS) + len(_NUMBERS))]
        if what < 0.15:
            value = np.array([value] * 2) if not isinstance(value, str) else 0
        put_attribute(file, f"{place}/{name}", value)
    elif what < 0.75:
        del file[place]
    elif isinstance(node, h5py.Dataset):
        kind = ("f4", "f8", "i4", "u1", "i8", ">f4", "f2", "?", "c8", "S3")[rng.integers(10)]
        shape = _SHAPES[rng.integers(len(_SHAPES))] if rng.random() < 0.5 else node.shape
        values = rng.integers(-3, 200, shape).astype(kind)
        if values.dtype.kind == "f" and values.size and rng.random() < 0.5:
            values.flat[0] = (np.nan, np.inf, 0)[rng.integers(3)]
        del file[place]
        file[place] = values
    else:
        name = ("later", "0", "1", "7", "spec", "width")[rng.integers(6)]
        if name not in node:
            node[name] = np.zeros(3)


def _with_checksums(data: bytes, blocks: list[tuple[int, int]], rng: np.random.Generator) -> bytes:
    """One of HDF5's checked blocks damaged, its checksum right."""
    changed = bytearray(data)
    for _ in range(int(rng.choice([1, 1, 2]))):
        begin, end = blocks[rng.integers(len(blocks))]
        block = damaged(bytes(changed[begin + 4 : end]), rng, (), _WORDS)[: end - begin - 4]
        changed[begin + 4 : begin + 4 + len(block)] = block
        struct.pack_into("<I", changed, end, lookup3(bytes(changed[begin:end])))
    return bytes(changed)


def checked_blocks(data: bytes) -> list[tuple[int, int]]:
    """Where HDF5's metadata blocks begin, and where their checksums lie: found by trying."""
    found = []
    for word in (*_WORDS, b"\x89HDF"):
        at = data.find(word)
        while at >= 0:
            for end in range(at + 8, min(len(data) - 3, at + 1200)):
                if data[end : end + 4] == struct.pack("<I", lookup3(data[at:end])):
                    found.append((at, end))
                    break
            at = data.find(word, at + 1)
    return sorted(set(found))


def lookup3(data: bytes) -> int:
    """Bob Jenkins's hash lookup3 (hashlittle, 2006, public domain), the checksum of HDF5's metadata."""
    mask = 0xFFFFFFFF

    def turned(value: int, by: int) -> int:
        return (value << by | value >> 32 - by) & mask

    a = b = c = (0xDEADBEEF + len(data)) & mask
    at = 0
    while len(data) - at > 12:
        x, y, z = struct.unpack_from("<3I", data, at)
        a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
        a = (a - c) & mask ^ turned(c, 4)
        c = (c + b) & mask
        b = (b - a) & mask ^ turned(a, 6)
        a = (a + c) & mask
        c = (c - b) & mask ^ turned(b, 8)
        b = (b + a) & mask
        a = (a - c) & mask ^ turned(c, 16)
        c = (c + b) & mask
        b = (b - a) & mask ^ turned(a, 19)
        a = (a + c) & mask
        c = (c - b) & mask ^ turned(b, 4)
        b = (b + a) & mask
        at += 12
    if at < len(data):
        x, y, z = struct.unpack("<3I", data[at:].ljust(12, b"\0"))
        a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
        for source, by in (("b", 14), ("c", 11), ("a", 25), ("b", 16), ("c", 4), ("a", 14), ("b", 24)):
            if source == "b":
                c = ((c ^ b) - turned(b, by)) & mask
            elif source == "c":
                a = ((a ^ c) - turned(c, by)) & mask
            else:
                b = ((b ^ a) - turned(a, by)) & mask
    return c
