"""adcli run: what a night over several parts comes to, whatever one of them meets with."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from adcli.cli.exits import first_of
from adcli.store import load
from tests.cli.conftest import DAY, QUICK_FIT, say
from tests.conftest import ROOT, Adcli
from tests.tasks.folders import records, timeless


def test_a_night_goes_on_where_one_model_is_damaged(line: Path, adcli: Adcli) -> None:
    damaged = bytearray(Path("cap.h5").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    Path("cap.h5").write_bytes(damaged)
    ran = adcli("run", *DAY)
    assert ran.code == 7
    assert ran.sentence.startswith("cap: score: ")
    for part in ("lid", "ring"):
        assert len(records(Path(f"results/2026-01-31/{part}"))) == 15
    assert not Path("results/2026-01-31/cap").exists()
    rows = [text.split() for text in ran.out.splitlines() if re.match(r" (lid|cap|ring) ", text)]
    assert [row[:3] for row in rows] == [["lid", "score", "15"], ["cap", "score", "-"], ["ring", "score", "15"]]
    assert rows[1][7] == "7"
    assert "cap.h5" in ran.out


def test_the_document_has_a_row_for_every_verb_on_every_part(line: Path, adcli: Adcli) -> None:
    Path("incoming/lid/zz.png").write_bytes(b"no image")
    ran = adcli("run", "--do", "score,eval", "lid", "cap", *DAY, "--json", "--quiet")
    document = json.loads(ran.out)
    assert ran.code == document["exit_code"] == 5
    assert (document["project"], document["date"]) == ("adcli.toml", "2026-01-31")
    rows = document["rows"]
    told = [(row["part"], row["verb"], row["images"], row["error"], row["exit_code"]) for row in rows]
    assert told == [
        ("lid", "score", 16, 1, 5),
        ("lid", "eval", 15, None, 0),
        ("cap", "score", 15, 0, 0),
        ("cap", "eval", 15, None, 0),
    ]
    for row in rows[::2]:
        verdicts = [one["verdict"] for one in records(Path(row["document"]["out"]))]
        counts = [verdicts.count(verdict) for verdict in ("OK", "CHECK", "NG", "ERROR")]
        assert [row["ok"], row["check"], row["ng"], row["error"]] == counts
    alone = json.loads(adcli("eval", "labelled", "--model", "cap.h5", "--no-project", "--json").out)
    assert rows[3]["document"]["rows"] == alone["rows"]
    assert all(text.startswith("adcli: lid: score: ") for text in ran.err.splitlines())


def test_all_that_is_said_names_its_part(line: Path, adcli: Adcli) -> None:
    ran = adcli("run", "cap", "--do", "eval,calibrate", *DAY)
    assert ran.code == 0
    assert ran.err
    assert all(re.match(r"(adcli: )?cap: (eval|calibrate): ", text) for text in ran.err.splitlines())


def test_the_exit_code_is_the_first_that_applies() -> None:
    order = [2, 7, 8, 9, 1, 6, 5, 3, 4, 0]  # docs/cli.md
    for codes in itertools.chain.from_iterable(itertools.permutations(order, n) for n in (1, 2, 3)):
        assert first_of(codes) == next(code for code in order if code in codes)
    assert first_of([]) == 0


def test_the_order_is_that_of_the_page() -> None:
    page = " ".join((ROOT / "docs/cli.md").read_text().split())
    said = re.search(r"Where several apply, the first of this order is returned: a signal, ([\d, ]+)\.", page)[1]
    codes = [int(code) for code in said.split(",")]
    assert [first_of(codes[at:]) for at in range(len(codes))] == codes


@pytest.mark.parametrize(("fail_on", "code"), [("ng", 3), ("check", 3), ("", 0)])
def test_ng_counts_as_the_file_says(fail_on: str, code: int, line: Path, adcli: Adcli) -> None:
    assert adcli("calibrate", "held-out", "--model", "cap.h5", "--threshold", "0", "--no-project").code == 0
    say(line, f"[parts.cap]\nfail-on = '{fail_on}'\n")
    ran = adcli("run", "lid", "cap", *DAY, "--json")
    assert ran.code == code
    assert json.loads(ran.out)["rows"][1]["ng"] == 15


def test_what_list_prints_does_what_run_does(line: Path, adcli: Adcli) -> None:
    listed = adcli("run", "--list", *DAY)
    assert (listed.code, listed.err) == (0, "")
    assert not Path("results").exists()
    assert adcli("run", "--dry-run", *DAY).out == listed.out
    commands = [shlex.split(text) for text in listed.out.splitlines()]
    assert [command[:3] for command in commands] == [["adcli", "score", "--no-project"]] * 3
    assert adcli("run", *DAY).code == 0
    ran = {part: timeless(Path(f"results/2026-01-31/{part}")) for part in ("lid", "cap", "ring")}
    shutil.rmtree("results")
    for command in commands:
        assert adcli(*command[1:]).code == 0
    assert {part: timeless(Path(f"results/2026-01-31/{part}")) for part in ran} == ran
    document = json.loads(adcli("run", "--list", "--json", *DAY).out)
    assert [row["command"] for row in document["rows"]] == commands


def test_results_are_the_same_wherever_run_is_called(
    line: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path("results/2026-01-31/lid")
    assert adcli("run", "lid", *DAY).code == 0
    here = timeless(out)
    shutil.rmtree(out)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    before = Path.cwd(), dict(os.environ)
    assert adcli("run", "lid", *DAY, "--project", line).code == 0
    assert timeless(line / out) == here
    assert (Path.cwd(), dict(os.environ)) == before
    assert not list(Path.cwd().iterdir())
    listed = adcli("run", "lid", "--list", *DAY, "--project", line).out.splitlines()
    assert listed[0] == f"cd {line}"


def test_a_relative_path_in_the_environment_is_seen_from_where_run_is_called(
    line: Path, model: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("below").mkdir()
    monkeypatch.chdir("below")
    shutil.copy(model, "own.h5")
    (line / "lid.h5").unlink()
    env = {"ADCLI_MODEL": "own.h5", "ADCLI_WEIGHTS_DIR": "w", "ADCLI_MASKS": "all"}
    listed = adcli("run", "lid", "--list", *DAY, env=env).out.splitlines()
    assert listed[:3] == [
        f"cd {line}",
        f"export ADCLI_WEIGHTS_DIR={line}/below/w",
        f"export ADCLI_MODEL={line}/below/own.h5",
    ]
    assert "--model" not in listed[3]
    assert adcli("run", "lid", *DAY, env=env).code == 0
    assert len(list((line / "results/2026-01-31/lid/masks").rglob("*.png"))) == 15
    assert adcli("run", "lid", *DAY).code == 2
    assert Path.cwd() == line / "below"


def test_the_environment_goes_before_the_file(line: Path, adcli: Adcli) -> None:
    say(line, "[parts.lid.score]\nmasks = 'all'\nmaps = true\n")
    assert adcli("run", "lid", "cap", *DAY, env={"ADCLI_MASKS": "none", "ADCLI_MAPS": "0"}).code == 0
    for part in ("lid", "cap"):
        assert not Path(f"results/2026-01-31/{part}/masks").exists()
        assert not Path(f"results/2026-01-31/{part}/maps").exists()
    told = adcli("run", "lid", "cap", env={"ADCLI_OUT": "one"})
    assert told.code == 2
    assert "lid and cap have the same output folder one: take it out of the environment" in told.sentence


def test_the_verbs_of_a_night_may_be_in_the_file(line: Path, adcli: Adcli) -> None:
    say(line, "[run]\ndo = 'eval,score'\njson = true\n")
    rows = json.loads(adcli("run", "lid", *DAY).out)["rows"]
    assert [row["verb"] for row in rows] == ["eval", "score"]
    rows = json.loads(adcli("run", "lid", *DAY, "--do", "eval", env={"ADCLI_DO": "score"}).out)["rows"]
    assert [row["verb"] for row in rows] == ["eval"]


def test_how_verbs_talk_is_not_for_the_file_to_say(line: Path, adcli: Adcli) -> None:
    say(line, "[parts.lid.eval]\ncsv = true\nquiet = true\n")
    ran = adcli("run", "lid", "--do", "eval", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["rows"][0]["document"]["rows"]
    assert "lid: eval: " in ran.err


def test_after_a_verb_that_failed_the_parts_further_verbs_are_left_out(line: Path, adcli: Adcli) -> None:
    Path("lid.h5").write_bytes(b"no model")
    say(line, "[parts.ring.eval]\nmin = 'image_auroc=1.01'\n")
    ran = adcli("run", "--do", "eval,score", *DAY, "--json")
    assert ran.code == 7
    told = [(row["part"], row["verb"], row["exit_code"], row["note"]) for row in json.loads(ran.out)["rows"]]
    assert [row[:3] for row in told] == [
        ("lid", "eval", 7),
        ("lid", "score", None),
        ("cap", "eval", 0),
        ("cap", "score", 0),
        ("ring", "eval", 6),
        ("ring", "score", None),
    ]
    assert told[1][3] == "not run: eval ended with 7"
    assert "gate" in told[4][3]
    assert json.loads(ran.out)["rows"][4]["document"]["rows"]


def test_a_defect_in_one_part_does_not_stop_the_others(
    line: Path, adcli: Adcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    from typer.testing import CliRunner

    from adcli.cli.app import app
    from adcli.tasks import score

    real = score.total

    def break_down(folder: object, *words: object) -> object:
        if "cap" in str(folder.out):
            raise ZeroDivisionError("on a rainy day")
        return real(folder, *words)

    monkeypatch.setattr(score, "total", break_down)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = CliRunner().invoke(app, ["run", *DAY, "--json"])
    assert done.exit_code == 1
    assert [row["exit_code"] for row in json.loads(done.stdout)["rows"]] == [0, 1, 0]
    assert done.stderr.startswith("adcli: cap: score: a defect of adcli, ZeroDivisionError: ")


def test_verbs_run_in_the_order_given_and_learn_from_each_other(line: Path, adcli: Adcli) -> None:
    for part in ("lid", "cap", "ring"):
        Path(f"{part}.h5").unlink()
    ran = adcli("run", "lid", "cap", "--do", "fit, calibrate,score", *DAY, "--json", env=QUICK_FIT)
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)["rows"]
    assert [(row["verb"], row["images"]) for row in rows[:3]] == [("fit", 20), ("calibrate", 6), ("score", 15)]
    assert {record["threshold"] for record in records(Path("results/2026-01-31/lid"))} == {
        rows[1]["document"]["threshold"]
    }
    assert load(Path("cap.h5")).sha256 == rows[5]["document"]["model"]


def test_fit_needs_force_and_with_resume_leaves_a_model_alone(line: Path, adcli: Adcli) -> None:
    before = Path("lid.h5").read_bytes()
    assert adcli("run", "lid", "--do", "fit", env=QUICK_FIT).code == 2
    ran = adcli("run", "lid", "--do", "fit,score", "--resume", *DAY, "--json", env=QUICK_FIT)
    assert ran.code == 0
    assert json.loads(ran.out)["rows"][0]["note"] == "finished before: lid.h5"
    assert Path("lid.h5").read_bytes() == before
    assert adcli("run", "lid", "--do", "fit", "--force", env=QUICK_FIT | {"ADCLI_SEED": "5"}).code == 0
    assert Path("lid.h5").read_bytes() != before


# What makes no sense


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nope",), "has no part 'nope': it has lid, cap, ring"),
        (("lod",), "did you mean 'lid'?"),
        (("--do", "scoer"), "did you mean score?"),
        (("--do", "watch"), "write fit, calibrate, score, eval, verify"),
        (("--do", ","), "--do is empty"),
        (("--do", "verify"), "adcli.toml:14: lid has no samples, which verify needs"),
        (("--date", "yesterday"), "--date yesterday is no date"),
        (("--resume", "--force"), "exclude each other"),
        (("--no-project",), "adcli run --init writes one"),
    ],
)
def test_a_call_that_makes_no_sense_ends_with_2_and_one_sentence(
    words: tuple[str, ...], sentence: str, line: Path, adcli: Adcli
) -> None:
    told = adcli("run", *words)
    assert told.code == 2
    assert sentence in told.sentence
    assert not Path("results").exists()


def test_of_two_nights_at_once_the_second_is_refused_part_by_part(line: Path, adcli: Adcli) -> None:
    from adcli.files import hold

    with hold(Path("results/2026-01-31/cap/.adcli.lock")):
        ran = adcli("run", *DAY, "--json")
    assert ran.code == 9
    assert [row["exit_code"] for row in json.loads(ran.out)["rows"]] == [0, 9, 0]


def test_names_that_begin_with_a_dash_are_passed_on(line: Path, adcli: Adcli) -> None:
    Path("incoming/lid").rename("-lid")
    say(line, "[parts.lid.score]\nincoming = '-lid'\n")
    assert adcli("run", "lid", *DAY, "--quiet").code == 0
    assert len(records(Path("results/2026-01-31/lid"))) == 15


@pytest.mark.parametrize("where", ["environment", "part"])
def test_of_options_that_exclude_each_other_the_nearer_is_meant(where: str, line: Path, adcli: Adcli) -> None:
    file = line / "adcli.toml"
    file.write_text(file.read_text().replace("[calibrate]\n", "[calibrate]\nmax-false-reject = 0.3\n"))
    env = {"ADCLI_THRESHOLD": "3"} if where == "environment" else {}
    if where == "part":
        say(line, "[parts.lid.calibrate]\nthreshold = 3\n")
    assert adcli("run", "lid", "--do", "calibrate", env=env).code == 0
    assert load(Path("lid.h5")).model.require_calibration().threshold == 3.0
