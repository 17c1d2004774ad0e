"""A benchmark: real cells, the table's arithmetic, cells that fail, and runs that are continued."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from adcli.tasks import commands
from adcli.versions import library_versions
from tests.conftest import QUICK, Adcli
from tests.tasks.benchmarks import PRETEND, WORDS, Stage

METRICS = ("image_auroc", "pixel_auroc", "aupro_0.3", "aupro_0.05", "tnr", "tpr")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Two categories, and commands that are only pretended."""
    made = Stage(tmp_path, "cap", "bottle")
    monkeypatch.setattr(commands, "PROGRAM", PRETEND)
    monkeypatch.setenv("PRETEND", str(made.folder))
    return made


@pytest.fixture
def bench(stage: Stage, adcli: Adcli):
    """Runs a benchmark of the stage."""

    def run(*more: object, data: Path | None = None):
        return adcli("benchmark", data or stage.data, *WORDS, "--out", stage.out, *more)

    return run


# With real commands


@pytest.fixture(scope="session")
def measured(dataset: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One real cell, by its document."""
    out = tmp_path_factory.mktemp("bench") / "out"
    words = ("--config", "padim -p dims=30", "--backbones", "embedded", "--image-size", "64", "--workers", "1")
    ran = adcli("benchmark", dataset, *words, "--out", out, "--keep-models", "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_a_cell_has_the_figures_of_the_commands_one_would_type(
    measured: dict[str, Any], dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    model = tmp_path / "model.h5"
    fitted = adcli("fit", dataset / "train/good", "-m", model, *QUICK, "--workers", "1", "--json")
    learnt = json.loads(fitted.out)
    evaluated = json.loads(adcli("eval", dataset, "-m", model, "--json").out)
    run = measured["runs"][0]
    assert run["metrics"] == evaluated["rows"][-1]
    assert run["model"] == evaluated["model"]
    assert (run["learnt"], run["held_out"]) == (learnt["learnt"], learnt["images"])
    row = measured["rows"][0]
    assert [row[metric] for metric in METRICS] == [evaluated["rows"][-1][metric] for metric in METRICS]
    assert (row["category"], row["good"], row["defective"]) == ("metal", 6, 9)


def test_a_cell_has_time_and_memory_of_whole_processes(measured: dict[str, Any]) -> None:
    run = measured["runs"][0]
    for command in ("fit", "eval", "score"):
        took = run[command]
        assert 0.1 < took["seconds"] < 600  # no process of ours starts in less
        assert 100 < took["peak_mb"] < 8000  # torch is in there
        assert took["cpu_seconds"] > 0.2
        assert measured["rows"][0][f"{command}_seconds"] == took["seconds"]


def test_a_model_that_is_kept_is_the_one_that_was_measured(measured: dict[str, Any], adcli: Adcli) -> None:
    out = Path(measured["out"])
    (kept,) = (out / "models").rglob("*.h5")
    assert kept.relative_to(out) == Path("models/metal/padim_-p_dims=30-embedded-seed0.h5")
    assert json.loads(adcli("info", kept, "--json").out)["sha256"] == measured["runs"][0]["model"]
    assert sorted(path.name for path in out.iterdir()) == [
        *("benchmark.json", "models", "runs.jsonl", "table.csv", "table.json", "table.md", "table.tex")
    ]


# The table


def test_means_deviations_and_intervals_are_those_of_the_records(bench, stage: Stage) -> None:
    assert bench("--methods", "padim,patchcore", "--seeds", "3").code == 0
    document = json.loads((stage.out / "table.json").read_text())
    assert len(stage.records()) == len(document["runs"]) == 2 * 2 * 3
    assert [(row["configuration"], row["category"]) for row in document["rows"]] == [
        (method, category) for method in ("padim", "patchcore") for category in ("bottle", "cap", "mean")
    ]
    for row in document["rows"]:
        of = [run for run in document["runs"] if run["configuration"] == row["configuration"]]
        for metric in METRICS:
            by_seed = [
                [
                    run["metrics"][metric]
                    for run in of
                    if run["seed"] == seed and row["category"] in (run["category"], "mean")
                ]
                for seed in range(3)
            ]
            if metric == "aupro_0.3":  # undefined in every category
                assert row[metric] is None and row[f"{metric}_sd"] is None and row[f"{metric}_low"] is None
                continue
            values = [statistics.fmean(seed) for seed in by_seed]
            assert row[metric] == pytest.approx(statistics.fmean(values))
            assert row[f"{metric}_sd"] == pytest.approx(statistics.stdev(values))
            if statistics.stdev(values) > 0:
                low, high = stats.t.interval(0.95, 2, statistics.fmean(values), stats.sem(values))
                assert row[f"{metric}_low"] == pytest.approx(max(0, low))
                assert row[f"{metric}_high"] == pytest.approx(min(1, high))


def test_the_mean_has_the_spread_of_means_and_not_the_mean_of_spreads(bench, stage: Stage) -> None:
    """Two categories that the seed moves in opposite ways have a mean that it does not move."""
    from adcli.tasks.benchmark_rows import make_rows
    from adcli.tasks.cells import Configuration

    one = Configuration("padim", "resnet18", ())
    records = {}
    for category, values in (("up", (0.2, 0.4)), ("down", (0.8, 0.6))):
        for seed, value in enumerate(values):
            metrics = dict.fromkeys(METRICS, value) | {"good": 1, "defective": 2}
            took = {"seconds": value, "peak_mb": 10 * value}
            record = {"failed": None, "metrics": metrics, "model_mb": 1.0, "learnt": 3, "held_out": 0}
            records[category, "padim", "resnet18", seed] = record | {"fit": took, "eval": took, "score": None}
    up, down, mean = make_rows(records, ["up", "down"], [one], 2)
    assert up["tnr_sd"] == pytest.approx(math.sqrt(0.02)) == pytest.approx(down["tnr_sd"])
    assert mean["tnr"] == pytest.approx(0.5)
    assert mean["tnr_sd"] == pytest.approx(0, abs=1e-12)
    assert (up["fit_seconds"], down["fit_seconds"]) == (pytest.approx(0.3), pytest.approx(0.7))
    assert mean["fit_seconds"] == pytest.approx(0.5)
    assert (mean["fit_peak_mb"], mean["learnt"], mean["good"], mean["defective"]) == (8, 6, 2, 4)
    assert math.isnan(mean["score_seconds"])


def test_one_seed_has_no_spread_and_one_category_no_mean(bench, stage: Stage) -> None:
    ran = bench(data=stage.data / "cap")
    assert ran.code == 0
    (row,) = json.loads((stage.out / "table.json").read_text())["rows"]
    assert (row["category"], row["kind"], row["image_auroc_sd"], row["image_auroc_low"]) == (
        "cap",
        "category",
        None,
        None,
    )
    assert "±" not in ran.out and "interval" not in ran.out


def test_what_is_printed_is_what_is_written(bench, stage: Stage) -> None:
    assert bench("--seeds", "2").code == 0
    for option, name in (("--csv", "table.csv"), ("--markdown", "table.md")):
        assert bench("--seeds", "2", "--resume", option).out == (stage.out / name).read_text()
    printed = json.loads(bench("--seeds", "2", "--resume", "--json").out)
    written = json.loads((stage.out / "table.json").read_text())
    assert printed == written
    rows = list(csv.DictReader(io.StringIO((stage.out / "table.csv").read_text())))
    for row, other in zip(rows, written["rows"], strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in other.items()}


def test_tables_for_papers_have_every_row_and_no_stray_character(bench, stage: Stage) -> None:
    (stage.data / "cap").rename(stage.data / "50%_cap & lid")
    assert bench("--seeds", "2").code == 0
    latex, markdown = ((stage.out / f"table.{suffix}").read_text() for suffix in ("tex", "md"))
    assert latex.count(r"padim & 50\%\_cap \& lid & 2 & ") == 3
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == latex.count(r"\bottomrule") == 3
    for block in latex.split(r"\midrule")[1:]:
        widths = {line.replace(r"\&", "").count("&") for line in block.splitlines() if line.endswith(r"\\")}
        assert len(widths) <= 2
    assert markdown.count("| padim | 50%_cap & lid | 2 |") == 3
    assert "sample standard deviation" in latex and "Student's" in markdown


# Cells that fail


def test_a_cell_that_fails_is_recorded_with_its_sentence_and_the_others_go_on(bench, stage: Stage) -> None:
    stage.direct("fail-bottle")
    ran = bench("--seeds", "2")
    assert ran.code == 5
    assert ran.err.count("seed 1 failed in fit: nothing to learn of bottle") == 2  # as it happens, and in the notes
    failed = [record for record in stage.records() if record["failed"]]
    assert [(one["category"], one["seed"], one["failed"]) for one in failed] == [
        ("bottle", seed, {"stage": "fit", "exit_code": 1, "sentence": "nothing to learn of bottle"}) for seed in (0, 1)
    ]
    bottle, cap, mean = json.loads((stage.out / "table.json").read_text())["rows"]
    assert (bottle["seeds"], bottle["seeds_lacking"], bottle["image_auroc"], bottle["learnt"]) == (0, 2, None, None)
    assert cap["image_auroc"] is not None
    assert mean["image_auroc"] is None  # of another set of categories it would be another figure


def test_a_failed_cell_is_tried_again_and_no_other(bench, stage: Stage) -> None:
    stage.direct("fail-bottle")
    bench("--seeds", "2")
    stage.direct()
    stage.calls()
    assert bench("--seeds", "2", "--resume").code == 0
    assert stage.fits() == [("bottle", 0), ("bottle", 1)]
    table = stage.table()
    shutil.rmtree(stage.out)
    bench("--seeds", "2")
    assert stage.table() == table


@pytest.mark.skipif(os.name == "nt", reason="there are no signals")
@pytest.mark.parametrize("verb", ["fit", "eval", "score"])
def test_a_command_that_the_system_kills_is_a_failed_cell(verb: str, bench, stage: Stage) -> None:
    stage.direct(f"kill-{verb}")
    assert bench(data=stage.data / "cap").code == 5
    (record,) = stage.records()
    assert record["failed"]["stage"] == verb
    assert "SIGKILL" in record["failed"]["sentence"] and "memory" in record["failed"]["sentence"]
    assert (record["fit"] is None) == (verb == "fit")
    assert not list(stage.out.rglob("*.h5"))


def test_without_a_threshold_nothing_is_scored(bench, stage: Stage) -> None:
    ran = bench("--holdout", "0")
    assert ran.code == 0
    assert {call["verb"] for call in stage.calls()} == {"fit", "eval"}
    assert "score" in ran.err  # and it is said


def test_no_score_leaves_score_out(bench, stage: Stage) -> None:
    ran = bench("--no-score")
    assert {call["verb"] for call in stage.calls()} == {"fit", "eval"}
    assert "score" not in ran.out and "eval" in ran.out


# What is run


def test_the_commands_get_the_options_and_the_images(bench, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADCLI_MIN_AREA", "9px")
    monkeypatch.setenv("ADCLI_WEIGHTS_DIR", "somewhere")
    common = ("--image-size", "64x96", "--holdout", "0.3", "--device", "cpu", "--workers", "2", "--weights", "w.pth")
    assert bench(*common, "--methods", "", "--config", "patchcore -p coreset=0.5 --tile 512").code == 0
    fit, evaluate, score = stage.calls()[3:]
    text = " ".join(fit["words"])
    for words in ("--image-size 64x96", "--holdout 0.3", "--device cpu", "--workers 2", "--weights w.pth", "--seed 0"):
        assert words in text
    assert text.endswith("--method patchcore -p coreset=0.5 --tile 512 -")
    cap = stage.data / "cap"
    assert fit["images"] == [str(cap / f"train/good/{number}.png") for number in range(3)]
    assert score["images"] == [str(cap / "test/good/0.png"), str(cap / "test/hole/0.png")]
    assert evaluate["words"][-1] == str(cap)
    assert fit["heard"] == ["ADCLI_WEIGHTS_DIR"]
    for call in (evaluate, score):
        assert "--device cpu --workers 2" in " ".join(call["words"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--methods", "padmi"), "did you mean padim"),
        (("--backbones", "resnet81"), "did you mean"),
        (("--config", "padim -p dins=3"), "dins"),
        (("--config", "padim --cores 3"), "--cores"),
        (("--config", "padim --seed 3"), "--seed"),
        (("--config", "padim --model x.h5"), "--model"),
        (("--config", "padim other"), "not a method and options"),
        (("--config", "padim --method patchcore"), "not a method and options"),
        (("--config", "padim '"), "cannot be read"),
        (("--image-size", "banana"), "banana"),
        (("--holdout", "1"), "hold-out"),
        (("--layout", "loose"), "layout"),
        (("--seeds", "0"), "--seeds"),
        (("--csv", "--json"), "exclude each other"),
        (("--resume", "--force"), "exclude each other"),
        (("--backbones", "resnet18,random-resnet18", "--weights", "w.pth"), "--weights"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_run(words: tuple, said: str, bench, stage: Stage) -> None:
    ran = bench(*words)
    assert (ran.code, stage.calls(), stage.out.exists()) == (2, [], False)
    assert said in ran.sentence


def test_models_that_would_have_one_name_are_not_kept(bench, stage: Stage) -> None:
    both = ("--methods", "", "--config", "padim --roi 0,0,9,9", "--config", "padim --roi 0;0;9;9")
    assert "one file" in bench(*both, "--keep-models").sentence
    assert stage.calls() == []


def test_a_configuration_with_a_backbone_is_measured_on_that_one_only(bench, stage: Stage) -> None:
    words = ("--config", "patchcore --backbone random-wide_resnet50_2")
    assert bench(*words).code == 0
    assert [(row["configuration"], row["backbone"]) for row in stage.table() if row["kind"] == "mean"] == [
        ("padim", "random-resnet18"),
        ("patchcore --backbone random-wide_resnet50_2", "random-wide_resnet50_2"),
    ]


@pytest.mark.parametrize("root", ["nowhere", "data/cap/train"])
def test_a_folder_without_categories_is_refused(root: str, bench, stage: Stage) -> None:
    ran = bench(data=stage.data.parent / root)
    assert ran.code == 2
    assert root in ran.sentence


# Runs that are continued


def test_a_folder_that_holds_a_benchmark_is_refused_without_resume_or_force(bench, stage: Stage) -> None:
    assert bench().code == 0
    before = {path.name: path.read_bytes() for path in stage.out.iterdir()}
    ran = bench()
    assert ran.code == 2
    assert "finished benchmark" in ran.sentence and "--resume" in ran.sentence and "--force" in ran.sentence
    assert {path.name: path.read_bytes() for path in stage.out.iterdir()} == before


def test_more_seeds_and_configurations_are_added_to_what_is_there(bench, stage: Stage) -> None:
    bench("--seeds", "1")
    stage.calls()
    assert bench("--seeds", "2", "--methods", "padim,patchcore", "--resume").code == 0
    assert stage.fits() == [("bottle", 1), ("cap", 1), *[(name, seed) for name in ("bottle", "cap") for seed in (0, 1)]]
    table = stage.table()
    assert bench("--seeds", "2", "--methods", "padim,patchcore", "--resume").code == 0
    assert stage.calls() == []
    shutil.rmtree(stage.out)
    bench("--seeds", "2", "--methods", "padim,patchcore")
    assert stage.table() == table


@pytest.mark.parametrize("words", [("--image-size", "64"), ("--holdout", "0.1"), ("--no-score",), ("--workers", "1")])
def test_a_benchmark_is_not_continued_with_other_settings(words: tuple[str, ...], bench, stage: Stage) -> None:
    bench()
    ran = bench("--resume", *words)
    assert ran.code == 2
    assert words[0].removeprefix("--").removeprefix("no-").replace("-", "_") in ran.sentence


def test_a_benchmark_is_not_continued_with_other_libraries(
    bench, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench()
    monkeypatch.setattr("adcli.tasks.benchmark.library_versions", lambda: library_versions() | {"torch": "0.4"})
    ran = bench("--resume")
    assert ran.code == 2
    assert "version of torch" in ran.sentence and "now 0.4" in ran.sentence


def test_a_cell_whose_images_have_changed_is_measured_again(bench, stage: Stage) -> None:
    bench()
    stage.calls()
    (stage.data / "cap/train/good/3.png").write_text("one more")
    bench("--resume")
    assert stage.fits() == [("cap", 0)]
    (stage.data / "bottle/ground_truth/hole/0_mask.png").write_text("another mask")
    bench("--resume")
    assert stage.fits() == [("bottle", 0)]


def test_a_torn_line_is_cut_off_and_its_cell_measured_again(bench, stage: Stage) -> None:
    bench("--seeds", "2")
    lines = (stage.out / "runs.jsonl").read_bytes().splitlines(keepends=True)
    (stage.out / "runs.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:50])
    stage.calls()
    assert bench("--seeds", "2", "--resume").code == 0
    assert stage.fits() == [("cap", 1)]
    assert [record["seed"] for record in stage.records()] == [0, 1, 0, 1]


def test_starting_over_removes_a_benchmark_and_nothing_else(bench, stage: Stage) -> None:
    bench("--seeds", "2", "--keep-models")
    (stage.out / "notes.txt").write_text("mine")
    (stage.out / "models/cap/own.h5").write_text("mine")
    stage.calls()
    assert bench("--force").code == 0
    assert stage.fits() == [("bottle", 0), ("cap", 0)]
    assert [path.name for path in (stage.out / "models").rglob("*.h5")] == ["own.h5"]
    assert (stage.out / "notes.txt").exists()
    assert len(stage.records()) == 2


def test_a_model_is_gone_once_it_is_measured(bench, stage: Stage) -> None:
    bench()
    assert sorted(path.name for path in stage.out.iterdir()) == [
        *("benchmark.json", "runs.jsonl", "table.csv", "table.json", "table.md", "table.tex")
    ]
