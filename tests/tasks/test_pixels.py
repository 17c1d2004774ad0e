"""Methods that need no weights, through the command line: from fit to eval, with regions, tiles and alignment."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from adcli import detectors
from adcli.store import load
from tests.conftest import Adcli
from tests.models import same
from tests.tasks.folders import picture

METHODS = ["texture", "variation", "lbp"]
SMALL = ("--image-size", "64", "--offline")


def fitted(adcli: Adcli, good: Path, path: Path, *words: object) -> Path:
    ran = adcli("fit", good, "-m", path, *SMALL, *words)
    assert ran.code == 0, ran.err
    assert "untrained" not in ran.err
    return path


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "where", [(), ("--roi", "24,24,48,48"), ("--tile", "48", "--overlap", "12", "--roi", "10%,10%,80%,80%")]
)
def test_they_learn_offline_without_weights_and_score(
    method: str, where: tuple[str, ...], dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    path = fitted(adcli, dataset / "train", tmp_path / "m.h5", "--method", method, "--precision", "auto", *where)
    model = load(path).model
    assert (model.spec.backbone, model.spec.layers, model.spec.precision) == ("pixels", ("rgb",), "fp32")
    assert model.weights == {}
    ran = adcli("score", dataset / "test", "--out", tmp_path / "out", "-m", path, "--maps")
    assert ran.code in (0, 3), ran.err
    assert "bf16" not in ran.err
    maps = [picture(one) for one in sorted((tmp_path / "out" / "maps").rglob("*.tiff"))]
    assert maps and all(one.shape == (96, 96) and (one > -np.inf).any() for one in maps)


def test_the_footprint_is_of_the_methods_own_grid(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    pixel = load(fitted(adcli, dataset / "train", tmp_path / "v.h5", "--method", "variation")).model
    block = load(fitted(adcli, dataset / "train", tmp_path / "l.h5", "--method", "lbp")).model
    # A Gaussian of 4 pixels is above half its peak within 4.7 pixels.
    assert pixel.footprint * 64**2 == pytest.approx(np.pi * (4 * np.sqrt(2 * np.log(2))) ** 2, rel=0.05)
    assert block.footprint > 1.5 * pixel.footprint


def test_a_shifted_part_is_strange_to_variation_unless_it_is_aligned(adcli: Adcli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    part = cv2.GaussianBlur(rng.random((96, 96)), (0, 0), 3)
    part = (part - part.min()) / np.ptp(part)
    for name, count in (("good", 16), ("test/good", 6), ("test/dent", 6)):
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            image = part + rng.normal(0, 0.01, part.shape)
            if name == "test/dent":
                image[40:52, 44:56] += 0.3 - 0.6 * (image[40:52, 44:56] > 0.5)
            move = np.array([[1, 0, rng.uniform(-5, 5)], [0, 1, rng.uniform(-5, 5)]])
            image = cv2.warpAffine(image, move, (96, 96), borderMode=cv2.BORDER_REFLECT)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), np.clip(20 + 200 * image, 0, 255).astype(np.uint8))
    found = {}
    for name, words in (("still", ()), ("aligned", ("--align", tmp_path / "good" / "0.png"))):
        path = fitted(adcli, tmp_path / "good", tmp_path / f"{name}.h5", "--method", "variation", *words)
        ran = adcli("eval", tmp_path / "test", "-m", path, "--json")
        assert ran.code == 0, ran.err
        found[name] = next(row for row in json.loads(ran.out)["rows"] if row["kind"] == "all")["image_auroc"]
    assert found["aligned"] == 1
    assert found["still"] < 0.9


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--method", "texture", "--backbone", "resnet18"), "pixels only"),
        (("--method", "padim", "--backbone", "pixels"), "is for texture, variation, lbp"),
        (("--method", "lbp", "--weights", "resnet18.pth"), "no weights"),
        (("--method", "lbp", "--layers", "layer1"), "one layer"),
        (("--method", "lbp", "--precision", "fp64"), "no precision"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(
    words: tuple[str, ...], sentence: str, dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    ran = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *words)
    assert ran.code == 2
    assert sentence in ran.sentence


@pytest.mark.parametrize("name", [name for name in METHODS if not detectors.DETECTORS[name].seeded])
def test_what_draws_nothing_is_the_same_for_every_seed(name: str, dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    models = []
    for seed in (1, 2):
        path = fitted(
            adcli, dataset / "train", tmp_path / f"{seed}.h5", "--method", name, "--holdout", "0", "--seed", seed
        )
        models.append(load(path).model.detector)
    assert same(*models)


def test_benchmark_measures_each_method_on_its_own_backbone(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    words = ("--methods", "variation", "--backbones", "random-resnet18", "--image-size", "64", "--no-score")
    ran = adcli("benchmark", dataset, "--out", tmp_path / "bench", "--json", *words)
    assert ran.code == 0, ran.err
    assert [(run["configuration"], run["backbone"]) for run in json.loads(ran.out)["runs"]] == [("variation", "pixels")]
