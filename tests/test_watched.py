"""The folder of a watch by itself: made-up records and pictures, cut off at every single file operation."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from adcli.errors import Busy, UsageError
from adcli.report.ledger import Ledger
from adcli.report.results import picture_names
from adcli.report.watched import WatchedFolder
from tests.test_results import content, cut_off, score

RECORD = {"folder": "in", "working_directory": None, "model": "abc", "engine": "torch", "precision": "fp32"}
NAMES = ["0.png", "1.png", "2.png", "1.jpg", "deep/1.png"]


def relative(image: str) -> PurePosixPath:
    return PurePosixPath(image.removeprefix("in/"))


def fill(source: Path, version: str = "") -> None:
    for name in NAMES:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(f"{name} {version}".encode())


def watch(out: Path, source: Path, group: int = 2, **changes: str) -> list[str]:
    """Scores what is new in a folder, in groups; a digit that is odd means NG, and NG has two pictures."""
    told = []
    with WatchedFolder(out, RECORD | changes, relative) as folder:
        for name in NAMES:
            found = (source / name).stat()
            stamp = (found.st_size, found.st_mtime_ns)
            image, data = f"in/{name}", (source / name).read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            head, slash, last = image.rpartition("/")
            if folder.ledger.known(head + slash, [last]).get(last) == stamp:
                continue
            if folder.ledger.unverified(image) == (sha256, None):
                folder.ledger.verify(image, stamp)
                continue
            (stem,) = folder.stems([image])
            is_ng = b"1" in data
            record = {"image": image, "verdict": "NG" if is_ng else "OK", "sha256": sha256, "reason": None}
            folder.add(record, [(one, data) for one in picture_names(stem)[:2] if is_ng], stem, stamp)
            if folder.waiting == group:
                told += [one["image"] for one in folder.flush()]
        told += [one["image"] for one in folder.flush()]
    return told


def seen(out: Path) -> dict[str, bytes]:
    """All that a reader may look at; the ledger and the lock are the watch's own."""
    own = (".adcli-watch.db", ".adcli.lock", "watch.json")
    return {name: data for name, data in content(out).items() if not name.startswith(own)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    fill(tmp_path / "in")
    return tmp_path / "in"


def test_each_file_gets_one_line_and_the_pictures_of_its_verdict(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert watch(out, source) == [f"in/{name}" for name in NAMES]
    assert watch(out, source) == []
    stems = ("1", "1.jpg", "deep/1")
    assert set(seen(out)) == {"results.jsonl", *(name for stem in stems for name in picture_names(stem)[:2])}
    lines = [json.loads(line) for line in seen(out)["results.jsonl"].splitlines()]
    assert [line["image"] for line in lines] == [f"in/{name}" for name in NAMES]


def test_a_file_that_becomes_another_gets_another_line_and_its_own_pictures(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    watch(out, source)
    (source / "1.png").write_bytes(b"good now")
    (source / "2.png").write_bytes(b"bad now: 1")
    assert watch(out, source) == ["in/1.png", "in/2.png"]
    assert {name for name in seen(out) if name.startswith("masks")} == {
        *("masks/1.jpg.png", "masks/2.png", "masks/deep/1.png")
    }
    assert seen(out)["masks/2.png"] == b"bad now: 1"
    assert seen(out)["results.jsonl"].count(b"\n") == len(NAMES) + 2


def test_of_one_image_twice_in_a_group_the_pictures_are_those_of_the_last(tmp_path: Path) -> None:
    mask = picture_names("a")[0]
    for last, first in (("NG", "OK"), ("OK", "NG")):
        with WatchedFolder(tmp_path / last, RECORD, relative) as folder:
            stem, same = folder.stems(["in/a.png", "in/a.png"])
            assert stem == same == "a"
            for verdict in (first, last):
                pictures = [(mask, verdict.encode())] if verdict == "NG" else []
                folder.add({"image": "in/a.png", "verdict": verdict}, pictures, stem, (1, 1))
            folder.flush()
        assert (tmp_path / last / mask).exists() == (last == "NG")


def test_an_image_keeps_its_pictures_when_one_taken_up_with_it_was_dropped_and_the_ledger_is_lost(
    tmp_path: Path,
) -> None:
    def add(folder: WatchedFolder, image: str, stem: str, is_ng: bool) -> None:
        pictures = [(name, image.encode()) for name in picture_names(stem)[:2] if is_ng]
        record = {"image": image, "verdict": "NG" if is_ng else "OK", "sha256": image, "reason": None}
        folder.add(record, pictures, stem, (1, 1))

    out = tmp_path / "out"
    with WatchedFolder(out, RECORD, relative) as folder:
        _, second, third = folder.stems(["in/a.png", "in/a.jpg", "in/a.bmp"])  # the first changes while it is read
        add(folder, "in/a.jpg", second, is_ng=True)
        add(folder, "in/a.bmp", third, is_ng=True)
        folder.flush()
        (first,) = folder.stems(["in/a.png"])
        add(folder, "in/a.png", first, is_ng=True)
        folder.flush()
    masks = {path.read_text() for path in (out / "masks").iterdir()}
    assert masks == {"in/a.jpg", "in/a.bmp", "in/a.png"}
    (out / ".adcli-watch.db").unlink()
    with WatchedFolder(out, RECORD, relative) as folder:
        for image in ("in/a.bmp", "in/a.jpg"):
            add(folder, image, *folder.stems([image]), is_ng=False)
        folder.flush()
    for kind in ("masks", "overlays"):
        assert [path.read_text() for path in (out / kind).iterdir()] == ["in/a.png"]


def cut_off_everywhere(how: str, folder: Path, is_second: bool) -> None:
    """Cuts a watch off at its first file operation, its second, and so on; then lets it go on to its end."""
    source = folder / "in"
    fill(source)
    undisturbed = folder / "undisturbed"
    watch(undisturbed, source)
    if is_second:
        swapped = {b"1": b"0", b"0": b"1"}
        old = {name: (source / name).read_bytes() for name in NAMES}
        new = {n: b"".join(swapped.get(bytes([b]), bytes([b])) for b in d) + b"!" for n, d in old.items()}
        for name, data in new.items():
            (source / name).write_bytes(data)
        watch(undisturbed, source)
    for count in range(1, 200):
        out = folder / str(count)
        if is_second:
            for name, data in old.items():
                (source / name).write_bytes(data)
            watch(out, source)
            for name, data in new.items():
                (source / name).write_bytes(data)
        reached = cut_off(count, how, lambda out=out: watch(out, source), folder)
        watch(out, source)
        assert seen(out) == seen(undisturbed), f"{how} at operation {count}"
        if not reached:
            break
    assert 15 < count < 199, count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
@pytest.mark.parametrize(("how", "is_second"), [("kill", False), ("kill", True), ("signal", False), ("disk", True)])
def test_wherever_a_watch_is_cut_off_it_goes_on_as_if_it_had_not_been(
    how: str, is_second: bool, tmp_path: Path
) -> None:
    # In a process without torch, which is quickly forked some hundred times.
    code = f"""if True:
        import os; from pathlib import Path; from adcli.report import ledger; from tests.test_watched import *
        ledger._SYNCHRONOUS, os.fsync = "OFF", lambda handle: None
        cut_off_everywhere({how!r}, Path({str(tmp_path)!r}), {is_second})
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_killed_between_a_line_and_the_ledger_nothing_is_scored_twice(
    when: str, at: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, put, left = tmp_path / "out", Ledger.put, at

    class Killed(BaseException):
        pass

    def dying(self: Ledger, rows: object, reached: int) -> None:
        nonlocal left
        left -= 1
        if left == 0 and when == "after":
            put(self, rows, reached)
        if left <= 0:
            raise Killed
        put(self, rows, reached)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "put", dying)
        with pytest.raises(Killed):
            watch(out, source)
    watch(out, source)
    lines = [json.loads(line)["image"] for line in (out / "results.jsonl").read_bytes().splitlines()]
    assert lines == [f"in/{name}" for name in NAMES]
    assert watch(out, source) == []


@pytest.mark.parametrize("name", ["folder", "working_directory", "model", "engine", "precision"])
def test_a_watch_with_another_model_or_folder_is_refused(name: str, source: Path, tmp_path: Path) -> None:
    watch(tmp_path / "out", source)
    before = content(tmp_path / "out")
    with pytest.raises(UsageError, match=f"another {name} .*now other.*--out"):
        watch(tmp_path / "out", source, **{name: "other"})
    assert content(tmp_path / "out") == before


def test_score_and_watch_refuse_the_folder_of_each_other(source: Path, tmp_path: Path) -> None:
    watch(tmp_path / "watched", source)
    score(tmp_path / "scored")
    before = content(tmp_path)
    for how in ({}, {"resume": True}, {"force": True}):
        with pytest.raises(UsageError, match="adcli watch"):
            score(tmp_path / "watched", **how)
    with pytest.raises(UsageError, match="adcli score"):
        watch(tmp_path / "scored", source)
    assert content(tmp_path) == before


def test_two_watches_into_one_folder_refuse_each_other(source: Path, tmp_path: Path) -> None:
    with WatchedFolder(tmp_path / "out", RECORD, relative), pytest.raises(Busy):
        watch(tmp_path / "out", source)


def test_leftovers_of_a_killed_watch_are_removed(source: Path, tmp_path: Path) -> None:
    watch(tmp_path / "out", source)
    left = [tmp_path / "out" / name for name in (".health.json.adcli-tmp-01", "masks/deep/.x.png.adcli-tmp-02")]
    for path in left:
        path.write_bytes(b"")
    watch(tmp_path / "out", source)
    assert not any(path.exists() for path in left)
