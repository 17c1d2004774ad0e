"""Files of pretrained weights: named, pinned by sha256, kept in one folder, and usable without network.

A kept file is called NAME.ORIGIN.SHA256.pth. The name is the whole record, so there is no index that could disagree
with the files, and processes that fetch at the same time cannot lose each other's entries.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from adcli.backbones import (
    BACKBONES,
    EMBEDDED,
    EMBEDDED_SUFFIX,
    JOIN,
    RANDOM,
    Backbone,
    embedded_file,
    published_backbone,
)
from adcli.errors import EnvironmentFault, UsageError
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import numpy as np
    import torch

TIMEOUT_S = 30.0  # without a byte, before a server counts as gone
_CHUNK = 1 << 20  # bytes
_KEPT = re.compile(r"(?P<name>[a-z0-9_]+)\.(?P<origin>pulled|added)\.(?P<sha256>[0-9a-f]{64})\.pth")


@dataclass(frozen=True)
class Entry:
    """What is known here of one backbone's weights."""

    name: str
    state: Literal["cached", "absent"]
    origin: Literal["adcli", "pulled", "added", "found"] | None  # found: put there by torchvision or by hand
    sha256: str | None
    pinned: bool  # the file is the published one; one that was added need not be, such as a part of it
    size_bytes: int | None  # of the file; of the published one while absent
    path: Path | None


@dataclass(frozen=True)
class Checked:
    """Whether a kept file still is what it was when it came."""

    name: str
    ok: bool
    reason: str | None


def cache_folder() -> Path:
    """`ADCLI_WEIGHTS_DIR`, or `weights` in the user's cache of adcli."""
    if named := os.environ.get("ADCLI_WEIGHTS_DIR"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("adcli", appauthor=False)) / "weights"


def entries() -> list[Entry]:
    """Every backbone adcli knows by name and every other one whose weights are kept, sorted by name."""
    kept = _kept()
    found = {name: kept.get(name) or _found(BACKBONES[name]) or _absent(name) for name in BACKBONES}
    return sorted((kept | found | {EMBEDDED: _embedded()}).values(), key=lambda entry: entry.name)


def locate(name: str) -> Path | None:
    """The file of this backbone's weights on this machine, its digest checked; None when there is none."""
    if name == EMBEDDED:
        return embedded_file.locate()
    entry = _kept().get(name)
    if entry is None:
        found = _found(published_backbone(name))
        return found and found.path
    if not _intact(entry):
        raise EnvironmentFault(f"{entry.path} is damaged (its sha256 changed): {_how_to_get(name)}.")
    return entry.path


def resolve(name: str, *, file: Path | None = None, offline: bool = False, progress: Progress = no_progress) -> Path:
    """The file to read this backbone's weights from: the one given, or in the folder given, the one kept here, or else
    fetched now. Those of the embedded backbone come with adcli."""
    if file is not None:
        return _of_folder(file, name) if file.is_dir() else file
    if name == EMBEDDED:
        return embedded_file.resolve()
    return locate(name) or pull(name, offline=offline, progress=progress).path


def read_weights(
    name: str, *, file: Path | None = None, offline: bool = False, progress: Progress = no_progress
) -> dict[str, Any] | None:
    """The weights that `build_extractor` takes, arrays or tensors, of one backbone or of several joined; None of
    untrained ones.

    `file` is a checkpoint, or a folder with one for each trained backbone, as `export` writes them.
    """
    trained = [part for part in name.split(JOIN) if not part.startswith(RANDOM)]
    if not trained:
        if file is not None:
            meant = name.replace(RANDOM, "")
            raise UsageError(f"{name} is untrained and takes no weights: leave --weights out, or write {meant}")
        return None
    if JOIN not in name:
        return _read(name, resolve(name, file=file, offline=offline, progress=progress))
    if file is not None and not file.is_dir():
        files = " and ".join(f"{part}{_suffix(part)}" for part in trained)
        raise UsageError(f"{name} takes the weights of each: give --weights a folder that holds {files}, or add each")
    state = {}
    for part in trained:
        own = part == EMBEDDED and file is not None and not _candidates(file, part)
        found = _read(part, resolve(part, file=None if own else file, offline=offline, progress=progress))
        state |= {f"{part}.{key}": value for key, value in found.items()}
    return state


