"""The ledger of a watch against the lines it belongs to: lost, damaged, behind and ahead of them."""

from __future__ import annotations

import itertools
import json
import os
import random
import sqlite3
from pathlib import Path, PurePosixPath

import pytest

from adcli.errors import UsageError
from adcli.report.ledger import Ledger

LINES = "results.jsonl"


def relative(image: str) -> PurePosixPath:
    return PurePosixPath(image.removeprefix("in/"))


def line(image: str, sha256: str | None, reason: str | None = None) -> bytes:
    return json.dumps({"image": image, "sha256": sha256, "reason": reason}).encode() + b"\n"


def opened(folder: Path) -> Ledger:
    return Ledger(folder / "ledger.db", relative)


def fill(folder: Path, images: dict[str, tuple[int, int]]) -> None:
    """Lines and ledger of images that were scored, as a watch leaves them."""
    with opened(folder) as ledger, (folder / LINES).open("ab") as lines:
        for image, stamp in images.items():
            stem = ledger.stem(image, set())
            lines.write(line(image, None, f"reason of {image}"))
            lines.flush()
            ledger.put([(image, stem, stamp)], lines.tell())


IMAGES = {"in/a.png": (10, 111), "in/b.png": (20, 222), "in/deep/a.png": (30, 333), "in/\udcff.png": (40, -444)}


def state(folder: Path) -> dict[str, object]:
    """What is known of IMAGES."""
    with opened(folder) as ledger:
        ledger.catch_up(folder / LINES)
        found = {}
        for image in IMAGES:
            head, _, name = image.rpartition("/")
            known = ledger.known(f"{head}/", [name, "another.png"])
            found[image] = known.get(name), ledger.unverified(image)
        return found


def test_a_file_is_known_by_name_size_and_time(tmp_path: Path) -> None:
    fill(tmp_path, IMAGES)
    assert state(tmp_path) == {image: (stamp, None) for image, stamp in IMAGES.items()}
    with opened(tmp_path) as ledger:
        assert ledger.known("in/", ["a.png", "\udcff.png"]) == {"a.png": (10, 111), "\udcff.png": (40, -444)}
        assert ledger.known("elsewhere/", ["a.png"]) == {}


def test_the_last_of_several_scorings_counts(tmp_path: Path) -> None:
    fill(tmp_path, IMAGES)
    fill(tmp_path, {"in/a.png": (11, 112)})
    assert state(tmp_path)["in/a.png"] == ((11, 112), None)


def test_lines_that_the_ledger_missed_are_entered_with_what_they_say_of_the_file(tmp_path: Path) -> None:
    fill(tmp_path, IMAGES)
    with (tmp_path / LINES).open("ab") as lines:
        lines.write(line("in/a.png", "sha of another") + line("in/b.png", None, "b is empty"))
    found = state(tmp_path)
    assert found["in/a.png"] == ((None, None), ("sha of another", None))
    assert found["in/b.png"] == ((None, None), (None, "b is empty"))
    assert found["in/deep/a.png"] == ((30, 333), None)
    with opened(tmp_path) as ledger:
        ledger.verify("in/a.png", (12, 113))
    assert state(tmp_path)["in/a.png"] == ((12, 113), None)


@pytest.mark.parametrize("harm", ["gone", "noise", "cut", "foreign", "unrelated", "older", "newer", "flipped"])
def test_a_ledger_that_is_lost_or_damaged_is_made_anew_from_the_lines(harm: str, tmp_path: Path) -> None:
    images = IMAGES | {f"in/{n:04}.png": (n, n) for n in range(400)}
    fill(tmp_path, images)
    path = tmp_path / "ledger.db"
    data = bytearray(path.read_bytes())
    assert len(data) > 3 * 4096
    if harm == "gone":
        path.unlink()
    elif harm == "noise":
        path.write_bytes(random.Random(0).randbytes(5000))
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "flipped":
        data[4096 : 4096 + 64] = bytes(64)
        path.write_bytes(data)
    else:
        other = sqlite3.connect(path)
        if harm in ("foreign", "unrelated"):
            other.execute("DROP TABLE files")
            other.execute("DROP TABLE reached")
        statements = {
            "foreign": "CREATE TABLE files (something TEXT)",
            "unrelated": "CREATE TABLE lots (something TEXT)",
            "older": "ALTER TABLE files RENAME COLUMN mtime_ns TO mtime",
            "newer": "ALTER TABLE files ADD COLUMN digest TEXT",
        }
        other.execute(statements[harm])
        other.close()
    assert state(tmp_path) == {image: ((None, None), (None, f"reason of {image}")) for image in IMAGES}
    fill(tmp_path, {"in/a.png": (11, 112)})  # and it is written again
    assert state(tmp_path)["in/a.png"] == ((11, 112), None)


