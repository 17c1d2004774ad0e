"""The project file by itself: what it may say, and where it says what it may not."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from adcli.errors import UsageError
from adcli.project.file import find, read
from tests.project.files import LINE, OF_PARTS, VERBS, project, values


def test_a_part_goes_before_a_verb_and_a_verb_before_what_is_shared(tmp_path: Path) -> None:
    for order in range(4):  # which of the four tables are there, from the last to the first
        tables = ["[defaults]\nseed = 1", "[fit]\nseed = 2", "[parts.a]\nseed = 3", "[parts.a.fit]\nseed = 4"]
        random.Random(order).shuffle(there := tables[: order + 1])  # where in the file they stand is of no account
        assert values(project(tmp_path, "\n".join(there)), "fit", "a") == {"seed": order + 1}


def test_a_verb_gets_what_it_has_of_the_shared_tables_and_nothing_of_another_part(tmp_path: Path) -> None:
    line = project(tmp_path, LINE)
    assert values(line, "fit") == {"model": "models/{part}.h5", "seed": 1}
    assert values(line, "info") == {"model": "models/{part}.h5"}
    assert values(line, "fit", "lid") == {
        "model": "models/{part}.h5",
        "seed": 1,
        "good": ["good/lid", "good/lid-2"],
    }
    assert values(line, "fit", "cap") == {"model": "models/{part}.h5", "seed": 3, "good": ["good/cap"]}


def test_an_empty_text_or_list_takes_back_what_was_said_before(tmp_path: Path) -> None:
    line = project(tmp_path, LINE)
    assert values(line, "score", "lid")["fail-on"] == "ng"
    assert "fail-on" not in values(line, "score", "cap")
    assert values(project(tmp_path, "[fit]\nparam = ['a=1']\n[parts.x]\nparam = []"), "fit", "x") == {}


def test_the_name_of_an_input_means_the_input_in_shared_tables(tmp_path: Path) -> None:
    line = project(tmp_path, "[parts.lid]\ngood = 'a'\n[parts.lid.eval]\ngood = 'b'")
    assert values(line, "fit", "lid") == {"good": ["a"]}
    assert values(line, "eval", "lid") == {"good": ["b"]}
    assert values(project(tmp_path, "[parts.lid]\ngood = 'a'"), "eval", "lid") == {}


def test_a_text_may_be_written_as_a_number_and_a_list_of_one_without_brackets(tmp_path: Path) -> None:
    line = project(
        tmp_path, "[fit]\nimage-size = 512\nparam = 'coreset=0.1'\nholdout = 0\npictures = false\ngood = '-'"
    )
    expected = {"image-size": "512", "param": ["coreset=0.1"], "holdout": 0, "pictures": False, "good": ["-"]}
    assert values(line, "fit") == expected


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[scroe]", 1, "table 'scroe': did you mean 'score'?"),
        ("[zebra]", 1, "table 'zebra': there are defaults, fit, score, eval, info, parts"),
        ("\nmodel = 'x'", 2, "no key outside a table 'model'"),
        ("score = 3", 1, "score must be a table, as in [score]"),
        ("[score]\nfail_on = 'ng'", 2, "[score] has no 'fail_on': did you mean 'fail-on'?"),
        ("[score]\nimages = 'x'", 2, "did you mean 'incoming'?"),
        ("[score]\nseed = 3", 2, "[score] has no 'seed': adcli score --help"),
        ("[score]\nforce = true", 2, "[score] has no 'force'"),
        ("[defaults]\nsede = 3", 2, "[defaults] has no 'sede': did you mean 'seed'?"),
        ("[parts]\nlid = 3", 2, "parts.lid must be a table"),
        ("[parts.lid]\nscore = 3", 2, "parts.lid.score must be a table"),
        ("[parts.lid.socre]\nout = 'x'", 1, "[parts.lid] has no 'socre': did you mean 'score'?"),
        ("[parts.lid]\n# a comment\nmodle = 'x'", 3, "[parts.lid] has no 'modle': did you mean 'model'?"),
        ("[parts.lid.info]\nmodel = 'x'", 1, "[parts.lid] has no 'info'"),
        ("[parts]\nlid.score.nope = 3", 2, "[parts.lid.score] has no 'nope'"),
        ("parts = { lid = { nope = 3 } }", 1, "[parts.lid] has no 'nope'"),
        (
            "[parts.lid]\nmasks = 'all'",
            2,
            "not the same to score and eval: write it in [parts.lid.score] or [parts.lid.eval]",
        ),
        ("[defaults]\nmasks = 'all'", 2, "write it in [score] or [eval]"),
        ("[fit]\nseed = 1.5", 2, "seed takes a whole number, not 1.5"),
        ("[fit]\nseed = '3'", 2, "seed takes a whole number, not '3'"),
        ("[fit]\nseed = true", 2, "seed takes a whole number, not true"),
        ("[fit]\nholdout = '20%'", 2, "holdout takes a number"),
        ("[fit]\npictures = 1", 2, "pictures takes true or false, not 1"),
        ("[fit]\npictures = 'no'", 2, "pictures takes true or false"),
        ("[fit]\nparam = [true]", 2, "param takes a text, or a list of them in [ ], not a list"),
        ("[fit]\nmodel = ['a', 'b']", 2, "model takes a text, not a list"),
        ("[fit]\nmodel = 2026-01-31", 2, "model takes a text, not the date or time 2026-01-31"),
        ("[fit]\n\n\nmodel = { a = 1 }", 4, "model takes a text, not a table"),
        ("[score]\nout = '{dat}'", 2, "nothing is filled in for {dat}: did you mean {date}?"),
        ("[fit]\ngood = ['a', '{}/b']", 2, "nothing is filled in for {}: known are"),
        ("[parts.'../lid']\nout = 'x'", 1, "'../lid' cannot be a part's name"),
        ("[parts.'']\nout = 'x'", 1, "'' cannot be a part's name"),
        ("[parts.'-v']\nout = 'x'", 1, "'-v' cannot be a part's name"),
        ('[parts."a\\nb"]', 1, "cannot be a part's name"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(text: str, line: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        project(tmp_path, text)
    assert str(told.value).startswith(f"{tmp_path}/adcli.toml:{line}: ")
    assert words in str(told.value)


def test_lines_are_told_in_a_file_with_all_that_toml_has(tmp_path: Path) -> None:
    text = """# [score]
