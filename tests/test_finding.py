"""Finding images: which files an input means, in which order, under which names."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path, PurePosixPath

import pytest

from adcli import finding
from adcli.errors import EnvironmentFault, UsageError
from adcli.finding import find_images, walk_images

needs_links = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def givens(*inputs: str, **options: object) -> list[str]:
    return [image.given for image in find_images(inputs, **options)]


def relatives(*inputs: str, **options: object) -> list[str]:
    return [str(image.relative) for image in find_images(inputs, **options)]


def test_a_folder_yields_every_image_suffix_in_any_case_and_nothing_else(here: Path) -> None:
    suffixes = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "pgm", "ppm", "pnm", "webp"]
    names = [f"a.{suffix}" for suffix in suffixes] + [f"b.{suffix.upper()}" for suffix in suffixes] + ["c.v1.Png"]
    make(here / "in", *names, "notes.txt", "png", "a.png.bak", "model.h5", ".png")
    assert relatives("in") == sorted(names)


def test_a_folder_is_searched_to_the_bottom_and_sorted_by_the_bytes_of_the_paths(here: Path) -> None:
    make(here / "in", "b/2.png", "b/1.png", "b-1.png", "b.png", "a/z/deep/er.png", "B.png", "ä.png", "z.png")
    expected = ["B.png", "a/z/deep/er.png", "b-1.png", "b.png", "b/1.png", "b/2.png", "z.png", "ä.png"]
    assert relatives("in") == expected == sorted(expected, key=lambda name: name.encode())


def test_inputs_keep_their_order_and_a_file_given_twice_appears_once(here: Path) -> None:
    make(here, "b/1.png", "a/2.png", "a/3.png", "c.png")
    assert givens("c.png", "b", "a/3.png", "a", "./c.png", str(here / "b")) == [
        "c.png",
        "b/1.png",
        "a/3.png",
        "a/2.png",
    ]


def test_given_is_the_path_as_it_was_spelt(here: Path) -> None:
    make(here, "in/sub/a.png")
    (here / "other").mkdir()
    for spelt in ["in", "./in", "in/sub/..", "other/../in", str(here / "in")]:
        assert givens(spelt) == givens(spelt + "/") == [f"{spelt}/sub/a.png"]
    assert givens("./in/sub/a.png") == ["./in/sub/a.png"]
    assert givens(".") == ["./in/sub/a.png"]
    assert find_images(["./in"])[0].path == Path("in/sub/a.png")


def test_relative_is_relative_to_the_folder_given_and_a_plain_file_has_its_name(here: Path) -> None:
    make(here, "in/sub/a.png")
    assert relatives("in") == ["sub/a.png"]
    assert relatives("in/sub") == ["a.png"]
    assert relatives("in/sub/a.png") == ["a.png"]
    assert find_images(["in"])[0].relative == PurePosixPath("sub/a.png")


def test_equal_names_in_several_folders_are_told_apart_by_as_few_parents_as_it_takes(here: Path) -> None:
    make(here, "x/test/good/1.png", "x/test/good/2.png", "x/test/bad/1.png", "y/test/bad/1.png")
    assert relatives("x/test/good", "x/test/bad") == ["good/1.png", "good/2.png", "bad/1.png"]
    assert relatives("x/test/bad", "y/test/bad/1.png") == ["x/test/bad/1.png", "y/test/bad/1.png"]
    assert relatives("x/test", "y/test/bad") == ["bad/1.png", "good/1.png", "good/2.png", "1.png"]


def test_a_named_file_is_taken_whatever_its_suffix(here: Path) -> None:
    make(here, "frame.raw", "in/frame.dat", ".hidden.png")
    assert givens("frame.raw", "in/frame.dat", ".hidden.png") == ["frame.raw", "in/frame.dat", ".hidden.png"]


def test_hidden_files_and_folders_are_skipped_below_a_folder_but_not_when_named(here: Path) -> None:
    make(here / "in", "a.png", ".a.png", ".cache/b.png", "sub/.x/c.png")
    assert relatives("in") == ["a.png"]
    assert relatives("in/.cache") == ["b.png"]


def test_a_folder_with_the_name_of_an_image_is_a_folder(here: Path) -> None:
    make(here / "in", "part.png/1.png", "part.png/2.png")
    assert relatives("in") == ["part.png/1.png", "part.png/2.png"]
    assert relatives("in/part.png") == ["1.png", "2.png"]


@needs_links
def test_links_to_folders_above_do_not_hang_and_yield_each_image_once(here: Path) -> None:
    make(here, "in/a.png", "in/sub/b.png", "in/sub/c.png")
    (here / "in" / "loop1").symlink_to(here / "in")
    (here / "in" / "sub" / "loop2").symlink_to("..")
    (here / "in" / "self").symlink_to("self")
    (here / "in" / "self.png").symlink_to("self.png")
    assert relatives("in") == ["a.png", "self.png", "sub/b.png", "sub/c.png"]
    assert sorted(relatives("in/**/*.png")) == ["a.png", "self.png", "sub/b.png", "sub/c.png"]


@needs_links
def test_links_are_followed_and_a_folder_reached_twice_counts_once(here: Path) -> None:
    make(here, "store/a.png", "in/b.png")
    for name in ["t", "m", "z", "c", "x"]:
        (here / "in" / name).symlink_to(here / "store")
    assert relatives("in") == ["b.png", "c/a.png"]


@needs_links
def test_two_names_of_one_file_are_two_images(here: Path) -> None:
    make(here, "in/a.png")
    (here / "in" / "b.png").symlink_to("a.png")
    assert relatives("in") == ["a.png", "b.png"]


@needs_links
def test_a_broken_link_is_found_so_that_it_becomes_an_error(here: Path) -> None:
    (here / "in").mkdir()
    (here / "in" / "gone.png").symlink_to("nowhere.png")
    (here / "in" / "gone.txt").symlink_to("nowhere.txt")
    assert relatives("in") == ["gone.png"]
    assert relatives("in/gone.png") == ["gone.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.png", ["1.png", "2.png"]),
        ("in/?.png", ["1.png", "2.png"]),
        ("in/[2-9].png", ["2.png"]),
        ("in/*", ["1.png", "2.png", "a/1.png", "a/b/1.png", "b/1.png"]),
        ("in/**", ["1.png", "2.png", "a/1.png", "a/b/1.png", "b/1.png"]),
        ("in/**/1.png", ["1.png", "a/1.png", "a/b/1.png", "b/1.png"]),
        ("in/**/b/*.png", ["a/b/1.png", "b/1.png"]),
        ("in/*/1.png", ["a/1.png", "b/1.png"]),
        ("in/*/b", ["a/b/1.png"]),
        ("**/a/*.png", ["in/a/1.png"]),
        ("in/.h*/*.png", [".hid/3.png"]),
        ("in/*.dat", ["raw.dat"]),
        ("in/r*.d?t", []),
        ("i[n]/2.png", ["in/2.png"]),
    ],
)
def test_a_glob_matches_like_a_shell_with_globstar(here: Path, pattern: str, expected: list[str]) -> None:
    make(here / "in", "1.png", "2.png", "a/1.png", "a/b/1.png", "b/1.png", ".hid/3.png", "note.txt", "raw.dat")
    if not expected:
        with pytest.raises(UsageError, match="matches no image"):
            find_images([pattern])
        return
    for prefix in ("", "./", f"{here}/"):
        found = find_images([prefix + pattern])
        assert [str(image.relative) for image in found] == expected
        assert all(image.given.startswith(prefix + "in/") and (here / image.given).is_file() for image in found)


def test_a_name_with_wildcards_in_it_is_taken_literally_where_it_exists(here: Path) -> None:
    make(here, "part[1].png", "part1.png", "what?/a.png")
    assert givens("part[1].png") == ["part[1].png"]
    assert givens("what?") == ["what?/a.png"]
    assert givens("part[!2].png") == ["part1.png"]


def test_a_dash_reads_one_path_a_line_and_takes_it_literally(here: Path) -> None:
    make(here, "a b.png", "*.png", "in/c.png", " lead.png")
    lines = ["a b.png\n", "\n", "*.png\r\n", "./in\n", " lead.png"]
    assert givens("-", stdin=lines) == ["a b.png", "*.png", "./in/c.png", " lead.png"]
    assert givens("in/c.png", "-", stdin=["a b.png"]) == ["in/c.png", "a b.png"]
    with pytest.raises(UsageError, match=r"The input \?\.png does not exist"):
        find_images(["-"], stdin=["?.png"])
    with pytest.raises(UsageError, match="standard input"):
        find_images(["-"])


def test_a_name_that_begins_with_a_dash_is_a_name(here: Path) -> None:
    make(here, "-1.png", "--out/x.png")
    assert givens("-1.png", "--out") == ["-1.png", "--out/x.png"]


@pytest.mark.parametrize("missing", ["gone.png", "gone/", "in/gone", "", "in/1.png/x", "gone/*.png", "in/**/gone.png"])
def test_a_missing_input_is_refused_by_name_even_beside_good_ones(here: Path, missing: str) -> None:
    make(here, "in/1.png")
    with pytest.raises(UsageError) as caught:
        find_images(["in", missing])
    assert (missing or "an empty name") in str(caught.value) and "\n" not in str(caught.value)


def test_finding_nothing_is_refused(here: Path) -> None:
    make(here, "in/notes.txt")
    with pytest.raises(UsageError, match="No images in in;"):
        find_images(["in"])
    with pytest.raises(UsageError, match="No images in an empty list"):
        find_images([])


def test_what_lies_below_the_output_folder_is_skipped_however_it_is_reached(here: Path) -> None:
    make(here, "in/1.png", "in/out/masks/1.png", "in/outside/2.png")
    out = here / "in" / "out"
    for spelt in [Path("in/out"), out, Path("in/../in/out")]:
        assert relatives("in", exclude=spelt) == ["1.png", "outside/2.png"]
        assert relatives("in/**/*.png", "in/out/masks/1.png", exclude=spelt) == ["1.png", "outside/2.png"]
    assert relatives("in", exclude=Path("not/yet")) == ["1.png", "out/masks/1.png", "outside/2.png"]
    with pytest.raises(UsageError, match="below the output folder in is skipped"):
        find_images(["in/out", "in"], exclude=Path("in"))
    if os.name != "nt":
        (here / "in" / "link").symlink_to(out)
        assert relatives("in", exclude=out) == ["1.png", "outside/2.png"]


@pytest.mark.skipif(os.name == "nt", reason="Windows names are Unicode")
def test_names_that_are_not_utf_8_are_found_sorted_and_printable(here: Path) -> None:
    for name in [b"\xff.png", b"a.png", b"\xc3\xa4.png", b"\xfe/b.png", "😀.png".encode()]:
        path = Path(os.fsdecode(os.fsencode(here) + b"/in/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = find_images(["in"])
    assert [os.fsencode(image.given) for image in found] == [  # text would put the face last
        b"in/a.png",
        b"in/\xc3\xa4.png",
        b"in/" + "😀.png".encode(),
        b"in/\xfe/b.png",
        b"in/\xff.png",
    ]
    assert all(image.path.is_file() for image in found)
    assert json.loads(json.dumps(found[4].given)) == found[4].given
    assert found[4].given.encode("utf-8", "backslashreplace") == b"in/\\udcff.png"


def test_a_folder_that_may_not_be_listed_is_not_passed_over(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "in/1.png", "in/secret/2.png")
    scandir = os.scandir

    def deny(folder: str) -> object:
        if str(folder).rstrip("/").endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(finding.os, "scandir", deny)  # root may list everything, so chmod alone would not test it
    with pytest.raises(EnvironmentFault, match=r"in/secret/? cannot be listed \(Permission denied\)"):
        find_images(["in"])


def test_ten_thousand_images_are_found_within_seconds_and_the_order_is_not_the_disks(here: Path) -> None:

    names = [f"{number * 7919 % 10007:05d}.png" for number in range(1, 10001)]
    make(here / "in", *names)
    begun = time.perf_counter()
    assert relatives("in") == sorted(names)
    assert time.perf_counter() - begun < 5


def test_walking_is_finding_without_names(here: Path) -> None:
    make(here / "in", "b/2.png", "a.png", "c.txt")
    assert walk_images("in") == walk_images(Path("in")) == ["a.png", "b/2.png"]


def test_files_of_folders_without_an_image_suffix_are_told_and_no_others(here: Path) -> None:
    make(here / "in", "a.png", "b.txt", "sub/c.GIF", "sub/none", ".hidden.txt", ".cache/d.txt", "out/e.txt")
    make(here, "named.txt")

    def told(*inputs: str) -> list[str]:
        left: list[str] = []
        find_images(inputs, exclude=Path("in/out"), passed_over=left.append)
        return sorted(left)

    assert told("in") == ["in/b.txt", "in/sub/c.GIF", "in/sub/none"]
    assert told("named.txt", "in/a.png") == []
    assert told("in/*") == ["in/b.txt", "in/sub/c.GIF", "in/sub/none"]
    assert told("in/*.txt", "in/a.png") == []
    assert walk_images("in") == ["a.png"]


def test_a_folder_of_results_below_an_input_is_not_entered_and_one_that_is_named_is(tmp_path: Path) -> None:
    for name in ("part.png", "out/masks/part.png", "other/masks/part.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in ("out/results.jsonl", "out/run.json", "other/results.jsonl"):
        (tmp_path / name).write_bytes(b"")
    assert [str(image.relative) for image in find_images([str(tmp_path)])] == ["other/masks/part.png", "part.png"]
    assert [str(image.relative) for image in find_images([str(tmp_path / "out")])] == ["masks/part.png"]
