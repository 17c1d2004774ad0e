"""What benchmarks/speed.py computes from the runs of others, by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_contenders_take_turns_and_one_that_fails_is_left_out() -> None:
    from speed_turns import in_turns

    order: list[str] = []

    def job(name: str, *seconds: float | None) -> Any:
        left = list(seconds)

        def work() -> dict[str, Any]:
            order.append(name)
            took = left.pop(0)
            if took is None:
                sys.exit(f"{name} ended with 1")
            return {"wall_s": took, "said": "words"}

        return work

    jobs = {"a": job("a", 3, 1, 2, 8), "b": job("b", 5, None), "c": job("c", 9), "d": job("d", 70, 80, 90, 1)}
    found = in_turns(jobs, 4, once=("c",))
    assert order == ["a", "b", "c", "d", "a", "b", "d", "a", "d", "a"]  # d is long: three runs
    assert found["a"]["median"] == {"wall_s": 2.5}
    assert found["b"] == {"runs": [{"wall_s": 5, "said": "words"}], "failed": "b ended with 1", "median": {"wall_s": 5}}
    assert [len(found[name]["runs"]) for name in "cd"] == [1, 3]


def test_the_bound_is_the_stages_that_count_spread_over_the_cores() -> None:
    from speed_bound import BOUND, OTHERS
    from speed_parts import shares

    seconds = dict.fromkeys(BOUND, 2.0) | dict.fromkeys(OTHERS, 1.0)
    found = {name: {"runs": [{"seconds": seconds}], "median": {}} for name in ("alone", "together")}
    found |= {"command": {"median": {"wall_s": 10.0}}, "one image": {"median": {"wall_s": 1.0}}}
    said = shares(found, images=100, cores=2)["alone"]
    assert (said["bound_s"], said["all_stages_s"], said["share"]) == (6.0, 8.0, 0.6)
    assert said["share_without_start"] == pytest.approx(6 * 0.99 / 9, abs=1e-4)


def test_results_are_compared_file_by_file() -> None:
    from speed_parts import compared

    def results(*scores: float | None) -> dict[str, Any]:
        return {
            f"line/{number}.png": {
                "score": score,
                "threshold": 10.0,
                "verdict": "CHECK" if score is None else "NG" if score > 10 else "OK",
            }
            for number, score in enumerate(scores)
        }

    guarded = results(5.0, 9.5, 20.0, None)
    guarded["line/0.png"]["verdict"] = "CHECK"
    said = compared(results(4.0, 10.5, 20.0, None), guarded)
    assert said["differing"] == 2
    assert said["files"] == [
        {"image": "0.png", "verdicts": ["OK", "CHECK"], "scores": [4.0, 5.0], "threshold": 10.0, "by_score": False},
        {"image": "1.png", "verdicts": ["NG", "OK"], "scores": [10.5, 9.5], "threshold": 10.0, "by_score": True},
    ]
    assert (said["largest_difference"], said["largest_relative"]) == (1.0, 0.25)


def test_made_images_have_their_kind_in_the_name_and_mirrored_ones_have_mirrored_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import speed_images

    rng = np.random.default_rng(0)
    names = ("train/good/0", "train/good/1", "test/crack/0", "ground_truth/crack/0_mask", "test/good/0")
    for name in names:
        path = tmp_path / f"source/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (8, 8, 3), np.uint8))
    monkeypatch.setattr(speed_images, "COUNTS", {"test": 3, "train": 4})
    said = speed_images.make_images(tmp_path / "made", tmp_path / "source")
    assert (said["test"]["files"], said["train"]["files"]) == (3, 4)
    made = {path.name: cv2.imread(str(path)) for path in (tmp_path / "made").rglob("*.png")}
    tested = {path.name for path in (tmp_path / "made/test").rglob("*.png")}
    assert tested == {"crack_0.png", "crack_0_mirrored.png", "good_0.png"}
    assert made["crack_0.png"].shape == (1024, 1024, 3)
    for name in ("crack_0{}.png", "crack_0{}_mask.png", "good_1{}.png"):
        assert np.array_equal(made[name.format("")][:, ::-1], made[name.format("_mirrored")]), name


def test_times_faster_is_the_median_over_pairs_of_runs() -> None:
    from speed_tables import faster

    def runs(*seconds: float) -> dict[str, Any]:
        return {"runs": [{"wall_s": one} for one in seconds]}

    contenders = {"adcli, openvino": runs(1, 2, 4), "adcli, torch": runs(8, 8, 8), "anomalib": runs(12, 20, 24)}
    assert faster(contenders) == 10  # of 12, 10 and 6
    assert faster({"adcli, torch": runs(1)}) is None
