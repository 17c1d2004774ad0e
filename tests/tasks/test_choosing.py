"""`--method auto` chooses by its rule, on images that the threshold does not stand on, and says what it chose."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adcli as package
from adcli.errors import EnvironmentFault, UsageError
from adcli.finding import FoundImage, find_images
from adcli.images import digest_image
from adcli.metrics.images import auroc
from adcli.report.method_tables import methods_tables
from adcli.store import load
from adcli.tasks import choosing, trials
from adcli.tasks.candidates import CANDIDATES, Candidate, named, obstacle, recipe_of
from adcli.tasks.engines import Machine
from adcli.tasks.recipe import Recipe
from adcli.tasks.trials import CELLS, Measurement, Probe, Trial
from adcli.thresholds.estimators import Rule
from adcli.types import no_progress
from tests.conftest import Adcli, Ran

QUICK = ("--backbone", "random-resnet18", "--image-size", "64")
TWO = ("-p", "candidates=patchcore,padim", "-p", "probe=5")
RECIPE = Recipe(method="auto", backbone="random-resnet18", image_size=(64, 64))


@pytest.fixture(scope="module")
def tried(dataset: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """A model that auto has made, and what was said."""
    path = tmp_path_factory.mktemp("auto") / "chosen.h5"
    ran = adcli("fit", dataset / "train", "-m", path, "--method", "auto", *QUICK, *TWO, "--min-area", "20px", "--json")
    assert ran.code == 0
    return path, ran


def made_up(seed: int, quality: float, n: int = 30, gaps: bool = False) -> Measurement:
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, 1 + len(CELLS)))
    scores[:, 1:] += quality
    if gaps:
        scores[3, 0] = scores[5, 2] = scores[6, 1:] = np.nan
    clean = [rng.standard_normal(500).astype(np.float32) for _ in range(n)]
    inside = {
        (place, cell): (rng.standard_normal(20) + quality).astype(np.float32)
        for place in range(n)
        for cell in range(len(CELLS))
        if np.isfinite(scores[place, 1 + cell])
    }
    return trials._measurement(scores, clean, inside)


def trial(name: str, measurement: Measurement) -> Trial:
    return Trial(Candidate(name, "padim"), RECIPE, measurement, 1.0, 1.0, 1)


# What is measured


def test_the_parts_of_the_criterion_are_those_of_the_definitions() -> None:
    rng = np.random.default_rng(0)
    n, cells = 6, len(CELLS)
    scores = rng.integers(0, 9, (n, 1 + cells)).astype(float)  # with ties
    clean = [rng.integers(0, 40, 300).astype(np.float32) for _ in range(n)]
    inside = {(i, k): rng.integers(20, 45, 11).astype(np.float32) for i in range(n) for k in range(cells)}
    found = trials._measurement(scores, clean, inside)
    good, planted = scores[:, 0], scores[:, 1:].ravel()
    everything = np.concatenate([good, planted])
    assert found.image_auroc() == pytest.approx(auroc(everything, np.arange(len(everything)) >= n), abs=1e-12)
    assert found.found_rate() == np.mean(planted > good.max())
    pixels = np.concatenate(clean)
    rates = (np.arange(20000) + 0.5) / 20000 * trials.LIMIT
    for place in ((0, 0), (3, 5)):
        values = inside[place]
        # The pixels of the defect above the lowest level that leaves fewer than a share f of clean pixels above.
        share = np.mean([[(pixels >= value).mean() <= rate for value in values] for rate in rates[::50]])
        assert found.overlap[place] == pytest.approx(share, abs=0.01)
    assert found.criterion() == pytest.approx((found.image_auroc() + found.overlap.mean()) / 2)


@pytest.mark.parametrize("gaps", [False, True])
def test_a_draw_counts_as_the_images_in_it_do(gaps: bool) -> None:
    measured = made_up(1, 0.7, n=12, gaps=gaps)
    assert measured.resampled(np.ones((1, 12)))[0] == pytest.approx(measured.criterion())
    drawn = [0, 0, 3, 5, 6, 7, 7, 7, 8, 9, 10, 11]
    counts = np.bincount(drawn, minlength=12)[None].astype(float)
    again = Measurement(measured.above[drawn][:, :, drawn], measured.overlap[drawn], measured.found[drawn])
    assert measured.resampled(counts)[0] == pytest.approx(again.criterion())


def test_a_defect_that_cannot_be_seen_counts_for_nobody() -> None:
    whole, gapped = made_up(1, 0.7), made_up(1, 0.7, gaps=True)
    assert np.isnan(gapped.overlap[5, 1])
    assert np.isnan(gapped.overlap[6]).all()
    assert np.isnan(gapped.above[..., 3]).all()
    assert 0 < gapped.criterion() < 1
    assert gapped.criterion() != whole.criterion()


def test_kinds_are_told_apart() -> None:
    measured = made_up(1, 0.7)
    kinds = measured.by_kind()
    assert len(kinds) * len(trials.STRENGTHS) == len(CELLS)
    assert np.mean([overlap for _, overlap in kinds.values()]) == pytest.approx(measured.aupro())


# The rule


def test_the_best_wins_where_it_is_ahead_by_more_than_the_error() -> None:
    first, second = trial("cheap", made_up(1, 0.2)), trial("dear", made_up(2, 2.0))
    winner, behind, why = choosing._decide([first, second], 0)
    assert winner is second
    assert behind[0][0] > behind[0][1] > 0
    assert behind[1] == (0, 0)
    assert "ahead of all others, of cheap" in why


def test_of_those_that_cannot_be_told_apart_the_first_wins() -> None:
    better, worse = sorted((trial("a", made_up(1, 1.0)), trial("b", made_up(2, 1.0))), key=_criterion, reverse=True)
    winner, behind, why = choosing._decide([worse, better], 0)
    assert behind[0][0] <= behind[0][1]
    assert winner is worse
    assert "no more than one standard error behind the best" in why
    assert choosing._decide([better, worse], 0)[0] is better
    assert "ahead of the dearer" in choosing._decide([better, worse], 0)[2]


def test_the_error_is_of_the_difference_so_that_what_all_share_cancels() -> None:
    one = trial("one", made_up(1, 0.5))
    _, behind, _ = choosing._decide([one, one], 0)
    assert behind == [(0, 0), (0, 0)]


def test_where_no_defect_can_be_seen_nothing_is_chosen() -> None:
    n, cells = 5, len(CELLS)
    blind = Measurement(np.full((n, cells, n), np.nan), np.full((n, cells), np.nan), np.full((n, cells), np.nan))
    with pytest.raises(UsageError, match="name one with --method"):
        choosing._decide([trial("blind", blind)], 0)


def _criterion(one: Trial) -> float:
    return one.measurement.criterion()


# Which images


class Watched:
    """Stands in for the trials, and keeps what they were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learnt: Sequence[FoundImage] = ()
        self.probes: Sequence[Probe] = ()
        self.names: list[str] = []
        monkeypatch.setattr(choosing, "run_trial", self)

    def __call__(self, candidate: Candidate, recipe: Recipe, learnt: Any, probes: Any, *rest: Any) -> Trial:
        self.learnt, self.probes = learnt, probes
        self.names.append(candidate.name)
        return trial(candidate.name, made_up(len(self.names), 0.5, n=len(probes)))

    def digests(self) -> tuple[list[str], list[str], list[str]]:
        learnt = [digest_image(image.path) for image in self.learnt]
        return learnt, [probe.sha256 for probe in self.probes], [digest_image(probe.donor) for probe in self.probes]


