"""What `calibrate` changes in a model, what it leaves, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from adcli.store import load
from tests.conftest import Adcli
from tests.tasks.folders import brute_score, picture, records


def calibrate(adcli: Adcli, images: Path, model: Path, *options: object, code: int = 0) -> dict[str, object]:
    ran = adcli("calibrate", images, "-m", model, "--json", *options)
    assert ran.code == code
    return json.loads(ran.out)


def scores(adcli: Adcli, images: Path, model: Path, out: Path) -> list[float]:
    adcli("score", images, "--out", out, "-m", model, "--maps")
    return [record["score"] for record in records(out)]


def test_the_threshold_is_the_highest_score_of_the_held_out_images_and_none_of_them_is_ng(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    told = calibrate(adcli, dataset / "test" / "good", own_model)
    measured = scores(adcli, dataset / "test" / "good", own_model, tmp_path / "out")
    assert told["threshold"] == max(measured) == load(own_model).model.calibration.threshold
    assert list(load(own_model).model.calibration.scores) == sorted(measured)
    assert {record["verdict"] for record in records(tmp_path / "out")} == {"OK"}
    assert (told["held_out"], told["rejected"], told["rule"]) == (6, 0, "area")
    for record in records(tmp_path / "out"):
        score_map = picture(tmp_path / "out" / "maps" / f"{Path(record['image']).stem}.tiff")
        assert record["score"] == brute_score(score_map, record["min_area_px"])


def test_what_was_learnt_stays_and_the_file_is_another(dataset: Path, own_model: Path, adcli: Adcli) -> None:
    before = load(own_model)
    calibrate(adcli, dataset / "test" / "good", own_model, "--min-area", "30px")
    after = load(own_model)
    assert after.detector_digest == before.detector_digest
    assert after.sha256 != before.sha256
    assert after.sha256 == hashlib.sha256(own_model.read_bytes()).hexdigest()
    assert after.model.spec == before.model.spec
    assert np.array_equal(after.model.provenance.learnt, before.model.provenance.learnt)
    assert str(after.model.sizes[0]) == "30px"
    assert adcli("info", own_model, "--json").out.count(before.detector_digest) == 1


def test_calibrating_twice_alike_gives_the_same_bytes(dataset: Path, own_model: Path, adcli: Adcli) -> None:
    calibrate(adcli, dataset / "test" / "good", own_model)
    once = own_model.read_bytes()
    calibrate(adcli, dataset / "test" / "good", own_model)
    assert own_model.read_bytes() == once


def test_images_the_model_learnt_from_are_refused_also_under_another_name(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    before = own_model.read_bytes()
    learnt = {row.tobytes().hex() for row in load(own_model).model.provenance.learnt}
    source = next(
        path
        for path in sorted((dataset / "train" / "good").iterdir())
        if hashlib.sha256(path.read_bytes()).hexdigest() in learnt
    )
    held_out = shutil.copytree(dataset / "test" / "good", tmp_path / "held-out")
    shutil.copy(source, held_out / "brand new.png")
    told = adcli("calibrate", held_out, "-m", own_model)
    assert told.code == 2
    assert "brand new.png" in told.sentence
    assert "1 of these 7" in told.sentence
    assert own_model.read_bytes() == before
    assert adcli("calibrate", dataset / "train", "-m", own_model).code == 2


def test_a_copy_is_no_second_witness(dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path) -> None:
    held_out = shutil.copytree(dataset / "test" / "good", tmp_path / "held-out")
    alone = calibrate(adcli, held_out, own_model)
    for path in list(held_out.iterdir()):
        shutil.copy(path, held_out / f"copy {path.name}")
    with_copies = calibrate(adcli, held_out, own_model)
    assert (with_copies["held_out"], with_copies["estimates"]) == (alone["held_out"], alone["estimates"])


def test_an_unreadable_image_is_left_out_listed_and_the_rest_used(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    held_out = shutil.copytree(dataset / "test" / "good", tmp_path / "held-out")
    alone = calibrate(adcli, held_out, own_model)
    (held_out / "broken.png").write_bytes(b"no image")
    told = calibrate(adcli, held_out, own_model, code=5)
    assert told["threshold"] == alone["threshold"]
    assert [entry["image"] for entry in told["left_out"]] == [str(held_out / "broken.png")]


def test_the_band_gives_check_between_its_thresholds(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    band = ("--max-false-reject", "0.15", "--check-false-reject", "0.5")
    told = calibrate(adcli, dataset / "test" / "good", own_model, *band)
    measured = sorted(scores(adcli, dataset / "test" / "good", own_model, tmp_path / "good"))
    assert told["threshold"] == measured[5]  # k = ceil(7 * 0.85) = 6 of 6
    assert told["check_threshold"] == measured[3]  # k = ceil(7 * 0.5) = 4 of 6
    lines = records(tmp_path / "good")
    assert sum(line["verdict"] == "CHECK" for line in lines) == 2
    for line in lines:
        assert (line["verdict"] == "CHECK") == (measured[3] < line["score"] <= measured[5])
        assert (line["regions"] != []) == (line["verdict"] == "CHECK")
    masks = {path.stem for path in (tmp_path / "good" / "masks").iterdir()}
    assert masks == {Path(line["image"]).stem for line in lines if line["verdict"] == "CHECK"}
    assert (
        adcli("score", dataset / "test/good", "--out", tmp_path / "good", "-m", own_model, "--fail-on", "check").code
        == 4
    )
    info = json.loads(adcli("info", own_model, "--json").out)
    assert info["check_threshold"] == measured[3]


def test_a_threshold_by_hand_is_recorded_as_such(dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path) -> None:
    told = calibrate(adcli, dataset / "test" / "good", own_model, "--threshold", "0.5")
    assert (told["rule"], told["threshold"], told["rejected"]) == ("by hand", 0.5, 6)
    scores(adcli, dataset / "test" / "good", own_model, tmp_path / "out")
    assert {record["verdict"] for record in records(tmp_path / "out")} == {"NG"}


@pytest.mark.parametrize(
    ("area", "pitch", "pixels"),
    [("25px", None, 25), ("25", None, 25), ("1%", None, 93), ("0.25mm2", "0.05mm", 100), ("0.25mm2", "50um", 100)],
)
def test_the_minimum_area_is_stored_and_counted_in_pixels_of_the_image(
    area: str, pitch: str | None, pixels: int, dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    options = ("--min-area", area) if pitch is None else ("--min-area", area, "--pixel-pitch", pitch)
    assert calibrate(adcli, dataset / "test" / "good", own_model, *options)["min_area_px"] == [pixels, pixels]
    scores(adcli, dataset / "test", own_model, tmp_path)
    assert {record["min_area_px"] for record in records(tmp_path)} == {pixels}


def test_a_pitch_once_given_is_kept(dataset: Path, own_model: Path, adcli: Adcli) -> None:
    calibrate(adcli, dataset / "test" / "good", own_model, "--pixel-pitch", "0.1mm")
    again = calibrate(adcli, dataset / "test" / "good", own_model, "--min-area", "0.5mm2")
    assert (again["pixel_pitch_mm"], again["min_area_px"]) == (0.1, [50, 50])


def test_a_minimum_area_larger_than_an_image_is_refused(dataset: Path, own_model: Path, adcli: Adcli) -> None:
    before = own_model.read_bytes()
    told = adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--min-area", "9217px")
    assert told.code == 2
    assert "96x96" in told.sentence
    assert own_model.read_bytes() == before
    assert adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--min-area", "9216px").code == 0


def test_an_area_below_the_footprint_is_warned_of(dataset: Path, own_model: Path, adcli: Adcli) -> None:
    ran = adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--min-area", "1px", "-q")
    assert ran.code == 0
    assert "one hot patch" in ran.sentence


def test_the_five_highest_scores_are_named_highest_first(dataset: Path, own_model: Path, adcli: Adcli) -> None:
    told = calibrate(adcli, dataset / "test" / "good", own_model)
    highest = [suspect["score"] for suspect in told["suspects"]]
    assert highest == sorted(load(own_model).model.calibration.scores, reverse=True)[:5]


def test_every_estimator_stands_beside_the_one_in_force_with_the_number_it_needs(
    dataset: Path, own_model: Path, adcli: Adcli
) -> None:
    told = calibrate(adcli, dataset / "test" / "good", own_model)
    needed = {estimate["rule"]: estimate["needed"] for estimate in told["estimates"]}
    assert needed == {
        "area": None,
        "conformal 5 %": 19,
        "conformal 1 %": 99,
        "guaranteed 5 % at 95 %": 59,
        "guaranteed 1 % at 95 %": 299,
        "pot 1 %": 50,
        "max": None,
        "pixel-quantile 99.9 %": None,
        "sigma 3": None,
    }
    assert [estimate["rule"] for estimate in told["estimates"] if estimate["in_force"]] == ["area"]
    assert [estimate["rule"] for estimate in told["estimates"] if estimate["threshold"] and estimate["promises"]] == [
        "area",
        "max",
    ]
    assert told["rate_low"] == 0
    assert told["rate_high"] == pytest.approx(1 - 0.05 ** (1 / 6))


def test_a_model_without_a_threshold_gets_one(dataset: Path, uncalibrated: Path, adcli: Adcli, tmp_path: Path) -> None:
    own = shutil.copy(uncalibrated, tmp_path / "own.h5")
    calibrate(adcli, dataset / "test" / "good", own)
    assert adcli("score", dataset / "test", "--out", tmp_path / "out", "-m", own).code == 0
