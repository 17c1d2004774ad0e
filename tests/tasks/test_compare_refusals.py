"""Results that are damaged, unfinished, of other versions or of the wrong kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adcli.errors import AdcliError, UsageError
from adcli.tasks.compare import Gates, compare
from tests.conftest import Adcli
from tests.tasks.results import AFTER, BEFORE, ROW, eval_of, run_of


def test_an_unfinished_run_and_a_torn_line_are_said(tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "a", BEFORE), run_of(tmp_path / "b", AFTER, None)
    with (b / "results.jsonl").open("ab") as file:
        file.write(b'{"image": "new/b/10.png", "verd')
    found = compare(a, b).comparison
    assert found.images == (8, 8)
    assert any("is not finished" in note for note in found.notes)
    assert any("is torn" in note for note in found.notes)
    assert found.shift is not None  # both were begun with one model


def test_a_score_that_is_no_number_counts_as_none(tmp_path: Path) -> None:
    strange = [float("nan"), float("inf"), "2.0", True, 10**400, [1]]
    images = [(f"{n}.png", "OK", score, f"s{n}") for n, score in enumerate([*strange, 1.0])]
    a = run_of(tmp_path / "a", images)
    b = run_of(tmp_path / "b", [(f"{n}.png", "OK", 2.0, f"s{n}") for n in range(len(images))])
    found = compare(a, b).comparison
    assert (found.shift.n, found.shift.median) == (1, 1.0)
    assert any(f"{len(strange)} images in" in note for note in found.notes)


def test_records_of_other_versions_may_lack_what_is_not_needed(tmp_path: Path) -> None:
    a = run_of(tmp_path / "a", [], {})
    (a / "results.jsonl").write_text('{"image": "1.png", "verdict": "OK"}\n{"image": "2.png", "verdict": "NG"}\n')
    b = run_of(tmp_path / "b", [("1.png", "NG", 3.0, "s1"), ("2.png", "NG", 3.0, "s2")])
    found = compare(a, b).comparison
    assert (found.by_sha256, found.by_name, len(found.changes)) == (0, 2, 1)
    assert found.shift is None


def test_the_newer_one_first_is_said(tmp_path: Path) -> None:
    a = run_of(tmp_path / "a", BEFORE, host={"started": "2024-02-02T00:00:00Z"})
    b = run_of(tmp_path / "b", AFTER, host={"started": "2024-02-01T00:00:00Z"})
    assert any("is newer than" in note for note in compare(a, b).comparison.notes)
    assert not any("is newer than" in note for note in compare(b, a).comparison.notes)


LINES = {
    "no JSON": b"{nonsense}\n",
    "deep": b"[" * 200_000 + b"\n",
    "no object": b"3\n",
    "no image": b'{"verdict": "OK"}\n',
    "no verdict": b'{"image": "1.png"}\n',
    "unknown verdict": b'{"image": "1.png", "verdict": "MAYBE"}\n',
    "no text": b'{"image": "1.png", "verdict": ["OK"]}\n',
    "bytes": b"\xff\xfe\n",
    "none": b"",
}


@pytest.mark.parametrize("line", LINES)
def test_a_damaged_or_empty_run_is_refused_in_one_sentence(line: str, tmp_path: Path, adcli: Adcli) -> None:
    a, b = run_of(tmp_path / "a", BEFORE), run_of(tmp_path / "b", [])
    (b / "results.jsonl").write_bytes(LINES[line])
    for pair in ((a, b), (b, a)):
        ran = adcli("compare", *pair)
        assert (ran.code, ran.out) == (2, "")
        assert str(b) in ran.sentence


def test_what_cannot_be_compared_is_refused_in_one_sentence(
    tmp_path: Path, model: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, table = run_of(tmp_path / "run", BEFORE), eval_of(tmp_path / "eval", [ROW])
    both = eval_of(tmp_path / "both", [ROW])
    shutil.copy(run / "results.jsonl", both)
    stranger = run_of(tmp_path / "stranger", [("z/100.png", "OK", 1.0, "z")])
    other_rows = eval_of(tmp_path / "rows", [ROW | {"group": "mean"}])
    pending = run_of(tmp_path / "pending", [], None)
    (pending / "results.jsonl").unlink()
    empty = tmp_path / "empty"
    empty.mkdir()
    files = {}
    for name, text in {
        "list": "[1]",
        "text": "some words",
        "nothing": "",
        "no rows": "{}",
        "rows": '{"rows": [1]}',
        "no group": '{"rows": [{"tpr": 1}]}',
        "totals": '{"out": "run", "ok": 3, "images": 3}',
        "deep": "[" * 200_000,
    }.items():
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(text)
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(model.read_bytes()[:1000])
    cases = [
        ((run, run), "are the same run"),
        ((run, run / "results.jsonl"), "are the same run"),
        ((table, table / "eval.json"), "are the same evaluation"),
        ((run, table), "a run of score and"),
        ((model, table), "is a table of eval: compare"),
        ((model, model), "is a model: compare"),
        ((run, both), "results of both"),
        ((run, stranger), "no image in common"),
        ((table, other_rows), "no row in common"),
        ((run, pending), "has not finished an image"),
        ((run, empty), "has neither"),
        ((run, tmp_path / "absent"), "there is no"),
        ((table, files["list"]), "its JSON is no object"),
        ((table, files["text"]), "neither a model nor a JSON document"),
        ((table, files["nothing"]), "neither a model nor a JSON document"),
        ((table, files["deep"]), "neither a model nor a JSON document"),
        ((table, files["no rows"]), "has no rows"),
        ((table, files["rows"]), "a row has no group"),
        ((table, files["no group"]), "a row has no group"),
        ((run, files["totals"]), "a run's totals only: give the folder run"),
        ((model, run), "was scored by another model"),
        ((run, run_of(tmp_path / "b", AFTER), "--max-drop", "tpr=1"), "a gate of two tables of eval"),
        ((table, other_rows, "--max-changed", "1"), "a gate of two runs of score"),
        ((run, tmp_path / "b", "--max-shift", "1"), "a gate of a model and a run"),
        ((run, tmp_path / "b", "--false-alarm", "0.1"), "a gate of a model and a run"),
        ((run, tmp_path / "b", "--max-changed", "101%"), "is no number of images"),
        ((run, tmp_path / "b", "--max-changed", "-1"), "is no number of images"),
        ((run, tmp_path / "b", "--max-changed", "0.01"), "is no number of images"),
        ((table, other_rows, "--max-drop", "tpr"), "is no gate"),
        ((table, other_rows, "--max-drop", "tpr=-1"), "is no gate"),
        ((table, other_rows, "--max-drop", "tpr=nan"), "is no gate"),
        ((model, run, "--false-alarm", "1"), "above 0 and below 1"),
        ((model, run, "--max-shift", "nan"), "must be 0 or more"),
        ((model, run, "--group-by", "x", "--by-hour"), "exclude each other"),
    ]
    for words, part in cases:
        ran = adcli("compare", *words)
        assert (ran.code, ran.out) == (2, ""), (words, ran)
        assert part in ran.sentence, (words, ran.sentence)
    ran = adcli("compare", damaged, run)
    assert ran.code == 7
    assert ran.sentence


def test_an_expression_for_tables_is_ignored_where_there_is_none(tmp_path: Path, adcli: Adcli) -> None:
    a, b = run_of(tmp_path / "a", BEFORE), run_of(tmp_path / "b", AFTER)
    ran = adcli("compare", a, b, env={"ADCLI_GROUP_BY": "part(.)"})  # as it may be set for fit
    assert ran.code == 0
    assert "only of a run that is compared with a model" in ran.err


def test_the_core_refuses_with_its_own_errors(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a", BEFORE)
    with pytest.raises(UsageError, match="same run"):
        compare(run, run, Gates(max_changed=0))
    with pytest.raises(AdcliError):
        compare(run, tmp_path / "none")
