"""adcli doctor GOOD tells before `fit` what it takes, and does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adcli.tasks import forecast, probing
from tests.conftest import QUICK, Adcli

SMALL = ("--backbone", "random-resnet18", "--image-size", "64")


@pytest.fixture(scope="module")
def told(dataset: Path, adcli: Adcli) -> dict[str, object]:
    done = adcli("doctor", dataset / "train", *QUICK, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_the_size_of_the_model_file_is_told_before_it_is_written(told: dict, model: Path) -> None:
    assert told["model_bytes"] == pytest.approx(model.stat().st_size, rel=0.05)


def test_time_and_memory_are_told_and_every_value_is_flat(told: dict) -> None:
    assert (told["images"], told["held_out"], told["learnt"]) == (20, 5, 15)
    assert (told["smallest_size"], told["largest_size"], told["sizes_sampled"]) == ([96, 96], [96, 96], 20)
    assert 0.3 < told["fit_seconds"] < 60
    assert 0 < told["score_seconds_per_image"] < 5
    assert 50e6 < told["fit_memory_bytes"] < 20e9
    assert 50e6 < told["score_memory_bytes"] < 20e9
    assert told["not_measured"] is None
    assert told["probe_images"] == 20
    assert all(not isinstance(value, dict) for value in told.values())


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("patchcore", ["coreset=0.5"]),
        ("fusion", ["members=padim(dims=20)+patchcore[layer2](coreset=0.3)"]),
    ],
)
def test_the_size_is_told_without_measuring_too(
    method: str, params: list[str], dataset: Path, tmp_path: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = "" if method == "variation" else "random-resnet18"
    words = ["--method", method, "--backbone", backbone, "--image-size", "64", *(f"-p{one}" for one in params)]
    model = tmp_path / "model.h5"
    assert adcli("fit", dataset / "train", *words, "--model", model).code == 0
    monkeypatch.setattr(forecast, "LEAST", 1000)  # images to measure with: there are fewer
    told = json.loads(adcli("doctor", dataset / "train", *words, "--json").out)
    assert (told["fit_seconds"], told["not_measured"]) == (None, "20 images are too few to measure with")
    assert told["model_bytes"] == pytest.approx(model.stat().st_size, rel=0.05)


def test_without_weights_memory_is_told_and_time_is_not_and_torch_stays_out(dataset: Path) -> None:
    script = (
        "import sys; from adcli.cli.app import app\n"
        f"words = ['doctor', {str(dataset / 'train')!r}, '--method', 'patchcore', '--backbone', 'resnet18']\n"
        "code = app(words, standalone_mode=False)\n"
        "assert not {'torch', 'torchvision', 'h5py'} & set(sys.modules), 'heavy'\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not predicted: the weights of resnet18 are not here" in done.stdout
    assert "fit, memory" in done.stdout


def test_the_table_says_what_it_stands_on_and_nothing_is_left_behind(
    dataset: Path, here: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_score", lambda *given: (None, None))  # as where the system tells no memory
    monkeypatch.setattr("tempfile.tempdir", str(here))
    before = sorted(dataset.rglob("*"))
    done = adcli("doctor", dataset / "train", "--method", "variation", "--image-size", "64")
    assert "variation on pixels at 64x64: 20 images" in done.out
    assert "formulas of variation" in done.out
    assert "96x96 pixels, by the headers of all of the 20 images" in done.out
    assert "measured: 20 images" in done.out
    assert sorted(dataset.rglob("*")) == before
    assert list(here.iterdir()) == []


def test_what_cannot_be_told_is_refused_in_one_sentence(dataset: Path, here: Path, adcli: Adcli) -> None:
    good = dataset / "train"
    assert "no method 'padimm': did you mean padim?" in adcli("doctor", good, "--method", "padimm").sentence
    assert "tries several methods" in adcli("doctor", good, "--method", "auto").sentence
    assert "name the images too" in adcli("doctor", "--method", "padim").sentence
    lacking = adcli("doctor", good, "--backbone", "resnet18", "--layers", "conv1")
    assert (lacking.code, "nothing is known of conv1 of resnet18" in lacking.sentence) == (8, True)
    (here / "empty").mkdir()
    assert adcli("doctor", "empty").code == 2
    (here / "broken").mkdir()
    for number in range(8):
        (here / "broken" / f"{number}.png").write_bytes(b"no image")
    assert "none of the images looked at could be read" in adcli("doctor", "broken").sentence
    few = [str(path) for path in sorted(good.glob("good/*.png"))[:4]]
    assert "4 images are too few: give at least 7" in adcli("doctor", *few, *SMALL).sentence
    assert "no parameter 'corset'" in adcli("doctor", good, "--method", "patchcore", "-p", "corset=1").sentence


def test_without_images_it_tells_of_the_machine_as_ever(adcli: Adcli) -> None:
    facts = json.loads(adcli("doctor", "--json").out)
    assert {"cores", "memory_bytes", "missing", "settings"} <= facts.keys()
    assert "model_bytes" not in facts