def test_lines_that_were_taken_away_are_not_known_any_more(tmp_path: Path) -> None:
    fill(tmp_path, IMAGES)
    (tmp_path / LINES).rename(tmp_path / "archive.jsonl")
    assert state(tmp_path) == dict.fromkeys(IMAGES, (None, None))
    (tmp_path / LINES).write_bytes(line("in/b.png", "sha of b"))
    assert state(tmp_path)["in/b.png"] == ((None, None), ("sha of b", None))


@pytest.mark.parametrize("torn", [b'{"image": "in/c', b"\0\0\0\n", b'{"image": "in/c.png"', b"\0" * 100, b"\n"])
def test_a_torn_last_line_is_cut_off(torn: bytes, tmp_path: Path) -> None:
    fill(tmp_path, IMAGES)
    whole = (tmp_path / LINES).read_bytes()
    (tmp_path / LINES).write_bytes(whole + line("in/b.png", "new") + torn)
    assert state(tmp_path)["in/b.png"] == ((None, None), ("new", None))
    assert (tmp_path / LINES).read_bytes() == whole + line("in/b.png", "new")


def test_a_damaged_line_with_whole_ones_behind_it_is_refused_and_nothing_is_cut(tmp_path: Path) -> None:
    damaged = line("in/a.png", "a") + b'{"image": "in/\0\n' + line("in/b.png", "b")
    (tmp_path / LINES).write_bytes(damaged)
    with pytest.raises(UsageError, match="damaged at byte"):
        state(tmp_path)
    assert (tmp_path / LINES).read_bytes() == damaged


def test_stems_are_those_of_names_without_suffix_unless_another_was_first(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        given = {}
        for image in ("in/a.png", "in/a.jpg", "in/a.jpg.bmp", "in/x/a.png", "in/a.jpg.bmp.png", "in/b.bmp.png"):
            stem = given[image] = ledger.stem(image, set())
            ledger.put([(image, stem, (0, 0))], 0)
        assert list(given.values()) == ["a", "a.jpg", "a.jpg.bmp", "x/a", "a.jpg.bmp.png", "b.bmp"]
        assert ledger.stem("in/b.png", {"b"}) == "b.png"
        assert ledger.stem("in/b.png", {"b", "b.png"}) == "b.png~2"
        assert {image: ledger.stem(image, {"a"}) for image in given} == given  # an image keeps its own


def test_stems_do_not_collide_in_any_order_and_are_the_same_after_the_ledger_was_lost(tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "a.png.bmp", "a.jpg.png", "a.png.bmp.tif"]
    for number, order in enumerate(itertools.permutations(names)):
        folder = tmp_path / str(number)
        folder.mkdir()
        images = [f"in/{name}" for name in order]
        fill(folder, dict.fromkeys(images, (1, 1)))
        with opened(folder) as ledger:
            stems = [ledger.stem(image, set()) for image in images]
        assert len(set(stems)) == len(names)
        (folder / "ledger.db").unlink()
        with opened(folder) as ledger:
            ledger.catch_up(folder / LINES)
            assert [ledger.stem(image, set()) for image in images] == stems


def test_stems_of_names_as_long_as_a_name_can_be_leave_room_for_a_suffix(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        images = [f"in/{'n' * 251}.{suffix}" for suffix in ("png", "tif", "bmp")]
        for image in images:
            ledger.put([(image, ledger.stem(image, set()), (0, 0))], 0)
        stems = [ledger.stem(image, set()) for image in images]
    assert len(set(stems)) == 3
    assert all(len(os.fsencode(stem)) <= 240 for stem in stems)
