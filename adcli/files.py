"""Files that appear whole or not at all, and locks that die with their owner."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from adcli.errors import Busy, EnvironmentFault

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_MARK = ".adcli-tmp-"
_ENDED = "ended"


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write `data` so that `path` holds either what it held before or all of it, power cuts included."""
    staging = Staging()
    staging.stage(path, data)
    staging.commit()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` for a library to write to; put in place, whole, when the block ends well."""
    if path.is_symlink():
        path = Path(os.path.realpath(path))  # a model.h5 that links to a shared model stays a link
    temporary = path.with_name(_temporary_name(path.name))
    with faults("write", path):
        try:
            yield temporary
            _sync(temporary, os.O_RDWR)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


@contextlib.contextmanager
def replacing_together(paths: Sequence[Path]) -> Iterator[Path]:
    """A temporary folder beside `paths`, all of one folder, for a library to write files of their names into; each is
    put in place, whole and in this order, when the block ends well."""
    import shutil

    temporary = paths[0].with_name(_temporary_name(paths[0].name))
    with faults("write", paths[0]):
        temporary.mkdir()
        try:
            yield temporary
            for path in paths:
                _sync(temporary / path.name, os.O_RDWR)
            for path in paths:
                (temporary / path.name).replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _sync_folder(paths[0].parent)


class Staging:
    """Files written beside their targets, and put in place together.

    `commit` waits for the disk once for the whole group: every file first, then every folder.
    Each file is whole or absent; the group as such is not atomic, so name its files elsewhere only after `commit`.
    """

    def __init__(self) -> None:
        self._staged: list[tuple[Path, Path]] = []  # (temporary file, target)
        self._folders: set[Path] = set()

    def stage(self, path: Path, data: bytes | memoryview) -> None:
        """Write `data` beside `path`, creating its folder; nothing is at `path` before `commit`."""
        path = Path(path)
        with faults("write", path), self._discarding():
            if path.is_symlink():
                path = Path(os.path.realpath(path))  # a model.h5 that links to a shared model stays a link
            self._make_folder(path.parent)
            temporary = path.with_name(_temporary_name(path.name))
            self._staged.append((temporary, path))
            # Not tempfile: that makes files which only their owner can read.
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            try:
                _write_all(handle, data)
            finally:
                os.close(handle)

    def commit(self) -> None:
        """Bring the staged files to disk, rename them onto their targets, and bring the renaming to disk."""
        with self._discarding():
            if self._staged:
                _sync_together(self._staged)
            while self._staged:
                temporary, path = self._staged[0]
                with faults("replace", path):
                    temporary.replace(path)
                del self._staged[0]
                self._folders.add(path.parent)
            for folder in sorted(self._folders):
                with faults("write into", folder):
                    _sync_folder(folder)
            self._folders.clear()

    def discard(self) -> None:
        """Delete what is staged and not committed."""
        for temporary, _ in self._staged:
            with contextlib.suppress(OSError):
                temporary.unlink()
        self._staged.clear()

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.discard()
            raise

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            self._folders.add(folder.parent)  # the new folder's name is data of the one above


def remove_leftovers(folder: Path, below: bool = True) -> int:
    """Delete the temporary files that killed runs left in `folder`, and `below`; returns how many.

    Call it only while holding the lock of `folder`: a running write's temporary file looks the same.
    """
    pattern = f"**/.*{_MARK}*" if below else f".*{_MARK}*"
    leftovers = [path for path in Path(folder).glob(pattern) if path.is_file()]
    for path in leftovers:
        with faults("delete", path):
            path.unlink()
    return len(leftovers)


def remove_own_leftovers(path: Path) -> None:
    """Delete the temporary files that killed runs left of one file. Call it only while holding that file's lock."""
    import shutil

    target = Path(os.path.realpath(path))
    begin = _temporary_name(target.name).partition(_MARK)[0] + _MARK
    if target.parent.is_dir():
        for left in [one for one in target.parent.iterdir() if one.name.startswith(begin)]:
            with faults("delete", left):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(lock: Path) -> Iterator[None]:
    """Hold the lock file `lock`, or raise Busy naming who does.

    The file holds its owner's pid, host and start as JSON. It is taken over from an owner of this host that is dead: no
    such process, one that started at another time (its pid was reused), and the system's own file lock, which dies with
    its owner, free. The last also tells containers apart that share a folder and a host name but no process numbers.
    """
    lock = Path(lock)
    with faults("create the lock file", lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = _acquire(lock)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is_still(handle, lock):
                lock.unlink()
        os.close(handle)


def _acquire(lock: Path) -> int:
    """An open handle to the lock file, which names us and is flocked.

    A takeover rewrites the dead owner's file under its flock and does not delete it: of two that find it at once, the
    second waits for no one, and no third can slip a new file in between.
    """
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.time(), "born": _born(os.getpid())}
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            fresh = True
        except FileExistsError:
            try:
                handle = os.open(lock, os.O_RDWR)
                fresh = False
            except FileNotFoundError:  # released in between
                continue
        try:
            free = _flock(handle, wait=fresh)
            if not _is_still(handle, lock):  # released or taken away in between
                os.close(handle)
                continue
            if not fresh and not (free and _is_abandoned(handle)):
                raise Busy(_who_holds(handle, lock))
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            _write_all(handle, json.dumps(owner).encode())
            os.fsync(handle)
        except BaseException:
            with contextlib.suppress(OSError):
                if fresh:
                    lock.unlink()
            with contextlib.suppress(OSError):
                os.close(handle)
            raise
        return handle


def _flock(handle: int, wait: bool) -> bool:
    """Whether the system's lock on the file is ours; True also where the file system or the system has none."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _is_still(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


def _read_owner(handle: int) -> dict[str, object]:
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        owner = json.loads(os.read(handle, 4096))
        return owner if isinstance(owner, dict) and isinstance(owner.get("pid"), int) else {}
    except ValueError:
        return {}


def _is_abandoned(handle: int) -> bool:
    owner = _read_owner(handle)
    if not owner:  # killed between creating the file and writing to it, unless it is only just doing so
        return time.time() - os.fstat(handle).st_mtime > 10
    if owner.get("host") != socket.gethostname() or os.name == "nt":  # os.kill(pid, 0) would kill on Windows
        return False
    pid = owner["pid"]
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # it lives, as another user
        pass
    born = _born(pid)
    return born == _ENDED or (None not in (born, owner.get("born")) and born != owner["born"])


def _born(pid: int) -> str | None:
    """What no two processes with one pid share: this boot and the start time in its clock ticks; None where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # proc(5): the name in parentheses may hold anything; after it come state (field 3) and start time (22).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return f"{boot} {fields[19]}" if fields[0] not in "ZX" else _ENDED  # a zombie is dead, only not yet collected


def _who_holds(handle: int, lock: Path) -> str:
    owner = _read_owner(handle)
    started = owner.get("started")
    seconds = max(0.0, time.time() - (started if isinstance(started, (int, float)) else os.fstat(handle).st_mtime))
    unit, size = next(
        (u, s) for u, s in (("days", 86400), ("h", 3600), ("min", 60), ("s", 1)) if seconds >= s or s == 1
    )
    who = f"process {owner['pid']} on host {owner.get('host', 'unknown')}" if owner else "an unknown process"
    return (
        f"Another run ({who}, for {seconds / size:.0f} {unit}) holds {lock}; wait for it or stop it, "
        "and delete that file only if you are sure that the run is gone."
    )


def _temporary_name(name: str) -> str:
    if len(os.fsencode(name)) > 200:  # names end at 255 bytes
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}{_MARK}{os.urandom(4).hex()}"


def _write_all(handle: int, data: bytes | memoryview) -> None:
    rest = memoryview(data).cast("B")
    while rest:  # one call writes 2 GiB at most
        rest = rest[os.write(handle, rest) :]


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_together(staged: list[tuple[Path, Path]]) -> None:
    """Waits once for all of them: the file system then writes its journal once, 7 times faster on ext4."""
    if len(staged) == 1:
        _sync_staged(*staged[0])
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(8, len(staged))) as pool:
        list(pool.map(_sync_staged, *zip(*staged, strict=True)))


def _sync_staged(temporary: Path, path: Path) -> None:
    with faults("write", path):
        _sync(temporary, os.O_RDWR)


def _sync_folder(folder: Path) -> None:
    if os.name != "nt":  # Windows opens no folders
        try:
            _sync(folder, os.O_RDONLY)
        except OSError as error:
            if error.errno != errno.EINVAL:  # network file systems that cannot, and need not
                raise


@contextlib.contextmanager
def faults(verb: str, path: Path) -> Iterator[None]:
    """Turns an OSError into EnvironmentFault: what could not be done, to which path, and what helps."""
    try:
        yield
    except OSError as error:
        remedy = {
            errno.ENOSPC: "free some space or choose another folder",
            errno.EDQUOT: "free some space or choose another folder",
            errno.EROFS: "choose a folder on a writable disk",
            errno.EACCES: "give yourself the permission or choose another folder",
            errno.EPERM: "give yourself the permission or choose another folder",
        }.get(error.errno or 0, "choose another folder")
        raise EnvironmentFault(f"Could not {verb} {path} ({error.strerror or error}); {remedy}.") from error
