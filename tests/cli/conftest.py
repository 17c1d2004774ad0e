"""A line of three parts and its project file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

DAY = ("--date", "2026-01-31")
QUICK_FIT = {"ADCLI_BACKBONE": "random-resnet18", "ADCLI_IMAGE_SIZE": "64", "ADCLI_WORKERS": "2"}
LINE = """
[defaults]
model = "{part}.h5"
[score]
incoming = "incoming/{part}"
out = "results/{date}/{part}"
[calibrate]
held-out = "held-out"
[eval]
dataset = "labelled"
[fit]
good = "good"
param = "dims=30"
"""


@pytest.fixture
def project(here: Path) -> Path:
    """Where the project file of the current folder belongs."""
    return here / "adcli.toml"


@pytest.fixture
def line(dataset: Path, model: Path, here: Path) -> Path:
    """A folder with adcli.toml and the parts lid, cap and ring: a model, good and defective images for each."""
    for part in ("lid", "cap", "ring"):
        shutil.copy(model, f"{part}.h5")
        shutil.copytree(dataset / "test", f"incoming/{part}")
    for name, folder in (("labelled", dataset), ("held-out", dataset / "test/good"), ("good", dataset / "train")):
        (here / name).symlink_to(folder)
    (here / "adcli.toml").write_text(LINE + "[parts.lid]\n[parts.cap.score]\nmasks = 'all'\n[parts.ring]\n")
    return here


def say(line: Path, text: str) -> None:
    """Adds to the project file."""
    (line / "adcli.toml").write_text((line / "adcli.toml").read_text() + text)