def choose(folder: Path, recipe: Recipe = RECIPE) -> choosing.Choice:
    return choosing.choose(find_images([str(folder)]), recipe, Rule(), Machine(), no_progress)


def test_what_is_held_out_has_no_part_in_the_choice(
    dataset: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    choose(dataset / "train")
    learnt, probes, donors = watched.digests()
    assert {*learnt, *probes, *donors} == load(model).model.provenance.learnt_digests()  # the same hold-out
    assert not set(learnt) & {*probes, *donors}
    assert all(probe != donor for probe, donor in zip(probes, donors, strict=True))


def test_the_order_and_the_names_of_the_files_change_nothing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    choose(dataset / "train")
    before = watched.digests()
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, path in enumerate(sorted((dataset / "train" / "good").iterdir())):
        shutil.copy(path, renamed / f"{99 - number}.png")
    choose(renamed)
    assert watched.digests() == before


def test_images_of_one_part_are_on_one_side(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, path in enumerate(sorted((dataset / "train" / "good").iterdir())):
        for view in "ab":
            shutil.copy(path, tmp_path / f"part{number:02}-{view}.png")
            with (tmp_path / f"part{number:02}-{view}.png").open("ab") as file:
                file.write(view.encode())  # another file of the same pixels
    watched = Watched(monkeypatch)
    choose(tmp_path, replace(RECIPE, group_by=r"part\d+"))
    learnt = {image.path.name[:6] for image in watched.learnt}
    assert not learnt & {probe.path.name[:6] for probe in watched.probes}


def test_so_many_are_used_and_no_more(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    choice = choose(dataset / "train", replace(RECIPE, params=("learn=4", "probe=5")))
    assert (choice.learnt, choice.probed) == (len(watched.learnt), len(watched.probes)) == (4, 5)


def test_too_few_images_are_refused_with_the_number_it_takes(dataset: Path, tmp_path: Path) -> None:
    for path in sorted((dataset / "train" / "good").iterdir())[:10]:
        shutil.copy(path, tmp_path)
    with pytest.raises(UsageError, match=f"at least {choosing.LEAST}"):
        choose(tmp_path)


# Which candidates


def test_the_names_are_distinct_and_chosen_from_in_the_order_of_the_list() -> None:
    names = [candidate.name for candidate in CANDIDATES]
    assert len(set(names)) == len(names)
    assert named("") == CANDIDATES
    assert [one.name for one in named(f"{names[2]}, {names[0]}")] == [names[0], names[2]]
    with pytest.raises(UsageError, match="no candidate 'nope'"):
        named("padim,nope")


def test_a_larger_input_is_tried_where_the_images_have_the_pixels() -> None:
    large = Candidate("large", "padim", scale=1.5)
    assert recipe_of(large, RECIPE).image_size == (96, 96)
    assert obstacle(large, RECIPE, [(90, 90)]) is None
    assert "fewer than 87x87 pixels" in obstacle(large, RECIPE, [(80, 300), (80, 300), (90, 90)])
    tiled = replace(RECIPE, tile=64)
    assert obstacle(large, tiled, [(900, 900)]) is not None


def test_a_candidate_that_cannot_be_is_passed_over_with_the_reason() -> None:
    sizes = [(300, 300)]
    assert "no method nope" in obstacle(Candidate("x", "nope"), RECIPE, sizes)
    wide = Candidate("x", "padim", backbone="wide_resnet50_2")
    assert "--backbone names random-resnet18" in obstacle(wide, RECIPE, sizes)
    assert "adcli weights pull wide_resnet50_2" in obstacle(wide, Recipe(), sizes)
    assert "--weights" in obstacle(wide, Recipe(weights=Path("w.pth")), sizes)
    coarse = Candidate("x", "padim", layers=("layer2",))
    assert "--layers" in obstacle(coarse, Recipe(layers=("layer1",)), sizes)


def test_one_that_fails_is_passed_over_and_where_all_do_the_first_fault_is_told(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    failing = {"padim-coarse"}

    def run(candidate: Candidate, *rest: Any) -> Trial:
        if candidate.name in failing:
            raise EnvironmentFault(f"no room for {candidate.name}")
        return watched(candidate, *rest)

    monkeypatch.setattr(choosing, "run_trial", run)
    choice = choose(dataset / "train")
    assert ("padim-coarse", "no room for padim-coarse") in choice.passed_over
    assert watched.names[:2] == ["padim", "patchcore"]
    failing.update(candidate.name for candidate in CANDIDATES)
    with pytest.raises(EnvironmentFault, match="no room for padim-coarse"):
        choose(dataset / "train")


def test_one_without_the_image_score_that_is_asked_for_is_passed_over(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    choice = choosing.choose(
        find_images([str(dataset / "train")]), RECIPE, Rule(image_stage="own"), Machine(), no_progress
    )
    assert watched.names and all(name.startswith("patchcore") for name in watched.names)
    assert any(name == "padim" and "no image score of its own" in reason for name, reason in choice.passed_over)


def test_a_time_budget_ends_the_trials_and_says_what_was_not_tried(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    choice = choose(dataset / "train", replace(RECIPE, params=("seconds=1e-9",)))
    assert watched.names == ["padim-coarse"]
    assert ("padim", "the 1e-09 seconds were used up") in choice.passed_over
    assert "only one" in choice.why


@pytest.mark.parametrize("param", ["probe=4", "learn=1", "seconds=-1", "seconds=nan", "candidates=nope", "coreset=0.1"])
def test_impossible_settings_are_refused(param: str, dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    ran = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", "--method", "auto", *QUICK, "-p", param)
    assert ran.code == 2
    assert not (tmp_path / "m.h5").exists()


def test_a_model_that_may_not_be_overwritten_is_refused_before_anything_is_tried(
    dataset: Path, model: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    assert "--force" in adcli("fit", dataset / "train", "-m", model, "--method", "auto", *QUICK).sentence
    assert not watched.names


# The command


def test_the_command_to_paste_makes_the_same_model(
    tried: tuple[Path, Ran], dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    path, ran = tried
    line = next(line for line in ran.err.splitlines() if line.startswith("the same without trying: adcli "))
    words = shlex.split(line.partition(": adcli ")[2])
    assert words[words.index("--min-area") + 1] == "20px"
    words[words.index("--model") + 1] = str(tmp_path / "same.h5")
    assert adcli(*words).code == 0
    chosen, same = load(path).model, load(tmp_path / "same.h5").model
    assert load(path).detector_digest == load(tmp_path / "same.h5").detector_digest
    assert np.array_equal(chosen.calibration.scores, same.calibration.scores)
    assert chosen.calibration.threshold == same.calibration.threshold
    assert same.provenance.chosen is None


def test_the_model_and_the_json_tell_what_was_chosen_among_what(tried: tuple[Path, Ran], adcli: Adcli) -> None:
    path, ran = tried
    auto = json.loads(ran.out)["auto"]
    assert [one["candidate"] for one in auto["trials"]] == ["padim", "patchcore"]
    chosen = load(path).model.provenance.chosen
    assert chosen.startswith(f"{auto['chosen']}, by auto among 2 (padim 0.")
    assert json.loads(adcli("info", path, "--json").out)["chosen"] == chosen
    assert json.loads(ran.out)["method"] == next(
        one["method"] for one in auto["trials"] if one["candidate"] == auto["chosen"]
    )
    assert 0 < auto["planted"] <= auto["probed"] * len(CELLS)
    assert all(one["seconds"] > 0 and one["ms"] > 0 and one["model_bytes"] > 0 for one in auto["trials"])


def test_python_chooses_as_the_command_does(tried: tuple[Path, Ran], dataset: Path, tmp_path: Path) -> None:
    fitted = package.fit(
        dataset / "train",
        tmp_path / "api.h5",
        method="auto",
        backbone="random-resnet18",
        image_size=(64, 64),
        params={"candidates": "padim,patchcore", "probe": 5},
        min_area="20px",
    )
    assert (tmp_path / "api.h5").read_bytes() == tried[0].read_bytes()
    assert len(fitted.choice.trials) == 2


def test_methods_tells_what_each_can_and_where_auto_tries_it(adcli: Adcli) -> None:
    listed = {one["method"]: one for one in json.loads(adcli("methods", "--json").out)}
    assert listed["padim"]["leaves_out"] is True
    assert listed["padim"]["positional"] is True
    assert listed["patchcore"]["positional"] is False
    assert "padim-coarse" in listed["padim"]["auto"]
    told = adcli("methods").out
    assert all(name in told for name in ["leave one out", "arXiv:2011.08785", "epsilon=0.01", "patchcore-large"])
    table = methods_tables(())[0]
    can = dict(zip(map(str, table.columns[0].cells), map(str, table.columns[6].cells), strict=True))
    assert can["padim"] == can["variation"] == "leave one out, update (-p updatable=yes)"
    assert can["patchcore"] == "leave one out, update"


def test_what_would_set_the_threshold_may_not_choose(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    ran = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", "--method", "auto", "--leave-one-out")
    assert (ran.code, "hold images out" in ran.err) == (2, True), ran.err
