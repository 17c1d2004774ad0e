"""The usual file of torch's weights read without torch, whose import takes longer than all else that a short fit does.

Such a file is a ZIP archive, not compressed: data.pkl is a pickled dict of tensors, each a name of bytes in data/ with
a type, a place, a shape and strides. Three functions are all that its pickle may call, and none of them runs code from
the file. Whatever is otherwise is left to `torch.load`, which reads more and refuses the rest.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_TYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
}
_MOST_PICKLED = 16 << 20  # bytes of data.pkl, where names and shapes are


def read_plain(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file by name; None of any other file than the usual kind."""
    if not path.is_file():
        return None  # a pipe would be waited for
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except MemoryError:
        raise
    except Exception:  # a foreign or damaged file makes zipfile and pickle raise nearly anything
        return None


def _read(archive: zipfile.ZipFile) -> dict[str, np.ndarray] | None:
    parts = {part.filename.partition("/")[2]: part for part in archive.infolist()}
    if len(parts) < len(archive.infolist()) or any(part.compress_type for part in parts.values()):
        return None
    if parts["data.pkl"].file_size > _MOST_PICKLED:
        return None
    if "byteorder" in parts and archive.read(parts["byteorder"]) != b"little":
        return None
    content = _Unpickler(BytesIO(archive.read(parts["data.pkl"]))).load()
    if not isinstance(content, dict) or not content:
        return None
    kept: dict[str, np.ndarray] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            return None
        key = tensor.storage.key
        if key not in kept:
            kept[key] = np.frombuffer(
                archive.read(parts[f"data/{key}"]), tensor.storage.dtype
            ).copy()  # OpenVINO shares only what may be written to
        arrays[name] = tensor.on(kept[key])
    return arrays


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str


class _Tensor(NamedTuple):
    storage: _Storage
    start: int
    shape: tuple[int, ...]

    def on(self, values: np.ndarray) -> np.ndarray:
        """The tensor, of the numbers of its storage."""
        stop = self.start + math.prod(self.shape)
        if values.dtype != self.storage.dtype or self.start < 0 or stop > values.size:
            raise ValueError("a tensor is not within its storage")
        return values[self.start : stop].reshape(self.shape)


class _Unpickler(pickle.Unpickler):
    """Gives only what cannot be altered from within the file: words, a class of the language, and a method."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError

    def persistent_load(self, pid: Any) -> _Storage:
        kind, name, key, _, _ = pid
        if kind != "storage" or not isinstance(key, str):
            raise pickle.UnpicklingError
        return _Storage(_TYPES[name], key)

    def _tensor(
        self, storage: Any, start: Any, shape: Any, strides: Any, gradient: Any = False, hooks: Any = None, *more: Any
    ) -> _Tensor:
        """What torch calls to make a tensor again: here only one whose numbers lie one after another."""
        numbers = (start, *shape, *strides)
        if not isinstance(storage, _Storage) or hooks or more or len(shape) != len(strides):
            raise pickle.UnpicklingError
        if not all(type(one) is int and one >= 0 for one in numbers):
            raise pickle.UnpicklingError
        for place, (side, stride) in enumerate(zip(shape, strides, strict=True)):
            if side > 1 and stride != math.prod(shape[place + 1 :]):
                raise pickle.UnpicklingError
        return _Tensor(storage, start, tuple(shape))