[fit]  # nope = 1
"seed" = 1
param = [
  "a=1",  # x = 2
  "b=[2]",
]
[ parts . "lid" . 'fit' ]
image-size = '''
512'''
[parts.cap]
fit.seed = 2
score = {out = "x", nope = 3}
"""
    with pytest.raises(UsageError, match=r"adcli.toml:13: \[parts.cap.score\] has no 'nope'"):
        project(tmp_path, text)
    line = project(tmp_path, text.replace(", nope = 3", ""))
    told = {(setting.table, setting.key): setting.place.rpartition(":")[2] for setting, _ in line.every()}
    assert told == {
        ("fit", "seed"): "3",
        ("fit", "param"): "4",
        ("parts.lid.fit", "image-size"): "9",
        ("parts.cap.fit", "seed"): "12",
        ("parts.cap.score", "out"): "13",
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[fit\n", "is not TOML"),
        (b"[fit]\nseed = 1\nseed = 2\n", "is not TOML"),
        (b"[fit]\ngood = '\xe4'\n", "adcli.toml:2: this is not UTF-8"),
        ("[fit]\nseed = 1\n".encode("utf-16"), "not UTF-8"),
        (b"x = " + b"[" * 100_000, "is not TOML"),
        (b"x = " + b"9" * 100_000, "is not TOML"),
        (b"#" * (2**20 + 1), "larger than 1048576 bytes"),
        (b"\0", "is not TOML"),
    ],
)
def test_what_is_no_toml_is_refused_in_a_sentence(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "adcli.toml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=re.escape(words)):
        read(path, VERBS, OF_PARTS)


def test_a_file_of_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "adcli.toml"
    path.write_bytes(b"\xef\xbb\xbf[fit]\r\nseed = 4\r\n")
    assert values(read(path, VERBS, OF_PARTS), "fit") == {"seed": 4}


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UsageError, match=r"cannot be read .*--project"):
            read(path, VERBS, OF_PARTS)


def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path: Path) -> None:
    draw = random.Random(0)
    path = tmp_path / "adcli.toml"
    refused = 0
    for _ in range(400):
        data = bytearray(LINE.encode())
        for _ in range(draw.randrange(1, 6)):
            at = draw.randrange(len(data))
            data[at : at + draw.randrange(3)] = draw.choice(
                [b"", b"[", b"]", b"=", b".", b'"', b"{", b"\n", b"1", b"\xff"]
            )
        path.write_bytes(data)
        try:
            line = read(path, VERBS, OF_PARTS)
        except UsageError as error:
            refused += 1
            assert str(path) in str(error)
        else:
            assert [line.settings(verb, part) for verb in VERBS for part in (None, *line.parts) if line.parts]
    assert 50 < refused < 400


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    below = tmp_path / "a/b/c"
    below.mkdir(parents=True)
    (tmp_path / "adcli.toml").touch()
    assert find(below) == tmp_path / "adcli.toml"
    (tmp_path / "a/b/adcli.toml").mkdir()  # a folder of that name is none
    assert find(below) == tmp_path / "adcli.toml"
    (tmp_path / "a/adcli.toml").touch()
    assert find(below) == tmp_path / "a/adcli.toml"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[fit]\nholdout = 0\n[parts.lid]\nleave-one-out = true", {"leave-one-out": True}),
        ("[fit]\nleave-one-out = true\n[parts.lid.fit]\nholdout = 0", {"holdout": 0}),
        ("[parts.lid.fit]\nholdout = 0\n[parts.lid]\nleave-one-out = true", {"holdout": 0}),
        ("[defaults]\nholdout = 0\n[fit]\nleave-one-out = true", {"leave-one-out": True}),
        # what is taken back excludes nothing
        ("[fit]\nholdout = 0\n[parts.lid]\nleave-one-out = false", {"holdout": 0, "leave-one-out": False}),
        # of one table: whoever reads the options refuses them
        ("[fit]\nholdout = 0\nleave-one-out = true", {"holdout": 0, "leave-one-out": True}),
    ],
)
def test_a_later_table_takes_out_what_its_options_exclude(text: str, told: dict[str, object], tmp_path: Path) -> None:
    text += "" if "[parts" in text else "\n[parts.lid]"
    assert values(project(tmp_path, text), "fit", "lid") == told
