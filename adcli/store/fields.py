"""Dataclasses to groups and back, by the annotations of their fields: no detector writes its own saving."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import h5py
import numpy as np

from adcli.detectors import DETECTORS
from adcli.errors import ModelFileError
from adcli.gallery import Gallery
from adcli.store.hdf5 import Array, Group, write_attribute

_BESIDE = 1 << 10  # bytes that a group, an array or a text takes beside what is in it
_NUMBER = 1 << 5  # bytes


def write_fields(group: h5py.Group, value: Any) -> None:
    """Writes a record into a group."""
    hints = _hints(type(value))
    for field in dataclasses.fields(value):
        _write_value(group, field.name, getattr(value, field.name), _options(hints[field.name])[0])


def _write_value(group: h5py.Group, name: str, value: Any, kind: Any) -> None:
    if value is None:
        return
    if dataclasses.is_dataclass(value):
        write_fields(group.create_group(name), value)
    elif _is_records(kind):
        records = group.create_group(name)
        for place, record in enumerate(value):
            write_fields(records.create_group(str(place)), record)
    elif isinstance(value, Gallery):
        # Little-endian on every machine, as a reader without HDF5's conversion expects it to stay.
        rows = group.create_dataset(name, value.shape, value.dtype.newbyteorder("<"), track_times=False)
        for start, block in value.blocks():
            rows[start : start + len(block)] = block
    elif isinstance(value, np.ndarray):
        group.create_dataset(name, data=value, track_times=False)
    elif _is_arrays(kind):
        arrays = group.create_group(name)
        for key in sorted(value):
            arrays.create_dataset(key, data=value[key], track_times=False)
    elif isinstance(value, (tuple, dict)):
        write_attribute(group, name, json.dumps(value, sort_keys=True))
    else:
        # A whole number may stand for a real one.
        write_attribute(group, name, float(value) if kind is float else value)


def bytes_of(value: Any) -> int:
    """About what a record takes in its file: arrays, texts and numbers, with what HDF5 keeps beside each of them."""
    if isinstance(value, Gallery):
        return _BESIDE + math.prod(value.shape) * value.dtype.itemsize
    if isinstance(value, np.ndarray):
        return _BESIDE + value.nbytes
    if isinstance(value, str):
        return _BESIDE + 4 * len(value)
    if dataclasses.is_dataclass(value):
        return _BESIDE + sum(bytes_of(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, (tuple, list, Mapping)):
        return sum(map(bytes_of, value.values() if isinstance(value, Mapping) else value))
    return _NUMBER


def read_fields(group: Group, kind: type, file: Path) -> Any:
    """A record. A field of any type is a detector, of the class that the method named before it has.

    `file` is the model file, which galleries open once more.
    """
    hints, values = _hints(kind), {}
    for field in dataclasses.fields(kind):
        if field.metadata.get("newer") and field.name not in group.attributes:
            continue  # it came after the file, and has its default
        hint = hints[field.name]
        if hint is Any:
            method = values["method"] if "method" in values else values["spec"].method
            if method not in DETECTORS:
                raise ModelFileError(f"{file} was made by the method {method!r}, which this adcli does not have")
            hint = DETECTORS[method].detector()
        values[field.name] = read_value(group, field.name, hint, file)
    return kind(**values)


def read_value(group: Group, name: str, hint: Any, file: Path) -> Any:
    """One field of a record."""
    kind, *others = _options(hint)
    node = group.members.get(name)
    if node is None and name not in group.attributes:
        if types.NoneType in others:
            return None
        raise ValueError(f"{group.path.rstrip('/')}/{name} is missing")
    if dataclasses.is_dataclass(kind):
        return read_fields(_as(Group, node, name), kind, file)
    if _is_records(kind):
        records = _as(Group, node, name)
        return tuple(read_value(records, str(place), get_args(kind)[0], file) for place in range(len(records.members)))
    if kind is np.ndarray:
        return _as(Array, node, name).read()
    if kind is Gallery:
        return _gallery(_as(Array, node, name), file)
    if _is_arrays(kind):
        return {key: _as(Array, one, key).read() for key, one in _as(Group, node, name).members.items()}
    value = group.attributes[name]
    return _typed(json.loads(value) if get_origin(kind) in (tuple, dict) else value, kind)


def _gallery(array: Array, file: Path) -> Gallery:
    """The rows where they lie, through a handle of the gallery's own: it outlives this reading, and the file's name."""
    if array.rows.dtype.kind not in "iuf":
        raise ValueError(f"{array.path} is no gallery, but holds truth values")
    return array.rows.through(file)


Kind = TypeVar("Kind", Group, Array)


def _as(kind: type[Kind], node: Group | Array | None, name: str) -> Kind:
    if not isinstance(node, kind):
        raise ValueError(f"{name if node is None else node.path} is no {kind.__name__.lower()}")
    return node


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of a record's fields, worked out once: a model has many records of few kinds."""
    return typing.get_type_hints(kind)


def _is_arrays(kind: Any) -> bool:
    return get_origin(kind) is dict and get_args(kind)[1] is np.ndarray


def _is_records(kind: Any) -> bool:
    return get_origin(kind) is tuple and dataclasses.is_dataclass(get_args(kind)[0])


def _options(hint: Any) -> tuple[Any, ...]:
    """The members of a union, None last; a plain type is its own only member. A Literal is text."""
    if get_origin(hint) in (typing.Union, types.UnionType):
        return get_args(hint)
    return (str,) if get_origin(hint) is typing.Literal else (hint,)


def _typed(value: Any, kind: Any) -> Any:
    """A number, a text, or what JSON made of a tuple or a dict, as the type it must have."""
    kinds = get_args(kind)
    if get_origin(kind) is tuple and isinstance(value, list):
        each = (kinds[0],) * len(value) if kinds[-1] is Ellipsis else kinds
        return tuple(_typed(item, one) for item, one in zip(value, each, strict=True))
    if get_origin(kind) is dict and isinstance(value, dict):
        return {key: _typed(item, kinds[1]) for key, item in value.items()}
    if type(value) is not kind:
        raise TypeError(f"{value!r:.40} stands where a {kind.__name__} belongs")
    if kind is float and not math.isfinite(value):  # no field may be: the maps would be NaN, or the areas infinite
        raise ValueError(f"{value} stands where a finite number belongs")
    return value
