"""Parts, lots, several sizes and lengths: what a promise is made of, through the commands."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from adcli.store import load
from tests.conftest import QUICK, Adcli
from tests.tasks.folders import brute_score, large, picture, records

PART = r"(p\d\d)_"
LOT = r"lot\w"


@pytest.fixture(scope="module")
def views(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten parts of two views each, in two lots; all twenty images differ."""
    folder = tmp_path_factory.mktemp("views")
    for number, path in enumerate(sorted((dataset / "train" / "good").iterdir())):
        part, view = divmod(number, 2)
        lot = folder / ("lotA" if part < 5 else "lotB")
        lot.mkdir(exist_ok=True)
        shutil.copy(path, lot / f"p{part:02}_{view}.png")
    return folder


@pytest.fixture(scope="module")
def other(dataset: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has seen none of the views. Not to be written to."""
    path = tmp_path_factory.mktemp("other") / "model.h5"
    assert adcli("fit", dataset / "test" / "good", "-m", path, "--holdout", 0, *QUICK).code == 0
    return path


def calibrate(adcli: Adcli, images: Path, model: Path, *options: object, code: int = 0) -> dict[str, Any]:
    ran = adcli("calibrate", images, "-m", model, "--json", *options)
    assert ran.code == code, ran.err
    return json.loads(ran.out)


@pytest.fixture
def own(other: Path, tmp_path: Path) -> Path:
    return shutil.copy(other, tmp_path / "own.h5")


def test_a_part_scores_as_its_worst_view_and_counts_once(views: Path, own: Path, adcli: Adcli, tmp_path: Path) -> None:
    images = calibrate(adcli, views, own)
    adcli("score", views, "--out", tmp_path / "out", "-m", own)
    highest: dict[str, float] = defaultdict(lambda: -np.inf)
    for record in records(tmp_path / "out"):
        part = Path(record["image"]).name[:3]
        highest[part] = max(highest[part], record["score"])
        assert record["part"] is None
    told = calibrate(adcli, views, own, "--group-by", PART)
    assert (images["held_out"], told["held_out"], told["images"]) == (20, 10, 20)
    assert load(own).model.calibration.scores.tolist() == sorted(highest.values())
    assert told["threshold"] == max(highest.values()) == images["threshold"]
    assert told["rate_high"] > images["rate_high"]
    assert told["suspects"][0]["part"] == max(highest, key=highest.get)


def test_a_part_is_as_bad_as_the_worst_of_its_images(views: Path, own: Path, adcli: Adcli, tmp_path: Path) -> None:
    told = calibrate(adcli, views, own, "--group-by", PART, "--max-false-reject", 0.3)
    strange = {suspect["part"] for suspect in told["suspects"]}
    incoming = shutil.copytree(views, tmp_path / "incoming")
    torn = next(path for path in sorted(incoming.rglob("*.png")) if path.name[:3] not in strange)
    torn.write_bytes(b"nothing")
    scored = adcli("score", incoming, "--out", tmp_path / "out", "-m", own, "--json")
    worst: dict[str, str] = {}
    for record in records(tmp_path / "out"):
        assert record["part"] == Path(record["image"]).name[:3]
        order = ["OK", "CHECK", "ERROR", "NG"]
        worst[record["part"]] = max(worst.get(record["part"], "OK"), record["verdict"], key=order.index)
    counted = {verdict: list(worst.values()).count(verdict.upper()) for verdict in ("ok", "check", "ng", "error")}
    assert json.loads(scored.out)["parts"] == counted
    assert counted["ng"] > 0 and counted["error"] == 1
    assert {row["part"] for row in records(tmp_path / "out")} == set(worst)


@pytest.mark.parametrize(("pattern", "said"), [("(", "regular expression"), ("nowhere", "finds no name"), ("x*", "no")])
def test_an_expression_that_names_no_part_is_refused(
    views: Path, own: Path, adcli: Adcli, pattern: str, said: str
) -> None:
    before = own.read_bytes()
    told = adcli("calibrate", views, "-m", own, "--group-by", pattern)
    assert told.code == 2
    assert said in told.sentence
    assert own.read_bytes() == before


def test_score_refuses_images_that_show_no_part_before_it_makes_a_folder(
    views: Path, own: Path, adcli: Adcli, dataset: Path, tmp_path: Path
) -> None:
    calibrate(adcli, views, own, "--group-by", PART)
    told = adcli("score", dataset / "test", "--out", tmp_path / "out", "-m", own)
    assert told.code == 2
    assert "--group-by" in told.sentence
    assert not (tmp_path / "out").exists()
    calibrate(adcli, views, own, "--group-by", "")  # nothing: each image is a part of its own again
    assert load(own).model.group_by is None


def test_a_part_with_an_unreadable_view_sets_no_threshold(views: Path, own: Path, adcli: Adcli, tmp_path: Path) -> None:
    folder = shutil.copytree(views, tmp_path / "torn")
    (folder / "lotB" / "p07_1.png").write_bytes(b"")
    told = calibrate(adcli, folder, own, "--group-by", PART, code=5)
    assert (told["held_out"], told["images"]) == (9, 18)
    assert [Path(row["image"]).name for row in told["left_out"]] == ["p07_1.png"]
    assert any("1 parts are left out" in note for note in told["notes"])


def test_fit_holds_out_whole_parts_and_a_new_view_goes_where_its_part_is(
    views: Path, adcli: Adcli, dataset: Path, tmp_path: Path
) -> None:
    def held_out(folder: Path) -> set[str]:
        model = tmp_path / "grouped.h5"
        assert adcli("fit", folder, "-m", model, "--force", "--group-by", PART, *QUICK).code == 0
        learnt = {row.tobytes().hex() for row in load(model).model.provenance.learnt}
        held = {row.tobytes().hex() for row in load(model).model.calibration.digests}
        assert not learnt & held
        import hashlib

        names = defaultdict(set)
        for path in folder.rglob("*.png"):
            names[path.name[:3]].add(hashlib.sha256(path.read_bytes()).hexdigest() in held)
        assert all(len(sides) == 1 for sides in names.values())
        return {part for part, sides in names.items() if True in sides}

    once = held_out(views)
    assert len(once) >= 5
    more = shutil.copytree(views, tmp_path / "more")
    for number, path in enumerate(sorted((dataset / "test" / "good").iterdir())):
        shutil.copy(path, more / "lotA" / f"p{number:02}_9.png")
    assert held_out(more) == once


def test_each_lot_is_judged_by_a_threshold_from_the_others(views: Path, own: Path, adcli: Adcli) -> None:
    told = calibrate(adcli, views, own, "--leave-out-group", LOT, "--max-false-reject", 0.2)
    scores = {}
    for name in ("lotA", "lotB"):
        calibrate(adcli, views / name, own, "--max-false-reject", 0.2)
        scores[name] = load(own).model.calibration
    for lot, others in zip(told["lots"], ("lotB", "lotA"), strict=True):
        assert lot["n"] == 10
        assert lot["threshold"] == scores[others].threshold
        assert lot["rejected"] == (scores[lot["name"]].scores > scores[others].threshold).sum()
        assert lot["median"] == pytest.approx(np.median(scores[lot["name"]].scores))
        assert lot["rate_low"] <= lot["rejected"] / 10 <= lot["rate_high"]
    printed = adcli("calibrate", views, "-m", own, "--leave-out-group", LOT)
    assert "on a lot that set no threshold" in printed.out


def test_a_lot_whose_others_are_too_few_says_so_and_one_lot_is_refused(views: Path, own: Path, adcli: Adcli) -> None:
    told = calibrate(adcli, views, own, "--leave-out-group", LOT, "--max-false-reject", 0.06)
    assert [lot["rejected"] for lot in told["lots"]] == [None, None]
    assert adcli("calibrate", views / "lotA", "-m", own, "--leave-out-group", "p").code == 2
    assert adcli("calibrate", views, "-m", own, "--leave-out-group", "q").code == 2
    assert adcli("calibrate", views, "-m", own, "--leave-out-group", r"_(\d)", "--group-by", PART).code == 2


def test_several_areas_share_one_threshold_and_the_mask_is_the_union_of_what_fired(
    views: Path, own: Path, adcli: Adcli, dataset: Path, tmp_path: Path
) -> None:
    areas = (9, 200)
    told = calibrate(adcli, views, own, "--min-area", "9px", "--min-area", "200px", "--max-false-reject", 0.2)
    assert told["sizes"] == ["9px", "200px"]
    assert told["scales"]["images"] == 5
    assert told["held_out"] == 15
    centre, spread = np.array(told["scales"]["centre"]), np.array(told["scales"]["spread"])
    adcli("score", dataset / "test", "--out", tmp_path / "out", "-m", own, "--masks", "all", "--maps")
    fired = set()
    for record in records(tmp_path / "out"):
        name = Path(record["image"]).parent.name + "/" + Path(record["image"]).stem
        score_map = picture(tmp_path / "out" / "maps" / f"{name}.tiff")
        mask = picture(tmp_path / "out" / "masks" / f"{name}.png") > 0
        levels = np.array([brute_score(score_map, area) for area in areas])
        assert [one["score"] for one in record["conditions"]] == levels.tolist()
        assert [one["min_area_px"] for one in record["conditions"]] == list(areas)
        assert record["score"] == ((levels - centre) / spread).max()
        otherwise = "CHECK" if record["reason"] else "OK"  # by the input guard
        assert record["verdict"] == ("NG" if record["score"] > told["threshold"] else otherwise)
        expected = np.zeros_like(mask)
        for one, area in zip(record["conditions"], areas, strict=True):
            region, _ = large(score_map > one["threshold"], area)
            expected |= region
            if region.any():
                fired.add(area)
        assert np.array_equal(mask, expected)
        assert sum(region["area_px"] for region in record["regions"]) == mask.sum()
        assert (record["verdict"] == "NG") == mask.any()
    assert fired


def test_fit_scales_several_areas_by_the_images_it_learns_from_and_calibrate_keeps_them(
    views: Path, adcli: Adcli, dataset: Path, tmp_path: Path
) -> None:
    model = tmp_path / "joint.h5"
    sizes = ("--min-area", "9px", "--min-area", "200px")
    told = json.loads(adcli("fit", views, "-m", model, *sizes, *QUICK, "--json").out)
    assert told["scales"]["evidence"] == "leave-one-out"
    assert told["scales"]["images"] == told["learnt"]
    again = calibrate(adcli, dataset / "test" / "good", model)
    assert again["scales"] == told["scales"]
    assert again["held_out"] == 6
    changed = calibrate(adcli, dataset / "test", model, "--min-area", "9px", "--min-area", "300px")
    assert changed["scales"]["evidence"] == "held-out"
    single = calibrate(adcli, dataset / "test" / "good", model, "--min-area", "9px")
    assert single["scales"] is None and single["held_out"] == 6


def test_rules_of_pixels_are_refused_for_several_areas(views: Path, own: Path, adcli: Adcli) -> None:
    told = adcli("calibrate", views, "-m", own, "--min-area", "9px", "--min-area", "99px", "--rule", "sigma")
    assert told.code == 2
    assert "several minimum areas" in told.sentence


def test_a_minimum_length_keeps_long_regions_only(views: Path, own: Path, adcli: Adcli, tmp_path: Path) -> None:
    told = calibrate(adcli, views, own, "--min-area", "5px", "--max-false-reject", 0.4)
    adcli("score", views, "--out", tmp_path / "all", "-m", own)
    calibrate(adcli, views, own, "--threshold", told["threshold"], "--min-length", "1.5mm", "--pixel-pitch", "0.1mm")
    assert [str(size) for size in load(own).model.sizes] == ["5px:length=1.5mm"]
    adcli("score", views, "--out", tmp_path / "long", "-m", own)
    kept = 0
    for one, other in zip(records(tmp_path / "all"), records(tmp_path / "long"), strict=True):
        expected = [region["bbox"] for region in one["regions"] if region["length_px"] >= 15]
        assert [region["bbox"] for region in other["regions"]] == expected
        assert other["verdict"] == ("NG" if expected else "OK")
        kept += len(expected)
    assert kept


def test_the_suspects_say_what_the_threshold_is_without_them(views: Path, own: Path, adcli: Adcli) -> None:
    told = calibrate(adcli, views, own, "--max-false-reject", 0.1)
    scores = load(own).model.calibration.scores
    assert told["threshold"] == scores[-2]  # one of twenty may be rejected
    for rank, suspect in enumerate(told["suspects"]):
        rest = np.delete(scores, -1 - rank)
        k = int(np.ceil(20 * 0.9 - 1e-9))
        assert suspect["threshold_without"] == rest[k - 1]
        left = scores[: len(scores) - 1 - rank]
        k = int(np.ceil((len(left) + 1) * 0.9 - 1e-9))
        assert suspect["threshold_without_it_and_above"] == left[k - 1]


def test_pictures_lie_beside_the_model_and_old_ones_go(views: Path, own: Path, adcli: Adcli) -> None:
    calibrate(adcli, views, own, "--pictures")
    drawn = {path.name: path for path in own.parent.iterdir() if path.suffix in (".png", ".jpg")}
    assert set(drawn) == {"own.calibration.png", "own.suspects.jpg"}
    for path in drawn.values():
        assert min(cv2.imread(str(path)).shape[:2]) > 100
    calibrate(adcli, views, own)
    assert not any(path.exists() for path in drawn.values())


def test_the_scores_are_drawn_as_text_with_every_image_counted(views: Path, own: Path, adcli: Adcli) -> None:
    printed = adcli("calibrate", views, "-m", own).out
    rows = [line for line in printed.splitlines() if "│" in line]
    assert sum(int(row.split("│")[0].split()[-1]) for row in rows) == 20
    assert sum("<- NG" in row for row in printed.splitlines()) == 1


@pytest.mark.parametrize("method", ["padim", "patchcore"])
def test_leave_one_out_scores_every_image_as_a_model_without_it_would(
    views: Path, adcli: Adcli, tmp_path: Path, method: str
) -> None:
    lot = views / "lotA"
    param = {"padim": "dims=20", "patchcore": "coreset=1"}[method]
    chosen = ("--method", method, "--backbone", "random-resnet18", "--image-size", 64, "-p", param)
    chosen += ("--precision", "fp32", "--min-area", "20px")
    model = tmp_path / "all.h5"
    told = json.loads(adcli("fit", lot, "-m", model, *chosen, "--leave-one-out", "--json").out)
    assert (told["evidence"], told["held_out"], told["learnt"]) == ("leave-one-out", 10, 10)
    assert told["guarantee"].startswith("Approximately")
    expected = []
    for path in sorted(lot.iterdir()):
        rest = tmp_path / f"without-{path.stem}"
        shutil.copytree(lot, rest)
        (rest / path.name).unlink()
        assert adcli("fit", rest, "-m", rest / "model.h5", *chosen, "--holdout", 0).code == 0
        expected.append(calibrate(adcli, path, rest / "model.h5")["threshold"])
    assert load(model).model.calibration.scores == pytest.approx(sorted(expected), rel=2e-3)


def test_leave_one_out_learns_from_each_content_once(views: Path, adcli: Adcli, tmp_path: Path) -> None:
    lot = shutil.copytree(views / "lotA", tmp_path / "twins")
    for path in list(lot.iterdir()):
        shutil.copy(path, lot / f"again-{path.name}")
    told = json.loads(adcli("fit", lot, "-m", tmp_path / "m.h5", *QUICK, "--leave-one-out", "--json").out)
    assert (told["learnt"], told["held_out"]) == (10, 10)


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--holdout", 0.3), "leave out --holdout"), (("--group-by", PART), "leaves out images, not parts")],
)
def test_leave_one_out_is_refused_beside_what_it_replaces(
    views: Path, adcli: Adcli, tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    told = adcli("fit", views, "-m", tmp_path / "m.h5", *QUICK, "--leave-one-out", *options)
    assert told.code == 2
    assert said in told.sentence


def test_calibrating_several_sizes_twice_alike_gives_the_same_bytes(views: Path, own: Path, adcli: Adcli) -> None:
    """The images that scale the sizes do not come back under the threshold the second time."""
    first = calibrate(adcli, views, own, "--min-area", "9px", "--min-area", "200px")
    once = own.read_bytes()
    again = calibrate(adcli, views, own)
    assert (first["held_out"], again["held_out"]) == (15, 15)
    assert own.read_bytes() == once


def test_scales_learnt_at_fit_stay_when_a_pitch_changes_that_no_size_is_in(
    views: Path, adcli: Adcli, dataset: Path, tmp_path: Path
) -> None:
    model = tmp_path / "joint.h5"
    assert adcli("fit", views, "-m", model, "--min-area", "9px", "--min-area", "200px", *QUICK).code == 0
    good = dataset / "test"
    assert calibrate(adcli, good, model, "--pixel-pitch", "0.1mm")["scales"]["evidence"] == "leave-one-out"
    in_mm = calibrate(adcli, good, model, "--min-area", "0.09mm2", "--min-area", "2mm2")
    assert in_mm["scales"]["evidence"] == "held-out"


def test_what_was_in_force_is_counted_only_where_scores_are_of_its_kind(views: Path, own: Path, adcli: Adcli) -> None:
    calibrate(adcli, views, own, "--max-false-reject", 0.2)
    scores = load(own).model.calibration.scores
    above = int((scores > load(own).model.calibration.threshold).sum())
    assert f"{above} of these 20 images are NG by that" in adcli("calibrate", views, "-m", own, "--dry-run").out
    for other in (("--min-area", "900px"), ("--group-by", PART), ("--min-area", "9px", "--min-area", "99px")):
        out = adcli("calibrate", views, "-m", own, "--dry-run", *other).out
        assert "before: NG above" in out and "are NG by that" not in out


def test_a_dry_run_writes_nothing_and_says_the_same(views: Path, own: Path, adcli: Adcli) -> None:
    before = own.read_bytes()
    dry = calibrate(adcli, views, own, "--dry-run", "--pictures", "--min-area", "30px")
    assert own.read_bytes() == before
    assert sorted(path.name for path in own.parent.iterdir()) == ["own.h5"]
    assert calibrate(adcli, views, own, "--min-area", "30px") == dry


def test_a_rate_that_falls_away_is_told(views: Path, own: Path, adcli: Adcli) -> None:
    calibrate(adcli, views, own, "--max-false-reject", 0.2, "--check-false-reject", 0.4)
    told = adcli("calibrate", views, "-m", own, "--dry-run")
    assert "--max-false-reject 0.2" in told.err and "--check-false-reject 0.4" in told.err


def test_an_empty_band_is_told(views: Path, own: Path, adcli: Adcli) -> None:
    told = adcli("calibrate", views, "-m", own, "--max-false-reject", 0.2, "--check-false-reject", 0.2)
    assert "no image will be CHECK" in told.err


def test_pictures_of_a_calibration_are_no_input_and_strangers_files_stay(views: Path, own: Path, adcli: Adcli) -> None:
    shutil.copytree(views, own.parent, dirs_exist_ok=True)
    first = calibrate(adcli, own.parent, own, "--pictures")
    assert len(list(own.parent.glob("own.*"))) == 3
    assert calibrate(adcli, own.parent, own, "--pictures") | {"threshold_before": None} == first
    for path in own.parent.glob("own.[cs]*"):
        path.write_bytes(b"mine")
    told = adcli("calibrate", views, "-m", own, "--pictures")
    assert told.code == 0 and told.err.count("left as it is") == 2
    assert adcli("calibrate", views, "-m", own).code == 0
    assert {path.read_bytes() for path in own.parent.glob("own.[cs]*")} == {b"mine"}


def test_a_picture_that_cannot_be_drawn_or_written_costs_no_calibration(
    views: Path, own: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own.parent / "own.suspects.jpg").mkdir()
    told = adcli("calibrate", views, "-m", own, "--pictures", "--min-area", "31px")
    assert told.code == 0 and "own.suspects.jpg" in told.err
    assert str(load(own).model.sizes[0]) == "31px"
    monkeypatch.setattr("adcli.report.pictures.calibration_picture", lambda *_, **__: 1 / 0)
    told = adcli("calibrate", views, "-m", own, "--pictures", "--min-area", "32px")
    assert told.code == 0 and "calibration.png could not be drawn" in told.err
    assert str(load(own).model.sizes[0]) == "32px"


def test_a_fit_without_a_threshold_removes_the_pictures_of_the_one_before(
    views: Path, adcli: Adcli, tmp_path: Path
) -> None:
    assert adcli("fit", views, "-m", tmp_path / "m.h5", "--pictures", *QUICK).code == 0
    assert len(list(tmp_path.glob("m.*"))) == 3
    assert adcli("fit", views, "-m", tmp_path / "m.h5", "--force", "--holdout", 0, *QUICK).code == 0
    assert [path.name for path in tmp_path.glob("m.*")] == ["m.h5"]


def test_one_file_under_several_parts_counts_once(views: Path, own: Path, adcli: Adcli, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    source = next(views.rglob("*.png"))
    for part in range(30):
        shutil.copy(source, folder / f"p{part:02}_0.png")
    told = adcli("calibrate", folder, "-m", own, "--group-by", PART)
    assert "29 images are copies" in told.err
    assert load(own).model.calibration.scores.size == 1


def test_names_that_are_no_utf8_can_be_parts_and_expressions_cannot(
    views: Path, own: Path, adcli: Adcli, tmp_path: Path
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for number, path in enumerate(sorted(views.rglob("*.png"))):
        shutil.copy(path, folder / f"x\udcff{number:02}_.png")
    told = adcli("calibrate", folder, "-m", own, "--group-by", "(.*)_", "--min-area", "9px", "--min-area", "99px")
    assert told.code == 0
    assert adcli("calibrate", folder, "-m", own, "--group-by", "\udcff").code == 2


def test_what_cannot_be_is_refused_before_an_image_is_scored(
    views: Path, own: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adcli.tasks.precision.gather", lambda *_: pytest.fail("scored"))
    joint = ("--min-area", "9px", "--min-area", "99px")
    for words, code in (
        ((*joint, "--rule", "max"), 2),
        ((*joint, "--rule", "pot", "--max-false-reject", 0.1), 6),
        (("--group-by", PART, "--max-false-reject", 0.001), 6),
        (("--min-area", "1mm2"), 2),
        (("--leave-out-group", "("), 2),
    ):
        assert adcli("calibrate", views, "-m", own, *words).code == code


def test_a_rate_may_be_given_in_percent(views: Path, own: Path, adcli: Adcli) -> None:
    assert calibrate(adcli, views, own, "--max-false-reject", "20%", "--dry-run") == calibrate(
        adcli, views, own, "--max-false-reject", 0.2, "--dry-run"
    )
    told = adcli("calibrate", views, "-m", own, "--max-false-reject", "few")
    assert told.code == 2 and "no share" in told.err


def test_what_a_killed_run_left_of_this_model_goes_and_others_stay(views: Path, own: Path, adcli: Adcli) -> None:
    mine, others = (own.parent / f".{name}.adcli-tmp-12345678" for name in ("own.h5", "another.h5"))
    mine.write_bytes(b"half a model")
    others.write_bytes(b"half another")
    calibrate(adcli, views, own)
    assert not mine.exists() and others.exists()
