"""The image stage from the command line, and what eval says of the image scores."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from adcli.finding import find_images
from adcli.image_scores import NAMES, OF_MAPS
from adcli.regions import area_score
from adcli.store import load, save
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapped, Mapper
from tests import references
from tests.conftest import QUICK, Adcli
from tests.tasks.folders import picture, records

CORESET = ("--method", "patchcore", "--backbone", "random-resnet18", "--image-size", "64", "-p", "coreset=0.05")
COLUMNS = {name: f"image_auroc_{name}" for name in OF_MAPS} | {"own": "method_image_auroc"}


@pytest.fixture(scope="module")
def bank(dataset: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PatchCore model, whose method has an image score of its own. Not to be written to."""
    path = tmp_path_factory.mktemp("bank") / "bank.h5"
    assert adcli("fit", dataset / "train", "-m", path, *CORESET, "--image-stage", "own").code == 0
    return path


@pytest.fixture
def own_bank(bank: Path, tmp_path: Path) -> Path:
    return shutil.copy(bank, tmp_path / "bank.h5")


def told(adcli: Adcli, *words: object) -> dict[str, Any]:
    done = adcli(*words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def mapped(model: Path, folder: Path) -> dict[str, Mapped]:
    mapper = Mapper(load(model).model, Machine(device="cpu"))
    return dict(mapper.stream(find_images([str(folder)]), lambda source, one: (source.given, one)))


def scores_of(model: Path, folder: Path, name: str) -> dict[str, float]:
    """By another road than the code's: loops over the maps."""
    found = mapped(model, folder)
    if name == "own":
        return {given: one.method_score for given, one in found.items()}
    traits = {given: references.map_traits(one.score_map) for given, one in found.items()}
    return {given: one[OF_MAPS.index(name)] for given, one in traits.items()}


@pytest.mark.parametrize("name", ["own", "maximum", "top1"])
def test_the_limit_is_the_largest_score_of_the_held_out_images(
    name: str, dataset: Path, own_bank: Path, adcli: Adcli
) -> None:
    good = dataset / "test" / "good"
    said = told(adcli, "calibrate", good, "-m", own_bank, "--image-stage", name)
    assert said["image_stage"] == name
    assert said["image_stage_limit"] == pytest.approx(max(scores_of(own_bank, good, name).values()), rel=1e-5)
    assert (said["image_stage_rate"], said["image_stage_beyond"], said["image_stage_reject"]) == (1 / 7, 0, None)
    assert said["image_stage_rate_high"] == pytest.approx(1 - 0.05 ** (1 / 6))
    info = told(adcli, "info", own_bank)
    assert {key: info[key] for key in info if key.startswith("image_stage")} == {
        key: said[key] for key in said if key.startswith("image_stage")
    }


def test_structcore_is_learnt_from_the_held_out_maps_and_its_limit_with_each_left_out(
    dataset: Path, own_bank: Path, adcli: Adcli
) -> None:
    good = dataset / "test" / "good"
    done = adcli("calibrate", good, "-m", own_bank, "--image-stage", "structcore")
    assert "approximately, by leaving one out at a time, the next good image is CHECK" in " ".join(done.out.split())
    calibration = load(own_bank).model.calibration
    traits = [references.map_traits(one.score_map) for one in mapped(own_bank, good).values()]
    described = np.array(traits)[:, [2, 1, 3]]
    assert calibration.structcore.centre == pytest.approx(described.mean(axis=0), rel=1e-5)
    assert calibration.structcore.spread == pytest.approx(described.std(axis=0), rel=1e-3)
    left_out = [references.structcore(traits[:at] + traits[at + 1 :], one) for at, one in enumerate(traits)]
    assert calibration.image_stage.limit == pytest.approx(max(left_out), rel=1e-3)


@pytest.fixture(scope="module")
def staged(dataset: Path, bank: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model whose threshold nothing is above and whose guard is off, and what it says of all images."""
    folder = tmp_path_factory.mktemp("staged")
    model = shutil.copy(bank, folder / "model.h5")
    words = ("--threshold", "1e6", "--no-guard", "--image-stage", "own")
    assert adcli("calibrate", dataset / "test" / "good", "-m", model, *words).code == 0
    assert adcli("score", dataset / "test", "-m", model, "--out", folder / "out", "--html", "--masks", "all").code == 0
    return folder


def test_an_image_above_the_limit_is_check_with_the_reason_and_any_other_ok(dataset: Path, staged: Path) -> None:
    limit = load(staged / "model.h5").model.calibration.image_stage.limit
    scores = scores_of(staged / "model.h5", dataset / "test", "own")
    verdicts = {record["image"]: record["verdict"] for record in records(staged / "out")}
    assert verdicts == {given: "CHECK" if score > limit else "OK" for given, score in scores.items()}
    assert set(verdicts.values()) == {"CHECK", "OK"}
    for record in records(staged / "out"):
        assert record["regions"] == []
        kind, stem = Path(record["image"]).parent.name, Path(record["image"]).stem
        assert not picture(staged / "out" / "masks" / kind / f"{stem}.png").any()
        value = scores[record["image"]]
        above = f"the re-weighted distance of its strangest patch is {value:.6g}, above {limit:.6g}"
        expected = f"the image as a whole is unusual: {above}" if record["verdict"] == "CHECK" else None
        assert record["reason"] == expected
    run = json.loads((staged / "out" / "run.json").read_text())
    assert (run["image_stage"], run["image_stage_limit"]) == ("own", limit)
    assert "image stage (own) above" in (staged / "out" / "report.html").read_text()


def test_every_verb_that_judges_says_the_same(dataset: Path, staged: Path, adcli: Adcli, tmp_path: Path) -> None:
    verdicts = {record["image"]: record["verdict"] for record in records(staged / "out")}
    samples = tmp_path / "samples.csv"
    samples.write_text("\n".join(["image,expected", *(f"{given},{one}" for given, one in verdicts.items()), ""]))
    assert adcli("verify", samples, "-m", staged / "model.h5").code == 0
    row = told(adcli, "eval", dataset, "-m", staged / "model.h5")["rows"][-1]
    checked = sum(one == "CHECK" for one in verdicts.values())
    assert (row["tnr"], row["tpr"]) == (1, 0)  # CHECK counts as not NG
    assert row["check_rate"] == pytest.approx(checked / len(verdicts))
    row = told(adcli, "escapes", dataset, "-m", staged / "model.h5")["rows"][-1]
    assert row["check"] == checked - sum(one == "CHECK" and "/good/" in given for given, one in verdicts.items())
    out = tmp_path / "watched"
    assert adcli("watch", dataset / "test", "--out", out, "-m", staged / "model.h5", "--once", "--settle", 0).code == 0
    seen = {Path(record["image"]).name: record["reason"] for record in records(out)}
    assert {name for name, reason in seen.items() if reason} <= {Path(given).name for given in verdicts}
    assert sum(record["verdict"] == "CHECK" for record in records(out)) == checked


def test_ng_outranks_the_stage_and_the_guard_speaks_first(
    dataset: Path, own_bank: Path, adcli: Adcli, tmp_path: Path
) -> None:
    good = dataset / "test" / "good"
    white = tmp_path / "white.png"
    cv2.imwrite(str(white), np.full((96, 96), 255, np.uint8))
    for threshold, verdict in (("1e6", "CHECK"), ("1e-6", "NG")):
        words = ("--threshold", threshold, "--image-stage", "maximum")
        assert adcli("calibrate", good, "-m", own_bank, *words).code == 0
        assert adcli("score", white, "-m", own_bank, "--out", tmp_path / verdict).code == 0
        (record,) = records(tmp_path / verdict)
        assert record["verdict"] == verdict
        if verdict == "NG":
            assert record["reason"] is None and record["regions"]
        else:
            guard, _, stage = record["reason"].partition("; the image as a whole is unusual: ")
            assert "brighter than good images" in guard
            assert stage.startswith("the highest pixel of its map is ")


def test_a_method_without_a_score_of_its_own_refuses_it_before_it_learns(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    for words in (
        ("calibrate", dataset / "test" / "good", "-m", own_model),
        ("fit", dataset / "train", "-m", tmp_path / "new.h5", *QUICK),
    ):
        refused = adcli(*words, "--image-stage", "own")
        assert refused.code == 2
        assert "padim has no image score of its own, which patchcore" in refused.sentence
    assert not (tmp_path / "new.h5").exists()
    assert adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--image-stage", "mean").code == 2
    assert adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--image-stage-reject", "0.5").code == 2


def test_a_rate_is_kept_or_refused_and_rates_add_up(dataset: Path, own_bank: Path, adcli: Adcli) -> None:
    good = dataset / "test" / "good"
    stage = ("--image-stage", "top1", "--image-stage-reject")
    said = told(adcli, "calibrate", good, "-m", own_bank, *stage, "30%")
    assert (said["image_stage_reject"], said["image_stage_beyond"], said["image_stage_rate"]) == (0.3, 1, 2 / 7)
    assert said["image_stage_limit"] == pytest.approx(sorted(scores_of(own_bank, good, "top1").values())[-2], rel=1e-5)
    line = " ".join(adcli("calibrate", good, "-m", own_bank, *stage, "30%", "--dry-run").out.split())
    assert "rates add up: the input guard and the image stage make at most 42.9 % of good images CHECK" in line
    refused = adcli("calibrate", good, "-m", own_bank, *stage, "0.05")
    assert refused.code == 6
    assert "it takes 19" in refused.sentence
    forgotten = adcli("calibrate", good, "-m", own_bank)
    assert "--image-stage top1, which was asked for before" in forgotten.err
    assert "--image-stage-reject 0.3, which was asked for before" in forgotten.err
    assert told(adcli, "info", own_bank)["image_stage"] is None


def test_images_of_one_part_count_once(dataset: Path, own_bank: Path, adcli: Adcli, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    for number, image in enumerate(sorted((dataset / "test" / "good").iterdir())):
        shutil.copy(image, held_out / f"part{number // 2}_{number % 2}.png")
    words = ("calibrate", held_out, "-m", own_bank, "--group-by", "part[0-9]")
    said = told(adcli, *words, "--image-stage", "own", "--image-stage-reject", 0.5)
    parts: dict[str, float] = {}
    for given, score in scores_of(own_bank, held_out, "own").items():
        parts[Path(given).stem[:5]] = max(score, parts.get(Path(given).stem[:5], 0))
    assert (said["held_out"], said["image_stage_rate"]) == (3, 2 / 4)
    assert said["image_stage_limit"] == sorted(parts.values())[-2]
    assert told(adcli, *words, "--image-stage", "structcore")["image_stage_rate"] == 1 / 4


def test_left_out_one_by_one_the_scores_are_left_out_too(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    """The limit is that of images that the bank has not seen; of those it has seen, all scores are lower."""
    model = tmp_path / "model.h5"
    words = ("fit", dataset / "train", "-m", model, *CORESET, "--leave-one-out", "--image-stage", "own")
    said = told(adcli, *words)
    assert said["image_stage_rate"] == 1 / (said["learnt"] + 1)
    assert said["image_stage_limit"] > max(scores_of(model, dataset / "train", "own").values())
    line = " ".join(adcli(*words, "--force").out.split())
    assert (
        "approximately, by leaving one out at a time, the next good image is CHECK" in line[line.index("image stage") :]
    )


def test_of_tiles_the_method_s_own_score_is_the_highest(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    model = tmp_path / "model.h5"
    words = ("fit", dataset / "train", "-m", model, *CORESET, "--tile", "64", "--overlap", "32", "--image-stage", "own")
    assert adcli(*words).code == 0
    stage = load(model).model.calibration.image_stage
    found = scores_of(model, dataset / "test" / "good", "own")
    adcli("score", dataset / "test" / "good", "-m", model, "--out", tmp_path / "out")
    for record in records(tmp_path / "out"):
        if record["verdict"] == "OK":
            assert found[record["image"]] <= stage.limit


def test_outside_the_region_of_interest_the_method_s_own_score_sees_what_it_says(
    dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    model, half = tmp_path / "model.h5", "0,0,48,96"
    done = adcli("fit", dataset / "train", "-m", model, *CORESET, "--roi", half, "--image-stage", "own")
    assert "takes in what lies outside the region of interest" in done.err
    done = adcli("calibrate", dataset / "test" / "good", "-m", model, "--image-stage", "maximum")
    assert "takes in what lies" not in done.err


def test_a_model_of_an_adcli_without_image_scores_is_read_and_judges_as_before(
    dataset: Path, own_bank: Path, adcli: Adcli, tmp_path: Path
) -> None:
    assert adcli("calibrate", dataset / "test" / "good", "-m", own_bank).code == 0
    new = load(own_bank).model
    old = shutil.copy(own_bank, tmp_path / "old.h5")
    save(replace(new, calibration=replace(new.calibration, structcore=None, image_stage=None)), old)
    for path in (own_bank, old):
        assert adcli("score", dataset / "test", "-m", path, "--out", tmp_path / path.stem).code == 0
    one, other = ([record | {"ms": None} for record in records(tmp_path / name)] for name in (own_bank.stem, "old"))
    assert one == other
    row = told(adcli, "eval", dataset, "-m", old)["rows"][-1]
    assert row["image_auroc_structcore"] is None
    assert row["image_auroc_top1"] is not None


# eval


@pytest.fixture(scope="module")
def evaluated(dataset: Path, bank: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated")
    assert adcli("eval", dataset, "-m", bank, "--out", out).code == 0
    return out


def test_eval_tells_what_each_image_score_would_give(dataset: Path, bank: Path, evaluated: Path, adcli: Adcli) -> None:
    row = json.loads((evaluated / "eval.json").read_text())["rows"][-1]
    with (evaluated / "scores.csv").open(newline="") as file:
        images = list(csv.DictReader(file))
    truth = [image["group"] != "good" for image in images]
    structcore = load(bank).model.calibration.structcore
    for name in NAMES:
        scores = [float(image[f"score_{name}"]) for image in images]
        auroc, ap = COLUMNS[name], COLUMNS[name].replace("auroc", "ap")
        assert row[auroc] == pytest.approx(roc_auc_score(truth, scores))
        assert row[ap] == pytest.approx(average_precision_score(truth, scores))
        assert row[f"{auroc}_low"] <= row[auroc] <= row[f"{auroc}_high"]
        assert row[f"{ap}_low"] <= row[ap] <= row[f"{ap}_high"]
        if name != "structcore":
            found = {Path(given).parts[-2:]: one for given, one in scores_of(bank, dataset / "test", name).items()}
            expected = [found[Path(image["image"]).parts[-2:]] for image in images]
        else:
            traits = {
                given: references.map_traits(one.score_map) for given, one in mapped(bank, dataset / "test").items()
            }
            found = {Path(given).parts[-2:]: np.array(one)[[2, 1, 3]] for given, one in traits.items()}
            apart = [found[Path(image["image"]).parts[-2:]] - structcore.centre for image in images]
            expected = [np.linalg.norm(one / structcore.spread) for one in apart]
        assert scores == pytest.approx(expected, rel=1e-3)
    said = " ".join(adcli("eval", dataset, "-m", bank).out.split())
    table = said.partition("Image scores: what each would give")[2]
    assert all(word in table for word in ("S_A, which decides", "maximum", "top1", "structcore", "the method's own"))


def test_the_score_that_decides_is_not_touched_by_the_others(dataset: Path, staged: Path, bank: Path) -> None:
    """The same image scores, whatever stage is on."""
    one = {record["image"]: record["score"] for record in records(staged / "out")}
    model = load(bank).model
    area = model.sizes[0].pixels(96, 96, model.pixel_pitch).area
    assert one == {given: area_score(found.score_map, area) for given, found in mapped(bank, dataset / "test").items()}


def test_of_results_and_maps_those_are_told_that_need_the_map_only(
    dataset: Path, bank: Path, evaluated: Path, adcli: Adcli, tmp_path: Path
) -> None:
    of_model = json.loads((evaluated / "eval.json").read_text())["rows"][-1]
    assert adcli("score", dataset / "test", "-m", bank, "--out", tmp_path / "plain").code == 0
    assert adcli("score", dataset / "test", "-m", bank, "--out", tmp_path / "maps", "--maps").code == 0
    for folder in (tmp_path / "plain", tmp_path / "maps", tmp_path / "maps" / "maps"):
        row = told(adcli, "eval", dataset, "--from", folder)["rows"][-1]
        for name in ("maximum", "top1"):
            expected = None if folder.name == "plain" else of_model[COLUMNS[name]]
            assert row[COLUMNS[name]] == expected
        assert row[COLUMNS["structcore"]] is row[COLUMNS["own"]] is None
    assert row["image_auroc"] == row["image_auroc_maximum"]  # of another tool's maps


def test_a_gate_can_be_on_any_of_them(dataset: Path, bank: Path, model: Path, adcli: Adcli) -> None:
    assert adcli("eval", dataset, "-m", bank, "--min", "image_auroc_top1=0.01").code == 0
    assert adcli("eval", dataset, "-m", model, "--min", "method_image_auroc=0.01").code == 6  # padim has none
