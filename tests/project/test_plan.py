"""What the project file comes to: names filled in, paths put in place, steps in order or a refusal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adcli.errors import UsageError
from adcli.project.file import fill
from adcli.project.plan import plan
from tests.project.files import LINE, project

# Placeholders and paths


def filled(text: str, folder: Path | None, tmp_path: Path, key: str = "out", **names: str) -> object:
    return fill(project(tmp_path, f"[score]\n{key} = {text}").settings("score")[key], names, folder)


def test_placeholders_are_filled_in_and_braces_doubled_are_braces(tmp_path: Path) -> None:
    names = {"part": "lid", "date": "2026-01-31", "verb": "score"}
    assert filled("'r/{date}/{part}-{verb}{part}'", None, tmp_path, **names) == "r/2026-01-31/lid-scorelid"
    assert filled("'r/{{part}}'", None, tmp_path, **names) == "r/{part}"
    assert filled("'{part}'", None, tmp_path, part="{date}", date="x") == "{date}"  # what is filled in stays as it is


def test_only_paths_have_placeholders(tmp_path: Path) -> None:
    assert filled("'a{3}'", Path("/far"), tmp_path, key="fail-on") == "a{3}"


def test_a_part_that_there_is_not_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"adcli.toml:2: \{part\} in out is filled in by adcli run.*give --out"):
        filled("'{date}/{part}'", None, tmp_path, date="x")


def test_paths_are_relative_to_the_folder_of_the_file(tmp_path: Path) -> None:
    assert filled("'r'", Path("/line"), tmp_path) == "/line/r"
    assert filled("'r'", Path("../line"), tmp_path) == "../line/r"
    assert filled("'r'", None, tmp_path) == "r"
    assert filled("'/abs/r'", Path("/line"), tmp_path) == "/abs/r"
    assert filled("'~/r'", Path("/line"), tmp_path) == str(Path.home() / "r")
    assert filled("['-', 'a/*.png', '/b']", Path("/line"), tmp_path, key="incoming") == ["-", "/line/a/*.png", "/b"]


# The plan


def test_a_plan_has_all_verbs_of_a_part_and_then_the_next(tmp_path: Path) -> None:
    line = project(tmp_path, LINE)
    steps = plan(line, [], ["fit", "score"], "2026-01-31", {})
    assert [(step.part, step.verb) for step in steps] == [
        ("lid", "fit"),
        ("lid", "score"),
        ("cap", "fit"),
        ("cap", "score"),
    ]
    assert steps[0].values == {"model": "models/lid.h5", "seed": 1, "good": ["good/lid", "good/lid-2"]}
    assert steps[3].values == {
        "model": "models/cap.h5",
        "incoming": ["incoming/cap"],
        "out": "results/2026-01-31/cap/score",
    }
    assert [step.part for step in plan(line, ["cap", "lid", "cap"], ["fit"], "x", {})] == ["cap", "lid"]


def test_the_environment_takes_an_option_out_of_the_plan(tmp_path: Path) -> None:
    (step,) = plan(project(tmp_path, LINE), ["cap"], ["fit"], "x", {"seed": "9", "model": "elsewhere.h5"})
    assert step.values == {"good": ["good/cap"]}


def test_the_environment_takes_out_of_the_plan_what_it_excludes(tmp_path: Path) -> None:
    line = project(tmp_path, LINE + "[fit]\nholdout = 0.2\n")
    (step,) = plan(line, ["cap"], ["fit"], "x", {"leave-one-out": "1"})
    assert step.values == {"good": ["good/cap"], "model": "models/cap.h5", "seed": 3}
    (step,) = plan(line, ["cap"], ["fit"], "x", {"masks": "all"})
    assert step.values["holdout"] == 0.2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[parts]", "has no parts: describe each in a table [parts.NAME]"),
        ("[fit]\nseed = 1", "has no parts"),
        ("[parts.cap]", "has no part 'lid': it has cap"),
        ("[parts.lib]", "has no part 'lid': did you mean 'lib'?"),
        ("[parts.lid]\nout = 'o'\nincoming = 'i'", "adcli.toml:1: lid has no model, which score needs"),
        ("[parts.lid]\nout = 'o'\nmodel = 'm'", "lid has no incoming, which score needs"),
        ("[parts.lid]\nincoming = 'i'\nmodel = 'm'", "lid has no out, which score needs"),
        (
            "[score]\nout = 'o/{part}'\nincoming = 'i'\n[parts.lid]\nmodel = 'm'\n[parts.cap]\nmodel = './x/../m'",
            "adcli.toml:7: lid and cap have the same model ./x/../m",
        ),
        (
            "[score]\nout = 'o'\nincoming = 'i'\n[defaults]\nmodel = '{part}'\n[parts.lid]\n[parts.cap]",
            "adcli.toml:7: lid and cap have the same output folder o",
        ),
        (
            "[score]\nincoming = 'i'\n[parts.lid]\nmodel = 'm'\nout = 'o'\n[parts.cap.eval]\nout = 'o/'",
            "adcli.toml:6: lid and cap have the same output folder o/",
        ),
    ],
)
def test_what_could_not_go_well_is_refused_before_anything_is_done(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        plan(project(tmp_path, text), ["lid"], ["score"], "2026-01-31", {})


def test_two_verbs_of_a_part_share_a_folder_only_while_one_of_them_is_run(tmp_path: Path) -> None:
    text = "[parts.lid]\nmodel = 'm'\nout = 'o'\nincoming = 'i'"
    assert len(plan(project(tmp_path, text), [], ["score"], "x", {})) == 1
    with pytest.raises(UsageError, match=r"score and eval of lid have the same output folder o: .*\{verb\}"):
        plan(project(tmp_path, text), [], ["score", "eval"], "x", {})
    assert len(plan(project(tmp_path, text.replace("'o'", "'o/{verb}'")), [], ["score", "eval"], "x", {})) == 2


def test_one_model_from_the_environment_is_for_one_part_only(tmp_path: Path) -> None:
    line = project(tmp_path, LINE)
    assert len(plan(line, ["lid"], ["score"], "x", {"model": "any.h5"})) == 1
    with pytest.raises(UsageError, match=r"lid and cap have the same model any\.h5: take it out of the environment"):
        plan(line, [], ["score"], "x", {"model": "any.h5"})
    with pytest.raises(UsageError, match="lid and cap have the same model"):
        plan(line, ["lid"], ["score"], "x", {"model": str(tmp_path / "models/cap.h5")})
