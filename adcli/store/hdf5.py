"""What an HDF5 file holds, asked of the library once and kept as plain records: groups, attributes, arrays.

Only what `save` writes is taken; anything else is refused before a byte of it is read. The library says where an array
lies; its bytes are read straight from the file, in one piece, or block by block where they are not to be held.

Texts have a fixed length, which keeps them where HDF5 has checksums. Those of variable length lie in a heap that has
none, and in which one flipped bit can make the library loop without end.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

import h5py
import numpy as np

from adcli.gallery import Gallery


class NeverWritten(ValueError):
    """What `save` would not have made, in our words; ValueError alone is HDF5's, of what it cannot read."""


@dataclass
class Array:
    """A dataset, and where it lies."""

    path: str  # in the file
    attributes: dict[str, Any]
    rows: Gallery  # of the handle that the file was looked at through
    view: np.ndarray | None  # of the file, where arrays are not to be held
    held: np.ndarray | None = None

    def read(self) -> np.ndarray:
        """All of it; a view, or held from now on, so that the digest is of the very bytes that are used."""
        if self.view is not None:
            return self.view
        if self.held is None:
            self.held = self.rows.read()
        return self.held

    def add_to(self, digest: Any) -> None:
        """Adds path, attributes, type, shape and bytes."""
        digest.update(self.path.encode() + _as_json(self.attributes))
        digest.update(f"{self.rows.dtype.str}{self.rows.shape}".encode())
        for piece in self.rows.pieces() if self.held is None else [self.held.data]:
            digest.update(piece)


@dataclass
class Group:
    """A group with its attributes, numbers and texts, and its members in the order of their names."""

    path: str  # in the file
    attributes: dict[str, Any]
    members: dict[str, Group | Array]

    def add_to(self, digest: Any) -> None:
        """Adds path, attributes and every member."""
        digest.update(self.path.encode() + _as_json(self.attributes))
        for member in self.members.values():
            member.add_to(digest)

    def digest(self, names: Iterable[str]) -> str:
        """sha256 over those of its members that are there, as docs/file-format.md says."""
        return self._digest(names).hexdigest()

    def digest_of_all(self) -> str:
        """sha256 over everything in a root but the attribute `digest` itself."""
        digest = self._digest(self.members)
        digest.update(_as_json({name: value for name, value in self.attributes.items() if name != "digest"}))
        return digest.hexdigest()

    def _digest(self, names: Iterable[str]) -> Any:
        digest = hashlib.sha256()
        for name in names:
            if name in self.members:
                self.members[name].add_to(digest)
        return digest


def look(file: h5py.File, raw: IO[bytes], size: int, held: bool = True) -> Group:
    """All that is in a file of `size` bytes, whose arrays are read through `raw`, or not `held` but views of it.

    Raises:
        NeverWritten: something is what `save` never writes: a link, to another file or to one part under many names; an
            array whose bytes lie elsewhere or nowhere, or of another type than numpy's; a shape that would fill the
            memory; an attribute that is neither a number nor a text of fixed length.
    """
    pages = None if held else mmap.mmap(raw.fileno(), size, access=mmap.ACCESS_READ)
    group, _ = _look(h5py.h5g.open(file.id, b"/"), "", _Bytes(raw, size, pages), size)
    return group


class _Bytes(NamedTuple):
    """The file's."""

    raw: IO[bytes]
    size: int
    pages: mmap.mmap | None  # where arrays are to be views


def _look(group: Any, path: str, file: _Bytes, room: int) -> tuple[Group, int]:
    """What is in a group, and the bytes of the file that are left for other arrays."""
    members: dict[str, Group | Array] = {}
    for name in sorted(name.decode() for name in group):
        at, encoded = f"{path}/{name}", name.encode()
        if group.links.get_info(encoded).type != h5py.h5l.TYPE_HARD:
            raise NeverWritten(f"{name} in {path or '/'} is a link")
        node = h5py.h5o.open(group, encoded)
        if h5py.h5o.get_info(node).rc != 1:
            raise NeverWritten(f"{name} in {path or '/'} is a link")
        if isinstance(node, h5py.h5g.GroupID):
            members[name], room = _look(node, at, file, room)
            continue
        members[name] = array = _array(node, at, file)
        room -= array.rows.nbytes
        if room < 0:
            raise NeverWritten(f"{at} claims more than the file has")
    return Group(path or "/", _attributes(group, path), members), room


def _array(node: Any, path: str, file: _Bytes) -> Array:
    if not isinstance(node, h5py.h5d.DatasetID):
        raise NeverWritten(f"{path} is no plain array")
    made, shape, dtype = node.get_create_plist(), node.shape, node.dtype
    plain = made.get_layout() == h5py.h5d.CONTIGUOUS and not made.get_external_count()
    if not (plain and shape and dtype.kind in "biuf"):  # a single number would come back as no array
        raise NeverWritten(f"{path} is no plain array")
    if not node.get_type().equal(h5py.h5t.py_create(dtype)):
        raise NeverWritten(f"{path} is of a type that only HDF5 can read")
    offset = node.get_offset()  # None of what has no bytes
    rows = Gallery(file.raw, offset or 0, shape, dtype)
    if rows.nbytes and (offset is None or node.get_storage_size() != rows.nbytes or offset + rows.nbytes > file.size):
        raise NeverWritten(f"{path} claims more than the file has")
    view = None if file.pages is None else np.ndarray(shape, dtype, file.pages, offset or 0)
    return Array(path, _attributes(node, path), rows, view)


def _attributes(node: Any, path: str) -> dict[str, Any]:
    each = (h5py.h5a.open(node, index=index) for index in range(h5py.h5a.get_num_attrs(node)))
    return {one.name.decode(): _value(one, path) for one in each}


def root_attribute(file: h5py.File, name: str) -> Any:
    """A number or a text, before anything else of the file is looked at; None where there is none."""
    root = h5py.h5g.open(file.id, b"/")
    return _value(h5py.h5a.open(root, name.encode()), "/") if h5py.h5a.exists(root, name.encode()) else None


def _value(attribute: Any, path: str) -> Any:
    """A number or a text. Another kind is refused before it is read, see above."""
    single = attribute.get_space().get_simple_extent_type() == h5py.h5s.SCALAR
    if not single or attribute.dtype.kind not in "biufS":
        name = attribute.name.decode()
        raise NeverWritten(f"the attribute {name} of {path or '/'} is neither a number nor a text of fixed length")
    value = np.zeros((), attribute.dtype)
    attribute.read(value)
    plain = value.item()
    return plain.decode() if isinstance(plain, bytes) else plain


def write_attribute(node: h5py.Group, name: str, value: Any) -> None:
    """A number, or a text of fixed length."""
    if isinstance(value, str):
        text = value.encode()
        node.attrs.create(name, text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))
    else:
        node.attrs[name] = value


def _as_json(attributes: dict[str, Any]) -> bytes:
    return json.dumps(attributes, sort_keys=True).encode()
