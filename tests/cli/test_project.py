"""What the project file says to a verb: after the command line and the environment, before what is built in."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from adcli.cli.app import app
from adcli.cli.project import Verb, load, parameters
from adcli.project.file import Option
from adcli.store import load as load_model
from tests.conftest import QUICK, Adcli
from tests.tasks.folders import records

ROOT = typer.main.get_command(app)
VERBS = {name: command for name, command in ROOT.commands.items() if isinstance(command, Verb)}
INPUTS = {
    "fit": "g",
    "calibrate": "h",
    "score": "i",
    "watch": "f",
    "verify": "s.csv",
    "compare": "a b",
    "benchmark": "r",
    "submission": "r",
    "export": "",
}  # what must be given
OUT_NEEDED = ("score", "benchmark", "submission", "export")
NEEDED = {verb: text.split() + ["--out", "o"] * (verb in OUT_NEEDED) for verb, text in INPUTS.items()}


def parsed(verb: str, *words: str) -> dict[str, Any]:
    """What a verb's function would be called with; paths as texts, which typer makes of them in some versions."""
    with ROOT.make_context("adcli", [verb, *words]) as root:
        params = VERBS[verb].make_context(verb, list(words), parent=root).params
        return {name: str(value) if isinstance(value, Path) else value for name, value in params.items()}


def options() -> Iterator[Any]:
    """Every verb with every option that can be in the file."""
    for verb, command in VERBS.items():
        for key, parameter in parameters(command).items():
            if parameter.param_type_name == "option":
                yield pytest.param(verb, key, parameter, id=f"{verb} {key}")


def samples(parameter: Any, known: Option) -> list[tuple[str, list[str], str]]:
    """Values of an option as the file, the command line and the environment spell them; all are different."""
    long = next(name for name in parameter.opts if name.startswith("--"))
    if known.kind == "flag":
        no = parameter.secondary_opts[:1]
        return [("false", no, "0"), ("true", [long], "1")]
    quote = '"' if known.kind == "text" else ""
    if known.many:
        pairs = [(f"{quote}{a}{quote}", f"{quote}{a}{a}{quote}", a) for a in ("1", "2", "3")]
        return [(f"[{one}, {two}]", [long, a, long, a + a], f"{a} {a}{a}") for one, two, a in pairs]
    return [(f"{quote}{a}{quote}", [long, a], a) for a in ("1", "2", "3")]


@pytest.mark.parametrize(("verb", "key", "parameter"), list(options()))
def test_every_option_comes_from_the_file_unless_it_is_given_otherwise(
    verb: str, key: str, parameter: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADCLI_PICTURES")
    project.touch()
    several = samples(parameter, load(project, ROOT).verbs[verb][key])
    name, needed = parameter.name, NEEDED.get(verb, [])

    def meant(words: list[str]) -> object:
        return parsed(verb, "--no-project", *needed, *words)[name]

    for text, words, _ in several:
        project.write_text(f"[{verb}]\n{key} = {text}\n")
        if key == "out" and verb in OUT_NEEDED:  # must be given for the others: see the next test
            continue
        assert parsed(verb, *needed)[name] == meant(words)
        for _, other, variable in several:
            if other:
                assert parsed(verb, *needed, *other)[name] == meant(other)
            monkeypatch.setenv(parameter.envvar, variable)
            assert parsed(verb, *needed)[name] == meant([])
            if words:
                assert parsed(verb, *needed, *words)[name] == meant(words)
            monkeypatch.delenv(parameter.envvar)


@pytest.mark.parametrize("verb", OUT_NEEDED)
def test_out_need_not_be_given_where_the_file_has_it(verb: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_text(f"[{verb}]\nout = 'here'\n")
    assert parsed(verb, "i")["out"] == "here"
    monkeypatch.setenv("ADCLI_OUT", "there")
    assert parsed(verb, "i")["out"] == "there"
    assert parsed(verb, "i", "--out", "elsewhere")["out"] == "elsewhere"


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("[defaults]\nseed = 1", 1),
        ("[defaults]\nseed = 1\n[fit]\nseed = 2", 2),
        ("[fit]\nseed = 2\n[defaults]\nseed = 1", 2),
        ("[escapes]\nseed = 2", 0),
        ("[parts.lid]\nseed = 2", 0),
    ],
)
def test_a_verb_by_itself_hears_what_is_shared_and_what_is_its_own(text: str, seed: int, project: Path) -> None:
    project.write_text(text)
    assert parsed("fit", "g")["seed"] == seed


@pytest.mark.parametrize(
    ("verb", "key", "name"),
    [("fit", "good", "good"), ("calibrate", "held-out", "held_out"), ("score", "incoming", "images")],
)
def test_images_come_from_the_file_unless_some_are_given(verb: str, key: str, name: str, project: Path) -> None:
    project.write_text(f"[{verb}]\n{key} = ['a', '-b']\n" + ("out = 'o'" if verb == "score" else ""))
    assert list(parsed(verb)[name]) == ["a", "-b"]
    assert list(parsed(verb, "--quiet")[name]) == ["a", "-b"]
    assert list(parsed(verb, "--quiet", "--")[name]) == ["a", "-b"]
    assert list(parsed(verb, "c", "--", "-d")[name]) == ["c", "-d"]


