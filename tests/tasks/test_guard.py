"""The input guard from the command line: learnt, set, printed, and in force in every verb."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from adcli.finding import find_images
from adcli.store import load, save
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapper
from adcli.thresholds.guards import ROOM
from tests.conftest import QUICK, Adcli
from tests.tasks.folders import picture, records

SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "black": np.zeros_like,
    "white": lambda pixels: np.full_like(pixels, 255),
    "small": lambda pixels: cv2.resize(pixels, (50, 96)),
    "deep": lambda pixels: pixels * np.uint16(257),
    "coloured": lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR),
}


@pytest.fixture(scope="module")
def spoilt(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good image, and what becomes of it by accident."""
    folder = tmp_path_factory.mktemp("spoilt")
    good = sorted((dataset / "test" / "good").iterdir())[0]
    shutil.copy(good, folder / "good.png")
    for name, spoil in SPOILT.items():
        cv2.imwrite(str(folder / f"{name}.png"), spoil(picture(good)))
    return folder


@pytest.fixture(scope="module")
def lenient(dataset: Path, model: Path, adcli: Adcli) -> Path:
    """A model whose threshold no image is above, so that the guard alone decides."""
    path = shutil.copy(model, model.with_name("lenient.h5"))
    assert adcli("calibrate", dataset / "test" / "good", "-m", path, "--threshold", "1e6").code == 0
    return path


