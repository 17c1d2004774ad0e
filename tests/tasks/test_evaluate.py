"""The tables of `eval`, recomputed by scikit-learn and scipy from what `score` writes about the same images."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.conftest import Adcli
from tests.tasks.folders import EIGHT, picture, records

KINDS = ["dent", "scratch", "stain"]


def evaluate(adcli: Adcli, *words: object, code: int = 0) -> dict[str, Any]:
    ran = adcli("eval", *words, "--json")
    assert ran.code == code
    return json.loads(ran.out)


@pytest.fixture(scope="module")
def table(dataset: Path, band_model: Path, adcli: Adcli) -> dict[str, dict[str, Any]]:
    return {row["group"]: row for row in evaluate(adcli, dataset, "-m", band_model)["rows"]}


@pytest.fixture(scope="module")
def scored(dataset: Path, band_model: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored")
    adcli("score", dataset / "test", "--out", out, "-m", band_model, "--maps", "--masks", "all")
    return out


def members(dataset: Path, scored: Path, group: str) -> list[tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]]:
    """Record, map, mask as written and truth of the good images and those of one defect type, or of all."""
    found = []
    for record in records(scored):
        kind, stem = Path(record["image"]).parent.name, Path(record["image"]).stem
        if kind == "good" or group in (kind, "all"):
            score_map = picture(scored / "maps" / kind / f"{stem}.tiff")
            written = picture(scored / "masks" / kind / f"{stem}.png") > 0
            truth = np.zeros(score_map.shape, bool)
            if kind != "good":
                truth = picture(dataset / "ground_truth" / kind / f"{stem}_mask.png") > 127
            found.append((record, score_map, written & (record["verdict"] == "NG"), truth))
    return found


def test_there_is_a_row_for_every_defect_type_and_one_for_all(table: dict[str, dict[str, Any]]) -> None:
    kinds = {kind: [row for row in table.values() if row["kind"] == kind] for kind in ("defect type", "size class")}
    assert [row["group"] for row in kinds["defect type"]] == KINDS
    assert [*kinds["defect type"], *kinds["size class"], table["all"]] == list(table.values())
    assert {row["category"] for row in table.values()} == {"metal"}
    counts = [(row["good"], row["defective"]) for row in table.values() if row["kind"] != "size class"]
    assert counts == [(6, 3)] * 3 + [(6, 9)]


def test_there_is_a_row_for_every_size_class_of_the_regions(table: dict[str, dict[str, Any]], dataset: Path) -> None:
    shares: list[float] = []
    images: dict[int, int] = {}
    for mask in sorted((dataset / "ground_truth").rglob("*.png")):
        labels, count = ndimage.label(picture(mask) > 127, EIGHT)
        own = [float((labels == number).mean()) for number in range(1, count + 1)]
        shares += own
        for number in {sum(share > bound for bound in (1e-4, 1e-3, 1e-2, 1e-1)) for share in own}:
            images[number] = images.get(number, 0) + 1
    names = ["area up to 0.01 %", "area 0.01-0.1 %", "area 0.1-1 %", "area 1-10 %", "area above 10 %"]
    bounds = [0, 1e-4, 1e-3, 1e-2, 1e-1, 1]
    for number, name in enumerate(names):
        inside = [share for share in shares if bounds[number] < share <= bounds[number + 1]]
        assert (name in table) == bool(inside)
        if inside:
            assert (table[name]["regions"], table[name]["defective"]) == (len(inside), images[number])
            assert table[name]["good"] == 6 and math.isfinite(table[name]["aupro_0.3"])


@pytest.mark.parametrize("group", [*KINDS, "all"])
def test_what_needs_no_threshold_is_what_scikit_learn_finds(
    group: str, table: dict[str, dict[str, Any]], dataset: Path, scored: Path
) -> None:
    found, row = members(dataset, scored, group), table[group]
    defective = [truth.any() for *_, truth in found]
    scores = [record["score"] for record, *_ in found]
    pixels, truths = np.concatenate([m.ravel() for _, m, _, _ in found]), np.concatenate([t.ravel() for *_, t in found])
    assert row["image_auroc"] == pytest.approx(roc_auc_score(defective, scores), abs=1e-12)
    assert row["image_ap"] == pytest.approx(average_precision_score(defective, scores), abs=1e-12)
    assert row["pixel_auroc"] == pytest.approx(roc_auc_score(truths, pixels), abs=2e-6)
    assert row["pixel_ap"] == pytest.approx(average_precision_score(truths, pixels), abs=2e-6)
    assert row["regions"] == sum(ndimage.label(truth, EIGHT)[1] for *_, truth in found)
    assert row["pixels"] == pixels.size
    assert row["image_auroc_low"] <= row["image_auroc"] <= row["image_auroc_high"]


@pytest.mark.parametrize("group", [*KINDS, "all"])
def test_at_the_threshold_the_masks_count_as_score_writes_them(
    group: str, table: dict[str, dict[str, Any]], dataset: Path, scored: Path
) -> None:
    found, row = members(dataset, scored, group), table[group]
    good = [record["verdict"] for record, _, _, truth in found if not truth.any()]
    bad = [record["verdict"] for record, _, _, truth in found if truth.any()]
    assert row["tnr"] == sum(verdict != "NG" for verdict in good) / len(good)
    assert row["tpr"] == sum(verdict == "NG" for verdict in bad) / len(bad)
    assert row["check_rate"] == sum(verdict == "CHECK" for verdict in good + bad) / len(found)
    written, truths = np.stack([mask for _, _, mask, _ in found]), np.stack([truth for *_, truth in found])
    both, either = (written & truths).sum(), (written | truths).sum()
    assert row["iou"] == pytest.approx(both / either)
    assert row["pixel_recall"] == pytest.approx(both / truths.sum())
    if written.any():
        assert row["pixel_precision"] == pytest.approx(both / written.sum())
        assert row["pixel_f1"] == pytest.approx(2 * both / (written.sum() + truths.sum()))
    overlaps = []
    for mask, truth in zip(written, truths, strict=True):
        labels, count = ndimage.label(truth, EIGHT)
        overlaps += [mask[labels == n].mean() for n in range(1, count + 1)]
    assert row["region_overlap"] == pytest.approx(np.mean(overlaps))
    assert row["threshold"] == found[0][0]["threshold"]


def test_three_folders_give_the_table_of_the_layout(
    dataset: Path, band_model: Path, adcli: Adcli, table: dict[str, dict[str, Any]]
) -> None:
    test, truth = dataset / "test", dataset / "ground_truth"
    folders = ("--good", test / "good", "--bad", test / "dent", "--masks", truth / "dent")
    row = evaluate(adcli, *folders, "-m", band_model)["rows"][-1]
    # Intervals are drawn for each row by its name, and this one is called otherwise.
    own = ("category", "kind", "group")
    same = {key: value for key, value in row.items() if key not in own and not key.endswith(("_low", "_high"))}
    assert same == {key: table["dent"][key] for key in same}


def test_a_rows_intervals_do_not_depend_on_the_rows_beside_it(
    dataset: Path, band_model: Path, adcli: Adcli, table: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(dataset, tmp_path / "metal")
    shutil.rmtree(tmp_path / "metal" / "test" / "scratch")
    shutil.rmtree(tmp_path / "metal" / "ground_truth" / "scratch")
    (row,) = [row for row in evaluate(adcli, tmp_path / "metal", "-m", band_model)["rows"] if row["group"] == "dent"]
    # The cells that pixels are counted in follow all the images, and move the ends a little.
    assert row == pytest.approx(table["dent"], abs=1e-3)


def test_out_writes_the_table_in_three_forms_and_the_scores_of_the_images(
    dataset: Path, band_model: Path, scored: Path, adcli: Adcli, tmp_path: Path
) -> None:
    printed = evaluate(adcli, dataset, "-m", band_model, "--out", tmp_path / "new" / "folder")
    out = tmp_path / "new" / "folder"
    tables = {"eval.json", "eval.csv", "eval.md", "eval.tex", "scores.csv"}
    assert {path.name for path in out.iterdir()} == tables | {"curves.png", "false-rejects.jpg", "escapes.jpg"}
    assert json.loads((out / "eval.json").read_text()) == printed
    with (out / "scores.csv").open(newline="") as file:
        listed = {row["sha256"]: row for row in csv.DictReader(file)}
    assert len(listed) == 15
    for record in records(scored):
        row = listed[record["sha256"]]
        assert (float(row["score"]), row["verdict"]) == (record["score"], record["verdict"])
    assert "image AUROC" in (out / "eval.md").read_text()


def test_a_model_without_a_threshold_is_evaluated_on_what_needs_none(
    dataset: Path, uncalibrated: Path, adcli: Adcli
) -> None:
    document = evaluate(adcli, dataset, "-m", uncalibrated)
    for row in document["rows"]:
        assert 0 <= row["image_auroc"] <= 1
        assert 0 <= row["pixel_auroc"] <= 1
        for key in ("threshold", "tnr", "tpr", "region_overlap", "iou", "pixel_f1", "check_rate"):
            assert row[key] is None
    assert any("adcli calibrate" in note for note in document["notes"])


def test_what_is_undefined_is_null_and_has_a_note(dataset: Path, model: Path, adcli: Adcli) -> None:
    only_good = evaluate(adcli, "--good", dataset / "train" / "good", "-m", model)
    (row,) = only_good["rows"]
    assert row["image_auroc"] is row["tpr"] is row["pixel_auroc"] is row["iou"] is None
    assert row["tnr"] is not None
    assert any("no defective images" in note for note in only_good["notes"])
    assert any("no masks" in note for note in only_good["notes"])
    without_masks = evaluate(adcli, "--good", dataset / "test/good", "--bad", dataset / "test/dent", "-m", model)
    assert without_masks["rows"][-1]["image_auroc"] is not None
    assert without_masks["rows"][-1]["pixel_auroc"] is None


def test_an_unreadable_image_is_counted_left_out_and_ends_with_5(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    shutil.copytree(dataset, tmp_path / "metal")
    broken = tmp_path / "metal" / "test" / "good" / "000.png"
    broken.write_bytes(b"no image")
    document = evaluate(adcli, tmp_path / "metal", "-m", model, code=5)
    assert document["rows"][-1]["good"] == 5
    assert [entry["image"] for entry in document["unreadable"]] == [str(broken)]


def test_images_the_model_has_seen_are_spoken_of(dataset: Path, model: Path, adcli: Adcli) -> None:
    document = evaluate(adcli, "--good", dataset / "train", "--bad", dataset / "test" / "dent", "-m", model)
    assert any("learnt from" in note for note in document["notes"])
    assert any("held out to set the threshold" in note for note in document["notes"])
    listed = {problem["path"] for problem in document["problems"] if problem["kind"] == "seen before"}
    assert listed == {str(path) for path in (dataset / "train" / "good").iterdir()}


def test_files_of_equal_content_are_listed(dataset: Path, model: Path, adcli: Adcli, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "metal")
    good, bad = tmp_path / "metal" / "test" / "good", tmp_path / "metal" / "test" / "dent"
    shutil.copy(good / "000.png", good / "again.png")
    shutil.copy(good / "001.png", bad / "000.png")
    problems = evaluate(adcli, tmp_path / "metal", "-m", model)["problems"]
    sentences = {Path(one["path"]).name: one["sentence"] for one in problems if one["kind"] == "duplicate"}
    assert sentences.keys() == {"again.png", "001.png"}
    assert "labelled good where that is dent" in sentences["001.png"]


def test_no_number_of_the_document_is_nan_or_infinite(dataset: Path, uncalibrated: Path, adcli: Adcli) -> None:
    for row in evaluate(adcli, dataset, "-m", uncalibrated)["rows"]:
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, (int, float)))