def _read(name: str, path: Path) -> dict[str, Any]:
    if name == EMBEDDED:
        return embedded_file.read_arrays(path)
    from adcli.backbones.checkpoint import read_plain

    arrays = read_plain(path)
    return read_checkpoint(path) if arrays is None else _own_names(arrays)


def pull(name: str, *, offline: bool = False, progress: Progress = no_progress, url: str | None = None) -> Entry:
    """Fetches the published file, unless it is here; `url` names a mirror, whose file must be the same."""
    backbone = published_backbone(name)
    here = _kept().get(name) or _found(backbone)
    if here is not None and here.pinned and _intact(here):
        return here
    if offline:
        raise EnvironmentFault(
            f"The weights of {name} are not here, and offline nothing is fetched: {_how_to_get(name)}."
        )
    url = url or backbone.weights_url
    with _part(cache_folder()) as part:
        sha256 = _write(part, _fetched(url, name, progress))
        if not backbone.pins(sha256):
            raise EnvironmentFault(
                f"{url} is not the published file of {name}: its sha256 is {sha256}, "
                f"not {backbone.sha256 or f'{backbone.sha256_prefix}...'}; {_how_to_get(name)}."
            )
        return _keep(part, name, "pulled", sha256)


def add(file: Path, name: str) -> Entry:
    """Keeps a copy of a file brought here by hand. It may be a part of the published one, or trained otherwise."""
    published_backbone(name)
    state = read_checkpoint(file)
    if name in BACKBONES:
        from adcli.backbones.extractor import check_weights

        check_weights(name, state)
    with _part(cache_folder()) as part:
        return _keep(part, name, "added", _write(part, _chunks(file)))


def export(folder: Path) -> list[Path]:
    """Copies every file there is to a folder, with SHA256SUMS beside: for `weights add` on another machine."""
    present = [entry for entry in entries() if entry.path is not None and entry.name != EMBEDDED]
    if not present:
        raise EnvironmentFault(f"{cache_folder()} holds no weights to export: run `adcli weights pull NAME` first.")
    copies, sums = [], ""
    for entry in present:
        copies.append(folder / f"{entry.name}-{entry.sha256[:8]}.pth")
        with _part(folder) as part:
            if _write(part, _chunks(entry.path)) != entry.sha256:
                raise EnvironmentFault(f"{entry.path} is damaged (its sha256 changed): {_how_to_get(entry.name)}.")
            part.replace(copies[-1])
        sums += f"{entry.sha256}  {copies[-1].name}\n"
    with _part(folder) as part:
        _write(part, [sums.encode()])
        part.replace(folder / "SHA256SUMS")
    return copies


def verify() -> list[Checked]:
    """Reads every kept file again, and adcli's own, and compares its digest with the one it came with."""
    checked = [_verified_embedded()]
    for name, entry in sorted(_kept().items()):
        ok = _intact(entry)
        reason = None if ok else f"{entry.path} has changed since it was {entry.origin}: {_how_to_get(name)}."
        checked.append(Checked(name, ok, reason))
    return checked


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a torch file by name, on the CPU. Anything that is not tensors is refused, and no code is run."""
    import torch

    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of remarks on foreign files, which are refused anyway
            content = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be read: {error.strerror or error}.") from error
    except MemoryError:
        raise
    except Exception as error:  # a foreign or cut-off file makes torch.load raise nearly anything
        raise EnvironmentFault(
            f"{path} is not a file of weights, or is damaged: expected a dict of tensors written by torch.save."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise EnvironmentFault(f"{path} holds no weights: expected a dict of tensors, found {type(content).__name__}.")
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, torch.Tensor)):
            raise EnvironmentFault(
                f"{path} holds more than weights: {name!r} is {type(value).__name__}; expected a dict of tensors."
            )
    return _own_names(content)


def _own_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a DataParallel model writes before each."""
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): value for name, value in state.items()}
    return dict(state)


