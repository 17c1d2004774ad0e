"""A run against the calibration of its model: by hand, by false alarms, and on real runs."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from adcli.report.runs import open_result
from adcli.store import Stored, load, save
from adcli.tasks.drift import Drift, compare_with_calibration
from tests.conftest import Adcli
from tests.models import CALIBRATION, make
from tests.tasks.folders import records
from tests.tasks.results import run_of, told


def stored_of(scores: np.ndarray, **changes: Any) -> Stored:
    scores = np.sort(scores)
    given = {"scores": scores, "threshold": float(scores[-1]), "rule": "area", "check_threshold": None}
    given |= {"max_false_reject": None, "check_false_reject": None}
    calibration = dataclasses.replace(CALIBRATION, **(given | changes))
    return Stored(make(calibration=calibration, group_by=None, scales=None), "m1", "d", 0)


def scored(folder: Path, scores: list[float], **record: Any) -> Path:
    return run_of(folder, [(f"lot{n % 3}/{n}.png", "OK", s, f"{n:064x}") for n, s in enumerate(scores)], **record)


def drift_of(stored: Stored, folder: Path, rate: float = 0.01, by: str | None = None, hours: bool = False) -> Drift:
    return compare_with_calibration(stored, Path("model.h5"), open_result(folder), rate, by, hours)


def test_a_run_is_counted_against_the_held_out_scores_as_by_hand(tmp_path: Path) -> None:
    stored = stored_of(np.arange(1.0, 11.0), threshold=10.0, check_threshold=8.0, check_false_reject=0.25)
    scores = [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 5.5]
    found = drift_of(stored, scored(tmp_path / "run", scores), by="lot([0-9])")
    ng, check = found.rates
    assert (ng.test.above, ng.test.n, ng.test.held_out_above, ng.test.held_out) == (2, 9, 0, 10)
    assert (check.name, check.test.above, check.test.held_out_above) == ("CHECK or NG", 4, 2)
    assert ng.promised == pytest.approx(1 / 11)
    assert ng.test.p_value == pytest.approx(9 / 19 * 8 / 18)  # the two highest of nineteen are both new
    assert ng.promised_p_value == pytest.approx(1 - (10 / 11) ** 9 - 9 / 11 * (10 / 11) ** 8)
    assert (check.promised, check.promised_p_value) == (0.25, pytest.approx(stats.binom.sf(3, 9, 0.25)))
    assert (found.shift.median, found.shift.held_out_median) == (8.0, 5.5)
    assert found.shift.in_spreads == pytest.approx(2.5 / (1.4826 * 2.5))
    assert found.shift.p_value == stats.ks_2samp(np.arange(1.0, 11.0), scores).pvalue
    assert [(g.name, g.test.n, g.test.above, g.median) for g in found.groups] == [
        ("0", 3, 1, 8.0),
        ("1", 3, 1, 9.0),
        ("2", 3, 0, 7.0),
    ]
    p = [ng.test.p_value, check.test.p_value, found.shift.p_value, *(g.test.p_value for g in found.groups)]
    adjusted = [ng.adjusted, check.adjusted, found.shift_adjusted, *(g.adjusted for g in found.groups)]
    order = np.argsort(p)
    stepped = [max(min(1, (6 - i) * p[order[i]]) for i in range(rank + 1)) for rank in range(6)]
    assert np.array(adjusted)[order].tolist() == pytest.approx(stepped)
    assert any("truly defective" in note for note in found.notes)


def test_images_that_the_model_has_seen_or_nobody_could_read_are_left_out(tmp_path: Path) -> None:
    stored = stored_of(np.arange(1.0, 11.0))
    learnt = stored.model.provenance.learnt[0].tobytes().hex()
    held = stored.model.calibration.digests[0].tobytes().hex()
    images = [("1.png", "NG", 99.0, learnt), ("2.png", "NG", 99.0, held), ("3.png", "ERROR", None, None)]
    images += [("4.png", "CHECK", None, "a"), ("5.png", "OK", 3.0, "b"), ("6.png", "OK", 4.0, None)]
    found = drift_of(stored, run_of(tmp_path / "run", images))
    assert (found.n, found.rates[0].test.above) == (2, 0)
    assert list(found.left_out.values()) == [1, 1, 1, 1]


def test_a_part_counts_once_with_its_strangest_image(tmp_path: Path) -> None:
    stored = stored_of(np.arange(1.0, 11.0))
    stored = dataclasses.replace(stored, model=dataclasses.replace(stored.model, group_by="p(.)"))
    folder = run_of(tmp_path / "run", [])
    lines = [("p1", 3.0), ("p1", 12.0), ("p2", 4.0), ("p1", 2.0), ("p2", 5.0)]
    text = [{"image": f"{n}.png", "verdict": "OK", "score": s, "part": p} for n, (p, s) in enumerate(lines)]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in text))
    found = drift_of(stored, folder)
    assert (found.unit, found.n, found.rates[0].test.above, found.shift.median) == ("part", 2, 1, 8.5)


def test_hours_are_those_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    images = []
    for number, (stamp, score) in enumerate([(0, 1.0), (3599, 3.0), (3600, 99.0), (None, 2.0)]):
        path = tmp_path / f"{number}.png"
        if stamp is not None:
            path.touch()
            os.utime(path, (stamp, stamp))
        images.append((str(path), "OK", score, f"{number:064x}"))
    found = drift_of(stored_of(np.arange(1.0, 11.0)), run_of(tmp_path / "run", images), hours=True)
    rows = [(g.name, g.test.n, g.median, g.test.above) for g in found.groups]
    assert rows == [("1970-01-01 02:00", 2, 2.0, 0), ("1970-01-01 03:00", 1, 99.0, 1)]
    assert any("1 images belong to no group" in note for note in found.notes)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("by", [None, "lot(.)"])
def test_the_report_alarms_no_oftener_than_stated_when_nothing_changed(by: str | None, tmp_path: Path) -> None:
    rng = np.random.default_rng([17, by is None])
    trials, rate, alarms = 1000, 0.05, 0
    folder = scored(tmp_path / "run", [0.0])
    for _ in range(trials):
        drawn = rng.gamma(2.0, size=25 + 45).round(2)
        lines = [{"image": f"lot{n % 3}", "verdict": "OK", "score": s} for n, s in enumerate(drawn[25:].tolist())]
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        check = float(np.sort(drawn[:25])[-4])
        found = drift_of(stored_of(drawn[:25], check_threshold=check), folder, rate, by)
        alarms += bool(found.alarms)
    assert 0 < alarms <= stats.binom.isf(1e-4, trials, rate)


def test_one_lot_that_went_wrong_alarms_by_its_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=600)
    scores[2::3] += 2.5
    stored = stored_of(rng.normal(size=200))
    found = drift_of(stored, scored(tmp_path / "run", scores.tolist()), by="lot(.)")
    assert [group.name for group in found.groups if group.adjusted <= 0.01] == ["2"]
    assert any("images of 2 are NG" in alarm for alarm in found.alarms)


@pytest.fixture
def run_and_model(dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path) -> tuple[Path, Path]:
    """A run of good images that the model has not seen, and its model."""
    out = tmp_path / "out"
    assert adcli("score", dataset / "test", "--out", out, "-m", own_model).code == 0
    return out, own_model


def test_a_real_run_is_compared_with_its_model_in_either_order(
    run_and_model: tuple[Path, Path], adcli: Adcli, dataset: Path
) -> None:
    out, model = run_and_model
    documents = [told(adcli("compare", *pair, "--json")) for pair in ((out, model), (model, out))]
    assert documents[0] == documents[1]
    document, calibration = documents[0], load(model).model.calibration
    assert document["kind"] == "drift"
    assert document["n"] == len(records(out))
    assert document["rates"][0]["count"] == sum(record["verdict"] == "NG" for record in records(out))
    assert document["held_out_median"] == np.median(calibration.scores)
    ran = adcli("compare", model, out, "--group-by", "([a-z]+)/[0-9]+")
    assert ran.code == 0
    assert "scratch" in ran.out


def test_drift_fails_only_when_it_is_gated(run_and_model: tuple[Path, Path], adcli: Adcli) -> None:
    out, model = run_and_model
    lines = [record | {"score": record["score"] + 100} for record in records(out)]
    (out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = adcli("compare", model, out)
    assert shown.code == 0
    assert "ALARM" in shown.out
    ran = adcli("compare", model, out, "--false-alarm", "0.01", "--max-shift", "3", "-q")
    assert ran.code == 6
    assert "the shift of the median is +" in ran.sentence
    assert f"{len(lines)} of {len(lines)} images are NG where 0 of " in ran.sentence
    assert adcli("compare", model, out, "--max-shift", "1e9").code == 0


def test_an_undefined_shift_fails_its_gate(run_and_model: tuple[Path, Path], adcli: Adcli) -> None:
    out, path = run_and_model
    model = load(path).model
    flat = dataclasses.replace(model.calibration, scores=np.ones_like(model.calibration.scores))
    save(dataclasses.replace(model, calibration=flat), path)
    (out / "run.json").write_text(json.dumps(json.loads((out / "run.json").read_text()) | {"model": "before"}))
    ran = adcli("compare", path, out, "--max-shift", "1000", "-q")
    assert ran.code == 6
    assert "is undefined" in ran.sentence


def test_a_run_of_another_model_or_of_other_sizes_is_refused(
    run_and_model: tuple[Path, Path], dataset: Path, adcli: Adcli, uncalibrated: Path
) -> None:
    out, model = run_and_model
    other = model.with_name("other.h5")
    assert adcli("fit", dataset / "train", "-m", other, "--backbone", "random-resnet18", "--image-size", "32").code == 0
    assert "scored by another model" in adcli("compare", other, out).sentence
    shutil.copy(model, other)
    assert adcli("calibrate", dataset / "test/good", "-m", other).code == 0
    again = adcli("compare", other, out)  # the same units: only the threshold moved
    assert again.code == 0
    assert "was judged by the threshold" in again.err
    assert adcli("calibrate", dataset / "test/good", "-m", other, "--min-area", "40px").code == 0
    refused = adcli("compare", other, out)
    assert (refused.code, "score the images again" in refused.sentence) == (2, True)
    without = adcli("compare", uncalibrated, out)
    assert without.code in (2, 7)
    assert without.sentence


def test_a_model_without_a_threshold_is_refused(run_and_model: tuple[Path, Path], adcli: Adcli) -> None:
    out, path = run_and_model
    save(dataclasses.replace(load(path).model, calibration=None), path)
    ran = adcli("compare", path, out)
    assert ran.code == 7
    assert "adcli calibrate" in ran.sentence


def test_a_table_that_finds_nothing_or_is_no_expression_is_refused(
    run_and_model: tuple[Path, Path], adcli: Adcli
) -> None:
    out, model = run_and_model
    for words, part in (
        (("--group-by", "zzz"), "finds nothing in any image's path"),
        (("--group-by", "("), "no regular expression"),
    ):
        ran = adcli("compare", model, out, *words)
        assert ran.code == 2
        assert part in ran.sentence
    gone = [record | {"image": f"gone/{record['image']}"} for record in records(out)]
    (out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in gone))
    assert "use --group-by" in adcli("compare", model, out, "--by-hour").sentence
