"""The JUnit report: read back by an XML parser, and held against results.jsonl."""

from __future__ import annotations

import errno
import json
import re
import shutil
import tracemalloc
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from adcli import api
from adcli.errors import EnvironmentFault
from adcli.report import junit
from adcli.report.junit import write_junit
from adcli.store import load
from adcli.tasks import score as score_task
from adcli.tasks.score import Outputs
from tests.conftest import Adcli
from tests.tasks.folders import records

OUTCOMES = {"NG": "failure", "ERROR": "error", "CHECK": "skipped", "OK": None}


def region(area_px: int, area_mm2: float | None = None) -> dict[str, Any]:
    return {"area_px": area_px, "area_mm2": area_mm2}


def line(image: str, verdict: str = "OK", **more: Any) -> dict[str, Any]:
    values = {"reason": None, "score": 1.5, "threshold": 1.25, "check_threshold": 1.0, "regions": [], "ms": 1500.0}
    return values | {"image": image, "verdict": verdict} | more


def report(folder: Path, lines: Iterable[dict[str, Any]], name: str = "lid", **properties: object) -> ET.Element:
    """The one suite of the report of these lines."""
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    write_junit(folder / "junit.xml", folder / "results.jsonl", name, properties)
    return suite(folder)


def suite(folder: Path) -> ET.Element:
    (only,) = ET.parse(folder / "junit.xml").getroot()
    return only


def timeless(out: Path) -> str:
    return re.sub(r' time="[\d.]+"', "", (out / "junit.xml").read_text("utf-8"))


def test_every_verdict_has_its_element(tmp_path: Path) -> None:
    lines = [
        line("parts/a.png"),
        line("parts/b.png", "NG", regions=[region(340, 13.6), region(20, 0.8)], ms=20.5),
        line("parts/c.png", "NG", regions=[region(25)], ms=0.5),
        line("parts/d.png", "CHECK", score=1.125, regions=[region(30)]),
        line("parts/e.png", "CHECK", reason="too dark"),
        line("f.png", "ERROR", reason="f.png is empty", score=None, ms=None),
    ]
    found = report(tmp_path, lines, model="abc", threshold=1.25, check_threshold=None)
    counts = {"tests": "6", "failures": "2", "errors": "1", "skipped": "2"}
    assert found.attrib == {"name": "lid", **counts, "time": "4.521"}
    assert [dict(one.attrib) for one in found.find("properties")] == [
        {"name": "model", "value": "abc"},
        {"name": "threshold", "value": "1.25"},
    ]
    cases = found.findall("testcase")
    assert [case.get("name") for case in cases] == [one["image"] for one in lines]
    assert [case.get("classname") for case in cases] == ["parts"] * 5 + ["."]
    assert [case.get("time") for case in cases] == ["1.500", "0.021", "0.001", "1.500", "1.500", "0.000"]
    said = [[(one.tag, one.get("type"), one.get("message")) for one in case] for case in cases]
    assert said == [
        [],
        [("failure", "NG", "score 1.5 above the threshold 1.25; regions: 2, the largest of 340 px, 13.6 mm2")],
        [("failure", "NG", "score 1.5 above the threshold 1.25; regions: 1, the largest of 25 px")],
        [("skipped", "CHECK", "score 1.125 above the check threshold 1.0; regions: 1, the largest of 30 px")],
        [("skipped", "CHECK", "too dark")],
        [("error", "ERROR", "f.png is empty")],
    ]


def can_be_carried(code: int) -> bool:
    """Char of XML 1.0, https://www.w3.org/TR/xml/#charsets"""
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or 0x10000 <= code <= 0x10FFFF


def test_every_character_of_unicode_can_be_in_a_name_and_comes_back_or_is_escaped_visibly(tmp_path: Path) -> None:
    codes = [*range(0x3000), *range(0xD7F0, 0xE010), *range(0xF8F0, 0x10010), *range(0x1F600, 0x1F610), 0x10FFFF]
    cases = report(tmp_path, (line(f"<{chr(code)}>", "ERROR", reason=f"{chr(code)}!") for code in codes), name="\0&<")
    assert cases.get("name") == "\\x00&<"
    seen = {True: 0, False: 0}
    for code, case in zip(codes, cases.findall("testcase"), strict=True):
        name = case.get("name")
        as_it_is = name == f"<{chr(code)}>"
        assert as_it_is or re.fullmatch(r"<\\(x..|u....|U........|[trn])>", name), (hex(code), name)
        assert as_it_is or code in (9, 10, 13) or int(name[3:-1], 16) == code
        assert not as_it_is or (can_be_carried(code) and code > 0x1F)
        assert case[0].get("message") == name[1:-1] + "!"
        seen[as_it_is] += 1
    assert seen[True] > 8000
    assert seen[False] > 2000


