"""Which images a call means, and where their results go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import QUICK, Adcli
from tests.tasks.folders import records

ODD = [
    "with space.png",
    "-dash.png",
    "--out.png",
    "ümläut.png",
    "检查 零件.png",
    'o\'quote "double".png',
    "comma,semicolon;.png",
    "star*[1]?.png",
    "dollar $HOME `id`.png",
    "two\nlines.png",
    "back\\slash.png",
    "=1+1.png",
    "%41.png",
    "no suffix",
    "UPPER.PNG",
    "a.b.c.png",
]


@pytest.fixture
def part(dataset: Path) -> Path:
    """One defective image."""
    return dataset / "test" / "dent" / "002.png"


def images(out: Path) -> list[str]:
    return [record["image"] for record in records(out)]


def masks(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out / "masks")) for path in (out / "masks").rglob("*") if path.is_file())


def score(adcli: Adcli, model: Path, *words: object, **more: object) -> int:
    return adcli("score", "--out", "out", "-m", model, "--masks", "all", "--overlays", "none", *words, **more).code


@pytest.mark.parametrize("name", ODD)
def test_a_file_may_have_any_name(name: str, part: Path, model: Path, adcli: Adcli, here: Path) -> None:
    shutil.copy(part, name)
    assert score(adcli, model, "--", name) == 0
    assert images(Path("out")) == [name]
    assert masks(Path("out")) == [str(Path(name).with_suffix(".png"))]


def test_a_folder_of_odd_names_is_scored_whole_in_the_order_of_bytes(
    part: Path, model: Path, adcli: Adcli, here: Path
) -> None:
    Path("parts").mkdir()
    for name in ODD:
        shutil.copy(part, f"parts/{name}")
    Path("parts/notes.txt").write_text("no image")
    Path("parts/.hidden.png").write_bytes(b"")
    assert score(adcli, model, "parts") == 0
    expected = sorted(name for name in ODD if name != "no suffix")
    assert images(Path("out")) == [f"parts/{name}" for name in sorted(expected, key=os.fsencode)]
    assert masks(Path("out")) == sorted(str(Path(name).with_suffix(".png")) for name in expected)


def test_a_name_that_is_not_utf8_is_scored_and_resumed(part: Path, model: Path, adcli: Adcli, here: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xff.png")
    try:
        shutil.copy(part, name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for more in ((), ("--resume",)):
        assert score(adcli, model, ".", *more) == 0
        assert images(Path("out")) == [f"./{name}"]
        assert masks(Path("out")) == [name]
    assert score(adcli, model, "-", stdin=os.fsencode(name) + b"\n") == 0
    assert images(Path("out")) == [name]


def test_paths_come_from_stdin_one_a_line(part: Path, model: Path, adcli: Adcli, here: Path) -> None:
    names = ["b.png", "a.png", "with space.png", "star*.png", "sub/c.png"]
    Path("sub").mkdir()
    for name in names:
        shutil.copy(part, name)
    assert score(adcli, model, "-", stdin="".join(f"{name}\n" for name in names[:-1]) + "\r\n\nsub\r\n") == 0
    assert images(Path("out")) == names
    assert score(adcli, model, "-", stdin="") == 2
    assert score(adcli, model, "-", stdin="\n\n\r\n") == 2
    assert score(adcli, model, "-", stdin="none.png\n") == 2
    assert score(adcli, model, "", stdin="") == 2


def test_a_quoted_glob_is_expanded_and_a_file_of_that_very_name_is_meant_first(
    part: Path, model: Path, adcli: Adcli, here: Path
) -> None:
    for name in ("a1.png", "a2.png", "b1.png", "deep/er/a3.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(part, name)
    assert score(adcli, model, "a*.png") == 0
    assert images(Path("out")) == ["a1.png", "a2.png"]
    assert score(adcli, model, "**/a?.png") == 0
    assert images(Path("out")) == ["a1.png", "a2.png", "deep/er/a3.png"]
    assert score(adcli, model, "c*.png") == 2
    shutil.copy(part, "a*.png")
    assert score(adcli, model, "a*.png") == 0
    assert images(Path("out")) == ["a*.png"]


def test_results_mirror_the_folders_of_the_input(part: Path, model: Path, adcli: Adcli, here: Path) -> None:
    for name in ("in/a.png", "in/x/a.png", "in/x/y/a.png", "in/z/b.tif.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(part, name)
    assert score(adcli, model, "in") == 0
    assert masks(Path("out")) == ["a.png", "x/a.png", "x/y/a.png", "z/b.tif.png"]


def test_equal_names_in_two_folders_stay_apart(part: Path, model: Path, adcli: Adcli, here: Path) -> None:
    for name in ("monday/a.png", "tuesday/a.png", "tuesday/b.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(part, name)
    assert score(adcli, model, "monday", "tuesday") == 0
    assert masks(Path("out")) == ["monday/a.png", "tuesday/a.png", "tuesday/b.png"]
    assert score(adcli, model, "monday/a.png", "tuesday/a.png") == 0
    assert masks(Path("out")) == ["monday/a.png", "tuesday/a.png"]


def test_the_extension_is_kept_only_where_two_inputs_would_collide(
    part: Path, model: Path, adcli: Adcli, here: Path
) -> None:
    Path("in").mkdir()
    for name in ("a.png", "a.bmp", "b.png", "a.png.tif"):
        shutil.copy(part, f"in/{name}")
    assert score(adcli, model, "in") == 0
    assert masks(Path("out")) == ["a.bmp.png", "a.png.png", "a.png.tif.png", "b.png"]


def test_an_image_given_twice_is_scored_once(part: Path, model: Path, adcli: Adcli, here: Path) -> None:
    Path("in").mkdir()
    shutil.copy(part, "in/a.png")
    assert score(adcli, model, "in/a.png", "in", "./in/a.png", here / "in" / "a.png", "in/*.png") == 0
    assert images(Path("out")) == ["in/a.png"]


def test_what_lies_below_the_output_folder_is_no_input(part: Path, model: Path, adcli: Adcli, here: Path) -> None:
    shutil.copy(part, "a.png")
    for _ in range(2):
        assert score(adcli, model, ".") == 0
        assert images(Path("out")) == ["./a.png"]
    assert score(adcli, model, "out") == 2
    assert images(Path("out")) == ["./a.png"]


def test_a_path_is_told_as_it_was_given(part: Path, model: Path, adcli: Adcli, here: Path) -> None:
    Path("in").mkdir()
    shutil.copy(part, "in/a.png")
    for given in ("in/a.png", "./in/a.png", "in/../in/a.png", str(here / "in" / "a.png")):
        assert score(adcli, model, given) == 0
        assert images(Path("out")) == [given]


def test_a_folder_that_is_no_image_and_a_pipe_never_are_ok(part: Path, model: Path, adcli: Adcli, here: Path) -> None:
    Path("in/folder.png").mkdir(parents=True)
    os.mkfifo("in/pipe.png")
    Path("in/broken link.png").symlink_to("nowhere.png")
    Path("in/loop.png").symlink_to("loop.png")
    shutil.copy(part, "in/a.png")
    assert score(adcli, model, "in") == 5
    verdicts = {record["image"]: record["verdict"] for record in records(Path("out"))}
    assert verdicts.pop("in/a.png") in ("OK", "NG")
    assert set(verdicts) == {"in/pipe.png", "in/broken link.png", "in/loop.png"}
    assert set(verdicts.values()) == {"ERROR"}


def test_good_images_for_fit_come_from_files_globs_and_stdin_alike(dataset: Path, adcli: Adcli, here: Path) -> None:
    good = dataset / "train" / "good"
    by_folder = adcli("fit", good, "-m", "folder.h5", *QUICK)
    by_glob = adcli("fit", f"{good}/*.png", "-m", "glob.h5", *QUICK)
    listed = "".join(f"{path}\n" for path in sorted(good.iterdir()))
    by_stdin = adcli("fit", "-", "-m", "stdin.h5", *QUICK, stdin=listed)
    assert by_folder.code == by_glob.code == by_stdin.code == 0
    assert Path("folder.h5").read_bytes() == Path("glob.h5").read_bytes() == Path("stdin.h5").read_bytes()


def test_what_folders_hold_beside_images_is_told_once_by_suffix(
    part: Path, model: Path, adcli: Adcli, here: Path
) -> None:
    Path("in").mkdir()
    shutil.copy(part, "in/a.png")
    words = ("score", "in", "./in", "-m", model, "--out", "out")
    start, end = "passed over in folders: ", "; one that is named is read\n"
    assert adcli(*words).err == ""
    Path("in/notes").touch()
    assert adcli(*words).err == f"{start}1 file is no image by suffix (1 without suffix){end}"
    for name in ("b.gif", "c.GIF", "d.txt", "e.xml", "f.csv", "g.json", "h.log"):
        Path("in", name).touch()
    kinds = "2 .gif, 1 .csv, 1 .json, 1 .log, 1 .txt, 2 others"
    assert adcli(*words).err == f"{start}8 files are no image by suffix ({kinds}){end}"
    assert adcli(*words, "--quiet").err == ""
    assert start in adcli("calibrate", "in", "-m", shutil.copy(model, "own.h5"), "--dry-run").err
