"""The weights that adcli brings along: one file in the package, pinned by its digest and read without pickle.

It holds the arrays of `adcli.backbones.embedded` in half precision, batch norms folded in. benchmarks/embedded has all
that it was made with.
"""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adcli.errors import EnvironmentFault

if TYPE_CHECKING:
    import numpy as np

FILE = Path(__file__).with_name("embedded.npz")
_MOST_BYTES = 64 << 20  # of arrays, which are 5 MB in float32
SHA256 = "7d6e3e6ef575169ac2fe0c2f2ca798afdcba184c131502759e762bf4a4fbc7b2"
"""Of FILE: whoever trains it again puts the new digest here. No file has an empty one."""


def locate() -> Path | None:
    """The file, its digest checked; None where this installation has none."""
    try:
        content = FILE.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFault(
            f"{FILE} cannot be read ({error.strerror or error}): install adcli again, or use --backbone resnet18."
        ) from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256:
        raise EnvironmentFault(
            f"{FILE} is damaged (its sha256 is {sha256}): install adcli again, or use --backbone resnet18."
        )
    return FILE


def resolve() -> Path:
    """The file, its digest checked."""
    path = locate()
    if path is None:
        raise EnvironmentFault(
            f"The weights of the embedded backbone are not in this installation ({FILE} is missing): install adcli "
            "again, or use --backbone resnet18."
        )
    return path


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of weights by name, float32. Anything else is refused, and no code is run."""
    import numpy as np

    foreign = f"{path} is not a file of embedded weights, or is damaged; those of other networks take their --backbone."
    try:
        mode = path.stat().st_mode
        content = path.read_bytes() if stat.S_ISREG(mode) else b""  # a pipe would be waited for
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            if sum(part.file_size for part in file.zip.infolist()) > _MOST_BYTES:
                raise ValueError("more than any network of ours has")
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a foreign or cut-off file makes zipfile and numpy raise nearly anything
        raise EnvironmentFault(foreign) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands over the bytes of what is no array
            raise EnvironmentFault(foreign)
        if not np.issubdtype(array.dtype, np.floating):
            raise EnvironmentFault(f"{path} holds more than weights: {name} is of {array.dtype}.")
    with np.errstate(over="ignore"):  # whoever builds the network refuses what is not finite
        return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Writes weights in half precision, the same bytes for the same values; returns the file's sha256.

    Raises:
        ValueError: a weight is out of half precision's range.
    """
    import numpy as np

    halves = {name: np.asarray(arrays[name]).astype(np.float16) for name in sorted(arrays)}
    if out := [name for name, half in halves.items() if not np.isfinite(half).all()]:
        raise ValueError(f"{out[0]} has values that half precision cannot hold")
    content = io.BytesIO()
    np.savez(content, **halves)  # numpy gives the parts of the archive no time of their own
    path.write_bytes(content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()
