"""Writing whole files, and holding a folder."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from adcli import files
from adcli.errors import EnvironmentFault
from adcli.files import Staging, remove_leftovers, replacing, write_whole

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX only")
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_file_is_written_and_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "results.json"
    write_whole(path, b"one")
    assert tree(tmp_path) == {"new/folders/results.json": b"one"}
    write_whole(path, memoryview(b"another"))
    write_whole(path.with_name("empty"), b"")
    assert tree(tmp_path) == {"new/folders/results.json": b"another", "new/folders/empty": b""}


def test_a_reader_sees_the_old_bytes_or_the_new_ones_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    contents = [bytes([value]) * 300_000 for value in range(8)]
    write_whole(path, contents[0])
    stop = threading.Event()
    seen: list[bytes] = []

    def watch() -> None:
        while not stop.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=watch)
    reader.start()
    for content in contents * 4:
        write_whole(path, content)
    stop.set()
    reader.join()
    assert seen and set(seen) <= set(contents)


def test_staged_files_are_absent_until_the_commit_and_last_one_wins(tmp_path: Path) -> None:
    staging = Staging()
    staging.stage(tmp_path / "a" / "1.png", b"1")
    staging.stage(tmp_path / "b" / "2.png", b"2")
    staging.stage(tmp_path / "a" / "1.png", b"one")
    names = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert len(names) == 3 and all(name.startswith((".1.png.adcli-tmp-", ".2.png.adcli-tmp-")) for name in names)
    staging.commit()
    assert tree(tmp_path) == {"a/1.png": b"one", "b/2.png": b"2"}
    staging.stage(tmp_path / "3.png", b"3")
    staging.commit()
    staging.commit()
    assert tree(tmp_path) == {"3.png": b"3", "a/1.png": b"one", "b/2.png": b"2"}


def test_discarding_leaves_what_was_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"old")
    staging = Staging()
    staging.stage(tmp_path / "a", b"new")
    staging.discard()
    staging.commit()
    assert tree(tmp_path) == {"a": b"old"}


def test_every_file_is_synced_before_any_is_renamed_and_each_folder_once_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def logged_fsync(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        link = Path(f"/proc/self/fd/{handle}")
        log.append((kind, str(link.readlink()) if link.is_symlink() else ""))
        fsync(handle)

    def logged_replace(self: Path, target: Path) -> Path:
        log.append(("rename", target.name))
        return replace(self, target)

    monkeypatch.setattr(files.os, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "replace", logged_replace)
    staging = Staging()
    for name in ["x/1", "x/2", "y/deep/3"]:
        staging.stage(tmp_path / name, b"data")
    assert log == []
    staging.commit()
    kinds = [kind for kind, _ in log]
    if os.name == "nt":
        assert kinds == ["file"] * 3 + ["rename"] * 3
    else:  # x, y/deep, and the two that got a new folder: y and tmp_path
        assert kinds == ["file"] * 3 + ["rename"] * 3 + ["folder"] * 4
    if sys.platform == "linux":
        assert {name for kind, name in log if kind == "folder"} == {
            str(tmp_path / name) for name in ("", "x", "y", "y/deep")
        }


@posix
def test_new_files_have_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@posix
def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path: Path) -> None:
    write_whole(tmp_path / "store" / "v3.h5", b"old")
    (tmp_path / "model.h5").symlink_to("store/v3.h5")
    write_whole(tmp_path / "model.h5", b"new")
    assert (tmp_path / "model.h5").is_symlink() and (tmp_path / "store" / "v3.h5").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["部品 ß.png", "-x", ".hidden", "x" * 255, "ß" * 127])
def test_any_name_that_the_file_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, b"data")
    assert tree(tmp_path) == {name: b"data"}


def full_disk(code: int) -> object:
    """An os.write that writes a little and then fails."""
    real, calls = os.write, []

    def write(handle: int, data: memoryview) -> int:
        calls.append(handle)
        if len(calls) > 1:
            raise OSError(code, os.strerror(code))
        return real(handle, data[:3])

    return write


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_write_that_fails_is_one_sentence_and_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "results.csv"
    write_whole(path, b"old")
    monkeypatch.setattr(files.os, "write", full_disk(code))
    with pytest.raises(EnvironmentFault) as caught:
        write_whole(path, b"new and longer")
    assert str(path) in str(caught.value) and os.strerror(code) in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert tree(tmp_path) == {"results.csv": b"old"}


def test_a_write_in_pieces_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(files.os, "write", lambda handle, data: real(handle, data[:7]))
    write_whole(tmp_path / "a", bytes(range(256)))
    assert (tmp_path / "a").read_bytes() == bytes(range(256))


def test_a_failing_commit_leaves_no_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = Staging()
    staging.stage(tmp_path / "1", b"1")
    staging.stage(tmp_path / "2", b"2")

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(EnvironmentFault, match="free some space"):
        staging.commit()
    assert tree(tmp_path) == {}


def test_a_target_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"")
    (tmp_path / "folder").mkdir()
    for path in [tmp_path / "file" / "below", tmp_path / "folder", tmp_path / ("x" * 300)]:
        with pytest.raises(EnvironmentFault, match="Could not") as caught:
            write_whole(path, b"data")
        assert "\n" not in str(caught.value)
    assert tree(tmp_path) == {"file": b""}


@linux
def test_a_really_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, timeout=10).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a small disk here")
    try:
        write_whole(disk / "a", b"old")
        with pytest.raises(EnvironmentFault, match=r"a \(No space left on device\); free some space"):
            write_whole(disk / "a", bytes(10**6))
        assert tree(disk) == {"a": b"old"}
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=10)


def test_a_library_writes_beside_and_the_file_is_replaced_when_its_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == tmp_path and path.read_bytes() == b"old"
    assert tree(tmp_path) == {"model.h5": b"new"}
    with pytest.raises(ValueError, match="mine"), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise ValueError("mine")
    with pytest.raises(EnvironmentFault, match=r"model\.h5 \(No space"), replacing(path) as temporary:
        raise OSError(errno.ENOSPC, "No space left on device")
    assert tree(tmp_path) == {"model.h5": b"new"}


def test_leftovers_of_killed_runs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ["masks/a", "b"]:
        Staging().stage(tmp_path / name, b"half")  # dropped without a commit, as a kill would
    write_whole(tmp_path / "masks" / "whole.png", b"whole")
    write_whole(tmp_path / ".adcli-tmp-mine", b"mine")
    assert remove_leftovers(tmp_path) == 2
    assert tree(tmp_path) == {".adcli-tmp-mine": b"mine", "masks/whole.png": b"whole"}
    assert remove_leftovers(tmp_path) == 0
