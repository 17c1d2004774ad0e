"""The usual file of torch's weights read without torch, whose import takes longer than all else that a short fit does.

Such a file is a ZIP archive, not compressed: data.pkl is a pickled dict of tensors, each a name of bytes in data/ with
a type, a place, a shape and strides. Of the pickle only what torch writes for that is understood, here and not by the
interpreter's own reader, so that a file can neither run code nor, by tuples of tuples of tuples, take all time or
memory. Whatever is otherwise is left to `torch.load`, which reads more and refuses the rest.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_TYPES = {
    "torch DoubleStorage": np.dtype("<f8"),
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch LongStorage": np.dtype("<i8"),
}
_MOST_PICKLED = 2 << 20  # bytes of data.pkl, where names and shapes are; those of a ResNet-101 are 60 kB
_MOST_SIDES = 8  # of a tensor
_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None, "EMPTY_TUPLE": ()}
_VALUES = frozenset(("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"))


class NotPlain(ValueError):
    """A file that is for torch to read."""


def read_plain(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file by name; None of any other file than the usual kind."""
    if not path.is_file():
        return None  # a pipe would be waited for
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except MemoryError:
        raise
    except Exception:  # a foreign or damaged file makes zipfile and pickletools raise nearly anything
        return None


def _read(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    members = archive.infolist()
    parts = {part.filename.partition("/")[2]: part for part in members}
    if len({part.filename.partition("/")[0] for part in members}) > 1 or len(parts) < len(members):
        raise NotPlain
    if any(part.compress_type for part in members) or "version" not in parts:
        raise NotPlain
    if "byteorder" in parts and archive.read(parts["byteorder"]) != b"little":
        raise NotPlain
    if parts["data.pkl"].file_size > _MOST_PICKLED:
        raise NotPlain
    content = _unpickled(archive.read(parts["data.pkl"]))
    if not isinstance(content, dict) or not content:
        raise NotPlain
    kept: dict[_Storage, np.ndarray] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in content.items():
        if not isinstance(tensor, _Tensor):
            raise NotPlain
        storage = tensor.storage
        if storage not in kept:
            part = parts[f"data/{storage.key}"]
            if part.file_size != storage.count * storage.dtype.itemsize:
                raise NotPlain
            kept[storage] = np.frombuffer(archive.read(part), storage.dtype).copy()  # OpenVINO shares what is writable
        arrays[name] = tensor.on(kept[storage])
    return arrays


class _Global(NamedTuple):
    """Something that the pickle names: "module name"."""

    name: str


class _Storage(NamedTuple):
    """Numbers in data/."""

    dtype: np.dtype
    key: str
    count: int


class _Tensor(NamedTuple):
    """Some of them, one after another."""

    storage: _Storage
    start: int
    shape: tuple[int, ...]

    def on(self, values: np.ndarray) -> np.ndarray:
        """The array, of the numbers of its storage."""
        stop = self.start + math.prod(self.shape)
        if stop > values.size:
            raise NotPlain
        return values[self.start : stop].reshape(self.shape)


def _unpickled(pickled: bytes) -> Any:
    """What a pickle of protocol 2 holds, as far as torch writes such of tensors."""
    stack: list[Any] = []
    marks: list[int] = []
    memory: dict[int, Any] = {}

    def taken(start: int) -> list[Any]:
        items = stack[start:]
        del stack[start:]
        return items

    for operation, argument, _ in pickletools.genops(pickled):
        name = operation.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            memory[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memory[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(taken(marks.pop())))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(taken(-int(name[-1]))))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in ("SETITEM", "SETITEMS"):
            items = taken(-2 if name == "SETITEM" else marks.pop())
            _add(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(_Global(argument))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            function, arguments = taken(-2)
            stack.append(_called(function, arguments))
        elif name == "BUILD":
            stack.pop()  # attributes, of which a state_dict has the versions of its modules
        elif name == "STOP":
            return stack.pop()
        elif name != "PROTO":
            raise NotPlain
    raise NotPlain


def _add(target: Any, items: list[Any]) -> None:
    names, values = items[::2], items[1::2]
    if type(target) is not dict or not all(type(name) is str for name in names):
        raise NotPlain
    target.update(zip(names, values, strict=True))


def _storage(told: Any) -> _Storage:
    kind, dtype, key, _, count = told
    if kind != "storage" or not isinstance(dtype, _Global) or type(key) is not str or not _is_count(count):
        raise NotPlain
    return _Storage(_TYPES[dtype.name], key, count)


def _called(function: Any, arguments: Any) -> Any:
    """A dict that keeps an order, or a tensor."""
    if function == _Global("collections OrderedDict") and arguments == ():
        return {}
    if function != _Global("torch._utils _rebuild_tensor_v2"):
        raise NotPlain
    storage, start, shape, strides, _, hooks = arguments
    if not isinstance(storage, _Storage) or hooks or not len(shape) == len(strides) <= _MOST_SIDES:
        raise NotPlain
    if not all(map(_is_count, (start, *shape, *strides))):
        raise NotPlain
    for place, (side, stride) in enumerate(zip(shape, strides, strict=True)):
        if side > 1 and stride != math.prod(shape[place + 1 :]):
            raise NotPlain
    return _Tensor(storage, start, shape)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
