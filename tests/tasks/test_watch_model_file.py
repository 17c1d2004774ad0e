"""What a watch says of the file that its model was read from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from adcli.tasks import station
from adcli.tasks.station import _ModelFile

OLD, NEW = b"old" * 100, b"another" * 100


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.h5"
    path.write_bytes(OLD)
    return path


def looking(path: Path, settle: float = 0.0) -> _ModelFile:
    made = _ModelFile(path, settle)
    made.sha256 = hashlib.sha256(OLD).hexdigest()
    return made


def test_a_file_that_is_written_in_pieces_between_looks_is_spoken_of_once_with_its_last_digest(path: Path) -> None:
    watched, said = looking(path), []
    assert watched.look() is None
    for end in range(0, len(NEW) + 1, 100):
        path.write_bytes(NEW[:end])
        said.append(watched.look())
        assert not watched.has_changed
    said += [watched.look() for _ in range(5)]
    (sentence,) = [one for one in said if one is not None]
    assert f"has changed (sha256 {hashlib.sha256(NEW).hexdigest()[:12]})" in sentence
    assert watched.has_changed


def test_a_file_that_is_away_for_one_look_was_never_gone_and_one_that_stays_away_is(path: Path) -> None:
    watched = looking(path)
    kept = path.rename(path.with_suffix(".kept"))
    assert watched.look() is None
    kept.rename(path)
    assert [watched.look() for _ in range(3)] == [None] * 3
    path.unlink()
    said = [watched.look() for _ in range(4)]
    assert said[0] is None
    assert "is gone" in said[1]
    assert said[2:] == [None, None]
    path.write_bytes(OLD)
    said = [watched.look() for _ in range(4)]
    assert [None if one is None else "is again the one" in one for one in said] == [None, True, None, None]


def test_a_change_is_told_once_it_has_stood_for_the_settle_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(station.time, "monotonic", lambda: now[0])
    watched = looking(path, settle=2.0)
    path.write_bytes(NEW)
    told = []
    for _ in range(6):
        told.append(watched.look() is not None)
        now[0] += 0.5
    assert told == [False, False, False, False, True, False]


def test_a_file_that_changes_while_it_is_read_is_not_spoken_of_yet(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched, digest = looking(path), station._sha256

    def disturbed(of: Path) -> str | None:
        found = digest(of)
        of.write_bytes(NEW)
        monkeypatch.undo()
        return found

    path.write_bytes(NEW[:50])
    assert watched.look() is None
    monkeypatch.setattr(station, "_sha256", disturbed)
    assert [watched.look(), watched.look()] == [None, None]
    assert hashlib.sha256(NEW).hexdigest()[:12] in (watched.look() or "")