def test_a_single_input_comes_from_the_file_as_well(project: Path) -> None:
    project.write_text("[defaults]\ndataset = 'd'\n[verify]\nsamples = 's.csv'\n")
    assert parsed("eval")["dataset"] == parsed("escapes")["dataset"] == "d"
    assert parsed("eval", "e")["dataset"] == "e"
    assert parsed("verify")["samples"] == "s.csv"


@pytest.mark.parametrize(
    ("verb", "text", "words", "gone"),
    [
        ("eval", "dataset = 'd'", ["--good", "g", "--bad", "b"], "dataset"),
        ("eval", "good = 'g'\nbad = 'b'", ["d"], "good"),
        ("eval", "json = true", ["--csv"], "json"),
        ("eval", "markdown = true", ["--json"], "markdown"),
        ("escapes", "dataset = 'd'", ["--plant", "g"], "dataset"),
        ("escapes", "bad = 'b'\nmasks = 'm'", ["--plant", "g"], "bad"),
        ("calibrate", "max-false-reject = 0.01\nconfidence = 0.95", ["h", "--threshold", "3"], "max_false_reject"),
        ("fit", "threshold = 3", ["g", "--rule", "max"], "threshold"),
        ("info", "model = '{part}.h5'", ["lid.h5"], "model"),
    ],
)
def test_what_is_given_takes_what_it_excludes_out_of_the_file(
    verb: str, text: str, words: list[str], gone: str, project: Path
) -> None:
    project.write_text(f"[{verb}]\n{text}\n")
    assert parsed(verb, *words)[gone] == parsed(verb, "--no-project", *words)[gone]


def test_the_environment_takes_out_what_it_excludes_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_text("[eval]\njson = true\n")
    monkeypatch.setenv("ADCLI_CSV", "1")
    told = parsed("eval", "d")
    assert (told["csv"], told["json"]) == (True, False)


# Which file, and where its paths are


def test_a_file_above_is_read_and_its_paths_are_relative_to_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_text("[defaults]\nmodel = 'models/lid.h5'\n[score]\nincoming = 'in/*.png'\nout = 'out'\n")
    here = project.parent
    assert parsed("score")["out"] == "out"  # as it is spelt, in the folder itself
    (here / "a/b").mkdir(parents=True)
    monkeypatch.chdir("a/b")
    told = parsed("score")
    assert told["model"] == str(here / "models/lid.h5")
    assert list(told["images"]) == [f"{here}/in/*.png"]
    monkeypatch.setenv("ADCLI_MODEL", "own.h5")  # what is given is as seen from where it is given
    assert parsed("score", "--out", "o")["model"] == "own.h5"
    (here / "a/adcli.toml").touch()  # a nearer one
    assert parsed("score", "i", "--out", "o")["out"] == "o"
    monkeypatch.delenv("ADCLI_MODEL")
    assert parsed("score", "i", "--out", "o")["model"] == "model.h5"


def test_a_file_is_named_by_flag_or_environment_or_by_its_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_text("[fit]\nseed = 1")
    for number, name in ((2, "line/adcli.toml"), (3, "other.toml")):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(f"[fit]\nseed = {number}\nmodel = 'm.h5'")

    def seed(*words: str) -> int:
        return parsed("fit", "g", *words)["seed"]

    assert seed() == 1
    assert seed("--project", "line/adcli.toml") == seed("--project", "line") == 2
    assert parsed("fit", "g", "--project", "line")["model"] == "line/m.h5"
    assert parsed("fit", "g", "--project", "other.toml")["model"] == "m.h5"
    assert seed("--no-project") == 0
    monkeypatch.setenv("ADCLI_PROJECT", "line")
    assert seed() == 2
    assert seed("--project", "other.toml") == 3
    assert seed("--no-project") == 0
    monkeypatch.setenv("ADCLI_PROJECT", "")
    assert seed() == 0
    assert seed("--project", "other.toml") == 3
    monkeypatch.delenv("ADCLI_PROJECT")
    for yes, expected in (("1", 0), ("true", 0), ("0", 1), ("", 1)):
        monkeypatch.setenv("ADCLI_NO_PROJECT", yes)
        assert seed() == expected
    assert seed("--project", "line") == 2


def test_to_name_a_file_and_to_want_none_exclude_each_other(adcli: Adcli, project: Path) -> None:
    told = adcli("info", "--project", "a.toml", "--no-project")
    assert (told.code, "exclude each other" in told.sentence) == (2, True)


def test_a_named_file_that_is_not_there_is_refused(adcli: Adcli, here: Path) -> None:
    for told in (adcli("info", "--project", "a.toml"), adcli("info", env={"ADCLI_PROJECT": "a.toml"})):
        assert told.code == 2
        assert told.sentence.startswith("the project file a.toml cannot be read")


