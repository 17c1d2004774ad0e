"""What `score` writes, held against the contract and recounted."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from adcli.store import load
from tests.conftest import Adcli, undecodable_png
from tests.tasks.folders import check_image, picture, records, stems, timeless


@pytest.fixture(scope="module")
def mixed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several kinds and sizes in nested folders, four that cannot be read among them."""
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(dataset / "test", folder / "line 1")
    gray = picture(dataset / "test" / "dent" / "002.png")
    made = {
        "wide.png": cv2.resize(gray, (150, 70)),
        "thin.png": gray[:, :1],
        "dot.png": gray[:1, :1],
        "deep.png": gray.astype(np.uint16) * 257,
        "colour.png": cv2.merge([gray, gray, gray]),
        "photo.jpg": gray,
        "sub/wide.bmp": cv2.resize(gray, (33, 170)),
    }
    (folder / "sub").mkdir()
    for name, pixels in made.items():
        (folder / name).write_bytes(cv2.imencode(Path(name).suffix, pixels)[1].tobytes())
    whole = (folder / "wide.png").read_bytes()
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_bytes(b"not an image at all")
    (folder / "sub" / "undecodable.png").write_bytes(undecodable_png())
    return folder


@pytest.fixture(scope="module")
def scored(mixed: Path, band_model: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored") / "out"
    done = adcli("score", mixed, "--out", out, "-m", band_model, "--masks", "all", "--overlays", "all", "--maps")
    assert done.code == 5
    return out


def relative_stem(record: dict[str, object], folder: Path) -> str:
    return str(Path(str(record["image"])).relative_to(folder).with_suffix(""))


def test_all_three_verdicts_and_errors_occur_here(scored: Path) -> None:
    assert {record["verdict"] for record in records(scored)} == {"OK", "CHECK", "NG", "ERROR"}


def test_every_image_has_one_line_in_the_order_of_path_bytes(scored: Path, mixed: Path) -> None:
    expected = sorted((str(path) for path in mixed.rglob("*") if path.is_file()), key=lambda name: name.encode())
    assert [record["image"] for record in records(scored)] == expected


def test_score_verdict_regions_and_mask_say_one_thing(scored: Path, mixed: Path) -> None:
    seen = 0
    for record in records(scored):
        if record["score"] is not None:
            stem = relative_stem(record, mixed)
            check_image(record, picture(scored / f"maps/{stem}.tiff"), picture(scored / f"masks/{stem}.png"))
            seen += len(record["regions"])
    assert seen > 10


def test_an_unreadable_image_is_an_error_with_a_reason_and_without_pictures(scored: Path, mixed: Path) -> None:
    errors = [record for record in records(scored) if record["verdict"] == "ERROR"]
    assert [relative_stem(record, mixed) for record in errors] == ["cut", "empty", "sub/undecodable", "text"]
    for record in errors:
        assert record["reason"].startswith(record["image"])
        assert record["regions"] == []
        for key in ("part", "score", "min_area_px", "p_value", "width", "height", "sha256", "ms"):
            assert record[key] is None
        assert relative_stem(record, mixed) not in stems(scored, "masks", ".png") | stems(scored, "overlays", ".jpg")


def test_size_and_digest_are_the_files_own(scored: Path) -> None:
    for record in records(scored):
        if record["verdict"] != "ERROR":
            assert record["sha256"] == hashlib.sha256(Path(record["image"]).read_bytes()).hexdigest()
            assert picture(Path(record["image"])).shape[:2] == (record["height"], record["width"])


def test_threshold_and_p_value_are_the_models(scored: Path, band_model: Path) -> None:
    calibration = load(band_model).model.calibration
    held_out = list(calibration.scores)
    for record in records(scored):
        assert (record["threshold"], record["check_threshold"]) == (calibration.threshold, calibration.check_threshold)
        if record["score"] is not None:
            at_least = sum(score >= record["score"] for score in held_out)
            assert record["p_value"] == (1 + at_least) / (len(held_out) + 1)


def test_areas_in_mm2_follow_the_pixel_pitch(scored: Path) -> None:
    regions = [region for record in records(scored) for region in record["regions"]]
    for region in regions:
        assert region["area_mm2"] == pytest.approx(region["area_px"] * 0.01)


def test_the_table_says_what_the_lines_say(scored: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((scored / "results.csv").read_bytes().decode(), newline="")))
    lines = records(scored)
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        regions = line.pop("regions")
        del line["conditions"]  # as the regions, for scripts that read lines
        assert row.pop("n_regions") == str(len(regions))
        assert row.pop("largest_area_px") == (str(regions[0]["area_px"]) if regions else "")
        assert row.pop("largest_bbox") == (" ".join(map(str, regions[0]["bbox"])) if regions else "")
        assert row == {key: "" if value is None else str(value) for key, value in line.items()}


def test_the_runs_record_counts_what_there_is(scored: Path, band_model: Path) -> None:
    run = json.loads((scored / "run.json").read_bytes())
    lines = records(scored)
    assert run["images"] == len(lines)
    assert run["counts"] == {v: sum(line["verdict"] == v for line in lines) for v in ("OK", "CHECK", "NG", "ERROR")}
    assert run["model"] == hashlib.sha256(band_model.read_bytes()).hexdigest()
    assert run["exit_code"] == 5
    listed = set(run["files"])
    assert listed == {
        str(path.relative_to(scored)) for path in scored.rglob("*") if path.is_file() and path.parent != scored
    }
    assert {str(path.relative_to(scored)) for path in scored.iterdir()} == {
        *("results.jsonl", "results.csv", "run.json", "masks", "overlays", "maps"),
    }


