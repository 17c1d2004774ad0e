"""A folder of results that something else has changed: what is whole is kept, the rest is scored again or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adcli.errors import UsageError
from adcli.report.kept import is_record, stays_inside
from adcli.report.lines import read_json, read_lines
from adcli.report.results import LINES, PENDING, RUN, ResultsFolder

CONFIGURATION = {"model": "m"}
INPUTS = [(f"in/{number}.png", str(number)) for number in range(6)]
REGION = {"area_px": 9, "area_mm2": None, "bbox": [1, 2, 3, 4], "centroid": [1.5, 2.5], "max": 9.5, "mean": 8.5}


def record(image: str, **changes: Any) -> dict[str, Any]:
    texts = {"image": image, "verdict": "NG", "reason": None, "part": None}
    numbers = {"score": 9.5, "threshold": 5.0, "check_threshold": None, "min_area_px": 4, "p_value": 0.1}
    rest = {"conditions": None, "regions": [REGION], "width": 64, "height": 48, "sha256": "ab" * 32, "ms": 1.5}
    return texts | numbers | rest | changes


def folder(out: Path, **how: bool) -> ResultsFolder:
    return ResultsFolder(out, CONFIGURATION, list(INPUTS), **{"resume": False, "force": False, **how})


@pytest.fixture
def broken_off(tmp_path: Path) -> Path:
    """A run that was stopped after four of six images."""
    out = tmp_path / "out"
    with folder(out) as results:
        for image, stem in INPUTS[:4]:
            results.add(record(image), [(f"masks/{stem}.png", b"mask")])
        results.flush()
    return out


def finish(out: Path, done: int) -> None:
    with folder(out, resume=True) as results:
        assert len(results.done()) == done
        results.keep(done)
        for image, stem in INPUTS[done:]:
            results.add(record(image), [(f"masks/{stem}.png", b"mask")])
        results.finish({"model": "m", "images": len(INPUTS)})
    assert [one["image"] for one in read_lines(out / LINES)] == [image for image, _ in INPUTS]


def test_a_record_as_it_is_written_is_one() -> None:
    assert is_record(record("a"))
    assert is_record(record("a", verdict="OK", regions=[], part="7", check_threshold=4, later="unknown"))
    assert is_record(record("a", verdict="CHECK", regions=[], reason="unlike the images learnt from", score=None))
    nothing = dict.fromkeys(("score", "min_area_px", "p_value", "width", "height", "sha256", "ms"))
    assert is_record(record("a", verdict="ERROR", regions=[], reason="is empty", **nothing))


@pytest.mark.parametrize(
    "line",
    [
        *(b"5", b"null", b"[]", b'"text"', b"{}", b"[" * 100_000, b'{"image": "x"}', b"\xff\xfe", b""),
        *(
            json.dumps(record("in/2.png") | change).encode()
            for change in (
                *(
                    {"image": 5},
                    {"image": None},
                    {"verdict": "MAYBE"},
                    {"verdict": ["NG"]},
                    {"reason": 5},
                    {"part": []},
                ),
                *({"score": "9"}, {"score": float("nan")}, {"score": float("inf")}, {"score": True}, {"ms": 2**63}),
                *({"threshold": None}, {"regions": None}, {"regions": []}, {"regions": [5]}, {"regions": [{}]}),
                *({"regions": [REGION | {"bbox": [1, 2]}]}, {"regions": [REGION | {"area_px": None}]}),
                *({"verdict": "ERROR"}, {"conditions": "x"}, {"width": [64]}),
            )
        ),
        *(
            json.dumps({key: value for key, value in record("in/2.png").items() if key != lost}).encode()
            for lost in record("")
        ),
    ],
)
def test_a_line_that_is_no_record_ends_what_is_done_and_the_rest_is_scored_again(broken_off: Path, line: bytes) -> None:
    lines = (broken_off / LINES).read_bytes().splitlines(keepends=True)
    (broken_off / LINES).write_bytes(b"".join([*lines[:2], line + b"\n", *lines[3:]]))
    finish(broken_off, 2)


@pytest.mark.parametrize(
    "change",
    [
        *({"key": 5}, {"key": None}, {"configuration": []}, {"configuration": None}, {"inputs": None}, {"inputs": []}),
        *({"inputs": ["ab"]}, {"inputs": [["in/0.png", 0]]}, {"inputs": [["a", "b", "c"]]}, {"further": [5]}),
        *({"inputs": [["in/0.png", stem]]} for stem in ("../../0", "/tmp/0", "0\0", "\ud800", "0" * 300, "a/../../b")),
        *({"inputs": [[given, "0"]]} for given in ("in/\0.png", "in/\ud800.png")),
    ],
)
@pytest.mark.parametrize("how", ["resume", "force"])
def test_a_damaged_beginning_is_refused_and_nothing_is_removed(
    broken_off: Path, change: dict[str, Any], how: str
) -> None:
    begun = json.loads((broken_off / PENDING).read_bytes())
    (broken_off / PENDING).write_text(json.dumps(begun | change))
    (broken_off.parent / "0.png").write_bytes(b"another's")
    before = sorted(path for path in broken_off.parent.rglob("*") if path.is_file())
    with pytest.raises(UsageError, match="damaged: remove it"), folder(broken_off, **{how: True}):
        pass
    assert sorted(path for path in broken_off.parent.rglob("*") if path.is_file()) == before


def test_a_beginning_that_is_gone_in_part_is_refused(broken_off: Path) -> None:
    begun = json.loads((broken_off / PENDING).read_bytes())
    for lost in ("key", "configuration", "inputs"):
        (broken_off / PENDING).write_text(json.dumps({key: value for key, value in begun.items() if key != lost}))
        with pytest.raises(UsageError, match="damaged: remove it"), folder(broken_off, resume=True):
            pass


@pytest.mark.parametrize("content", [b"", b"5", b"[]", b"{", b"[" * 100_000, b'{"key": NaN}', b"\xff"])
def test_a_record_of_a_run_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RUN).write_bytes(content)
    with pytest.raises(UsageError, match="start over with --force"):
        read_json(tmp_path / RUN)


def test_a_finished_run_whose_lines_were_changed_is_not_taken_for_finished(broken_off: Path) -> None:
    finish(broken_off, 4)
    with folder(broken_off, resume=True) as results:
        assert results.finished
    whole = (broken_off / LINES).read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (lines[:3] + lines[:1] + lines[3:], [*lines, b"{}\n"], [*lines, b'{"im'], [*lines[:2], b"5\n"]):
        (broken_off / LINES).write_bytes(b"".join(damaged))
        with pytest.raises(UsageError, match="leaving --resume out"), folder(broken_off, resume=True):
            pass
    with folder(broken_off):  # and is replaced
        assert not (broken_off / LINES).exists()


@pytest.mark.parametrize("files", [5, None, "masks/0.png", [5], {"masks/0.png": 1}])
def test_a_list_of_files_that_is_none_is_refused(broken_off: Path, files: Any) -> None:
    finish(broken_off, 4)
    run = json.loads((broken_off / RUN).read_bytes())
    (broken_off / RUN).write_text(json.dumps(run | {"files": files}))
    with pytest.raises(UsageError, match="damaged: remove it"), folder(broken_off):
        pass
    assert (broken_off / "masks" / "0.png").exists()


@pytest.mark.parametrize("name", ["../0.png", "masks/../../0.png", "/tmp/0.png", "masks/\0.png", "masks/\ud800", ""])
def test_a_listed_file_outside_of_the_folder_is_left_alone(broken_off: Path, name: str) -> None:
    assert not stays_inside(name)
    finish(broken_off, 4)
    (broken_off.parent / "0.png").write_bytes(b"another's")
    run = json.loads((broken_off / RUN).read_bytes())
    (broken_off / RUN).write_text(json.dumps(run | {"files": [*run["files"], name]}))
    with folder(broken_off):
        assert not (broken_off / "masks" / "0.png").exists()
    assert (broken_off.parent / "0.png").exists()
