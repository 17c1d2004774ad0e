"""Which engine scores: the one the threshold was set in, and what is said where that cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adcli.detectors import DETECTORS
from adcli.errors import EnvironmentFault, UsageError
from adcli.model import Model
from adcli.store import load
from adcli.tasks.engines import Machine, _missing, check_machine, choose_device, open_scorer
from adcli.tasks.evidence import gather
from adcli.tasks.precision import PrecisionTrial
from adcli.types import no_progress
from tests.conftest import QUICK, Adcli
from tests.tasks.folders import records

pytest.importorskip("openvino", reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def fitted(model: Path) -> Model:
    return load(model).model


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without OpenVINO."""
    monkeypatch.setattr("adcli.tasks.engines._missing", lambda: "OpenVINO is not installed")


def by(model: Model, engine: str, precision: str = "fp32") -> Model:
    return replace(model, calibration=replace(model.calibration, engine=engine, precision=precision))


def test_a_fit_here_sets_its_threshold_by_openvino(fitted: Model) -> None:
    assert fitted.calibration.engine == "openvino"


@pytest.mark.parametrize(
    ("stored", "asked", "engine"),
    [
        ("openvino", "auto", "openvino"),
        ("torch", "auto", "torch"),
        (None, "auto", "openvino"),
        ("openvino", "torch", "torch"),
        ("torch", "openvino", "openvino, with a note"),
    ],
)
def test_auto_is_what_the_threshold_was_set_in(fitted: Model, stored: str | None, asked: str, engine: str) -> None:
    model = replace(fitted, calibration=None) if stored is None else by(fitted, stored)
    if engine == "openvino, with a note":
        opened = open_scorer(model, Machine(engine=asked))
        assert opened.engine == "openvino"
        assert any("the threshold was set by torch" in note for note in opened.notes)
    else:
        assert open_scorer(model, Machine(engine=asked)).engine == engine


@pytest.mark.usefixtures("absent")
def test_without_openvino_torch_takes_its_place_in_float32_and_says_so(fitted: Model) -> None:
    opened = open_scorer(by(fitted, "openvino", "bf16"), Machine())
    assert (opened.engine, opened.precision) == ("torch", "fp32")
    assert opened.notes == [
        "scores are computed by torch in fp32 (OpenVINO is not installed), the threshold was set by OpenVINO in bf16"
    ]
    assert open_scorer(replace(fitted, calibration=None), Machine()).engine == "torch"
    with pytest.raises(EnvironmentFault, match=r"pip install .*adcli\[openvino\]"):
        check_machine(Machine(engine="openvino"))