@pytest.mark.parametrize(
    ("options", "masks", "overlays"),
    [
        ((), "telling", "telling"),
        (("--masks", "none"), "none", "telling"),
        (("--overlays", "none"), "telling", "none"),
        (("--masks", "all", "--overlays", "none"), "all", "none"),
    ],
)
def test_pictures_are_of_ng_and_check_of_all_or_of_none(
    options: tuple[str, ...], masks: str, overlays: str, mixed: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    adcli("score", mixed, "--out", tmp_path, "-m", band_model, *options)
    wanted: dict[str, set[str]] = {"none": set(), "all": set(), "telling": set()}
    for record in records(tmp_path):
        if record["verdict"] != "ERROR":
            wanted["all"].add(relative_stem(record, mixed))
        if record["verdict"] in ("NG", "CHECK"):
            wanted["telling"].add(relative_stem(record, mixed))
            assert record["regions"] or record["reason"]
    assert stems(tmp_path, "masks", ".png") == wanted[masks]
    assert stems(tmp_path, "overlays", ".jpg") == wanted[overlays]
    assert not (tmp_path / "maps").exists()


def test_scoring_twice_gives_the_same_bytes(
    scored: Path, mixed: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    options = ("--masks", "all", "--overlays", "all", "--maps", "--workers", "1")
    adcli("score", mixed, "--out", tmp_path, "-m", band_model, *options)
    assert timeless(tmp_path) == timeless(scored)


def test_an_image_alone_has_the_verdict_it_has_in_company(
    scored: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    in_company = records(scored)
    for record in in_company[::5]:
        adcli("score", record["image"], "--out", tmp_path, "-m", band_model)
        (alone,) = records(tmp_path)
        assert {**alone, "ms": None} == {**record, "ms": None}


def test_the_order_of_the_images_changes_no_verdict(
    scored: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    backwards = [record["image"] for record in records(scored)][::-1]
    adcli("score", *backwards, "--out", tmp_path, "-m", band_model, "--workers", "256")
    turned = records(tmp_path)
    assert [record["image"] for record in turned] == backwards
    assert [{**record, "ms": None} for record in turned[::-1]] == [{**r, "ms": None} for r in records(scored)]


def test_a_minimum_area_larger_than_the_image_gives_check_and_no_score(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    own = shutil.copy(model, tmp_path / "own.h5")
    assert adcli("calibrate", dataset / "test" / "good", "-m", own, "--min-area", "1000px").code == 0
    small = tmp_path / "small.png"
    small.write_bytes(cv2.imencode(".png", picture(dataset / "test/good/000.png")[:30, :30])[1].tobytes())
    assert adcli("score", small, "--out", tmp_path / "out", "-m", own).code == 0
    (record,) = records(tmp_path / "out")
    assert (record["verdict"], record["score"], record["p_value"], record["regions"]) == ("CHECK", None, None, [])
    assert record["min_area_px"] == 1000
    assert "larger than the image" in record["reason"]
    assert not picture(tmp_path / "out" / "masks" / "small.png").any()


def test_a_finished_run_is_replaced_and_strangers_files_stay(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    adcli("score", dataset / "test", "--out", tmp_path, "-m", model, "--masks", "all", "--maps")
    strangers = [tmp_path / "masks" / "mine.png", tmp_path / "masks" / "dent" / "mine.txt", tmp_path / "report.html"]
    for path in strangers:
        path.write_bytes(b"mine")
    adcli("score", dataset / "test" / "good", "--out", tmp_path, "-m", model)
    assert all(path.read_bytes() == b"mine" for path in strangers)
    assert len(records(tmp_path)) == 6
    ng = {Path(record["image"]).stem for record in records(tmp_path) if record["verdict"] == "NG"}
    assert stems(tmp_path, "masks", ".png") == ng | {"mine", "dent/mine.txt"}
    assert not stems(tmp_path, "maps", ".tiff")


def test_a_call_that_cannot_be_carried_out_leaves_a_finished_run_alone(
    dataset: Path, model: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    adcli("score", dataset / "test", "--out", out, "-m", model)
    before = timeless(out)
    own_model.write_bytes(b"damaged")
    score = ("score", dataset / "test", "--out", out)
    for words, code in [
        ((*score, "-m", model, "--device", "cuda:99"), 8),
        ((*score, "-m", model, "--precision", "fp17"), 2),
        ((*score, "-m", model, "--engine", "steam"), 2),
        ((*score, "-m", model, "--masks", "some"), 2),
        ((*score, "-m", own_model), 7),
        ((*score, "-m", tmp_path / "none.h5"), 2),
        (("score", tmp_path / "nothing", "--out", out, "-m", model), 2),
    ]:
        assert adcli(*words).code == code
        assert timeless(out) == before


def test_weights_given_at_score_are_compared_with_the_models_own(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    import torch
    import torchvision

    torch.manual_seed(1)
    networks = {name: torchvision.models.get_model(name) for name in ("resnet18", "resnet34")}
    for name, network in networks.items():
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
    with torch.no_grad():
        networks["resnet18"].conv1.weight += 1
    torch.save(networks["resnet18"].state_dict(), tmp_path / "other18.pth")
    own = tmp_path / "own.h5"
    quick = ("--backbone", "resnet18", "--image-size", "64", "-p", "dims=20")
    assert adcli("fit", dataset / "train", "-m", own, "--weights", tmp_path / "resnet18.pth", *quick).code == 0
    score = ("score", dataset / "test", "--out", tmp_path / "out", "-m", own, "--weights")
    assert adcli(*score, tmp_path / "resnet18.pth").code == 0
    for other in ("resnet34.pth", "other18.pth"):
        ran = adcli(*score, tmp_path / other)
        assert ran.code == 7
        assert "other weights" in ran.sentence
    assert adcli("eval", dataset, "-m", own, "--weights", tmp_path / "other18.pth").code == 7