def test_where_the_current_folder_is_gone_there_is_no_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "gone").mkdir()
    monkeypatch.chdir("gone")
    (here / "gone").rmdir()
    assert parsed("fit", "g")["seed"] == 0


# What is wrong


def test_a_wrong_file_ends_a_verb_with_2_and_names_the_line(adcli: Adcli, project: Path) -> None:
    project.write_text("[defaults]\ndevice = 'cpu'\n[score]\noutt = 'x'\n")
    for words in (("fit", "g"), ("score", "i", "--out", "o"), ("info",), ("run",)):
        told = adcli(*words)
        assert told.code == 2
        assert told.sentence == "adcli.toml:4: [score] has no 'outt': did you mean 'out'?"


def test_help_completion_methods_and_weights_need_no_right_file(adcli: Adcli, project: Path) -> None:
    project.write_text("[[[")
    for words in (("score", "--help"), ("run", "-h"), ("methods",), ("weights", "list"), ("--version",), ("doctor",)):
        assert adcli(*words).code == 0
    assert adcli("info", "--no-project").code == 2  # for want of a model
    assert "no model" in adcli("info", "--no-project").sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[fit]\nseed = -1", "--seed"),
        ("[defaults]\nworkers = 1000", "--workers"),
        ("[fit]\nmax-false-reject = 'many'", "is no share"),
    ],
)
def test_a_value_that_the_option_does_not_take_names_its_line(
    text: str, words: str, adcli: Adcli, project: Path
) -> None:
    project.write_text(text)
    told = adcli("fit", "g")
    assert told.code == 2
    assert told.sentence.startswith("adcli.toml:2: ")
    assert words in told.sentence
    assert not adcli("fit", "g", "--seed", "-1").sentence.startswith("adcli.toml")


def test_a_path_that_needs_a_part_is_asked_for_and_only_where_it_is_needed(adcli: Adcli, project: Path) -> None:
    project.write_text("[defaults]\nmodel = '{part}.h5'\n[score]\nout = '{date}/{verb}'\n")
    told = adcli("score", "i")
    assert told.code == 2
    assert told.sentence.startswith("adcli.toml:2: {part} in model is filled in by adcli run")
    assert parsed("score", "i", "--model", "m")["out"].endswith("/score")


# With real verbs


def test_fit_and_score_take_everything_from_the_file(dataset: Path, adcli: Adcli, project: Path) -> None:
    project.write_text(
        f"""
[defaults]
model = "lid.h5"
quiet = true
[fit]
good = "{dataset}/train"
backbone = "random-resnet18"
image-size = 64
param = ["dims=30", "epsilon=0.5"]
min-area = ["20px", "0.2mm2:length=1mm"]
pixel-pitch = "50um"
max-false-reject = "25%"
pictures = false
[score]
incoming = ["{dataset}/test/good", "{dataset}/test/dent"]
out = "out"
masks = "all"
overlays = "none"
fail-on = "check"
"""
    )
    fitted = adcli("fit")
    assert (fitted.code, fitted.err) == (0, "")
    model = load_model(Path("lid.h5")).model
    assert (model.detector.params.dims, model.detector.params.epsilon, len(model.sizes)) == (30, 0.5, 2)
    assert (model.calibration.max_false_reject, model.pixel_pitch) == (0.25, 0.05)
    assert adcli("score").code in (0, 3)
    assert len(records(Path("out"))) == 9
    assert len(list(Path("out/masks").rglob("*.png"))) == 9
    assert not Path("out/overlays").exists()
    assert adcli("score", "--masks", "none", env={"ADCLI_OUT": "other"}).code in (0, 3)
    assert not Path("other/masks").exists()
    assert json.loads(adcli("info", "--json").out)["params"]["epsilon"] == 0.5


def test_a_model_above_is_found_from_a_folder_below(
    dataset: Path, model: Path, adcli: Adcli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(model, "lid.h5")
    project.write_text("[defaults]\nmodel = 'lid.h5'\n[score]\nout = 'results'\n")
    Path("below").mkdir()
    monkeypatch.chdir("below")
    assert adcli("score", dataset / "test/good").code == 0
    assert (project.parent / "results/run.json").exists()


def test_without_a_file_nothing_reads_toml(here: Path) -> None:
    import subprocess

    run = "from adcli.cli.app import app; app(['info', 'none.h5'], standalone_mode=False)"
    code = f"import sys; {run}; print('tomllib' in sys.modules)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=env, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_quick_options_of_the_tests_are_options_of_the_file(project: Path) -> None:
    assert QUICK[0] == "--backbone"
    project.write_text("[fit]\nbackbone = 'embedded'\nimage-size = 64\nparam = 'dims=30'\n")
    assert parsed("fit", "g") == parsed("fit", "g", "--no-project", *QUICK)


def test_a_drawn_region_is_no_path_and_a_mask_is_one_in_the_files_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    mask = str(project.parent / "lid.png")
    for text, meant in (("10,10,20,20", None), ("5%,5% 90%,5% 50%,90%", None), ("lid.png", mask)):
        project.write_text(f"[fit]\nroi = '{text}'\n")
        assert parsed("fit", "g")["roi"] == (meant or text)
