"""Exported files say what `score` says, and none is left that does not."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import adcli as package
from adcli.errors import EnvironmentFault, GateFailed, UsageError
from adcli.finding import find_images
from adcli.geometry import Geometry
from adcli.geometry.crop import CentreCrop
from adcli.geometry.golden import Golden
from adcli.geometry.roi import RegionOfInterest
from adcli.geometry.tiles import Tiling
from adcli.images import prepare, read_image
from adcli.maps import lift, resize
from adcli.model import Scales
from adcli.sizes import MinSize
from adcli.store import load, save
from adcli.tasks.engines import Machine, open_scorer
from adcli.tasks.export import export
from adcli.tasks.export_facts import facts
from adcli.tasks.export_proof import prove
from adcli.types import no_progress
from adcli.verdicts import measure
from tests.conftest import QUICK, ROOT, Adcli, undecodable_png
from tests.models import make
from tests.tasks.folders import picture, records

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

PAGE = (ROOT / "docs/export.md").read_text("utf-8")
KINDS = {"openvino": (".xml", ".bin"), "onnx": (".onnx",)}


@pytest.fixture(scope="module")
def models(dataset: Path, band_model: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each method that has a graph."""
    path = tmp_path_factory.mktemp("exported") / "patchcore.h5"
    quick = [*QUICK[:-2], "--image-size", "64x80", "--method", "patchcore", "-p", "coreset=0.1"]
    assert adcli("fit", dataset / "train", "-m", path, *quick).code == 0
    return {"padim": band_model, "patchcore": path}


