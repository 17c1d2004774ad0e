"""Real images and real weights, where they lie beside the project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import Adcli
from tests.tasks.folders import picture, records

WEIGHTS = "resnet18-imagenet1k-v1-to-layer3.pth"


@pytest.mark.real
@pytest.mark.parametrize("backbone", ["embedded", "resnet18"])
def test_padim_tells_broken_bottles_from_good_ones(
    backbone: str, shared_data: Path, adcli: Adcli, tmp_path: Path
) -> None:
    bottles, weights = shared_data / "data" / "bottle450", shared_data / "weights" / WEIGHTS
    if not bottles.is_dir() or not weights.is_file():
        pytest.skip(f"{bottles} or {weights} is not there")
    model = tmp_path / "bottle.h5"
    options = () if backbone == "embedded" else ("--backbone", backbone, "--weights", weights)
    assert adcli("fit", bottles / "train" / "good", "-m", model, *options, "--offline").code == 0
    evaluated = adcli("eval", bottles, "-m", model, "--json", "--min", "image_auroc=0.97", "--min", "pixel_auroc=0.97")
    assert evaluated.code == 0, evaluated.err
    row = json.loads(evaluated.out)["rows"][-1]
    assert (row["good"], row["defective"]) == (20, 63)
    assert row["image_auroc"] > 0.97
    assert row["pixel_auroc"] > 0.97


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "black": np.zeros_like,
    "white": lambda pixels: np.full_like(pixels, 255),
    "covered": lambda pixels: np.full_like(pixels, 12),
    "half covered": lambda pixels: np.where(np.indices(pixels.shape)[1] < pixels.shape[1] // 2, 12, pixels),
    "blurred": lambda pixels: cv2.GaussianBlur(pixels, (0, 0), pixels.shape[1] / 64),
    "16 bits": lambda pixels: pixels * np.uint16(257),
    "another number of channels": lambda pixels: (
        np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels[..., 0]
    ),
}


@pytest.mark.real
@pytest.mark.parametrize(("method", "backbone"), [("padim", "embedded"), ("patchcore", "resnet18")])
@pytest.mark.parametrize(("name", "other"), [("bottle450", "mtd"), ("mtd", "bottle450")])
def test_what_shows_no_such_part_is_never_ok(
    name: str, other: str, method: str, backbone: str, shared_data: Path, adcli: Adcli, tmp_path: Path
) -> None:
    data, weights = shared_data / "data", shared_data / "weights" / WEIGHTS
    if not (data / name).is_dir() or not (data / other).is_dir() or not weights.is_file():
        pytest.skip(f"{data / name}, {data / other} or {weights} is not there")
    train = sorted((data / name / "train" / "good").iterdir())
    model = tmp_path / "model.h5"
    given = () if backbone == "embedded" else ("--weights", weights)
    options = ("--method", method, "-m", model, *given, "--offline")
    assert adcli("fit", *train[:: len(train) // 60], *options).code == 0
    good = sorted((data / name / "test" / "good").iterdir())
    for fault, spoil in FAULTS.items():
        (tmp_path / "faults" / fault).mkdir(parents=True)
        for image in good[::8]:
            spoilt = np.ascontiguousarray(spoil(picture(image)))
            kind = np.uint16 if fault == "16 bits" else np.uint8
            cv2.imwrite(str(tmp_path / "faults" / fault / f"{image.stem}.png"), spoilt.astype(kind))
    strangers = [str(image) for image in sorted((data / other / "test" / "good").iterdir())[:10]]
    assert adcli("score", tmp_path / "faults", *strangers, "-m", model, "--out", tmp_path / "faulty").code == 0
    for record in records(tmp_path / "faulty"):
        assert record["verdict"] in ("NG", "CHECK"), record["image"]
    assert adcli("score", *good, "-m", model, "--out", tmp_path / "good").code == 0
    guarded = sum(record["reason"] is not None for record in records(tmp_path / "good"))
    assert guarded <= 0.05 * len(good)