@pytest.fixture(scope="module")
def scored(spoilt: Path, lenient: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("guarded")
    assert adcli("score", spoilt, "-m", lenient, "--out", out).code == 0
    return out


def told(adcli: Adcli, *words: object) -> dict[str, Any]:
    done = adcli(*words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_what_no_good_image_looks_like_is_check_with_the_reason(scored: Path) -> None:
    found = {Path(record["image"]).stem: record for record in records(scored)}
    assert (found.pop("good")["verdict"]) == "OK"
    words = {
        "black": "more black than good images: black share 1,",
        "white": "brighter than good images: brightness 1,",
        "small": "50 x 96 pixels, where good images have 96 x 96",
        "deep": "gray of 16 bits, where good images are gray of 8 bits",
        "coloured": "RGB of 8 bits, where good images are gray of 8 bits",
    }
    for name, record in found.items():
        assert record["verdict"] == "CHECK"
        assert words[name] in record["reason"]
        assert record["regions"] == []
        assert record["score"] <= record["threshold"]
        assert not picture(scored / "masks" / f"{name}.png").any()
    with (scored / "results.csv").open(newline="") as file:
        reasons = {Path(row["image"]).stem: row["reason"] for row in csv.DictReader(file)}
    assert reasons == {name: record["reason"] for name, record in found.items()} | {"good": ""}


def test_ng_outranks_the_guard(spoilt: Path, dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path) -> None:
    assert adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--threshold", "1e-6").code == 0
    assert adcli("score", spoilt, "-m", own_model, "--out", tmp_path / "out").code == 0
    for record in records(tmp_path / "out"):
        assert (record["verdict"], record["reason"]) == ("NG", None)
        assert record["regions"]


def test_every_verb_that_judges_says_the_same(
    scored: Path, spoilt: Path, lenient: Path, adcli: Adcli, tmp_path: Path
) -> None:
    verdicts = {Path(record["image"]).stem: record["verdict"] for record in records(scored)}
    samples = tmp_path / "samples.csv"
    lines = [f"{spoilt / name}.png,{verdict}" for name, verdict in verdicts.items()]
    samples.write_text("\n".join(["image,expected", *lines, ""]))
    assert adcli("verify", samples, "-m", lenient).code == 0
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    for name in verdicts:
        shutil.copy(spoilt / f"{name}.png", good if name == "good" else bad)
    row = told(adcli, "eval", "--good", good, "--bad", bad, "-m", lenient)["rows"][-1]
    assert (row["tnr"], row["tpr"]) == (1, 0)  # CHECK counts as not NG
    assert row["check_rate"] == pytest.approx(5 / 6)
    assert "CHECK" in adcli("eval", "--good", good, "--bad", bad, "-m", lenient).out
    row = told(adcli, "escapes", "--bad", bad, "-m", lenient)["rows"][-1]
    assert (row["missed"], row["check"], row["ng"]) == (0, 5, 0)
    assert adcli("score", spoilt, "-m", lenient, "--out", tmp_path / "html", "--html", "--junit").code == 0
    assert (tmp_path / "html" / "junit.xml").read_text().count("<skipped") == 5
    assert "where good images have 96 x 96" in (tmp_path / "html" / "report.html").read_text()


def test_fit_calibrate_and_info_say_the_limit_and_its_rate(
    dataset: Path, model: Path, own_model: Path, adcli: Adcli
) -> None:
    held_out = sorted((dataset / "test" / "good").iterdir())
    for said, n in (
        (told(adcli, "calibrate", *held_out, "-m", own_model), 6),
        (told(adcli, "info", own_model), 6),
        (told(adcli, "info", model), 5),
    ):
        assert said["guard"] is True
        assert said["guard_limit"] >= ROOM
        assert said["guard_rate"] == 1 / (n + 1)
        assert said["guard_rate_high"] == pytest.approx(1 - 0.05 ** (1 / n))
        assert (said["guard_reject"], said["guard_beyond"]) == (None, 0)
    line = adcli("calibrate", *held_out, "-m", own_model, "--dry-run").out
    assert re.search(
        r"input guard above [\d.]+ \(0 of 6 images are\): the next good image is CHECK", " ".join(line.split())
    )
    assert "14.3 %" in line


def test_the_limit_is_the_largest_score_of_the_held_out_images(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    """An image that was brightened a little sets it, and is named; the same image then passes, a brighter one not."""
    held_out = tmp_path / "held-out"
    shutil.copytree(dataset / "test" / "good", held_out)
    pixels = picture(sorted(held_out.iterdir())[0]).astype(int)
    cv2.imwrite(str(held_out / "bright.png"), np.clip(pixels + 40, 0, 255).astype(np.uint8))
    done = adcli("calibrate", held_out, "-m", own_model, "--threshold", "1e6")
    assert re.search(r"sets the limit of the input guard: \S*bright.png", done.err)
    assert load(own_model).model.calibration.guard.limit > ROOM
    cv2.imwrite(str(tmp_path / "brighter.png"), np.clip(pixels + 80, 0, 255).astype(np.uint8))
    adcli("score", held_out / "bright.png", tmp_path / "brighter.png", "-m", own_model, "--out", tmp_path / "out")
    assert [record["verdict"] for record in records(tmp_path / "out")] == ["OK", "CHECK"]


def test_a_rate_is_kept_or_refused(dataset: Path, own_model: Path, adcli: Adcli) -> None:
    held_out = dataset / "test" / "good"
    said = told(adcli, "calibrate", held_out, "-m", own_model, "--guard-reject", "30%")
    assert (said["guard_reject"], said["guard_beyond"], said["guard_rate"]) == (0.3, 1, 2 / 7)
    refused = adcli("calibrate", held_out, "-m", own_model, "--guard-reject", "0.05")
    assert refused.code == 6
    assert "it takes 19" in refused.sentence
    assert "--guard-reject 0.3, which was asked for before" in adcli("calibrate", held_out, "-m", own_model).err


def test_the_guard_can_be_switched_off_and_on(
    dataset: Path, spoilt: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    before = load(own_model).detector_digest
    held_out = dataset / "test" / "good"
    done = adcli("calibrate", held_out, "-m", own_model, "--threshold", "1e6", "--no-guard")
    assert "the input guard is off" in done.err
    assert "input guard above" not in done.out
    said = told(adcli, "info", own_model)
    assert (said["guard"], said["guard_limit"]) == (False, None)
    assert adcli("score", spoilt, "-m", own_model, "--out", tmp_path / "out").code == 0
    assert {record["verdict"] for record in records(tmp_path / "out")} == {"OK"}
    assert told(adcli, "calibrate", held_out, "-m", own_model)["guard"] is True
    assert load(own_model).detector_digest == before
    assert adcli("calibrate", held_out, "-m", own_model, "--no-guard", "--guard-reject", "0.5").code == 2


def test_images_of_another_size_than_those_learnt_from_are_reported_when_they_calibrate(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    held_out = tmp_path / "held-out"
    shutil.copytree(dataset / "test" / "good", held_out)
    names = sorted(held_out.iterdir())
    for name in names[:2]:
        cv2.imwrite(str(name), cv2.resize(picture(name), (120, 96)))
    done = adcli("calibrate", held_out, "-m", own_model)
    assert done.code == 0
    assert "2 of these good images are of another format or size" in done.err
    assert "120 x 96 pixels, where good images have 96 x 96" in done.err
    assert told(adcli, "info", own_model)["guard_rate"] == 3 / 7
    for name in names[2:]:
        cv2.imwrite(str(name), cv2.resize(picture(name), (120, 96)))
    refused = adcli("calibrate", held_out, "-m", own_model)
    assert refused.code == 2
    assert "--no-guard" in refused.sentence
    assert adcli("calibrate", held_out, "-m", own_model, "--no-guard").code == 0


def test_left_out_one_by_one_the_promise_is_approximate(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    model = tmp_path / "model.h5"
    done = adcli("fit", dataset / "train", "-m", model, *QUICK, "--leave-one-out")
    assert done.code == 0
    assert "approximately, by leaving one out at a time, the next good image is CHECK" in " ".join(done.out.split())
    said = told(adcli, "info", model)
    assert said["guard_rate"] == 1 / (said["learnt"] + 1)
    assert said["guard_limit"] >= ROOM


def test_left_out_an_image_that_alone_has_its_size_is_new(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    good = tmp_path / "good"
    shutil.copytree(dataset / "train" / "good", good)
    one = sorted(good.iterdir())[3]
    cv2.imwrite(str(one), cv2.resize(picture(one), (120, 96)))
    done = adcli("fit", good, "-m", tmp_path / "model.h5", *QUICK, "--leave-one-out")
    assert done.code == 0
    assert "1 of these good images have a format or size that none of the others has" in done.err
    assert told(adcli, "info", tmp_path / "model.h5")["guard_beyond"] == 1


def test_images_of_one_part_count_once(dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    for number, image in enumerate(sorted((dataset / "test" / "good").iterdir())):
        shutil.copy(image, held_out / f"part{number // 2}_{number % 2}.png")
    said = told(adcli, "calibrate", held_out, "-m", own_model, "--group-by", "part[0-9]", "--guard-reject", 0.25)
    assert (said["held_out"], said["guard_rate"]) == (3, 1 / 4)
    scores = {}
    model = load(own_model).model
    for found, mapped in Mapper(model, Machine(device="cpu")).stream(
        find_images([str(held_out)]), lambda source, mapped: (source, mapped)
    ):
        part = found.path.stem[:5]
        scores[part] = max(scores.get(part, 0), model.guard.score(mapped.look))
    assert said["guard_limit"] == max(scores.values())


def test_equal_fits_learn_equal_guards(dataset: Path, model: Path, adcli: Adcli, tmp_path: Path) -> None:
    again = tmp_path / "again.h5"
    assert adcli("fit", dataset / "train", "-m", again, *QUICK).code == 0
    assert load(again).sha256 == load(model).sha256


def test_a_model_of_an_adcli_without_a_guard_is_read_and_says_so(
    dataset: Path, spoilt: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    old = load(own_model).model
    save(replace(old, guard=None, calibration=replace(old.calibration, guard=None)), own_model)
    assert adcli("score", spoilt, "-m", own_model, "--out", tmp_path / "out").code == 0
    done = adcli("calibrate", dataset / "test" / "good", "-m", own_model)
    assert done.code == 0
    assert "without an input guard: fit it anew" in done.err
    assert adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--guard-reject", "0.5").code == 2
