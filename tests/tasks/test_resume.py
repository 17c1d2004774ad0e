"""Runs that are stopped, in processes of their own, and continued: the folder is that of an undisturbed run."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adcli.report.results import RUN
from tests.cli.processes import Process, needs_fork
from tests.conftest import Adcli, undecodable_png
from tests.tasks.folders import records, timeless

MANY = 64
SCORE = ("--masks", "all", "--overlays", "all", "--maps")


@pytest.fixture(scope="module")
def many(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More images than are scored in a moment, every tenth unreadable, one of these only when it is decoded."""
    folder = tmp_path_factory.mktemp("many")
    sources = sorted((dataset / "test").rglob("*.png"))
    for number in range(MANY):
        path = folder / f"{number % 3}" / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no image" if number % 10 == 7 else sources[number % len(sources)].read_bytes())
    (folder / "0" / "003.png").write_bytes(undecodable_png())
    return folder


@pytest.fixture(scope="module")
def undisturbed(many: Path, model: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert adcli("score", many, "--out", out, "-m", model, *SCORE).code == 5
    return timeless(out)


def lines(out: Path) -> int:
    path = out / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def stop(process: Process, out: Path, after: int, how: int) -> int:
    """Sends the signal once `after` lines are written (-1: once the run has begun) and gives the exit code."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.is_alive():
        if lines(out) >= after and (out / ".adcli-run.json").exists():
            break
        time.sleep(0.002)
    process.send(how)
    return process.wait()


@needs_fork
@pytest.mark.parametrize(
    ("how", "code", "after"),
    [
        (signal.SIGKILL, -signal.SIGKILL, -1),
        (signal.SIGKILL, -signal.SIGKILL, 8),
        (signal.SIGKILL, -signal.SIGKILL, 32),
        (signal.SIGINT, 130, -1),
        (signal.SIGINT, 130, 24),
        (signal.SIGTERM, 143, -1),
        (signal.SIGTERM, 143, 32),
    ],
)
def test_a_stopped_run_is_continued_as_if_it_had_not_been(
    how: int,
    code: int,
    after: int,
    many: Path,
    model: Path,
    adcli: Adcli,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
) -> None:
    out = tmp_path / "out"
    command = ("score", many, "--out", out, "-m", model, *SCORE)
    for _ in range(5):  # a machine that stalls may let a run end before its signal
        process = Process(*command, "--workers", "1", cwd=tmp_path)
        ended = stop(process, out, after, how)
        if not (out / RUN).exists():
            break
    assert ended == code
    assert "Traceback" not in process.err
    assert not (out / RUN).exists()
    kept = records(out) if lines(out) else []
    assert max(0, after) <= len(kept) < MANY
    assert adcli(*command).code == 2
    resumed = adcli(*command, "--resume", "-q")
    assert resumed.code == 5
    assert timeless(out) == undisturbed
    assert records(out)[: len(kept)] == kept  # with the first run's ms: none of them was scored again
    assert adcli(*command, "--resume", "--json").code == 5
    assert timeless(out) == undisturbed


@needs_fork
def test_a_run_that_is_stopped_again_and_again_comes_to_its_end(
    many: Path, model: Path, adcli: Adcli, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    command = ("score", many, "--out", out, "-m", model, *SCORE)
    for after, how in ((-1, signal.SIGINT), (8, signal.SIGKILL), (20, signal.SIGTERM), (32, signal.SIGKILL)):
        stop(Process(*command, "--workers", "1", "--resume", cwd=tmp_path), out, after, how)
        with (out / "results.jsonl").open("ab") as file:
            file.write(b'{"image": "torn')
    assert adcli(*command, "--resume").code == 5
    assert timeless(out) == undisturbed


@pytest.fixture
def interrupted(many: Path, model: Path, adcli: Adcli, tmp_path: Path) -> Path:
    """A folder whose run was stopped after 40 images: a finished one, undone."""
    import json

    out = tmp_path / "out"
    adcli("score", many, "--out", out, "-m", model, *SCORE)
    names = [[record["image"], str(Path(record["image"]).relative_to(many).with_suffix(""))] for record in records(out)]
    run = json.loads((out / RUN).read_bytes())
    begun = {"model": run["model"], "outputs": run["outputs"], "precision": run["precision"]}
    (out / ".adcli-run.json").write_text(json.dumps({"key": "k", "configuration": begun, "inputs": names}))
    (out / "results.jsonl").write_bytes(b"".join((out / "results.jsonl").read_bytes().splitlines(True)[:40]))
    for name in (RUN, "results.csv"):
        (out / name).unlink()
    for kind in ("masks", "overlays", "maps"):
        for _, stem in names[43:]:
            for path in (out / kind).glob(f"{stem}.*"):
                path.unlink()
    return out


def test_resume_scores_a_changed_image_again_and_what_follows_it_stays_right(
    interrupted: Path, many: Path, model: Path, adcli: Adcli, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    changed = many / "0" / "006.png"
    before = changed.read_bytes()
    good = sorted((many / "0").glob("*.png"))[0].read_bytes()
    try:
        changed.write_bytes(good if good != before else (many / "1" / "001.png").read_bytes())
        assert adcli("score", many, "--out", interrupted, "-m", model, *SCORE, "--resume").code == 5
        resumed = timeless(interrupted)
        fresh = tmp_path / "fresh"
        adcli("score", many, "--out", fresh, "-m", model, *SCORE)
        assert resumed == timeless(fresh)
        assert resumed != undisturbed
    finally:
        changed.write_bytes(before)


def test_an_image_that_has_become_good_keeps_no_mask_of_its_defect(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    parts, out = tmp_path / "parts", tmp_path / "out"
    parts.mkdir()
    for number in range(40):
        shutil.copy(dataset / "test" / "good" / "000.png", parts / f"{number:02}.png")
    verdicts = tmp_path / "verdicts"
    adcli("score", dataset / "test", "--out", verdicts, "-m", model)
    by_verdict = {record["verdict"]: record["image"] for record in records(verdicts)}
    shutil.copy(by_verdict["NG"], parts / "05.png")
    process = Process("score", parts, "--out", out, "-m", model, "--workers", "1", cwd=tmp_path)
    stop(process, out, 16, signal.SIGKILL)
    assert (out / "masks" / "05.png").exists()
    shutil.copy(by_verdict["OK"], parts / "05.png")
    assert adcli("score", parts, "--out", out, "-m", model, "--resume").code == 0
    assert records(out)[5]["verdict"] == "OK"
    assert not list((out / "masks").rglob("05*"))


def test_resume_keeps_to_the_first_list_of_images(
    interrupted: Path, many: Path, model: Path, adcli: Adcli, undisturbed: dict[str, bytes]
) -> None:
    late = many / "0" / "late.png"
    late.write_bytes((many / "0" / "000.png").read_bytes())
    try:
        assert adcli("score", many, "--out", interrupted, "-m", model, *SCORE, "--resume").code == 5
        assert timeless(interrupted) == undisturbed
    finally:
        late.unlink()


def test_an_unfinished_folder_is_refused_and_force_starts_over(
    interrupted: Path, many: Path, model: Path, adcli: Adcli, undisturbed: dict[str, bytes]
) -> None:
    command = ("score", many, "--out", interrupted, "-m", model, *SCORE)
    refused = adcli(*command)
    assert refused.code == 2
    assert "--resume" in refused.sentence
    assert "--force" in refused.sentence
    assert adcli(*command, "--force").code == 5
    assert timeless(interrupted) == undisturbed


def test_resume_refuses_another_model_and_other_pictures(
    interrupted: Path, many: Path, model: Path, band_model: Path, adcli: Adcli
) -> None:
    resume = ("score", many, "--out", interrupted, "--resume")
    for words in ((*resume, "-m", band_model, *SCORE), (*resume, "-m", model)):
        refused = adcli(*words)
        assert refused.code == 2
        assert "--force" in refused.sentence


def test_resume_refuses_images_that_are_not_those_it_began_with(
    interrupted: Path, dataset: Path, model: Path, adcli: Adcli
) -> None:
    refused = adcli("score", dataset / "test", "--out", interrupted, "-m", model, *SCORE, "--resume")
    assert refused.code == 2
    assert "other images" in refused.sentence
    assert len(records(interrupted)) == 40


def test_resume_into_nothing_starts(
    many: Path, model: Path, adcli: Adcli, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    assert adcli("score", many, "--out", tmp_path / "new", "-m", model, *SCORE, "--resume").code == 5
    assert timeless(tmp_path / "new") == undisturbed


def test_resume_of_a_finished_run_scores_nothing(dataset: Path, model: Path, adcli: Adcli, tmp_path: Path) -> None:
    command = ("score", dataset / "test", "--out", tmp_path, "-m", model, "--fail-on", "ng", "--json")
    first = adcli(*command)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = adcli(*command, "--resume")
    assert first.code == again.code == 3
    assert '"already_finished": true' in again.out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system with room for some of the results."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system of its own takes Linux and root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_keeps_what_was_scored_and_the_run_is_continued_with_more_room(
    small_disk: Path, many: Path, model: Path, adcli: Adcli, undisturbed: dict[str, bytes]
) -> None:
    out = small_disk / "out"
    command = ("score", many, "--out", out, "-m", model, *SCORE)
    full = adcli(*command)
    assert full.code == 8
    assert "free some space" in full.sentence
    kept = records(out)
    assert 0 < len(kept) < MANY
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert adcli(*command, "--resume").code == 5
    assert timeless(out) == undisturbed
    assert records(out)[: len(kept)] == kept
