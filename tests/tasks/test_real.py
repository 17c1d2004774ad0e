"""Real images and real weights, where they lie beside the project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Adcli

WEIGHTS = "resnet18-imagenet1k-v1-to-layer3.pth"


@pytest.mark.real
def test_padim_tells_broken_bottles_from_good_ones(shared_data: Path, adcli: Adcli, tmp_path: Path) -> None:
    bottles, weights = shared_data / "data" / "bottle450", shared_data / "weights" / WEIGHTS
    if not bottles.is_dir() or not weights.is_file():
        pytest.skip(f"{bottles} or {weights} is not there")
    model = tmp_path / "bottle.h5"
    assert adcli("fit", bottles / "train" / "good", "-m", model, "--weights", weights, "--offline").code == 0
    evaluated = adcli("eval", bottles, "-m", model, "--json", "--min", "image_auroc=0.97", "--min", "pixel_auroc=0.97")
    assert evaluated.code == 0, evaluated.err
    row = json.loads(evaluated.out)["rows"][-1]
    assert (row["good"], row["defective"]) == (20, 63)
    assert row["image_auroc"] > 0.97
    assert row["pixel_auroc"] > 0.97
