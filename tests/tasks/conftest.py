"""Lists of limit samples, and what `score` says of the images in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Adcli, Ran
from tests.tasks.folders import picture, records

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def known(dataset: Path, band_model: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `score` says of the test images, by path; and one image of each verdict under its name."""
    out = tmp_path_factory.mktemp("known")
    assert adcli("score", dataset / "test", "--out", out, "-m", band_model).code == 0
    by_path = {record["image"]: record for record in records(out)}
    for record in by_path.values():
        stem = Path(record["image"]).relative_to(dataset / "test").with_suffix(".png")
        record["mask"] = None if record["verdict"] == "OK" else picture(out / "masks" / stem) > 0
    return by_path | {record["verdict"]: record for record in by_path.values()}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a list of samples, line by line."""

    def write(*lines: str, name: str = "samples.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes("\n".join([*lines, ""]).encode(encoding))
        return path

    return write


@pytest.fixture
def verify(band_model: Path, adcli: Adcli) -> Callable[..., Ran]:
    def run(samples: Path, *words: object) -> Ran:
        return adcli("verify", samples, "-m", band_model, "--by", "tests", *words)

    return run


@pytest.fixture(scope="session")
def of_verdict(known: dict[str, Any]) -> dict[str, Path]:
    """A test image of each verdict of `band_model`."""
    return {verdict: Path(known[verdict]["image"]) for verdict in ("OK", "CHECK", "NG")}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with nothing in it, that images come into."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"
