"""A model and its HDF5 file: the only place that knows HDF5.

A file is the picture of the Model dataclass: a nested dataclass is a group, an array a dataset, a number or a text an
attribute, a tuple or a dict of texts an attribute in JSON; None is absent. docs/file-format.md says what a reader may
rely on. The walk follows the field annotations, so no detector writes its own saving, and nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from pathlib import Path
from typing import Any, get_args, get_origin

import h5py
import numpy as np

from adcli.detectors import DETECTORS
from adcli.errors import EnvironmentFault, ModelFileError, UsageError
from adcli.files import replacing
from adcli.model import Model, Spec

SCHEMA = 1
_FORMAT = "adcli-model"
_DETECTOR_PARTS = ("spec", "weights", "detector")  # what `calibrate` leaves as it was


@dataclasses.dataclass(frozen=True)
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
    with replacing(path) as temporary:
        try:
            with h5py.File(temporary, "w", libver=("v110", "v110"), locking=False) as file:
                _write_fields(file, model)
                file.attrs["format"] = _FORMAT
                file.attrs["schema"] = SCHEMA
                file.attrs["detector_digest"] = _digest(file, _DETECTOR_PARTS)
                file.attrs["digest"] = _digest(file, sorted(file))
        except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
            raise EnvironmentFault(f"the model could not be written to {path}: {_first_line(error)}") from error


def load(path: Path) -> Stored:
    """Reads and verifies a model file.

    Raises:
        UsageError: there is no such file.
        ModelFileError: it is no adcli model, damaged, truncated, of a newer schema, or of an unknown method.
    """
    path = Path(path)
    try:
        content_sha256, size = _file_sha256(path)
    except FileNotFoundError as error:
        raise UsageError(f"there is no model at {path}: make one with adcli fit GOOD --model {path}") from error
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read as a model: {error.strerror}") from error
    try:
        with h5py.File(path, "r", locking=False) as file:
            _check_identity(file, path)
            model = _read_model(file, path)
            return Stored(model, content_sha256, str(file.attrs["detector_digest"]), size)
    except ModelFileError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError, ValueError ... for damaged files
        raise ModelFileError(f"{path} is not an adcli model, or is damaged: {_first_line(error)}") from error


def _check_identity(file: h5py.File, path: Path) -> None:
    if file.attrs.get("format") != _FORMAT:
        raise ModelFileError(f"{path} is an HDF5 file, but no adcli model")
    schema = int(file.attrs["schema"])
    if schema > SCHEMA:
        raise ModelFileError(
            f"{path} has schema {schema}, newer than the {SCHEMA} this adcli reads: upgrade adcli, or fit it again"
        )
    if file.attrs.get("digest") != _digest(file, sorted(file)):
        raise ModelFileError(f"{path} is damaged: its contents do not match its digest; restore it, or fit it again")


def _read_model(file: h5py.File, path: Path) -> Model:
    hints = typing.get_type_hints(Model)
    spec = _read_value(file, "spec", Spec)
    if spec.method not in DETECTORS:
        raise ModelFileError(f"{path} was made by the method {spec.method!r}, which this adcli does not have")
    hints["detector"] = DETECTORS[spec.method].detector()
    return Model(**{name: _read_value(file, name, hint) for name, hint in hints.items()})


def _write_fields(group: h5py.Group, value: Any) -> None:
    for field in dataclasses.fields(value):
        _write_value(group, field.name, getattr(value, field.name))


def _write_value(group: h5py.Group, name: str, value: Any) -> None:
    if value is None:
        return
    if dataclasses.is_dataclass(value):
        _write_fields(group.create_group(name), value)
    elif isinstance(value, np.ndarray):
        group.create_dataset(name, data=value, track_times=False)
    elif isinstance(value, dict) and all(isinstance(item, np.ndarray) for item in value.values()):
        arrays = group.create_group(name)
        for key in sorted(value):
            arrays.create_dataset(key, data=value[key], track_times=False)
    elif isinstance(value, (tuple, dict)):
        group.attrs[name] = json.dumps(value, sort_keys=True)
    else:
        group.attrs[name] = value


def _read_value(group: h5py.Group, name: str, hint: Any) -> Any:
    options = [option for option in _options(hint) if option is not types.NoneType]
    kind = options[0]
    if name not in group and name not in group.attrs:
        if len(options) < len(_options(hint)):
            return None
        raise ModelFileError(f"the model lacks {group.name.rstrip('/')}/{name}")
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
        return kind(**{key: _read_value(group[name], key, hint) for key, hint in fields.items()})
    if kind is np.ndarray:
        return group[name][()]
    if get_origin(kind) is dict and get_args(kind)[1] is np.ndarray:
        return {key: dataset[()] for key, dataset in group[name].items()}
    value = group.attrs[name]
    if get_origin(kind) in (tuple, dict):
        return _tuples(json.loads(value))
    return kind(value)


def _options(hint: Any) -> tuple[Any, ...]:
    """The members of a union; a plain type is its own only member. A Literal is text."""
    if get_origin(hint) in (typing.Union, types.UnionType):
        return get_args(hint)
    return (str,) if get_origin(hint) is typing.Literal else (hint,)


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _digest(file: h5py.File, names: typing.Iterable[str]) -> str:
    """sha256 over the named parts: path, attributes, and each dataset's type, shape and bytes, in sorted order."""
    digest = hashlib.sha256()
    for name in names:
        if name in file:
            _digest_node(digest, file[name])
    attributes = {key: value for key, value in file.attrs.items() if key not in ("digest", "detector_digest")}
    if set(names) == set(file):
        digest.update(_attribute_bytes(attributes))
    return digest.hexdigest()


def _digest_node(digest: Any, node: h5py.Group | h5py.Dataset) -> None:
    digest.update(node.name.encode())
    digest.update(_attribute_bytes(dict(node.attrs)))
    if isinstance(node, h5py.Dataset):
        digest.update(f"{node.dtype.str}{node.shape}".encode())
        digest.update(np.ascontiguousarray(node[()]).data)
    else:
        for name in sorted(node):
            _digest_node(digest, node[name])


def _attribute_bytes(attributes: dict[str, Any]) -> bytes:
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in attributes.items()}
    return json.dumps(plain, sort_keys=True, default=str).encode()


def _file_sha256(path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
