"""The exit codes that scripts rely on, and the one sentence that comes with each that is not 0."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from adcli.files import hold
from tests.conftest import QUICK, Adcli, undecodable_png
from tests.tasks.folders import records


@pytest.mark.parametrize(
    "words",
    [
        "nope",
        "fit",
        "fit good --nope",
        "score good",
        "score good --out out -m none.h5",
        "score none.png --out out",
        "score good --out out --masks some",
        "score good --out out --fail-on NG",
        "score good --out out --device tpu",
        "score good --out out --device cpu:1",
        "score good --out out --precision fp17",
        "score good --out out --engine steam",
        "score good --out out --workers -1",
        "score good --out out --workers 100000",
        "score good --out out --workers many",
        "score empty --out out",
        "score notes.txt/ --out out",
        "score",
        "calibrate good -m none.h5",
        "calibrate good -m nowhere/none.h5",
        "calibrate good --min-area nan",
        "calibrate good --min-area -3px",
        "calibrate good --min-area 101%",
        "calibrate good --min-area 1mm2",
        "calibrate good --min-area 10000px",
        "calibrate good --pixel-pitch 0mm",
        "calibrate good --max-false-reject 0",
        "calibrate good --max-false-reject nan",
        "calibrate good --max-false-reject 1",
        "calibrate good --confidence 0.95",
        "calibrate good --check-false-reject 0.1",
        "calibrate good --max-false-reject 0.4 --check-false-reject 0.3",
        "calibrate good --rule median",
        "calibrate good --rule conformal",
        "calibrate good --threshold nan",
        "calibrate good --threshold inf",
        "calibrate good --threshold 3 --max-false-reject 0.1",
        "fit good",
        "fit good -m .",
        "fit good -m nowhere/new.h5",
        "fit good -m new.h5 --method padmi",
        "fit good -m new.h5 --image-size banana",
        "fit good -m new.h5 --image-size 0",
        "fit good -m new.h5 --image-size 31",
        "fit good -m new.h5 --image-size 64x",
        "fit good -m new.h5 --image-size 100000",
        "fit good -m new.h5 --holdout 1",
        "fit good -m new.h5 --holdout -0.1",
        "fit good -m new.h5 --holdout nan",
        "fit good -m new.h5 --holdout 0.99999",
        "fit good -m new.h5 -p nope=1",
        "fit good -m new.h5 -p dims",
        "fit good -m new.h5 -p dims=many",
        "fit good -m new.h5 -p dims=-1",
        "fit good -m new.h5 --layers layer9",
        "fit good -m new.h5 --layers layer1,layer1",
        "fit good -m new.h5 --white-level nan",
        "fit good -m new.h5 --white-level inf",
        "fit good -m new.h5 --white-level 0",
        "fit good -m new.h5 --seed -1",
        "fit good -m new.h5 --seed 99999999999999999999999",
        "fit good -m new.h5 --min-area 1mm2",
        "fit good -m new.h5 --threshold nan",
        "fit good -m new.h5 --rule median",
        "fit good -m new.h5 --backbone random-resnet18 --weights some.pth",
        "fit good -m new.h5 --device tpu",
        "fit good/000.png good/001.png good/002.png -m new.h5",
        "fit good/000.png -m new.h5 --holdout 0",
        "eval nowhere",
        "eval",
        "eval good --json --csv",
        "eval metal --min image_auroc",
        "eval metal --min image_auroc=nan",
        "eval metal --min elegance=1",
        "eval metal --good good",
        "eval --good good --bad good",
        "weights add some.pth resnet81",
        "weights pull random-resnet18 --offline",
        "info none.h5",
    ],
)
def test_a_call_that_makes_no_sense_ends_with_2_and_one_sentence(
    words: str, dataset: Path, model: Path, adcli: Adcli, here: Path
) -> None:
    (here / "good").symlink_to(dataset / "train" / "good")
    (here / "metal").symlink_to(dataset)
    (here / "empty").mkdir()
    (here / "notes.txt").write_text("no image")
    shutil.copy(model, "model.h5")
    verb, *rest = words.split()
    quick = QUICK[: 2 if "--image-size" in rest else 4] if verb == "fit" and rest else ()
    told = adcli(verb, *quick, *rest, *(["-q"] if verb == "eval" else []))
    assert told.code == 2
    assert len(told.sentence) > 15
    assert told.out == "" or verb == "eval"
    assert sorted(path.name for path in here.iterdir()) == ["empty", "good", "metal", "model.h5", "notes.txt"]


@pytest.mark.parametrize(("wrong", "meant"), [("resnet81", "resnet18"), ("random-resnet19", "resnet18")])
def test_an_unknown_backbone_is_answered_with_near_ones(
    wrong: str, meant: str, dataset: Path, adcli: Adcli, here: Path
) -> None:
    told = adcli("fit", dataset / "train", "--backbone", wrong)
    assert told.code == 2
    assert meant in told.sentence


def test_fit_overwrites_a_model_only_when_it_is_forced(dataset: Path, own_model: Path, adcli: Adcli) -> None:
    before = own_model.read_bytes()
    fit = ("fit", dataset / "train", "-m", own_model, *QUICK, "--seed", "7")
    told = adcli(*fit)
    assert told.code == 2
    assert "--force" in told.sentence
    assert own_model.read_bytes() == before
    assert adcli(*fit, "--force").code == 0
    assert own_model.read_bytes() != before


@pytest.mark.parametrize(
    ("fail_on", "folders", "code"),
    [
        (None, ["ng", "check", "ok"], 0),
        ("ng", ["ng", "check", "ok"], 3),
        ("check", ["ng", "check", "ok"], 3),
        ("ng", ["check", "ok"], 0),
        ("check", ["check", "ok"], 4),
        ("check", ["ok"], 0),
        ("ng", ["ng", "unreadable"], 5),
        ("check", ["check", "unreadable"], 5),
    ],
)
def test_fail_on_tells_ng_and_check_by_the_code(
    fail_on: str | None,
    folders: list[str],
    code: int,
    dataset: Path,
    band_model: Path,
    adcli: Adcli,
    tmp_path: Path,
    by_verdict: Path,
) -> None:
    inputs = [by_verdict / name for name in folders]
    option = () if fail_on is None else ("--fail-on", fail_on)
    assert adcli("score", *inputs, "--out", tmp_path / "out", "-m", band_model, *option).code == code


@pytest.fixture(scope="module")
def by_verdict(dataset: Path, band_model: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ok, check, ng and unreadable, an image or more in each."""
    folder = tmp_path_factory.mktemp("sorted")
    adcli("score", dataset / "test", "--out", folder / "out", "-m", band_model)
    for record in records(folder / "out"):
        target = folder / record["verdict"].lower()
        target.mkdir(exist_ok=True)
        path = Path(record["image"])
        shutil.copy(path, target / f"{path.parent.name}{path.name}")
    (folder / "unreadable").mkdir()
    (folder / "unreadable" / "x.png").write_bytes(b"no image")
    return folder


