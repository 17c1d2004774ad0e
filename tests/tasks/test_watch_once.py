"""`watch --once` and its options: what is written, what is printed, what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Adcli, undecodable_png
from tests.rows import check_rows, query
from tests.tasks.folders import KEYS, check_image, counted, picture, records
from tests.tasks.watches import QUICK


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({**line, "ms": None} for line in lines), key=lambda line: line["image"])


def test_records_and_pictures_are_those_of_score(
    dataset: Path, band_model: Path, adcli: Adcli, tmp_path: Path, here: Path
) -> None:
    shutil.copytree(dataset / "test", "in")
    Path("in/dent/no.png").write_bytes(b"no image")
    Path("in/dent/undecodable.png").write_bytes(undecodable_png())
    all_of_them = ("-m", band_model, "--masks", "all", "--overlays", "all", "--maps")
    assert adcli("score", "in", "--out", "scored", *all_of_them).code == 5
    ran = adcli("watch", "in", "--out", "watched", *all_of_them, "--once", "--json", *QUICK)
    assert ran.code == 5
    lines = records(Path("watched"))
    assert [json.loads(line) for line in ran.out.splitlines()] == lines
    assert timeless(lines) == timeless(records(Path("scored")))
    for kind in ("masks", "overlays", "maps"):
        files = {path.relative_to("scored"): path.read_bytes() for path in Path("scored", kind).rglob("*.*")}
        assert {path.relative_to("watched"): path.read_bytes() for path in Path("watched", kind).rglob("*.*")} == files
        assert len(files) == 15
    for record in lines:
        if record["verdict"] != "ERROR":
            stem = Path(record["image"]).relative_to("in").with_suffix("")
            check_image(record, picture(Path(f"watched/maps/{stem}.tiff")), picture(Path(f"watched/masks/{stem}.png")))
    assert all(list(record) == KEYS for record in lines)
    assert not Path("watched/results.csv").exists()


def test_each_file_is_scored_once_across_runs(dataset: Path, model: Path, adcli: Adcli, here: Path) -> None:
    shutil.copytree(dataset / "test" / "good", "in")
    command = ("watch", "in", "--out", "out", "-m", model, "--once", *QUICK)
    first = adcli(*command)
    assert first.out.splitlines() == [
        f"{record['verdict']:<5}  {record['score']:>9.6g}  {record['image']}" for record in records(Path("out"))
    ]
    assert first.err == f"6 images scored: {counted(records(Path('out')))}\n"
    before = Path("out/results.jsonl").read_bytes()
    assert adcli(*command).out == ""
    Path("out/.adcli-watch.db").unlink()  # then the files themselves are compared
    assert adcli(*command).out == ""
    shutil.copy(dataset / "test" / "dent" / "000.png", "in/new.png")
    assert adcli(*command, "-q").err == ""
    after = Path("out/results.jsonl").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 7


def test_names_of_any_bytes_are_scored_once(dataset: Path, model: Path, adcli: Adcli, here: Path) -> None:
    names = ["two\nlines", "\udcff", "[bold]", "-m", "ü 检"]
    for number, name in enumerate(names):
        (Path("-in") / name).mkdir(parents=True)
        shutil.copy(dataset / "test" / "good" / f"{number:03}.png", Path("-in") / name / f"{name}.png")
        Path("-in", name, f"no {name}.jpg").write_bytes(b"no image")
    command = (
        "watch",
        "--out",
        "out",
        "-m",
        model,
        "--once",
        *QUICK,
        "--masks",
        "all",
        "--sqlite",
        "runs.db",
        "--",
        "-in",
    )
    assert adcli(*command).code == 5
    expected = sorted(f"-in/{name}/{file}" for name in names for file in (f"{name}.png", f"no {name}.jpg"))
    assert sorted(record["image"] for record in records(Path("out"))) == expected
    assert len(list(Path("out/masks").rglob("*.png"))) == len(names)
    Path("out/.adcli-watch.db").unlink()
    assert adcli(*command).out == ""


@pytest.mark.parametrize(
    ("fail_on", "verdicts", "code"),
    [("ng", ["NG", "OK"], 3), ("check", ["CHECK", "OK"], 4), ("ng", ["CHECK"], 0), (None, ["NG"], 0)],
)
def test_a_single_look_ends_like_score_and_by_what_it_scored_only(
    fail_on: str | None,
    verdicts: list[str],
    code: int,
    of_verdict: dict[str, Path],
    band_model: Path,
    adcli: Adcli,
    images: Path,
    tmp_path: Path,
) -> None:
    for verdict in verdicts:
        shutil.copy(of_verdict[verdict], images / f"{verdict}.png")
    command = ("watch", images, "--out", tmp_path / "out", "-m", band_model, "--once", *QUICK)
    fail = ("--fail-on", fail_on) if fail_on else ()
    assert adcli(*command, *fail).code == code
    assert adcli(*command, *fail).code == 0


def test_a_single_look_leaves_what_is_still_being_written(
    dataset: Path, model: Path, adcli: Adcli, images: Path, tmp_path: Path
) -> None:
    shutil.copy(dataset / "test" / "good" / "000.png", images)
    growing, stop = images / "growing.png", threading.Event()
    growing.write_bytes(b"")

    def write() -> None:
        while not stop.wait(0.01):
            with growing.open("ab") as file:
                file.write(b"more")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        ran = adcli(
            "watch", images, "--out", tmp_path / "out", "-m", model, "--once", "--settle", "0.5", "--poll", "0.1"
        )
    finally:
        stop.set()
        writer.join()
    assert ran.code == 0
    assert "left for the next time: 1\n" in ran.err
    assert [record["image"] for record in records(tmp_path / "out")] == [f"{images}/000.png"]


def test_an_output_folder_inside_is_not_watched(dataset: Path, model: Path, adcli: Adcli, here: Path) -> None:
    shutil.copytree(dataset / "test" / "dent", "in/parts")
    command = ("watch", "in", "--out", "in/out", "-m", model, "--masks", "all", "--overlays", "all", "--once", *QUICK)
    assert adcli(*command).code == 0
    assert len(list(Path("in/out").rglob("*.png"))) == 3
    assert adcli(*command).out == ""
    assert len(records(Path("in/out"))) == 3


def test_a_command_hears_each_result_and_its_failures_stop_nothing(
    dataset: Path, band_model: Path, adcli: Adcli, here: Path
) -> None:
    shutil.copytree(dataset / "test", "in")
    Path("listen.py").write_text(
        "import json, sys\n"
        "record = json.load(sys.stdin)\n"
        "open('heard', 'a').write(json.dumps(record) + '\\n')\n"
        "sys.exit(record['verdict'] == 'NG')\n"
    )
    words = ("-m", band_model, "--once", *QUICK, "--exec", f"'{sys.executable}' listen.py")
    ran = adcli("watch", "in", "--out", "out", *words)
    assert ran.code == 0
    lines = records(Path("out"))
    assert [json.loads(line) for line in Path("heard").read_text().splitlines()] == lines
    bad = [record["image"] for record in lines if record["verdict"] == "NG"]
    assert [line for line in ran.err.splitlines() if "--exec" in line] == [
        f"adcli: --exec ended with 1 for {image}" for image in bad
    ]
    health = json.loads(Path("out/health.json").read_text())
    assert (health["exec_failed"], health["exec_ok"]) == (len(bad), 15 - len(bad))
    assert len(bad) > 0


def test_rows_in_a_database_are_the_lines_also_when_the_watch_goes_on(
    dataset: Path, band_model: Path, adcli: Adcli, here: Path
) -> None:
    command = ("watch", "in", "--out", "out", "-m", band_model, "--once", *QUICK, "--sqlite", "runs.db")
    shutil.copytree(dataset / "test" / "good", "in")
    assert adcli(*command).code == 0
    shutil.copytree(dataset / "test" / "dent", "in/dent")
    assert adcli(*command).code == 0
    check_rows(Path("runs.db"), records(Path("out")))
    runs = query(Path("runs.db"), "SELECT images, finished FROM runs")
    assert [(run["images"], run["finished"] is None) for run in runs] == [(9, False)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("in", "--out"),
        ("nowhere --out out", "does not exist"),
        ("file --out out", "is no folder"),
        ("in --out in", "lies in the output folder"),
        ("in/below --out in", "lies in the output folder"),
        ("in --out out --poll 0", "--poll"),
        ("in --out out --poll nan", "--poll"),
        ("in --out out --settle -1", "--settle"),
        ("in --out out --settle inf", "--settle"),
        ("in --out out --exec-timeout 0", "--exec-timeout"),
        ("in --out out --exec no-such-program", "no-such-program"),
        ("in --out out --masks some", "some"),
        ("in --out out --fail-on ng", "--once"),
        ("in --out out --once --fail-on NG", "--fail-on"),
        ("in --out out --health out/results.jsonl", "--health"),
        ("in --out out --sqlite out/watch.json", "--sqlite"),
        ("- --once", "--once"),
        ("- --maps", "--out"),
        ("- --sqlite runs.db", "--out"),
        ("in --out out -m none.h5", "none.h5"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_before_anything_is_written(
    words: str, said: str, model: Path, adcli: Adcli, here: Path
) -> None:
    Path("in/below").mkdir(parents=True)
    Path("file").write_text("")
    shutil.copy(model, "model.h5")
    told = adcli("watch", *words.split(), stdin="")
    assert told.code == 2
    assert said in told.sentence
    assert sorted(path.name for path in here.iterdir()) == ["file", "in", "model.h5"]


def test_compare_reads_the_results_of_a_watch(dataset: Path, model: Path, adcli: Adcli, here: Path) -> None:
    shutil.copytree(dataset / "test", "in")
    adcli("score", "in", "--out", "scored", "-m", model)
    adcli("watch", "in", "--out", "watched", "-m", model, "--once", *QUICK)
    told = json.loads(adcli("compare", "scored", "watched", "--json", "--max-changed", "0").out)
    assert "written by adcli watch" in str(told)
    assert "scores are not compared" not in str(told)
    assert adcli("compare", model, "watched").code == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for some of the results."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system of its own takes Linux and root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_ends_the_watch_with_8_and_with_more_room_it_goes_on(
    small_disk: Path, dataset: Path, model: Path, adcli: Adcli, images: Path
) -> None:
    for number in range(40):
        shutil.copy(dataset / "test" / "good" / f"{number % 6:03}.png", images / f"{number}.png")
    command = ("watch", images, "--out", small_disk / "out", "-m", model, "--maps", "--once", "-q", *QUICK)
    full = adcli(*command)
    assert full.code == 8
    assert "free some space" in full.err
    kept = records(small_disk / "out")
    assert 0 < len(kept) < 40
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert adcli(*command).code == 0
    lines = records(small_disk / "out")
    assert lines[: len(kept)] == kept
    assert len({record["image"] for record in lines}) == len(lines) == 40
    assert len(list((small_disk / "out" / "maps").iterdir())) == 40