def test_openvino_is_refused_with_the_reason_where_it_cannot_score(fitted: Model) -> None:
    asked = Machine(engine="openvino")
    with pytest.raises(UsageError, match=r"no steps of embedded.*--engine torch"):
        open_scorer(replace(fitted, network=None), asked)
    with pytest.raises(UsageError, match=r"tiles that have statistics of their own.*--engine torch"):
        open_scorer(fitted, asked, stacked=4)
    with pytest.raises(UsageError, match="CPU only"):
        open_scorer(fitted, replace(asked, device="cuda"))
    with pytest.raises(UsageError, match="there is no precision 'int8'"):
        open_scorer(fitted, replace(asked, precision="int8"))
    with pytest.raises(UsageError, match="there is no engine 'steam': write auto, torch or openvino"):
        check_machine(Machine(engine="steam"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ImportError("libopenvino.so: cannot open shared object file\nmore"),
            "OpenVINO cannot be loaded (libopenvino.so: cannot open shared object file)",
        ),
        (AttributeError("module 'openvino' has no attribute 'opset14'"), "OpenVINO is too old"),
    ],
)
def test_a_damaged_or_old_openvino_is_as_good_as_none(
    fitted: Model, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def damaged(name: str) -> None:
        raise error

    monkeypatch.setattr("adcli.tasks.engines.import_module", damaged)
    _missing.cache_clear()
    try:
        opened = open_scorer(fitted, Machine())
        assert opened.engine == "torch"
        assert said in opened.notes[0]
    finally:
        _missing.cache_clear()


def test_a_method_that_openvino_cannot_score_is_refused_before_it_learns() -> None:
    with pytest.raises(UsageError, match="spade has no graph for OpenVINO: use --engine torch"):
        check_machine(Machine(engine="openvino"), DETECTORS["spade"])


@pytest.mark.parametrize(("engine", "said"), [("auto", "openvino"), ("openvino", "openvino"), ("torch", "torch")])
def test_left_out_images_count_for_the_engine_of_their_features(fitted: Model, engine: str, said: str) -> None:
    plain = replace(fitted, calibration=None)
    assert open_scorer(plain, Machine(engine=engine), left_out=True).engine == said


def test_images_that_were_learnt_from_are_left_out_by_torch(fitted: Model) -> None:
    from adcli.engines.torch import TorchScorer
    from adcli.tasks.engines import own_extractor

    opened = open_scorer(replace(fitted, calibration=None), Machine(), extractor=own_extractor(fitted), left_out=True)
    assert isinstance(opened.scorer, TorchScorer)
    assert opened.engine == "openvino"  # whose features they are, and which will score


def test_both_engines_give_the_same_verdicts(adcli: Adcli, dataset: Path, model: Path, tmp_path: Path) -> None:
    said = {}
    for engine in ("openvino", "torch"):
        out = tmp_path / engine
        words = ("--engine", engine, "--precision", "fp32")
        assert adcli("score", dataset / "test", "--out", out, "-m", model, *words).code == 0
        assert json.loads((out / "run.json").read_text())["engine"] == engine
        said[engine] = records(out)
    for one, other in zip(said["openvino"], said["torch"], strict=True):
        assert one["verdict"] == other["verdict"]
        assert one["score"] == pytest.approx(other["score"], rel=1e-3)
    assert len({record["verdict"] for record in said["torch"]}) > 1


@pytest.mark.parametrize("words", [(), ("--method", "patchcore", "-p", "coreset=0.1")], ids=["padim", "patchcore"])
def test_scoring_with_openvino_imports_no_torch(
    adcli: Adcli, dataset: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    model = tmp_path / "model.h5"
    assert adcli("fit", dataset / "train", "-m", model, *QUICK[:4], *words).code == 0
    line = ["score", str(dataset / "test"), "-m", str(model), "--out", str(tmp_path / "out")]
    script = (
        "import sys; from adcli.cli.app import app; from typer.testing import CliRunner;"
        f"ran = CliRunner().invoke(app, {line!r});"
        "print(ran.exit_code, sorted({'torch', 'torchvision', 'openvino'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "0 ['openvino']"


@pytest.mark.parametrize("more", [(), ("--holdout", "0"), ("--update",)], ids=["", "holdout-0", "update"])
def test_padim_learns_without_torch(dataset: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    words = ["fit", str(dataset / "train"), "-m", str(tmp_path / "model.h5"), "--image-size", "64"]
    lines = [[*words, *more]]
    if more == ("--update",):
        joining = [*words[:1], str(dataset / "test" / "good"), "--update", words[3], "-m", str(tmp_path / "newer.h5")]
        lines = [[*words, "-p", "updatable=yes"], joining]
    script = (
        "import sys; from adcli.cli.app import app; from typer.testing import CliRunner\n"
        f"for line in {lines!r}:\n"
        "    ran = CliRunner().invoke(app, line)\n"
        "    print(ran.exit_code, ran.stderr if ran.exit_code else '')\n"
        "print(sorted({'torch', 'torchvision', 'openvino'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0"] * len(lines) + ["['openvino']"]


@pytest.mark.parametrize("refused", [False, True])
def test_held_out_images_are_scored_once_unless_bf16_is_refused(
    fitted: Model, dataset: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    from adcli.finding import find_images
    from adcli.tasks import precision as task
    from adcli.thresholds.estimators import Rule

    images = find_images([str(dataset / "test" / "good")])
    calls = []
    monkeypatch.setattr(task, "gather", lambda *args: calls.append(args[1].precision) or gather(*args))
    monkeypatch.setattr(PrecisionTrial, "fine", lambda _: not refused)
    model = replace(fitted, calibration=None, spec=replace(fitted.spec, precision="bf16"))
    monkeypatch.setattr("adcli.tasks.engines.fast_bf16_cpu", lambda: True)
    settled = task.settle(model, images, Rule(), Machine(engine="torch"), no_progress)
    assert calls == (["bf16", "fp32"] if refused else ["bf16"])
    assert settled.mapper.precision == calls[-1]
    assert (settled.trial is None) == refused == bool(settled.notes)
    if settled.trial is not None:  # the scores that it takes over are those of the images
        scores = [held.levels[0] for held in settled.gathered.images]
        np.testing.assert_array_equal(settled.trial.tried[~settled.trial.planted], scores[: len(images)])


def trial(shift: float, several: int = 1) -> PrecisionTrial:
    """Ten good images and ten with a defect; in the tried precision `shift` is added to the lowest of these."""
    scores = np.array([*np.arange(10.0), *(np.arange(10.0) + 4.5)])
    tried = scores + 0.25
    tried[10 : 10 + several] += shift
    return PrecisionTrial(tried, scores, np.arange(20) >= 10)


def test_a_precision_that_loses_defects_is_not_fine() -> None:
    assert trial(0.0).fine()
    assert trial(2.0, 10).fine()  # tells them better
    assert trial(-1.0).fine()  # one pair of a hundred: as likely the other way
    assert not trial(-4.0, 6).fine()


def test_a_check_counts_what_changes_at_the_threshold() -> None:
    check = trial(-4.0).check(4.4)
    assert (check.images, check.planted, check.verdicts_changed) == (10, 10, 1)
    assert check.largest_difference == 3.75  # of the planted, which score about where a threshold lies
    assert check.auroc_fp32 == pytest.approx((100 - 15) / 100)
    assert check.auroc < check.auroc_fp32
    assert "1 of 20 verdicts changes" in check.sentence("bf16")
    assert "none of 20 verdicts changes" in trial(0.0).check(100.0).sentence("bf16")


@pytest.mark.parametrize("word", ["cpu", "auto"])
def test_without_a_driver_torch_is_not_asked_for_a_gpu(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adcli.tasks.engines.may_have_gpu", lambda: False)
    monkeypatch.setattr("adcli.engines.torch.resolve_device", lambda _: pytest.fail("asked"))
    assert choose_device(Machine(device=word)) == "cpu"


def test_with_a_driver_torch_tells_which_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("adcli.tasks.engines.may_have_gpu", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert choose_device(Machine()) == torch.device("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device(Machine()) == "cpu"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_while_openvino_is_loaded_is_no_broken_installation(
    stop: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str) -> None:
        try:
            raise stop
        except BaseException as error:  # as compiled modules have it
            raise ImportError("initialization failed") from error

    _missing.cache_clear()
    monkeypatch.setattr("adcli.tasks.engines.import_module", interrupted)
    with pytest.raises(stop):
        _missing()
    monkeypatch.undo()
    assert _missing() is None