def state_digest(state: Mapping[str, np.ndarray]) -> str:
    """sha256 over the arrays' names, dtypes, shapes and bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name]
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _kept() -> dict[str, Entry]:
    """The files in the cache by backbone; the latest one, should an older one be left over."""
    files = []
    for path in cache_folder().glob("*.pth"):
        with contextlib.suppress(FileNotFoundError):  # another process may replace it right now
            files.append((path.stat(), path))
    kept = {}
    for stat, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
        if match := _KEPT.fullmatch(path.name):
            name, origin, sha256 = match["name"], match["origin"], match["sha256"]
            # Outside of BACKBONES the pin is in torchvision, too slow to import here: what was pulled has passed it.
            pinned = origin == "pulled" or (name in BACKBONES and BACKBONES[name].pins(sha256))
            kept[name] = Entry(name, "cached", origin, sha256, pinned, stat.st_size, path)
    return kept


def _found(backbone: Backbone) -> Entry | None:
    """The published file under torchvision's name, in the cache folder or where torch.hub keeps its downloads."""
    hub = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    for folder in (cache_folder(), Path(hub).expanduser() / "hub" / "checkpoints"):
        path = folder / backbone.file_name
        if path.is_file() and backbone.pins(sha256 := _sha256(path)):
            return Entry(backbone.name, "cached", "found", sha256, True, path.stat().st_size, path)
    return None


def _of_folder(folder: Path, name: str) -> Path:
    """The one file of this backbone's weights in a folder."""
    found = _candidates(folder, name)
    if len(found) != 1:
        meant = f"{name}{_suffix(name)}"
        raise EnvironmentFault(
            f"{folder} has {len(found)} files of weights of {name}, where one is needed: call it {meant}"
        )
    return found[0]


def _candidates(folder: Path, name: str) -> list[Path]:
    """NAME.pth, NAME-*.pth and NAME.*.pth; of ours, .npz."""
    return sorted(path for path in folder.glob(f"*{_suffix(name)}") if re.match(rf"{re.escape(name)}[.-]", path.name))


def _suffix(name: str) -> str:
    return EMBEDDED_SUFFIX if name == EMBEDDED else ".pth"


def _embedded() -> Entry:
    path = embedded_file.FILE
    try:
        sha256 = _sha256(path)
    except EnvironmentFault:
        return Entry(EMBEDDED, "absent", None, None, False, None, None)
    return Entry(EMBEDDED, "cached", "adcli", sha256, sha256 == embedded_file.SHA256, path.stat().st_size, path)


def _verified_embedded() -> Checked:
    try:
        embedded_file.resolve()
    except EnvironmentFault as error:
        return Checked(EMBEDDED, False, str(error))
    return Checked(EMBEDDED, True, None)


def _absent(name: str) -> Entry:
    return Entry(name, "absent", None, None, False, BACKBONES[name].size_bytes, None)


@contextlib.contextmanager
def _part(folder: Path) -> Iterator[Path]:
    """A name for a file that is not yet known to be good. Unless it is renamed, nothing of it stays."""
    part = folder / f".{uuid4().hex}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield part
    except OSError as error:
        raise EnvironmentFault(f"{folder} cannot be written to: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _write(part: Path, chunks: Iterable[bytes]) -> str:
    """Writes a file to the disk, and gives its sha256."""
    digest = hashlib.sha256()
    with part.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _keep(part: Path, name: str, origin: Literal["pulled", "added"], sha256: str) -> Entry:
    """Gives a good file its name in the cache, and removes what was kept of this backbone before."""
    kept = part.replace(part.with_name(f"{name}.{origin}.{sha256}.pth"))
    for path in kept.parent.glob(f"{name}.*.pth"):
        # Windows keeps a file that is being read. That is no harm: the latest one counts.
        with contextlib.suppress(OSError):
            if _KEPT.fullmatch(path.name) and path.stat().st_mtime_ns < kept.stat().st_mtime_ns:
                path.unlink()
    return _kept()[name]


def _how_to_get(name: str) -> str:
    url = published_backbone(name).weights_url
    return (
        f"run `adcli weights pull {name}` where there is network, or bring {url} here and run "
        f"`adcli weights add FILE {name}`"
    )


def _intact(entry: Entry) -> bool:
    return _sha256(entry.path) == entry.sha256


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise EnvironmentFault(f"{path} cannot be read: {error.strerror or error}.") from error


def _fetched(url: str, name: str, progress: Progress) -> Iterator[bytes]:
    """The bytes behind a URL, all that were announced."""
    stage, done, total = f"pull {name}", 0, 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
            total = int(response.headers.get("Content-Length") or 0)
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                yield chunk
                progress(stage, done, total)
    except urllib.error.HTTPError as error:
        raise EnvironmentFault(f"{url} answered with HTTP status {error.code}: {_how_to_get(name)}.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        raise EnvironmentFault(f"{url} could not be fetched ({cause}): {_how_to_get(name)}.") from error
    if done < total:
        raise EnvironmentFault(f"{url} broke off after {done} of {total} bytes: {_how_to_get(name)}.")