def test_an_unreadable_image_ends_every_verb_with_5_and_is_named(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    for kind in ("train/good", "test/good"):
        shutil.copytree(dataset / kind, tmp_path / kind)
        (tmp_path / kind / "zz.png").write_bytes(b"no image")
        (tmp_path / kind / "undecodable.png").write_bytes(undecodable_png())
    for words in (
        ("fit", tmp_path / "train", "-m", tmp_path / "new.h5", *QUICK),
        ("calibrate", tmp_path / "test" / "good", "-m", own_model),
        ("score", tmp_path / "test" / "good", "--out", tmp_path / "out", "-m", own_model),
        ("eval", tmp_path, "-m", own_model),
    ):
        ran = adcli(*words)
        assert ran.code == 5
        for name in ("good/zz.png", "good/undecodable.png"):
            (line,) = [line for line in ran.err.splitlines() if name in line]
            assert line.startswith("adcli: ")
    assert adcli("score", dataset / "test", "--out", tmp_path / "out", "-m", tmp_path / "new.h5").code == 0


def test_a_bound_that_cannot_be_met_ends_with_6_and_names_the_number_it_takes(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    before = own_model.read_bytes()
    bound = ("--max-false-reject", "0.001", "--confidence", "0.95")
    told = adcli("calibrate", dataset / "test" / "good", "-m", own_model, *bound)
    assert told.code == 6
    assert "2995" in told.sentence
    assert own_model.read_bytes() == before
    told = adcli("fit", dataset / "train", "-m", tmp_path / "new.h5", *QUICK, "--max-false-reject", "0.001")
    assert told.code == 6
    assert "999" in told.sentence
    assert not (tmp_path / "new.h5").exists()


def test_a_gate_of_eval_ends_with_6_and_names_metric_and_values(dataset: Path, model: Path, adcli: Adcli) -> None:
    assert adcli("eval", dataset, "-m", model, "--min", "image_auroc=0", "--min", "pixel_auroc=0.01").code == 0
    failed = adcli("eval", dataset, "-m", model, "-q", "--json", "--min", "image_auroc=1.5", "--min", "tnr=0")
    assert failed.code == 6
    assert "image_auroc" in failed.sentence
    assert "1.5" in failed.sentence
    assert "tnr" not in failed.sentence
    assert failed.out.startswith("{")


def test_a_gate_on_what_is_undefined_fails(dataset: Path, uncalibrated: Path, adcli: Adcli) -> None:
    failed = adcli("eval", dataset, "-m", uncalibrated, "-q", "--min", "tnr=0")
    assert failed.code == 6
    assert "undefined" in failed.sentence


def test_a_failed_gate_outranks_an_unreadable_image(dataset: Path, model: Path, adcli: Adcli, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "metal")
    (tmp_path / "metal" / "test" / "dent" / "000.png").write_bytes(b"no image")
    assert adcli("eval", tmp_path / "metal", "-m", model).code == 5
    assert adcli("eval", tmp_path / "metal", "-m", model, "--min", "image_auroc=1.5").code == 6


def test_a_damaged_mask_is_refused_by_its_name(dataset: Path, model: Path, adcli: Adcli, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "metal")
    (tmp_path / "metal" / "ground_truth" / "dent" / "001_mask.png").write_bytes(b"no image")
    told = adcli("eval", tmp_path / "metal", "-m", model)
    assert told.code == 2
    assert "001_mask.png" in told.sentence


@pytest.fixture(params=["damaged", "cut", "empty", "foreign", "other hdf5", "newer", "unknown method", "folder"])
def bad_model(request: pytest.FixtureRequest, own_model: Path) -> Path:
    data = own_model.read_bytes()
    if request.param == "damaged":
        own_model.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
    elif request.param == "cut":
        own_model.write_bytes(data[:-100])
    elif request.param == "empty":
        own_model.write_bytes(b"")
    elif request.param == "foreign":
        own_model.write_bytes(b"a letter to a friend")
    elif request.param == "folder":
        own_model.unlink()
        own_model.mkdir()
    else:
        with h5py.File(own_model, "r+") as file:
            if request.param == "other hdf5":
                del file.attrs["format"]
            elif request.param == "newer":
                file.attrs["schema"] = 99
            else:
                file["spec"].attrs["method"] = "phrenology"
    return own_model


def test_a_model_that_cannot_be_used_ends_with_7_and_nothing_is_written(
    bad_model: Path, dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    for words in (
        ("score", dataset / "test", "--out", tmp_path / "out", "-m", bad_model),
        ("eval", dataset, "-m", bad_model),
        ("calibrate", dataset / "test" / "good", "-m", bad_model),
        ("info", bad_model),
    ):
        told = adcli(*words)
        assert told.code == 7
        assert str(bad_model) in told.sentence
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_threshold_ends_score_with_7_naming_calibrate(
    dataset: Path, uncalibrated: Path, adcli: Adcli, tmp_path: Path
) -> None:
    told = adcli("score", dataset / "test", "--out", tmp_path / "out", "-m", uncalibrated)
    assert told.code == 7
    assert "adcli calibrate" in told.sentence


def test_absent_weights_end_with_8_naming_the_command_that_brings_them(dataset: Path, adcli: Adcli, here: Path) -> None:
    for words, env in ((("--offline",), None), ((), {"ADCLI_OFFLINE": "1"})):
        told = adcli("fit", dataset / "train", "--backbone", "resnet18", *words, env=env)
        assert told.code == 8
        assert "adcli weights add FILE resnet18" in told.sentence
    assert adcli("weights", "pull", "resnet18", "--offline").code == 8
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("score", "{data}/test", "--out", "out", "-m", "{model}", "--device", "cuda:99"),
        ("score", "{data}/test", "--out", "a file", "-m", "{model}"),
        ("score", "{data}/test", "--out", "a file/below", "-m", "{model}"),
        ("eval", "{data}", "-m", "{model}", "--device", "cuda:99"),
        ("eval", "{data}", "-m", "{model}", "--out", "a file"),
        ("fit", "{data}/train", "-m", "new.h5", "--device", "cuda:99", *QUICK),
        ("fit", "{data}/train", "-m", "new.h5", "--weights", "none.pth", "--backbone", "resnet18"),
        ("fit", "{data}/train", "-m", "new.h5", "--weights", "a file", "--backbone", "resnet18"),
        ("weights", "add", "a file", "resnet18"),
        ("weights", "export", "a file"),
    ],
    ids=" ".join,
)
def test_what_this_machine_lacks_ends_with_8(
    words: tuple[str, ...], dataset: Path, model: Path, adcli: Adcli, here: Path
) -> None:
    (here / "a file").write_bytes(b"no folder")
    told = adcli(*(word.format(data=dataset, model=model) for word in words))
    assert told.code == 8
    assert told.sentence
    assert [path.name for path in here.iterdir()] == ["a file"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that not even root can write to")
def test_a_folder_that_cannot_be_written_to_ends_with_8(
    dataset: Path, model: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/proc")
    for words in (
        ("score", dataset / "test", "--out", "results", "-m", model),
        ("eval", dataset, "-m", model, "--out", "results"),
        ("fit", dataset / "train", *QUICK),
    ):
        told = adcli(*words)
        assert told.code == 8
        assert "Could not create" in told.sentence


def test_memory_that_is_too_small_ends_with_8(dataset: Path, model: Path, adcli: Adcli, tmp_path: Path) -> None:
    huge = ("--batch-size", str(10**9), "--engine", "torch")
    told = adcli("score", dataset / "test", "--out", tmp_path / "out", "-m", model, *huge)
    assert told.code == 8
    assert "--batch-size" in told.sentence


def test_what_another_run_holds_ends_with_9(dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = own_model.read_bytes()
    with hold(own_model.with_name("own.h5.lock")), hold(out / ".adcli.lock"):
        for words in (
            ("fit", dataset / "train", "-m", own_model, *QUICK, "--force"),
            ("calibrate", dataset / "test" / "good", "-m", own_model),
            ("score", dataset / "test", "--out", out, "-m", own_model),
            ("score", dataset / "test", "--out", out, "-m", own_model, "--resume"),
            ("score", dataset / "test", "--out", out, "-m", own_model, "--force"),
            ("eval", dataset, "--out", out, "-m", own_model),
        ):
            told = adcli(*words)
            assert told.code == 9
            assert "process" in told.sentence
        assert own_model.read_bytes() == before
        assert adcli("eval", dataset, "-m", own_model).code == 0  # a reader takes no lock
    assert adcli("score", dataset / "test", "--out", out, "-m", own_model).code == 0


def test_the_earlier_of_two_codes_that_apply_is_given(dataset: Path, own_model: Path, adcli: Adcli, here: Path) -> None:
    out = here / "out"
    with hold(own_model.with_name("own.h5.lock")), hold(out / ".adcli.lock"):
        score = ("score", dataset / "test", "--out", out)
        assert adcli(*score, "-m", "none.h5").code == 2
        assert adcli(*score, "-m", own_model, "--device", "cuda:99").code == 8
        assert adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--confidence", "0.9").code == 2
        own_model.write_bytes(b"damaged")
        assert adcli(*score, "-m", own_model).code == 7
        assert adcli(*score, "-m", own_model, "--masks", "some").code == 2
