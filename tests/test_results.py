"""The output folder by itself: made-up records and pictures, cut off at every single file operation."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from adcli.errors import Busy, EnvironmentFault, UsageError
from adcli.report import results
from adcli.report.results import COLUMNS, ResultsFolder, picture_names, picture_stems
from tests.tasks.folders import KEYS

CONFIGURATION = {"model": "abc", "outputs": {"masks": "ng"}}
NAMES = [f"part {n}.png" for n in range(5)]


@pytest.fixture(autouse=True)
def small_and_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_GROUP", 2)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # no test here cuts the power


def record(name: str, verdict: str) -> dict[str, object]:
    regions = [{"area_px": 9, "bbox": [1, 2, 3, 3]}, {"area_px": 4, "bbox": [0, 0, 2, 2]}] if verdict == "NG" else []
    regions = [dict.fromkeys(("area_mm2", "max", "mean")) | region for region in regions]
    values = {"image": name, "verdict": verdict, "score": 1.5, "threshold": 1.25, "regions": regions}
    return dict.fromkeys(key for key in KEYS if key != "ms") | {"ms": 1.0} | values


def score(out: Path, *, resume: bool = False, force: bool = False, names: list[str] = NAMES, model: str = "abc") -> str:
    """A run: every second image is NG and has two pictures. Tells whether it was finished before."""
    stems = picture_stems([PurePosixPath(name) for name in names])
    inputs = list(zip(names, stems, strict=True))
    with ResultsFolder(out, CONFIGURATION | {"model": model}, inputs, resume=resume, force=force) as folder:
        if folder.finished:
            return "finished before"
        done = len(folder.done())
        folder.keep(done)
        for number, (name, stem) in list(enumerate(inputs))[done:]:
            data = f"{model} {name}".encode(errors="surrogateescape")
            pictures = [(picture, data) for picture in picture_names(stem)[:2]]
            folder.add(record(name, "NG" if number % 2 else "OK"), pictures if number % 2 else [])
        folder.finish({"model": model, "counts": dict(folder.counts)})
    return "done"


def kept(folder: Path) -> dict[str, bytes]:
    """What a refused run must leave as it is: all but leftovers of the killed one."""
    return {name: data for name, data in content(folder).items() if not PurePosixPath(name).name.startswith(".")}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "_GROUP", 2)
        out = tmp_path_factory.mktemp("undisturbed")
        score(out)
        return content(out)


def test_a_run_leaves_its_lines_table_record_and_pictures_and_nothing_else(undisturbed: dict[str, bytes]) -> None:
    pictures = {name for n in (1, 3) for name in (f"masks/part {n}.png", f"overlays/part {n}.jpg")}
    assert set(undisturbed) == pictures | {"results.jsonl", "results.csv", "run.json"}
    lines = [json.loads(line) for line in undisturbed["results.jsonl"].splitlines()]
    assert [line["image"] for line in lines] == NAMES
    run = json.loads(undisturbed["run.json"])
    assert set(run["files"]) == pictures
    assert run["counts"] == {"OK": 3, "NG": 2}


def cut_off(count: int, how: str, work: Callable[[], object], out: Path) -> bool:
    """Does `work` in a process of its own that ends at its `count`-th operation on a file; whether it came that far.

    `how` is "kill" (nothing more runs, as with kill -9), "signal" (an exception that is no Exception) or "disk" (full).
    """
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert os.WIFEXITED(status)
        assert os.WEXITSTATUS(status) in (0, 77), (out / "traceback").read_text()
        for lock in out.rglob(".adcli.lock"):  # one that is still empty may be a run that just begins: for 10 s
            os.utime(lock, (0, 0))
        return os.WEXITSTATUS(status) == 77
    left = count

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        left -= 1
        if left == 0 and how == "kill":
            os._exit(77)
        if left == 0 and how == "signal":
            raise KeyboardInterrupt
        if left == 0 and how == "disk":  # too full for this one; a line or a smaller picture still has room
            raise OSError(errno.ENOSPC, "No space left on device")

    sys.addaudithook(watch)  # for the rest of this process's short life
    try:
        work()
    except BaseException as error:
        if left <= 0 and isinstance(error, KeyboardInterrupt if how == "signal" else EnvironmentFault):
            os._exit(77)
        how = "over"  # the watch has seen enough
        (out / "traceback").write_text(traceback.format_exc())
        os._exit(1)
    os._exit(77 if left <= 0 else 0)  # the fault may have been none, as in deleting what is of no use any more


def cut_off_everywhere(how: str, folder: Path, before: str, work: Callable[[Path], object]) -> None:
    """Cuts `work` off at its first file operation, its second, and so on; each time the end must be one of two."""
    undisturbed = folder / "undisturbed"
    score(undisturbed)
    ends = set()
    for count in range(1, 200):
        out = folder / str(count)
        if before == "finished":
            score(out, names=[f"old {n}.png" for n in range(3)], model="old")
        if before == "unfinished":
            cut_off(22, "kill", lambda out=out: score(out, model="old"), folder)
        if before:
            (out / "masks" / "a stranger.png").write_bytes(b"not ours")
        old = content(out)
        reached = cut_off(count, how, lambda out=out: work(out), folder)
        try:
            ends.add(score(out, resume=True))
        except UsageError as error:  # the run that is there is still the old one
            assert "--force" in str(error) or "leaving --resume out" in str(error)
            ends.add("refused")
            score(out, force=True)
        is_old = json.loads((out / "run.json").read_bytes())["model"] == "old"
        expected = old if is_old else content(undisturbed) | {name: b"not ours" for name in old if "stranger" in name}
        assert content(out) == expected, f"{how} at operation {count}"
        if not reached:
            break
    assert 15 < count < 199, count
    assert ends == {"finished before", "done"} | ({"refused"} if before else set()), ends


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
@pytest.mark.parametrize("how", ["kill", "signal", "disk"])
@pytest.mark.parametrize(
    ("before", "work"), [("", "score(out)"), ("finished", "score(out)"), ("unfinished", "score(out, force=True)")]
)
def test_wherever_a_run_is_cut_off_resume_ends_as_if_it_had_not_been(
    how: str, before: str, work: str, tmp_path: Path
) -> None:
    # In a process without torch, which is quickly forked some hundred times.
    code = f"""if True:
        import os; from pathlib import Path; from adcli.report import results; from tests.test_results import *
        results._GROUP, os.fsync = 2, lambda handle: None
        cut_off_everywhere({how!r}, Path({str(tmp_path)!r}), {before!r}, lambda out: {work})
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_torn_last_line_is_cut(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    cut_off(22, "kill", lambda: score(tmp_path / "out"), tmp_path)
    lines = tmp_path / "out" / "results.jsonl"
    whole = lines.read_bytes()
    assert whole.count(b"\n") >= 2
    for torn in (whole + b'{"image": "par', whole[:-1], whole + b"\0\0\0\n", whole, b"\0" * len(whole)):
        lines.write_bytes(torn)
        copy = tmp_path / f"copy {hash(torn)}"
        copy.mkdir()
        for name, data in content(tmp_path / "out").items():
            (copy / name).parent.mkdir(exist_ok=True)
            (copy / name).write_bytes(data)
        score(copy, resume=True)
        assert content(copy) == undisturbed


def test_an_unfinished_folder_is_refused_by_the_names_of_both_ways_out(tmp_path: Path) -> None:
    cut_off(22, "kill", lambda: score(tmp_path / "out"), tmp_path)
    before = kept(tmp_path / "out")
    with pytest.raises(UsageError, match=r"--resume.*--force"):
        score(tmp_path / "out")
    assert kept(tmp_path / "out") == before


def test_resume_refuses_another_model_and_other_images(tmp_path: Path) -> None:
    cut_off(22, "kill", lambda: score(tmp_path / "out"), tmp_path)
    before = kept(tmp_path / "out")
    with pytest.raises(UsageError, match="another model"):
        score(tmp_path / "out", resume=True, model="xyz")
    with pytest.raises(UsageError, match="other images"):
        score(tmp_path / "out", resume=True, names=["elsewhere.png"])
    assert kept(tmp_path / "out") == before


def test_the_first_list_of_images_counts_after_a_resume(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    cut_off(22, "kill", lambda: score(tmp_path / "out"), tmp_path)
    score(tmp_path / "out", resume=True, names=["new.png", *NAMES])
    assert content(tmp_path / "out") == undisturbed


def test_resume_of_a_finished_run_touches_nothing(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    score(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert score(tmp_path, resume=True) == "finished before"
    assert content(tmp_path) == undisturbed
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


def test_two_runs_into_one_folder_refuse_each_other(tmp_path: Path) -> None:
    with ResultsFolder(tmp_path, CONFIGURATION, [("a.png", "a")], resume=False, force=False):
        before = content(tmp_path)
        for how in ({}, {"resume": True}, {"force": True}):
            with pytest.raises(Busy):
                score(tmp_path, **how)
        assert content(tmp_path) == before


def test_a_picture_list_from_elsewhere_removes_nothing_outside_of_the_pictures(tmp_path: Path) -> None:
    kept = [tmp_path / "kept.txt", tmp_path / "out" / "notes.txt"]
    score(tmp_path / "out")
    for path in kept:
        path.write_bytes(b"mine")
    run = json.loads((tmp_path / "out" / "run.json").read_bytes())
    run["files"] += ["../kept.txt", "masks/../../kept.txt", str(kept[0]), "notes.txt", ""]
    (tmp_path / "out" / "run.json").write_text(json.dumps(run))
    score(tmp_path / "out")
    assert all(path.read_bytes() == b"mine" for path in kept)


@pytest.mark.parametrize(
    ("relatives", "stems"),
    [
        (["a.png", "b.png"], ["a", "b"]),
        (["a.png", "a.jpg", "b.png"], ["a.png", "a.jpg", "b"]),
        (["x/a.png", "y/a.png"], ["x/a", "y/a"]),
        (["a.png", "a.jpg", "a.png.bmp"], ["a.png", "a.jpg", "a.png.bmp"]),
        (["a", "a.png", "b.tar.png", "b.tar.jpg", "b.png"], ["a", "a.png", "b.tar.png", "b.tar.jpg", "b"]),
        ([".png", "..png", "a."], [".png", ".", "a."]),
    ],
)
def test_the_suffix_is_kept_only_where_two_images_would_collide(relatives: list[str], stems: list[str]) -> None:
    assert picture_stems([PurePosixPath(name) for name in relatives]) == stems
    assert len(set(stems)) == len(stems)


def test_the_table_holds_any_name_and_says_the_largest_region(tmp_path: Path) -> None:
    names = ['comma, "quote".png', "new\nline.png", "cr\r.png", "=1+1.png", "umläut 检查.png", "\udcff.png"]
    score(tmp_path, names=names)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_bytes().decode(), newline="")))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["image"] for row in rows] == [*names[:-1], "\\udcff.png"]
    assert [row["n_regions"] for row in rows] == ["0", "2", "0", "2", "0", "2"]
    assert rows[1]["largest_area_px"] == "9"
    assert rows[1]["largest_bbox"] == "1 2 3 3"
    assert rows[0]["largest_area_px"] == rows[0]["reason"] == ""
    lines = (tmp_path / "results.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["image"] for line in lines] == names


def test_resume_takes_no_finished_run_of_another_model_or_other_images_for_this_one(tmp_path: Path) -> None:
    score(tmp_path)
    before = kept(tmp_path)
    with pytest.raises(UsageError, match="another model"):
        score(tmp_path, resume=True, model="xyz")
    with pytest.raises(UsageError, match=r"without 1 of these images \(new.png"):
        score(tmp_path, resume=True, names=["new.png", *NAMES])
    assert kept(tmp_path) == before


def test_resume_into_a_folder_that_never_held_a_run_removes_nothing(tmp_path: Path) -> None:
    for name in NAMES:
        stranger = tmp_path / "masks" / Path(name).with_suffix(".png")
        stranger.parent.mkdir(parents=True, exist_ok=True)
        stranger.write_bytes(b"not ours")
    with ResultsFolder(tmp_path, {"model": "m"}, [(n, Path(n).stem) for n in NAMES], resume=True, force=False) as out:
        out.keep(0)
    assert all((tmp_path / "masks" / Path(name).with_suffix(".png")).exists() for name in NAMES)


def test_a_run_leaves_the_temporary_files_of_another_in_a_folder_below_alone(tmp_path: Path) -> None:
    inner = tmp_path / "line A" / "masks" / ".part.png.adcli-tmp-0123abcd"
    inner.parent.mkdir(parents=True)
    inner.write_bytes(b"being written")
    score(tmp_path)
    assert inner.exists()


def test_pictures_of_names_as_long_as_a_name_can_be_are_written(tmp_path: Path) -> None:
    names = ["n" * 251 + ".png", "n" * 251 + ".tif", "\u00fc" * 125 + ".png", "n" * 255]
    stems = picture_stems([PurePosixPath("part") / name for name in names])
    assert len(set(stems)) == len(names)
    for name in (name for stem in stems for name in picture_names(stem)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
