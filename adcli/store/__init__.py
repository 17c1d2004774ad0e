"""A model and its HDF5 file: the only place that knows HDF5.

A file is the picture of the Model dataclass: a nested dataclass is a group, an array or a gallery a dataset, a number
or a text an attribute, a tuple or a dict of texts an attribute in JSON, a tuple of dataclasses a group of numbered
groups; None is absent. docs/file-format.md says what a reader may rely on. The walk follows the field annotations, so
no detector writes its own saving, and nothing is ever unpickled. A gallery is written and checked block by block, and
read where it lies.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import h5py

from adcli.errors import EnvironmentFault, ModelFileError, UsageError
from adcli.model import Model
from adcli.parallel import Aside
from adcli.store.fields import bytes_of, read_fields, write_fields
from adcli.store.hdf5 import NeverWritten, look, root_attribute, write_attribute
from adcli.store.naming import name_of

SCHEMA = 1
_FORMAT = "adcli-model"
# HDF5 file format specification, version 3, section II.A: a file begins with a signature and the version of what
# follows, which is 2 or 3 of the files that `save` writes; at byte 28 stands the address of the file's end.
_SIGNATURE, _SUPERBLOCKS, _HEAD = b"\x89HDF\r\n\x1a\n", (2, 3), 36
_ROOM = 1 << 20  # bytes that a file may take beside its arrays
_HOW = {"libver": ("v110", "v110"), "locking": False}  # files are written
_DETECTOR_PARTS = ("spec", "geometry", "weights", "detector", "guard")  # what `calibrate` leaves as it was


@dataclass(frozen=True)
class Stored:
    """A model as it was read, and the digests that name it."""

    model: Model
    sha256: str  # of the file
    detector_digest: str  # of what was learnt; unchanged by `calibrate`
    size_bytes: int


def save(model: Model, path: Path) -> None:
    """Writes the whole file beside `path` and renames it: a reader sees the old file or the new one.

    Raises:
        EnvironmentFault: when the disk is full or the folder cannot be written.
    """
    from adcli.files import replacing

    with replacing(path) as temporary:
        try:
            # HDF5 can end the whole process where a write fails: for a full disk, a quota, a limit on the size of
            # files. So room is taken before, and HDF5 gives back what it has no use for.
            _reserve(temporary, _ROOM)
            with h5py.File(temporary, "w", **_HOW):
                pass
            _reserve(temporary, bytes_of(model) + _ROOM)
            with h5py.File(temporary, "r+", **_HOW) as file:
                write_fields(file, model)
                write_attribute(file, "format", _FORMAT)
                write_attribute(file, "schema", SCHEMA)
                _sign(file, temporary)
        except PermissionError as error:
            raise EnvironmentFault(
                f"the model may not be written to {path}: give yourself the permission, or choose another folder"
            ) from error
        except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
            free = shutil.disk_usage(path.parent).free // 2**20
            number = getattr(error, "errno", None)
            reason = f"{os.strerror(number)}, " if number else ""
            raise EnvironmentFault(
                f"the model could not be written to {path} ({reason}{free} MiB are free): make room, or choose another "
                "folder"
            ) from error


def _reserve(path: Path, size: int) -> None:
    """Makes the file, if it is not there, and takes room for so many bytes. Systems that cannot do so are asked how
    much is free, if they tell."""
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # others: this disk has no such thing
                    raise
            return
    disk = shutil.disk_usage(path.parent)
    if disk.total and disk.free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sign(file: h5py.File, path: Path) -> None:
    """Writes the digests of what is in the file."""
    file.flush()
    with path.open("rb", buffering=0) as raw:
        root = look(file, raw, path.stat().st_size)
        root.attributes["detector_digest"] = root.digest(_DETECTOR_PARTS)
        write_attribute(file, "detector_digest", root.attributes["detector_digest"])
        write_attribute(file, "digest", root.digest_of_all())


def load(path: Path, *, held: bool = True) -> Stored:
    """Reads and verifies a model file.

    Args:
        held: False: arrays are verified, but not brought into memory; those of the model are views of the file, and
            change with it; to read one after the file was cut short ends the process. For those who want to know of a
            model, and have no use for what it learnt.

    Raises:
        UsageError: there is no such file.
        ModelFileError: it is no adcli model, damaged, truncated, of a newer schema, or of an unknown method.
        EnvironmentFault: the permission or the memory to read it is missing.
    """
    path = Path(path)
    while True:
        before = _state(path)
        try:
            stored = _load(path, held)
        except ModelFileError:
            if _state(path) == before:
                raise
        else:
            if _state(path) == before:
                return stored
        # It was replaced in between: digest and contents must be of one file.


def _state(path: Path) -> tuple[int, int, int, int]:
    """What tells a file from the one that replaced it."""
    with _faults(path):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # opening a pipe would wait
        raise ModelFileError(f"{path} is not a regular file, so no model")
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _load(path: Path, held: bool) -> Stored:
    with contextlib.ExitStack() as stack:
        with _faults(path):
            raw, whole = (stack.enter_context(path.open("rb", buffering=0)) for _ in range(2))
        naming = stack.enter_context(Aside(functools.partial(name_of, whole)))
        try:
            model, detector_digest = _read(path, raw, held)
        except ModelFileError:
            raise
        except MemoryError as error:  # no shape is beyond the file's size, so it is the machine
            size = path.stat().st_size
            raise EnvironmentFault(f"{path} does not fit into this machine's memory: {size} bytes") from error
        except Exception as error:  # of damaged files: ValueError and whatever comes of fields that are others
            raise ModelFileError(f"{path} is not an adcli model, or is damaged: {_first_line(error)}") from error
        with _faults(path):
            sha256, size = naming.result()
    return Stored(model, sha256, detector_digest, size)


def _read(path: Path, raw: IO[bytes], held: bool) -> tuple[Model, str]:
    """What a file holds, and the digest of what was learnt."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if root_attribute(file, "format") != _FORMAT:
                raise ModelFileError(f"{path} is an HDF5 file, but no adcli model")
            schema = root_attribute(file, "schema")
            if schema > SCHEMA:
                raise ModelFileError(
                    f"{path} has schema {schema}, newer than the {SCHEMA} this adcli reads: upgrade adcli, or fit it "
                    "again"
                )
            root = look(file, raw, os.fstat(raw.fileno()).st_size, held)
    except NeverWritten:
        raise
    except (KeyError, OSError, RuntimeError, ValueError) as error:  # of HDF5, whose words are about its own insides
        raise ModelFileError(f"{path} {_fault_of(raw)}") from error
    with contextlib.ExitStack() as stack:
        # Of the very bytes that are held, so after them; where none are, at once.
        digest = root.digest_of_all if held else stack.enter_context(Aside(root.digest_of_all)).result
        try:
            model = read_fields(root, Model, path)
        finally:  # where the contents are not those that were written, that is what there is to say
            if root.attributes["digest"] != digest():
                raise ModelFileError(
                    f"{path} is damaged: its contents do not match its digest; restore it, or fit it again"
                )
    return model, root.attributes["detector_digest"]


@contextlib.contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Says of a file that cannot be read what helps."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"there is no model at {path}: make one with adcli fit GOOD --model {path}") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise ModelFileError(f"{path} cannot be read as a model: {error.strerror}") from error
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be read: {error.strerror}") from error


def _fault_of(raw: IO[bytes]) -> str:
    """What is wrong with a file that HDF5 does not read, in our words."""
    raw.seek(0)
    head, size = raw.read(_HEAD), os.fstat(raw.fileno()).st_size
    if not head.startswith(_SIGNATURE):
        return "is not an adcli model: it is no HDF5 file"
    end = int.from_bytes(head[-8:], "little")
    if size < _HEAD or (head[8] in _SUPERBLOCKS and size < end):
        said = "" if size < _HEAD else f" of {end}"
        return f"is cut off: {size} bytes{said} are there; copy it again, or fit it again"
    return "is damaged: HDF5 cannot read it; restore it, or fit it again"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
