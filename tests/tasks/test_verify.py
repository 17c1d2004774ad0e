"""Limit samples against what `score` says of the same images, and the line that each check leaves."""

from __future__ import annotations

import calendar
import errno
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from adcli.report import chain
from adcli.report.chain import broken_links
from adcli.store import load
from tests.conftest import Adcli, Ran, undecodable_png
from tests.tasks.conftest import Write


def told(ran: Ran, code: int) -> dict[str, Any]:
    assert ran.code == code, ran.err
    return json.loads(ran.out)


def log_of(samples: Path) -> list[dict[str, Any]]:
    data = samples.with_name(f"{samples.stem}.verified.jsonl").read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


# Met and missed


def test_what_score_says_is_met_and_anything_else_is_missed(known: Any, write: Write, verify: Any) -> None:
    paths = [path for path in known if path not in ("OK", "CHECK", "NG")]
    words = ["OK", "CHECK", "NG", "OK/CHECK", "CHECK/NG", "NG/OK", "ok / ng / check"]
    rows = [(path, word) for path in paths for word in words]
    document = told(verify(write("image,expected", *(f"{path},{word}" for path, word in rows)), "--json"), 6)
    assert [row["image"] for row in document["rows"]] == [path for path, _ in rows]
    for row, (path, word) in zip(document["rows"], rows, strict=True):
        expected = word.upper().replace(" ", "").split("/")
        assert row["expected"] == expected
        assert (row["verdict"], row["score"]) == (known[path]["verdict"], known[path]["score"])
        assert row["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
        assert row["met"] is (known[path]["verdict"] in expected)
        assert (row["missing"] is None) is row["met"]
    assert document["samples"] == len(rows)
    assert document["missed"] == sum(not row["met"] for row in document["rows"]) > 0


def test_all_met_ends_with_0_and_one_missed_with_6(known: Any, write: Write, verify: Any, band_model: Path) -> None:
    right = [f"{known[verdict]['image']},{verdict}" for verdict in ("NG", "CHECK", "OK")]
    ran = verify(write("image,expected", *right))
    assert (ran.code, ran.err) == (0, "")
    assert "all 3 samples are met" in ran.out
    wrong = verify(write("image,expected", *right, f"{known['NG']['image']},OK"))
    assert wrong.code == 6
    assert wrong.sentence == f"1 of 4 samples missed: {known['NG']['image']}"
    assert "3 of 4 samples are met, 1 missed" in wrong.out
    first = next(line for line in wrong.out.splitlines() if ".png" in line)
    assert "NG is not OK" in first


def test_a_sample_of_every_expected_word_and_the_models_numbers_are_told(
    known: Any, write: Write, verify: Any, band_model: Path
) -> None:
    stored = load(band_model)
    document = told(verify(write("image,expected", f"{known['OK']['image']},OK"), "--json"), 0)
    assert document["model"] == stored.sha256 == hashlib.sha256(band_model.read_bytes()).hexdigest()
    assert document["detector_digest"] == stored.detector_digest
    assert document["threshold"] == known["OK"]["threshold"]
    assert document["check_threshold"] == known["OK"]["check_threshold"]


@pytest.mark.parametrize("verdict", ["NG", "CHECK"])
def test_a_region_is_met_exactly_where_the_mask_has_a_pixel_in_it(
    verdict: str, known: Any, write: Write, verify: Any
) -> None:
    record = known[verdict]
    width, height = record["width"], record["height"]
    x, y, w, h = record["regions"][0]["bbox"]
    boxes = [(x, y, w, h), (0, 0, width, height)]
    boxes += [(left, top, 8, 8) for left in range(0, width - 7, 8) for top in range(0, height - 7, 8)]
    boxes += [(left, y + h // 2, 1, 1) for left in range(width)]
    lines = [f"{record['image']},{verdict},{' '.join(map(str, box))}" for box in boxes]
    document = told(verify(write("image,expected,region", *lines), "--json"), 6)
    met = [row["met"] for row in document["rows"]]
    inside = [bool(record["mask"][top : top + b, left : left + a].any()) for left, top, a, b in boxes]
    assert met == inside
    assert met[:2] == [True, True]
    assert not all(met)
    assert [tuple(row["region"]) for row in document["rows"]] == boxes


def test_a_region_beyond_the_image_misses_the_sample(known: Any, write: Write, verify: Any) -> None:
    image = known["NG"]["image"]
    boxes = ["0 0 96 96", "0 0 97 96", "0 0 96 97", "96 0 1 1", "0 999999999 1 999999999"]
    document = told(verify(write("image,expected,region", *(f"{image},NG,{box}" for box in boxes)), "--json"), 6)
    assert [row["met"] for row in document["rows"]] == [True, False, False, False, False]
    assert "beyond the image of 96 x 96 px" in document["rows"][1]["missing"]


def test_a_sample_that_is_lost_or_no_image_is_missed_and_the_check_goes_on(
    known: Any, write: Write, verify: Any, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(undecodable_png())
    (tmp_path / "folder.png").mkdir()
    lost = ["lost.png", "no/such/folder.png", "broken.png", "folder.png", "x" * 300 + ".png"]
    samples = write("image,expected", *(f"{name},OK/CHECK/NG" for name in lost), f"{known['OK']['image']},OK")
    document = told(verify(samples, "--json"), 6)
    assert [row["verdict"] for row in document["rows"]] == ["ERROR"] * len(lost) + ["OK"]
    for row, name in zip(document["rows"], lost, strict=False):
        assert name in row["missing"]
        assert (row["met"], row["score"], row["sha256"]) == (False, None, None)
    assert log_of(samples)[-1]["missed"] == lost


def test_paths_are_relative_to_the_list_wherever_one_stands(
    known: Any, write: Write, verify: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "limit samples").mkdir()
    (tmp_path / "limit samples" / "größe 1.png").write_bytes(Path(known["OK"]["image"]).read_bytes())
    samples = write("image,expected", "limit samples/größe 1.png,OK")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert verify(samples).code == 0
    assert verify(Path("..") / samples.name).code == 0


def test_the_order_of_the_list_and_the_threads_change_nothing(known: Any, write: Write, verify: Any) -> None:
    lines = [f"{path},NG" for path in known if path not in ("OK", "CHECK", "NG")]
    one = told(verify(write("image,expected", *lines), "--json", "--workers", 1), 6)
    back = told(verify(write("image,expected", *lines[::-1]), "--json", "--workers", 7, "--batch-size", 3), 6)
    timeless = [{**row, "line": None} for row in back["rows"]]
    assert timeless[::-1] == [{**row, "line": None} for row in one["rows"]]


def test_a_model_that_cannot_judge_ends_with_7(
    known: Any, write: Write, adcli: Adcli, uncalibrated: Path, own_model: Path
) -> None:
    samples = write("image,expected", f"{known['OK']['image']},OK")
    assert "adcli calibrate" in adcli("verify", samples, "-m", uncalibrated).sentence
    own_model.write_bytes(b"damaged")
    assert adcli("verify", samples, "-m", own_model).code == 7
    assert adcli("verify", samples, "-m", uncalibrated).code == 7
    assert adcli("verify", samples, "-m", own_model.with_name("none.h5")).code == 2
    assert not list(samples.parent.glob("*.jsonl*"))


# The log


def test_every_check_leaves_a_line_that_names_the_one_before(
    known: Any, write: Write, verify: Any, band_model: Path
) -> None:
    samples = write("image,expected", f"{known['OK']['image']},OK", f"{known['NG']['image']},NG")
    first = told(verify(samples, "--json"), 0)
    passed = hashlib.sha256(samples.read_bytes()).hexdigest()
    write("image,expected", f"{known['OK']['image']},NG", f"{known['NG']['image']},NG")
    second = told(verify(samples, "--json"), 6)
    one, two = log_of(samples)
    assert list(one) == [
        *("time", "by", "result", "model", "model_sha256", "detector_digest", "threshold", "check_threshold"),
        *("samples", "samples_sha256", "n", "missed", "versions", "host", "previous"),
    ]
    assert (one["result"], one["missed"], one["n"], one["previous"]) == ("passed", [], 2, None)
    assert (two["result"], two["missed"], two["n"]) == ("missed", [known["OK"]["image"]], 2)
    lines = Path(first["log"]).read_bytes().splitlines()
    assert two["previous"] == first["log_line_sha256"] == hashlib.sha256(lines[0]).hexdigest()
    assert second["log_line_sha256"] == hashlib.sha256(lines[1]).hexdigest()
    assert one["samples_sha256"] == passed != two["samples_sha256"]
    stored = load(band_model)
    assert (one["model"], one["model_sha256"]) == (str(band_model), stored.sha256)
    assert one["detector_digest"] == stored.detector_digest
    assert (one["threshold"], one["check_threshold"]) == (known["OK"]["threshold"], known["OK"]["check_threshold"])
    assert one["by"] == "tests"
    assert abs(time.time() - calendar.timegm(time.strptime(one["time"], "%Y-%m-%dT%H:%M:%SZ"))) < 600
    assert {"name", "system", "device", "engine", "precision"} == set(one["host"])
    assert one["versions"]["adcli"]
    assert broken_links(Path(first["log"])) == []
    assert {path.name for path in samples.parent.iterdir()} == {"samples.csv", "samples.verified.jsonl"}


def test_the_login_name_stands_in_the_log_unless_somebody_is_named(
    known: Any, write: Write, adcli: Adcli, band_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = write("image,expected", f"{known['OK']['image']},OK")
    words = ("verify", samples, "-m", band_model)
    monkeypatch.setenv("LOGNAME", "ada")
    adcli(*words)
    adcli(*words, env={"ADCLI_BY": "grace"})
    adcli(*words, "--by", "Ümit, late shift", env={"ADCLI_BY": "grace"})

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    adcli(*words)
    assert [line["by"] for line in log_of(samples)] == ["ada", "grace", "Ümit, late shift", None]


def test_a_log_may_be_elsewhere_and_its_folder_is_made(known: Any, write: Write, verify: Any, tmp_path: Path) -> None:
    samples = write("image,expected", f"{known['OK']['image']},OK")
    log = tmp_path / "quality" / "line 3.jsonl"
    assert told(verify(samples, "--log", log, "--json"), 0)["log"] == str(log)
    assert verify(samples, "--log", log).code == 0
    assert len(log.read_bytes().splitlines()) == 2
    assert not samples.with_name("samples.verified.jsonl").exists()


def test_the_list_the_model_and_what_is_no_file_cannot_be_the_log(
    known: Any, write: Write, adcli: Adcli, own_model: Path, tmp_path: Path
) -> None:
    samples = write("image,expected", f"{known['OK']['image']},OK")
    before = samples.read_bytes(), own_model.read_bytes()
    (tmp_path / "link").symlink_to(samples)
    for log in (samples, own_model, tmp_path / "link", tmp_path):
        ran = adcli("verify", samples, "-m", own_model, "--log", log)
        assert (ran.code, "the log cannot be" in ran.sentence) == (2, True)
    assert (samples.read_bytes(), own_model.read_bytes()) == before


def test_a_log_that_cannot_be_written_ends_with_8_and_the_verdicts_are_shown(
    known: Any, write: Write, verify: Any, tmp_path: Path
) -> None:
    samples = write("image,expected", f"{known['OK']['image']},OK", f"{known['OK']['image']},NG")
    (tmp_path / "file").write_bytes(b"")
    document = told(verify(samples, "--log", tmp_path / "file" / "log.jsonl", "--json"), 8)
    assert (document["missed"], document["log_line_sha256"]) == (1, None)


def test_a_full_disk_leaves_the_log_as_it_was(
    known: Any, write: Write, verify: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = write("image,expected", f"{known['OK']['image']},OK", f"{known['NG']['image']},NG")
    assert verify(samples).code == 0
    log = samples.with_name("samples.verified.jsonl")
    before = log.read_bytes()
    real = os.write

    def half(handle: int, data: bytes) -> int:
        return real(handle, data[: len(data) // 2]) if b'"previous"' in bytes(data) else real(handle, data)

    def none(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name, broken in (("write", half), ("fsync", none)):
        with monkeypatch.context() as patch:
            patch.setattr(chain.os, name, broken)
            ran = verify(samples)
        assert ran.code == 8
        assert "No space left" in ran.sentence
        assert log.read_bytes() == before
    assert verify(samples).code == 0
    assert broken_links(log) == []


def test_an_altered_log_is_told_and_written_on(known: Any, write: Write, verify: Any) -> None:
    samples = write("image,expected", f"{known['OK']['image']},NG", f"{known['NG']['image']},NG")
    for _ in range(3):
        assert verify(samples).code == 6
    log = samples.with_name("samples.verified.jsonl")
    log.write_bytes(log.read_bytes().replace(b'"missed"', b'"passed"', 1))
    write("image,expected", f"{known['OK']['image']},OK", f"{known['NG']['image']},NG")
    ran = verify(samples)
    assert ran.code == 0
    assert f"{log} was altered: line 2 " in ran.sentence
    assert len(log_of(samples)) == 4
