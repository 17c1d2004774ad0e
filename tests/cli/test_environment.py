"""Every option has its twin in the environment, and the command line has the last word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer

from adcli.cli.app import app
from adcli.store import load
from tests.conftest import QUICK, Adcli
from tests.tasks.folders import records

WITHOUT = {"--force", "--resume", "--help", "--version", "--install-completion", "--show-completion"}


def commands(group: object) -> list[object]:
    return [
        one
        for command in group.commands.values()
        for one in (commands(command) if hasattr(command, "commands") else [command])
    ]


def test_every_option_has_its_twin_and_force_and_resume_have_none() -> None:
    seen = 0
    for command in commands(typer.main.get_command(app)):
        for parameter in command.params:
            long = next((name for name in parameter.opts if name.startswith("--")), None)
            if long in WITHOUT:
                assert parameter.envvar is None
            elif long:
                assert parameter.envvar == "ADCLI_" + long[2:].upper().replace("-", "_")
                seen += 1
    assert seen > 60


def test_fit_takes_its_options_from_the_environment(dataset: Path, adcli: Adcli, here: Path) -> None:
    env = {
        "ADCLI_MODEL": "from env.h5",
        "ADCLI_BACKBONE": "random-resnet18",
        "ADCLI_IMAGE_SIZE": "64x96",
        "ADCLI_LAYERS": "layer2,layer3",
        "ADCLI_PARAM": "dims=30 epsilon=0.5",
        "ADCLI_SEED": "11",
        "ADCLI_HOLDOUT": "0.5",
        "ADCLI_MIN_AREA": "400px",
        "ADCLI_PIXEL_PITCH": "50um",
        "ADCLI_WHITE_LEVEL": "4095",
        "ADCLI_MAX_FALSE_REJECT": "0.25",
        "ADCLI_PRECISION": "fp32",
        "ADCLI_JSON": "1",
        "ADCLI_QUIET": "true",
    }
    ran = adcli("fit", dataset / "train", env=env)
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    model = load(Path("from env.h5")).model
    assert model.spec.image_size == (64, 96)
    assert model.spec.layers == ("layer2", "layer3")
    assert (model.spec.seed, model.spec.white_level, model.spec.precision) == (11, 4095, "fp32")
    assert (model.detector.params.dims, model.detector.params.epsilon) == (30, 0.5)
    assert (str(model.sizes[0]), model.pixel_pitch) == ("400px", 0.05)
    assert model.calibration.max_false_reject == 0.25
    assert document["held_out"] > 5


def test_the_command_line_beats_the_environment(dataset: Path, model: Path, adcli: Adcli, here: Path) -> None:
    env = {"ADCLI_MODEL": "none.h5", "ADCLI_SEED": "1", "ADCLI_BACKBONE": "resnet99", "ADCLI_MASKS": "all"}
    assert adcli("fit", dataset / "train", "-m", "new.h5", *QUICK, "--seed", "2", env=env).code == 0
    assert load(Path("new.h5")).model.spec.seed == 2
    words = ("score", dataset / "test", "--out", "out", "-m", model, "--masks", "none")
    assert adcli(*words, env=env).code == 0
    assert not Path("out/masks").exists()


def test_score_takes_its_options_from_the_environment(
    dataset: Path, band_model: Path, adcli: Adcli, here: Path
) -> None:
    env = {
        "ADCLI_MODEL": str(band_model),
        "ADCLI_OUT": "results",
        "ADCLI_MASKS": "all",
        "ADCLI_OVERLAYS": "none",
        "ADCLI_MAPS": "yes",
        "ADCLI_FAIL_ON": "ng",
        "ADCLI_WORKERS": "1",
        "ADCLI_BATCH_SIZE": "2",
        "ADCLI_DEVICE": "cpu",
        "ADCLI_ENGINE": "torch",
    }
    assert adcli("score", dataset / "test", env=env).code == 3
    assert len(records(Path("results"))) == 15
    assert len(list(Path("results/masks").rglob("*.png"))) == len(list(Path("results/maps").rglob("*.tiff"))) == 15
    assert not Path("results/overlays").exists()
    assert adcli("score", dataset / "test", env=env | {"ADCLI_DEVICE": "cuda:99"}).code == 8


def test_eval_takes_its_gates_from_the_environment(dataset: Path, model: Path, adcli: Adcli) -> None:
    env = {"ADCLI_MODEL": str(model), "ADCLI_MIN": "image_auroc=0 pixel_auroc=1.5", "ADCLI_QUIET": "1"}
    told = adcli("eval", dataset, env=env)
    assert told.code == 6
    assert "pixel_auroc" in told.sentence


@pytest.mark.parametrize("name", ["ADCLI_SEED", "ADCLI_WORKERS", "ADCLI_HOLDOUT", "ADCLI_IMAGE_SIZE", "ADCLI_JSON"])
def test_nonsense_in_the_environment_is_refused(name: str, dataset: Path, adcli: Adcli, here: Path) -> None:
    quick = QUICK[:2] if name == "ADCLI_IMAGE_SIZE" else QUICK
    told = adcli("fit", dataset / "train", *quick, env={name: "banana"})
    assert told.code == 2
    assert "banana" in told.sentence or name[6:].lower().replace("_", "-") in told.sentence


def test_an_empty_variable_is_as_good_as_none(dataset: Path, model: Path, adcli: Adcli, here: Path) -> None:
    shutil.copy(model, "model.h5")
    env = dict.fromkeys(("ADCLI_MODEL", "ADCLI_FAIL_ON", "ADCLI_WEIGHTS", "ADCLI_WORKERS", "ADCLI_VERBOSE"), "")
    assert adcli("score", dataset / "test", "--out", "out", env=env).code == 0


def test_a_closed_network_is_asked_for_by_one_variable(dataset: Path, adcli: Adcli, here: Path) -> None:
    assert adcli("fit", dataset / "train", "--backbone", "resnet18", env={"ADCLI_OFFLINE": "1"}).code == 8
