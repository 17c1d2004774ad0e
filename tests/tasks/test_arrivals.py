"""Files that come into a folder: when they have settled, by a clock that the test moves."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from adcli.tasks import arrivals
from adcli.tasks.arrivals import Arrivals, stamp_of


class Folder:
    """A folder, a clock, and what was scored of it."""

    def __init__(self, path: Path, settle: float = 2.0):
        self.path = path
        self.path.mkdir(exist_ok=True)
        self.now = 100.0
        self.scored: dict[str, tuple[int, int]] = {}
        self.most_asked = 0
        self.arrivals = Arrivals(str(path), settle, self.known, os.path.realpath(path / "out"), lambda: self.now)

    def known(self, folder: str, names: Sequence[str]) -> dict[str, tuple[int, int]]:
        self.most_asked = max(self.most_asked, len(names))
        return {name: self.scored[folder + name] for name in names if folder + name in self.scored}

    def write(self, name: str, data: str = "x", mtime: int | None = None) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)
        if mtime is not None:
            os.utime(path, ns=(mtime, mtime))

    def look(self, seconds: float = 0.0, add: bool = True, most: int = 1000) -> list[str]:
        """Looks some time later; the names that have settled, in order."""
        self.now += seconds
        self.arrivals.scan(add)
        return [arrival.image.removeprefix(f"{self.path}/") for arrival in self.arrivals.settled(most)]

    def score(self, name: str) -> None:
        image = f"{self.path}/{name}"
        self.scored[image] = stamp_of(image)
        self.arrivals.done(image)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "in")


def test_a_file_has_settled_when_it_was_the_same_for_the_settle_time(folder: Folder) -> None:
    folder.write("a.png", "x")
    assert folder.look() == []
    assert folder.look(1.9) == []
    folder.write("a.png", "xx")
    assert folder.look(0.2) == []
    assert folder.look(1.9) == []
    assert folder.look(0.2) == ["a.png"]
    assert folder.look() == ["a.png"]  # until it is scored
    folder.score("a.png")
    assert folder.look(9) == []
    assert len(folder.arrivals) == 0


def test_the_time_of_change_counts_where_the_size_stays(folder: Folder) -> None:
    folder.write("a.png", "x", mtime=10**18)
    folder.look()
    folder.write("a.png", "y", mtime=10**18 + 1)
    assert folder.look(3) == []
    assert folder.look(3) == ["a.png"]


def test_without_a_settle_time_a_file_is_taken_at_first_sight(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "in", settle=0.0)
    folder.write("a.png")
    assert folder.look() == ["a.png"]


def test_what_is_no_image_hidden_or_below_the_output_folder_does_not_come_into_sight(folder: Folder) -> None:
    for name in ("a.txt", ".a.png", ".deep/a.png", "out/masks/a.png", "a.png.part", "b/c/d.PNG", "e.tiff"):
        folder.write(name)
    folder.look()
    assert sorted(folder.look(3)) == ["b/c/d.PNG", "e.tiff"]


def test_new_folders_renamed_files_and_links_are_found(folder: Folder, tmp_path: Path) -> None:
    folder.look()
    folder.write("new/deeper/a.png")
    folder.write("b.part")
    (folder.path / "up").symlink_to(folder.path)
    folder.look(1)
    (folder.path / "b.part").rename(folder.path / "b.png")
    assert folder.look(2) == ["new/deeper/a.png"]
    assert sorted(folder.look(2)) == ["b.png", "new/deeper/a.png"]


def test_the_earliest_changed_comes_first_and_of_equals_the_lesser_name(folder: Folder) -> None:
    for name, mtime in (("late.png", 30), ("b.png", 20), ("a.png", 20), ("first.png", 10)):
        folder.write(name, mtime=mtime)
    folder.look()
    assert folder.look(2) == ["first.png", "a.png", "b.png", "late.png"]
    assert folder.look(0, most=2) == ["first.png", "a.png"]


def test_a_file_that_is_gone_leaves_and_settles_anew_when_it_is_back(folder: Folder) -> None:
    folder.write("a.png", mtime=10)
    folder.look()
    (folder.path / "a.png").unlink()
    assert folder.look(3) == []
    assert len(folder.arrivals) == 0
    folder.write("a.png", mtime=10)
    assert folder.look(3) == []
    assert folder.look(3) == ["a.png"]


def test_a_file_that_could_not_be_read_settles_once_more(folder: Folder) -> None:
    folder.write("a.png")
    folder.look()
    assert folder.look(2) == ["a.png"]
    (first,) = folder.arrivals.settled(9)
    folder.now += 1
    folder.arrivals.retry(first.image)
    assert folder.look(1.9) == []
    assert folder.look(0.1) == ["a.png"]
    (second,) = folder.arrivals.settled(9)
    assert (first.is_retry, second.is_retry) == (False, True)
    folder.write("a.png", "whole")
    folder.look(1)
    assert folder.look(2) == ["a.png"]
    assert not folder.arrivals.settled(9)[0].is_retry


def test_a_scored_file_that_changes_is_new(folder: Folder) -> None:
    folder.write("a.png")
    folder.look()
    folder.look(2)
    folder.score("a.png")
    folder.write("a.png", "another")
    assert folder.look(1) == []
    assert folder.look(2) == ["a.png"]


def test_a_file_whose_line_is_there_and_whose_size_is_not_known_comes_into_sight(folder: Folder) -> None:
    folder.write("a.png")
    folder.scored[f"{folder.path}/a.png"] = (None, None)
    folder.look()
    assert folder.look(2) == ["a.png"]


def test_while_the_folder_is_away_looking_raises_and_what_was_in_sight_stays(folder: Folder) -> None:
    folder.write("a.png")
    folder.look()
    shutil.move(folder.path, folder.path.with_name("away"))
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            folder.look(5)
    assert len(folder.arrivals) == 1
    shutil.move(folder.path.with_name("away"), folder.path)
    assert folder.look(1) == ["a.png"]


def test_a_folder_below_that_cannot_be_listed_is_told_and_hides_no_other(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("locked/a.png")
    folder.write("open/b.png")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).rstrip("/").endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        folder.look()
        assert folder.look(2) == ["open/b.png"]
        (sentence,) = folder.arrivals.unlisted
        assert "locked" in sentence
    folder.look(1)
    assert folder.arrivals.unlisted == []
    assert sorted(folder.look(2)) == ["locked/a.png", "open/b.png"]


def test_of_more_files_than_are_kept_in_sight_the_others_come_after_them(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "_MOST", 3)
    monkeypatch.setattr(arrivals, "MOST_NAMES", 2)
    names = {f"{number}.png" for number in range(8)}
    for name in names:
        folder.write(name)
    scored: list[str] = []
    for _ in range(20):
        left = len(names) - len(scored)
        scored += (settled := folder.look(2))
        assert len(folder.arrivals) <= 3
        assert folder.arrivals.is_full == (left > 3)
        for name in settled:
            folder.score(name)
    assert sorted(scored) == sorted(names)
    assert folder.most_asked == 2


def test_without_adding_no_file_comes_into_sight_and_one_that_changes_is_left(folder: Folder) -> None:
    for name in ("still.png", "changing.png"):
        folder.write(name)
    folder.look()
    folder.write("late.png")
    folder.write("changing.png", "more")
    assert folder.look(2, add=False) == ["still.png"]
    assert (folder.arrivals.left, len(folder.arrivals)) == (1, 1)


def test_what_settles_is_what_a_full_record_of_all_looks_says(tmp_path: Path) -> None:
    """Against every stamp at every look, kept for ever."""
    rng = random.Random(5)
    folder = Folder(tmp_path / "in", settle=3.0)
    looks: list[tuple[float, dict[str, tuple[int, int]]]] = []
    names = [f"{letter}.png" for letter in "abcdef"]
    done: dict[str, tuple[int, int]] = {}
    seen = 0
    for tick in range(400):
        for name in names:
            chance = rng.random()
            path = folder.path / name
            if chance < 0.1:
                folder.write(name, "x" * rng.randrange(3), mtime=10**18 + tick)
            elif chance < 0.13:
                path.unlink(missing_ok=True)
        step = rng.choice([0.5, 1.0, 2.0])
        settled = folder.look(step)
        now = {name: stamp for name in names if (stamp := stamp_of(str(folder.path / name))) is not None}
        looks.append((folder.now, now))
        expected = set()
        for name, stamp in now.items():
            since = folder.now
            for when, then in reversed(looks):
                if then.get(name) != stamp:
                    break
                since = when
            if folder.now - since >= 3.0 and done.get(name) != stamp:
                expected.add(name)
        assert set(settled) == expected
        for name in settled[: rng.randrange(3)]:
            folder.score(name)
            done[name] = now[name]
            seen += 1
    assert seen > 50