def test_a_report_of_no_image_is_one_too(tmp_path: Path) -> None:
    assert report(tmp_path, []).attrib["tests"] == "0"


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    peaks = []
    for count in (200, 20_000):
        lines = (line(f"parts/{n}.png", "NG", regions=[region(n)] * 9) for n in range(count))
        (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
        again = []
        for _ in range(3):  # threads of other tests may end meanwhile
            tracemalloc.start()
            write_junit(tmp_path / "junit.xml", tmp_path / "results.jsonl", "lid", {})
            again.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        peaks.append(min(again))
    assert len(suite(tmp_path).findall("testcase")) == 20_000
    assert peaks[1] < peaks[0] + 100_000 < (tmp_path / "junit.xml").stat().st_size / 10


def test_a_full_disk_leaves_the_report_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report(tmp_path, [line("a.png")])
    before = (tmp_path / "junit.xml").read_bytes()

    def full(text: str) -> str:
        if text == "b.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        return text

    monkeypatch.setattr(junit, "printable", full)
    with pytest.raises(EnvironmentFault, match=r"junit\.xml.*free some space"):
        report(tmp_path, [line("a.png"), line("b.png")])
    assert (tmp_path / "junit.xml").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"junit.xml", "results.jsonl"}


# Through the command


@pytest.fixture(scope="module")
def parts(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images, an unreadable one and some with odd names."""
    folder = tmp_path_factory.mktemp("parts")
    shutil.copytree(dataset / "test", folder / "line 1")
    (folder / 'broken "<&>.png').write_bytes(b"no image")
    for name in (b"bell\x07.png", b"bytes\xff.png", "检查.png".encode()):
        (Path(str(folder)) / name.decode(errors="surrogateescape")).write_bytes(
            (dataset / "test" / "good" / "000.png").read_bytes()
        )
    return folder


def test_the_report_says_what_the_lines_say(parts: Path, band_model: Path, adcli: Adcli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert adcli("score", parts, "--out", out, "-m", band_model, "--junit").code == 5
    found, lines = suite(out), records(out)
    cases = found.findall("testcase")
    assert len(cases) == len(lines) == 19
    for case, one in zip(cases, lines, strict=True):
        name = one["image"].replace("\x07", "\\x07").encode(errors="backslashreplace").decode()
        assert (case.get("name"), case.get("classname")) == (name, name.rpartition("/")[0])
        wanted = OUTCOMES[one["verdict"]]
        assert [child.tag for child in case] == ([] if wanted is None else [wanted])
    for key, outcome in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(found.get(key)) == len(found.findall(f"testcase/{outcome}")) > 0
    stored = load(band_model)
    calibration = stored.model.calibration
    assert found.get("name") == "band"
    assert {one.get("name"): one.get("value") for one in found.find("properties")} == {
        "model": stored.sha256,
        "detector_digest": stored.detector_digest,
        "threshold": str(calibration.threshold),
        "check_threshold": str(calibration.check_threshold),
        "rule": calibration.rule,
    }
    assert json.loads((out / "run.json").read_bytes())["files"][-1] == "junit.xml"


def test_the_next_run_removes_the_report_and_no_strangers(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    command = ("score", dataset / "test" / "good", "--out", tmp_path / "out", "-m", model)
    adcli(*command, "--junit")
    assert (tmp_path / "out" / "junit.xml").exists()
    adcli(*command)
    assert not (tmp_path / "out" / "junit.xml").exists()
    (tmp_path / "out" / "junit.xml").write_text("a stranger's")
    adcli(*command)
    assert (tmp_path / "out" / "junit.xml").read_text() == "a stranger's"


@pytest.fixture
def interrupted(parts: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with a report that was stopped just before its record."""
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(score_task, "run_record", lambda *words: {}["stop"])
        with pytest.raises(KeyError):
            api.score(parts, out, model, outputs=Outputs(junit=True))
    assert (out / "junit.xml").exists()
    assert not (out / "run.json").exists()
    return out


def test_a_resumed_run_gives_the_same_report_but_for_times(
    interrupted: Path, parts: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    lines = interrupted / "results.jsonl"
    lines.write_bytes(b"".join(lines.read_bytes().splitlines(True)[:7]))
    command = ("score", parts, "-m", model, "--junit", "--out")
    assert adcli(*command, interrupted, "--resume").code == 5
    assert adcli(*command, tmp_path / "undisturbed").code == 5
    assert timeless(interrupted) == timeless(tmp_path / "undisturbed")


def test_resume_refuses_to_leave_the_report_out_and_force_removes_it(
    interrupted: Path, parts: Path, model: Path, adcli: Adcli
) -> None:
    command = ("score", parts, "--out", interrupted, "-m", model)
    assert adcli(*command, "--resume").code == 2
    assert (interrupted / "junit.xml").exists()
    assert adcli(*command, "--force").code == 5
    assert not (interrupted / "junit.xml").exists()


def test_the_report_has_its_twin_in_the_environment(dataset: Path, model: Path, adcli: Adcli, tmp_path: Path) -> None:
    adcli("score", dataset / "test" / "good", "--out", tmp_path, "-m", model, env={"ADCLI_JUNIT": "1"})
    assert suite(tmp_path).get("tests") == "6"
