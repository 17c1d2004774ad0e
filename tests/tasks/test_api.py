"""`import adcli` does what the command line does."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

import adcli as package
from adcli.errors import AdcliError, Busy, GateFailed, ModelFileError, UsageError
from adcli.files import hold
from adcli.tasks.score import Outputs
from adcli.thresholds.estimators import Rule
from tests.conftest import QUICK, Adcli
from tests.tasks.folders import timeless

SAME = {"backbone": "embedded", "image_size": (64, 64), "params": {"dims": 30}}


def test_fit_writes_the_file_that_the_command_writes(dataset: Path, model: Path, tmp_path: Path) -> None:
    fitted = package.fit(dataset / "train", tmp_path / "m.h5", **SAME)
    assert (tmp_path / "m.h5").read_bytes() == model.read_bytes()
    assert fitted.learnt == 20 - fitted.calibrated.n
    with pytest.raises(UsageError, match="exists"):
        package.fit(dataset / "train", tmp_path / "m.h5", **SAME)
    package.fit([str(dataset / "train")], str(tmp_path / "m.h5"), overwrite=True, seed=1, **SAME)
    assert package.load(tmp_path / "m.h5").model.spec.seed == 1


def test_fit_looks_where_the_command_looks(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    golden = next((dataset / "train").rglob("*.png"))
    package.fit(dataset / "train", tmp_path / "api.h5", roi="8,8,80,80", tile=64, overlap=20, align=golden, **SAME)
    geometry = ("--roi", "8,8,80,80", "--tile", "64", "--overlap", "20", "--align", golden)
    assert adcli("fit", dataset / "train", "-m", tmp_path / "command.h5", *QUICK, *geometry).code == 0
    assert (tmp_path / "api.h5").read_bytes() == (tmp_path / "command.h5").read_bytes()


def test_calibrate_writes_the_file_that_the_command_writes(
    dataset: Path, model: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    by_command = shutil.copy(model, tmp_path / "command.h5")
    adcli("calibrate", dataset / "test" / "good", "-m", by_command, "--min-area", "40px", "--max-false-reject", "0.3")
    calibrated = package.calibrate(
        dataset / "test" / "good", own_model, min_area="40px", rule=Rule(max_false_reject=0.3)
    )
    assert own_model.read_bytes() == by_command.read_bytes()
    assert calibrated.in_force.threshold == package.load(own_model).model.calibration.threshold
    with pytest.raises(GateFailed):
        package.calibrate(dataset / "test" / "good", own_model, rule=Rule(max_false_reject=0.001))
    with pytest.raises(UsageError):
        package.calibrate(dataset / "test" / "good", own_model, rule=Rule(threshold=math.nan))


def test_score_writes_the_folder_that_the_command_writes(
    dataset: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    options = ("--masks", "all", "--overlays", "none", "--maps", "--fail-on", "ng")
    code = adcli("score", dataset / "test", "--out", tmp_path / "command", "-m", band_model, *options).code
    seen = []
    scored = package.score(
        dataset / "test",
        tmp_path / "api",
        band_model,
        outputs=Outputs("all", "none", True),
        fail_on="ng",
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    assert timeless(tmp_path / "api") == timeless(tmp_path / "command")
    assert scored.exit_code == code == 3
    assert sum(scored.counts.values()) == scored.images == 15
    assert seen == [("scoring", done, 15) for done in range(16)]


def test_evaluate_finds_the_table_that_the_command_prints(dataset: Path, band_model: Path, adcli: Adcli) -> None:
    evaluated = package.evaluate(dataset, band_model)
    printed = json.loads(adcli("eval", dataset, "-m", band_model, "--json").out)
    for row, same in zip(evaluated.rows, printed["rows"], strict=True):
        for key, value in row.items():
            assert same[key] == (None if isinstance(value, float) and math.isnan(value) else value)
    assert (evaluated.notes, evaluated.model_sha256) == (printed["notes"], printed["model"])


def test_load_and_save_are_each_others_inverse(model: Path, tmp_path: Path) -> None:
    package.save(package.load(model).model, tmp_path / "copy.h5")
    assert (tmp_path / "copy.h5").read_bytes() == model.read_bytes()


def test_errors_are_adclis_own_and_carry_the_exit_code(dataset: Path, own_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        package.score(tmp_path, tmp_path / "out", own_model)
    with pytest.raises(UsageError):
        package.load(tmp_path / "none.h5")
    with hold(tmp_path / "out" / ".adcli.lock"), pytest.raises(Busy):
        package.score(dataset / "test", tmp_path / "out", own_model)
    own_model.write_bytes(b"damaged")
    with pytest.raises(ModelFileError) as caught:
        package.score(dataset / "test", tmp_path / "out", own_model)
    assert isinstance(caught.value, AdcliError)
    assert caught.value.exit_code == 7


def test_nothing_is_printed(dataset: Path, own_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    package.fit([dataset / "train", tmp_path / "broken.png"], tmp_path / "m.h5", **SAME)
    package.calibrate([dataset / "test" / "good", tmp_path / "broken.png"], own_model)
    package.score([dataset / "test", tmp_path / "broken.png"], tmp_path / "out", own_model)
    package.evaluate(dataset, own_model)
    assert capfd.readouterr() == ("", "")


def test_the_other_verbs_find_what_their_commands_find(
    dataset: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    told = json.loads(adcli("escapes", dataset, "-m", band_model, "--json").out)
    assert package.escapes(dataset, band_model, layout="mvtec-ad").rows[-1]["missed"] == told["rows"][-1]["missed"]
    image = dataset / "test" / "good" / "000.png"
    (tmp_path / "samples.csv").write_text(f"image,expected\n{image},OK/CHECK/NG\n")
    assert not package.verify(tmp_path / "samples.csv", band_model).missed
    for name in ("a", "b"):
        package.score(dataset / "test", tmp_path / name, band_model)
    assert not package.compare(tmp_path / "a", tmp_path / "b").failures