def run_file(path: Path, pixels: np.ndarray) -> np.ndarray:
    """The map of an exported file, by the runtime alone."""
    if path.suffix == ".onnx":
        return onnxruntime.InferenceSession(path).run(["map"], {"pixels": pixels})[0]
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({"pixels": pixels})["map"]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What is written


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["padim", "patchcore"])
def test_the_file_gives_the_maps_of_score(
    method: str, kind: str, models: dict[str, Path], dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    out = tmp_path / f"lid{KINDS[kind][0]}"
    exported = adcli("export", "-m", models[method], "--out", out, "--json")
    assert exported.code == 0
    image = next((dataset / "test" / "scratch").glob("*.png"))
    scored = ["--maps", "--engine", "torch", "--precision", "fp32"]
    assert adcli("score", image, "-m", models[method], "--out", tmp_path / "scored", *scored).code == 0
    height, width = json.loads(exported.out)["image_size"]
    gray = cv2.imread(str(image), cv2.IMREAD_UNCHANGED).astype(np.float32) / 255
    pixels = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)[np.newaxis, :, :, np.newaxis].repeat(3, 3)
    found = cv2.resize(run_file(out, pixels)[0], gray.shape[::-1], interpolation=cv2.INTER_LINEAR)
    expected = picture(tmp_path / "scored/maps" / f"{image.stem}.tiff")
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_file_names_the_files_and_the_model(kind: str, models: dict[str, Path], tmp_path: Path) -> None:
    exported = package.export(tmp_path / f"lid{KINDS[kind][0]}", models["padim"])
    assert left(tmp_path) == sorted(f"lid{suffix}" for suffix in (*KINDS[kind], ".json"))
    about = json.loads((tmp_path / "lid.json").read_text())
    stored = load(models["padim"])
    assert about["files"] == {
        f"lid{suffix}": hashlib.sha256((tmp_path / f"lid{suffix}").read_bytes()).hexdigest() for suffix in KINDS[kind]
    }
    assert (about["model_sha256"], about["detector_digest"]) == (stored.sha256, stored.detector_digest)
    assert about["threshold"] == stored.model.calibration.threshold
    assert about["conditions"][0]["min_area_px"] == 20
    assert about["verified"] is None
    assert exported.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_the_page_has_every_key_of_the_json_file(models: dict[str, Path], tmp_path: Path) -> None:
    package.export(tmp_path / "lid.onnx", models["padim"])
    table = PAGE.partition("| key | meaning |")[2].partition("\n\n")[0]
    named = {name for row in re.findall(r"^\| ([^|]+) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(json.loads((tmp_path / "lid.json").read_text()))


def test_equal_models_give_equal_files(models: dict[str, Path], tmp_path: Path) -> None:
    for name in ("lid.onnx", "cap.xml"):
        for folder in ("one", "two"):
            package.export(tmp_path / folder / name, models["padim"])
    assert left(tmp_path / "one") == ["cap.bin", "cap.json", "cap.xml", "lid.json", "lid.onnx"]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_pages_program_decides_as_score_does(
    models: dict[str, Path], dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    package.export(tmp_path / "lid.onnx", models["padim"])
    program = tmp_path / "decide.py"
    program.write_text(re.search(r"```python\n(.*?)```", PAGE, re.S)[1])
    scored = ["--precision", "fp32", "--masks", "none", "--overlays", "none"]
    assert adcli("score", dataset / "test", "-m", models["padim"], "--out", tmp_path / "scored", *scored).code == 0
    expected = {
        record["image"]: "OK" if record["reason"] else record["verdict"] for record in records(tmp_path / "scored")
    }
    assert set(expected.values()) == {"OK", "CHECK", "NG"}
    call = [sys.executable, str(program), str(tmp_path / "lid"), *expected]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {path: verdict for verdict, _, path in (line.partition(" ") for line in said)} == expected


def test_each_of_several_sizes_has_thresholds_that_decide_as_the_score(models: dict[str, Path]) -> None:
    stored = load(models["padim"])
    sizes = tuple(map(MinSize.parse, ("0.1%", "0.3mm2")))
    scales = Scales(np.array([1.0, 0.5]), np.array([0.7, 0.3]), 9, "leave-one-out")
    calibration = replace(stored.model.calibration, threshold=1 / 3, check_threshold=None)
    model = replace(stored.model, sizes=sizes, scales=scales, calibration=calibration)
    one, other = facts(replace(stored, model=model), "onnx", {}, None, ())["conditions"]
    assert (one["min_area_px"], one["min_area_share"]) == (None, 0.001)
    assert (other["min_area_px"], other["min_area_share"]) == (30, None)  # at 0.1 mm a pixel
    assert one["check_threshold"] is None
    rng = np.random.default_rng(0)
    decided = []
    for _ in range(200):
        score_map = cv2.GaussianBlur(rng.normal(rng.uniform(-2, 1), 8, (60, 50)).astype(np.float32), (0, 0), 3)
        above = [
            (cv2.connectedComponentsWithStats((score_map > size["threshold"]).view(np.uint8))[2][1:, 4] >= area).any()
            for size, area in ((one, 3), (other, 30))
        ]
        decided.append(any(above))
        assert decided[-1] == (measure(model, score_map).score > 1 / 3)
    assert 20 < sum(decided) < 180


# Verifying


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["padim", "patchcore"])
def test_a_file_is_verified_against_torch(
    method: str, kind: str, models: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"lid{KINDS[kind][0]}"
    images = sorted((dataset / "test").rglob("*.png"))[::3]
    exported = package.export(out, models[method], verify=images, machine=Machine(engine="torch"))
    found = exported.proof.facts()
    assert (found["images"], found["unreadable"], found["engine"]) == (len(images), 0, "torch")
    assert found["verdicts_changed"] == 0
    assert found["largest_difference"] > 0
    assert 0 < found["largest_relative_difference"] < 1e-4
    assert json.loads((tmp_path / "lid.json").read_text())["verified"] == found


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda score_map: score_map + np.float32(0.01) * score_map.max(), "0 of 3 verdicts differ"),
        (lambda score_map: score_map * np.float32(50), "of 3 verdicts differ"),
        (lambda score_map: np.full_like(score_map, np.nan), "3 of 3 verdicts differ"),
    ],
)
def test_a_file_that_says_something_else_is_not_kept(
    spoil: Any, told: str, models: dict[str, Path], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adcli.engines import onnx_file

    read = onnx_file.read
    package.export(tmp_path / "lid.onnx", models["padim"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(onnx_file, "read", lambda path: lambda pixels: spoil(read(path)(pixels)))
    images = sorted((dataset / "train").rglob("*.png"))[:3]
    with pytest.raises(GateFailed, match=told) as failed:
        package.export(tmp_path / "lid.onnx", models["padim"], verify=images, force=True)
    assert "lid.onnx is not kept" in str(failed.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(GateFailed):
        package.export(tmp_path / "new.onnx", models["padim"], verify=images)
    assert left(tmp_path) == sorted(before)


def test_a_score_that_is_the_threshold_may_fall_on_either_side(models: dict[str, Path], dataset: Path) -> None:
    images = find_images([str(next((dataset / "test/dent").glob("*.png")))])
    model = load(models["padim"]).model
    torch = Machine(engine="torch", precision="fp32")
    scorer = open_scorer(model, torch, own=False).scorer

    def run(pixels: np.ndarray) -> np.ndarray:
        return lift(scorer(pixels[np.newaxis]).grid[0], (64, 64), model.spec.sigma, (64, 64))

    pixels = read_image(images[0].path).pixels
    score = measure(model, resize(run(prepare(pixels, (64, 64))), pixels.shape)).score
    for nearness, changed in ((4e-6, 0), (1e-4, 1)):
        threshold = score * (1 + nearness / 2)
        calibration = replace(model.calibration, threshold=threshold, check_threshold=None)
        more = np.float32(1 + nearness)
        proof = prove(
            lambda pixels, more=more: run(pixels) * more,
            replace(model, calibration=calibration),
            images,
            torch,
            no_progress,
        )
        assert proof.facts()["verdicts_changed"] == changed
        assert any("is the threshold but for rounding" in note for note in proof.notes) is not bool(changed)


def test_images_that_cannot_be_read_are_told_and_compare_nothing(
    models: dict[str, Path], dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(undecodable_png())
    good = sorted((dataset / "test/good").glob("*.png"))[:2]
    call = ["export", "-m", models["padim"], "--out", tmp_path / "lid.onnx", "--verify"]
    ran = adcli(*call, tmp_path / "broken.png", *good, "--json")
    assert ran.code == 5
    assert f"adcli: not compared: {tmp_path / 'broken.png'} is cut off" in ran.err
    assert json.loads(ran.out)["verified"]["images"] == 2
    ran = adcli(*call, tmp_path / "broken.png", "--force")
    assert (ran.code, "is not verified" in ran.err) == (6, True)
    assert json.loads((tmp_path / "lid.json").read_text())["verified"]["images"] == 2  # of the file from before


# What cannot be exported


def altered(path: Path, folder: Path, **changes: Any) -> Path:
    save(replace(load(path).model, **changes), folder / "altered.h5")
    return folder / "altered.h5"


@pytest.mark.parametrize(
    ("geometry", "told"),
    [
        (Geometry(tiling=Tiling(64, 8)), "with tiles, .* without --tile$"),
        (Geometry(golden=Golden(np.zeros((8, 8), np.uint8), 8, 8, "0" * 64)), "with alignment, .* without --align$"),
        (Geometry(crop=CentreCrop((73, 73), (64, 64))), "with a crop, .* without --protocol paper$"),
        (
            Geometry(roi=RegionOfInterest.of(np.eye(9) > 0), tiling=Tiling(64, 8)),
            "with tiles and a region of interest, .* without --tile and --roi$",
        ),
    ],
)
def test_what_looks_at_parts_of_an_image_is_refused(
    geometry: Geometry, told: str, models: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        package.export(tmp_path / "lid.onnx", altered(models["padim"], tmp_path, geometry=geometry))
    assert left(tmp_path) == ["altered.h5"]


def test_what_has_no_graph_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no steps of its backbone embedded"):
        package.export(tmp_path / "lid.onnx", altered(models["padim"], tmp_path, network=None))
    network = load(models["padim"]).model.network
    save(make("spade", network=network), tmp_path / "spade.h5")
    with pytest.raises(UsageError, match=r"is of spade, which has no graph .* one of padim or patchcore"):
        package.export(tmp_path / "lid.onnx", tmp_path / "spade.h5")


def test_a_model_without_threshold_gives_a_file_without(uncalibrated: Path, dataset: Path, tmp_path: Path) -> None:
    image = next((dataset / "test/dent").glob("*.png"))
    exported = package.export(tmp_path / "lid.onnx", uncalibrated, verify=image)
    assert exported.facts["threshold"] is exported.facts["conditions"][0]["threshold"] is None
    assert exported.facts["verified"]["verdicts_changed"] is None
    assert "adcli calibrate" in exported.notes[0]


def test_nothing_is_replaced_without_force(models: dict[str, Path], tmp_path: Path) -> None:
    for name in ("lid.bin", "lid.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(UsageError, match=f"{name} exists: .* --force"):
            package.export(tmp_path / "lid.xml", models["padim"])
        assert left(tmp_path) == [name]
        (tmp_path / name).unlink()
    model = tmp_path / "lid.onnx"
    model.write_bytes(models["padim"].read_bytes())
    with pytest.raises(UsageError, match="is the model itself"):
        package.export(model, model, force=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", "lid.h5"], "name it FILE.xml or FILE.onnx"),
        (["--out", "lid.xml", "--format", "onnx"], "name it FILE.onnx"),
        (["--out", "lid.onnx", "--format", "tensorrt"], "write auto, openvino or onnx"),
        (["--out", "lid.onnx", "a.png"], "put --verify before"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(
    words: list[str], told: str, models: dict[str, Path], adcli: Adcli, here: Path
) -> None:
    ran = adcli("export", "-m", models["padim"], *words)
    assert (ran.code, told in ran.sentence) == (2, True)
    assert left(here) == []


def test_a_package_that_is_missing_is_named_with_the_command_that_brings_it(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adcli.tasks.export.find_spec", lambda name: None if name == "onnxruntime" else object())
    package.export(tmp_path / "lid.onnx", models["padim"])
    image = package.api.find_images([str(ROOT / "docs/overlay.png")])
    with pytest.raises(EnvironmentFault, match=r'onnxruntime is not installed.* pip install "adcli\[onnx\]"'):
        export(models["padim"], tmp_path / "new.onnx", verify=image)
    monkeypatch.setattr("adcli.tasks.export.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r'openvino is not installed.* pip install "adcli\[openvino\]"'):
        package.export(tmp_path / "new.xml", models["padim"])


def test_the_project_file_may_say_what_to_verify_on(
    models: dict[str, Path], dataset: Path, adcli: Adcli, here: Path
) -> None:
    (here / "held-out").symlink_to(dataset / "test/good")
    (here / "adcli.toml").write_text('[export]\nout = "lid.onnx"\nverify = ["held-out"]\n')
    ran = adcli("export", "-m", models["padim"], "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["verified"]["images"] == 6
