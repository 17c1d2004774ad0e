"""Two runs or two evaluations, counted by hand on results that are written by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adcli.tasks.compare import compare
from tests.conftest import Adcli
from tests.tasks.folders import records
from tests.tasks.results import AFTER, BEFORE, ROW, Image, eval_of, run_of, told

# Run against run


def test_images_are_matched_and_counted_as_by_hand(tmp_path: Path, adcli: Adcli) -> None:
    a, b = run_of(tmp_path / "a", BEFORE), run_of(tmp_path / "b", AFTER)
    document = told(adcli("compare", a, b, "--json"))
    assert (document["images_a"], document["images_b"], document["matched"]) == (8, 8, 7)
    assert (document["matched_by_sha256"], document["matched_by_name"]) == (4, 3)
    assert (document["only_a"], document["only_b"]) == (["in/b/7.png"], ["new/b/9.png"])
    counts = {(x, y): n for x, row in document["verdicts"].items() for y, n in row.items() if n}
    assert counts == {
        ("OK", "OK"): 2,
        ("OK", "NG"): 1,
        ("NG", "OK"): 1,
        ("CHECK", "NG"): 1,
        ("ERROR", "OK"): 1,
        ("OK", "ERROR"): 1,
    }
    assert [(one["image"], one["from"], one["to"]) for one in document["changes"]] == [
        ("new/b/8.png", "OK", "ERROR"),  # the longest steps first, and of equal ones what may let a defect pass
        ("new/b/6.png", "ERROR", "OK"),
        ("new/x/3.png", "NG", "OK"),
        ("new/x/2.png", "OK", "NG"),
        ("new/x/4.png", "CHECK", "NG"),
    ]
    assert document["changes"][2] | {"score_a": 3.0, "score_b": 1.75} == document["changes"][2]
    assert document["changes"][0]["score_b"] is None
    # differences: 0.25, 1.0, -1.25, 0.1625, and -0.25 of the pair by name
    assert document["score_difference_n"] == 5
    assert document["score_difference_median"] == pytest.approx(0.1625)
    assert document["score_rose_share"] == 0.6
    assert (document["score_difference_largest"], document["score_difference_largest_image"]) == (-1.25, "new/x/3.png")
    assert any("1 pairs have the same name and other contents" in note for note in document["notes"])


def test_verdicts_are_counted_as_a_slower_matching_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    verdicts = ["OK", "CHECK", "NG"]

    def images(folder: str) -> list[Image]:
        order = rng.permutation(200)[:150]
        return [(f"{folder}/{n:03}.png", verdicts[rng.integers(3)], float(rng.normal()), f"s{n // 2}") for n in order]

    one, other = images("one"), images("two")
    found = compare(run_of(tmp_path / "a", one), run_of(tmp_path / "b", other)).comparison
    of_one, of_other = Counter(digest for *_, digest in one), Counter(digest for *_, digest in other)
    by_sha256 = sum((of_one & of_other).values())  # each content has two names
    assert found.by_sha256 == by_sha256 > 80
    assert sum(found.verdicts.values()) == found.matched == by_sha256 + found.by_name
    assert len(found.only_a) == len(found.only_b) == 150 - found.matched
    assert len(found.changes) == sum(n for (before, after), n in found.verdicts.items() if before != after)


def test_a_run_and_its_copy_under_another_folder_differ_in_nothing(tmp_path: Path, adcli: Adcli) -> None:
    a = run_of(tmp_path / "a", BEFORE)
    b = run_of(tmp_path / "b", [(f"/elsewhere/{image}", *rest) for image, *rest in reversed(BEFORE)])
    ran = adcli("compare", a, b, "--max-changed", "0", "--json")
    document = told(ran)
    assert (document["matched"], document["matched_by_sha256"], document["changed"]) == (8, 7, 0)
    assert document["differences"] == []
    assert "no verdict changed" in adcli("compare", a, b).out


def test_a_comparison_turned_round_has_the_transposed_table(tmp_path: Path) -> None:
    a, b = run_of(tmp_path / "a", BEFORE), run_of(tmp_path / "b", AFTER)
    there, back = compare(a, b).comparison, compare(b, a).comparison
    assert back.verdicts == {(after, before): n for (before, after), n in there.verdicts.items()}
    assert back.shift.median == -there.shift.median
    assert (back.only_a, back.only_b) == (there.only_b, there.only_a)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"detector_digest": "other"}, "two detectors"),
        ({"sizes": ["30px"]}, "other minimum sizes"),
        ({"detector_digest": None}, "does not say by which detector"),
        ({"sizes": None}, "other minimum sizes"),
    ],
)
def test_scores_in_other_units_are_not_subtracted(
    changes: dict[str, Any], reason: str, tmp_path: Path, adcli: Adcli
) -> None:
    a, b = run_of(tmp_path / "a", BEFORE), run_of(tmp_path / "b", AFTER, model="m2", **changes)
    document = told(adcli("compare", a, b, "--json"))
    assert document["score_difference_median"] is None
    assert any(reason in note for note in document["notes"])
    assert document["changed"] == 5


def test_the_pitch_is_a_unit_only_of_sizes_in_mm(tmp_path: Path) -> None:
    for number, (size, is_comparable) in enumerate([("25px", True), ("0.4mm2", False)]):
        a = run_of(tmp_path / f"a{number}", BEFORE, sizes=[size], pixel_pitch_mm=0.1)
        b = run_of(tmp_path / f"b{number}", AFTER, sizes=[size], pixel_pitch_mm=0.2, model="m2")
        assert (compare(a, b).comparison.shift is not None) is is_comparable


def test_what_differs_between_two_runs_is_named(tmp_path: Path, adcli: Adcli) -> None:
    a = run_of(tmp_path / "a", BEFORE, versions={"numpy": "1", "adcli": "1"}, old="only here")
    b = run_of(tmp_path / "b", AFTER, versions={"numpy": "2", "adcli": "1"}, threshold=2.5, model="m2", precision="x")
    document = told(adcli("compare", a, b, "--json"))
    assert {one["name"]: (one["a"], one["b"]) for one in document["differences"]} == {
        "model": ("m1", "m2"),
        "threshold": (2.0, 2.5),
        "version of numpy": ("1", "2"),
    }


@pytest.mark.parametrize(
    ("allowed", "code"), [("5", 0), ("4", 6), ("0", 6), ("71.5%", 0), ("71.4 %", 6), ("0%", 6), ("100%", 0)]
)
def test_the_gate_on_changed_verdicts_fails_above_its_number_or_share(
    allowed: str, code: int, tmp_path: Path, adcli: Adcli
) -> None:
    a, b = run_of(tmp_path / "a", BEFORE), run_of(tmp_path / "b", AFTER)  # 5 of 7, 71.43 %
    ran = adcli("compare", a, b, "--max-changed", allowed, "-q")
    assert ran.code == code
    if code:
        assert ran.sentence.startswith("a gate failed: 5 of 7 matched images changed their verdict, more than ")


def test_two_real_runs_of_one_model_agree_with_their_lines(
    dataset: Path, model: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    for name, path in (("a", model), ("b", band_model)):
        assert adcli("score", dataset / "test", "--out", tmp_path / name, "-m", path).code == 0
    pairs = list(zip(records(tmp_path / "a"), records(tmp_path / "b"), strict=True))
    changed = [b["image"] for a, b in pairs if a["verdict"] != b["verdict"]]
    document = told(adcli("compare", tmp_path / "a", tmp_path / "b" / "results.jsonl", "--json"))
    assert document["matched"] == document["matched_by_sha256"] == len(pairs)
    assert sorted(one["image"] for one in document["changes"]) == sorted(changed) != []
    assert {one["name"] for one in document["differences"]} >= {"model", "threshold", "rule", "sizes"}
    assert document["score_difference_n"] is None


# Eval against eval

TORN = ROW | {"kind": "defect type", "group": "torn", "image_auroc": 0.75}


def test_every_metric_of_every_row_is_subtracted(tmp_path: Path, adcli: Adcli) -> None:
    a = eval_of(tmp_path / "a", [TORN, ROW])
    other = TORN | {"category": "folder 2", "image_auroc": 0.5, "image_auroc_low": 0.375}
    b = eval_of(tmp_path / "b", [ROW | {"category": "folder 2", "tpr": 0.75}, other], model="n")
    document = told(adcli("compare", a, b / "eval.json", "--json"))
    assert [row["group"] for row in document["rows"]] == ["torn", "all"]
    torn, last = document["rows"]
    assert (torn["image_auroc_a"], torn["image_auroc_b"], torn["image_auroc_change"]) == (0.75, 0.5, -0.25)
    assert (torn["image_auroc_a_low"], torn["image_auroc_b_low"], torn["image_auroc_b_high"]) == (0.9, 0.375, 1.0)
    assert last["tpr_change"] == 0.25
    assert last["pixel_auroc_change"] is None
    assert not any(key.startswith(("good", "threshold", "image_auroc_low_")) for key in torn)
    assert "+0.2500" in adcli("compare", a, b).out


@pytest.mark.parametrize(
    ("after", "bound", "failure"),
    [
        (0.99, "0.005", None),  # exactly the bound, which floats miss
        (1.0, "0", None),
        (0.9899, "0.005", "image_auroc dropped by 0.0051, from 0.9950 to 0.9899, more than 0.005"),
        (None, "0.5", "image_auroc is undefined in "),
        (float("nan"), "0.5", "image_auroc is undefined in "),
        ("high", "0.5", "image_auroc is undefined in "),
    ],
)
def test_the_gate_on_a_metric_fails_where_it_dropped_by_more(
    after: Any, bound: str, failure: str | None, tmp_path: Path, adcli: Adcli
) -> None:
    a, b = eval_of(tmp_path / "a", [ROW]), eval_of(tmp_path / "b", [ROW | {"image_auroc": after}])
    gates = ("--max-drop", f"image_auroc={bound}", "--max-drop", "tpr=0", "-q")
    ran = adcli("compare", a, b, *gates)
    assert ran.code == (6 if failure else 0)
    assert not failure or f"a gate failed: {failure}" in ran.sentence


def test_an_unknown_metric_is_refused_with_those_that_are_known(tmp_path: Path, adcli: Adcli) -> None:
    a, b = eval_of(tmp_path / "a", [ROW]), eval_of(tmp_path / "b", [ROW])
    ran = adcli("compare", a, b, "--max-drop", "auroc=0.1")
    assert (ran.code, ran.out) == (2, "")
    assert ran.sentence == "there is no metric 'auroc' to gate on: known are image_auroc, pixel_auroc, tpr"


def test_real_evaluations_are_read_from_folders_and_from_saved_json(
    dataset: Path, model: Path, band_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    ran = adcli("eval", dataset, "-m", model, "--json", "--out", tmp_path / "a")
    (tmp_path / "saved.txt").write_text(ran.out, "utf-16")  # as some shells redirect
    other = adcli("eval", dataset, "-m", band_model, "--json", "--out", tmp_path / "b")
    document = told(adcli("compare", tmp_path / "saved.txt", tmp_path / "b", "--json"))
    before, after = ({row["group"]: row for row in json.loads(one.out)["rows"]} for one in (ran, other))
    assert [row["group"] for row in document["rows"]] == list(before)
    changed = 0
    for row in document["rows"]:
        for key in ("image_auroc", "pixel_auroc", "aupro_0.3", "tpr", "region_overlap"):
            assert row[f"{key}_a"] == before[row["group"]][key]
            assert row[f"{key}_b"] == after[row["group"]][key]
            changed += row[f"{key}_change"] != 0
    assert changed
