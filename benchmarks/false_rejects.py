"""Promised against achieved false rejects, on good images split again and again.

    python benchmarks/false_rejects.py [--fits 4] [--splits 250] [--table-only]

The magnetic tiles have 761 good images to learn from, of six series of photographs (exp1 to exp6).

Divided at random: each fit draws 250 of them; the others are scored once, as whole commands do it, and then divided
again and again into 311 that set the threshold and the rest that it is tried on. What is promised is compared with what
happened, beside what the theory expects of so small a trial: with S_(n-m) as threshold the number of rejects among t
fresh images is beta-binomial with m + 1 and n - m. Images divided at random are exchangeable whatever the images and
the method, so this tries the way from files to thresholds, not the condition that the promises stand on.

A series left out: 250 images of five series are learnt from, the rest of the five sets the threshold, and it is tried
on the sixth, which neither has seen. Nothing is promised then; this is how far from it a new series can be.

Results go to results/false_rejects.json, the picture to docs/false-rejects.png.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import HERE, RESULTS, SHARED, WEIGHTS, adcli, keep, machine, run
from scipy import stats

LEARNT, CALIBRATED = 250, 311
RATES = (0.01, 0.02, 0.05)
CONFIDENCE = 0.95
PROMISES = ("average", "confidence")
SERIES = ("exp1", "exp2", "exp3", "exp4", "exp5", "exp6")
METHODS = {
    "padim": ["--method", "padim"],
    "patchcore_1%": ["--method", "patchcore", "-p", "coreset=0.01"],
}


def good_images() -> list[Path]:
    """The good tiles, by name."""
    return sorted((SHARED / "data" / "mtd" / "train" / "good").iterdir())


def held_out_scores(method: str, seed: int, good: list[Path], new: list[Path] | None = None) -> list[list[float]]:
    """Image scores of the good images that one model did not learn from, and those of a series that is new to it."""
    from adcli import load

    order = np.random.default_rng(seed).permutation(len(good))
    learn, rest = ([str(good[i]) for i in part] for part in (order[:LEARNT], order[LEARNT:]))
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.h5")
        chosen = [*METHODS[method], "--seed", str(seed), "--holdout", "0", "--weights", str(WEIGHTS)]
        run(adcli("fit", *learn, *chosen, "--model", model))
        run(adcli("calibrate", *rest, "--model", model, "--no-pictures"))
        scores = [load(model).model.require_calibration().scores.tolist()]
        if new is not None:
            out = Path(folder) / "out"
            pictures = ["--masks", "none", "--overlays", "none"]
            run(adcli("score", *map(str, new), "--model", model, "--out", str(out), *pictures))
            scores.append([json.loads(line)["score"] for line in (out / "results.jsonl").read_text().splitlines()])
        return scores


def series_left_out(method: str, series: str) -> dict[str, Any]:
    """Rejects of one series by thresholds from the others, by promise and rate."""
    good = good_images()
    others = [path for path in good if not path.name.startswith(f"{series}_")]
    new = [path for path in good if path.name.startswith(f"{series}_")]
    held_out, fresh = map(np.array, held_out_scores(method, 0, others, new))
    rejects = {
        f"{promise} {rate}": int((fresh > threshold(held_out, rate, promise)).sum())
        for promise in PROMISES
        for rate in RATES
    }
    return {"held_out": len(held_out), "fresh": len(fresh), "rejects": rejects}


def threshold(held_out: np.ndarray, rate: float, promise: str) -> float:
    """As `calibrate` sets it."""
    from adcli.thresholds.estimators import Evidence, Rule, choose

    evidence = Evidence(np.sort(held_out), None, np.arange(held_out.size))
    confidence = CONFIDENCE if promise == "confidence" else None
    return choose(evidence, Rule(max_false_reject=rate, confidence=confidence))[0].threshold


def tried(scores: np.ndarray, splits: int, rng: np.random.Generator) -> dict[str, dict[str, list[int]]]:
    """Rejects among the images of each trial, by promise and rate."""
    rejects: dict[str, dict[str, list[int]]] = {promise: {} for promise in PROMISES}
    for _ in range(splits):
        shuffled = rng.permutation(scores)
        held_out, fresh = shuffled[:CALIBRATED], shuffled[CALIBRATED:]
        for promise in PROMISES:
            for rate in RATES:
                above = int((fresh > threshold(held_out, rate, promise)).sum())
                rejects[promise].setdefault(str(rate), []).append(above)
    return rejects


def expected(rate: float, promise: str, fresh: int) -> tuple[float, float]:
    """By the theory: the mean share of fresh images rejected, and how often it is at most `rate`."""
    from adcli.thresholds import conformal, guaranteed

    ranks = np.arange(float(CALIBRATED))
    found = conformal(ranks, rate) if promise == "average" else guaranteed(ranks, rate, CONFIDENCE)
    law = stats.betabinom(fresh, found.rejected + 1, CALIBRATED - found.rejected)
    return float(law.mean() / fresh), float(law.cdf(int(rate * fresh + 1e-9)))


def summarise(fits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a promise and rate, over all fits and splits of a method."""
    rows = []
    for promise in PROMISES:
        for rate in RATES:
            fresh = fits[0]["fresh"]
            shares = np.array([count / one["fresh"] for one in fits for count in one["rejects"][promise][str(rate)]])
            mean, often = expected(rate, promise, fresh)
            by_fit = [float(np.mean(one["rejects"][promise][str(rate)]) / one["fresh"]) for one in fits]
            rows.append(
                {
                    "promise": promise,
                    "rate": rate,
                    "achieved": float(shares.mean()),
                    "achieved_by_fit": by_fit,
                    "expected": mean,
                    "at_most_rate": float((shares <= rate).mean()),
                    "expected_at_most_rate": often,
                    "shares": np.unique(shares, return_counts=True)[0].round(5).tolist(),
                    "counts": np.unique(shares, return_counts=True)[1].tolist(),
                    "trials": len(shares),
                    "fresh": fresh,
                }
            )
    return rows


def draw(methods: dict[str, Any], path: Path) -> None:
    """Promised against achieved, a panel a method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), dpi=100, layout="constrained")
    colours = {"average": "#0072b2", "confidence": "#d55e00"}
    words = {"average": "on average at most", "confidence": "with 95 % confidence at most"}
    panels = figure.subplots(1, len(methods), sharey=True)
    for axes, (method, kept) in zip(np.atleast_1d(panels), methods.items(), strict=True):
        for promise, shift in (("average", -0.16), ("confidence", 0.16)):
            rows = [row for row in kept["rows"] if row["promise"] == promise]
            for place, row in enumerate(rows):
                shares = np.repeat(row["shares"], row["counts"])
                low, middle, high = np.quantile(shares, (0.05, 0.5, 0.95), method="inverted_cdf")
                at = place + shift
                axes.plot([at, at], [100 * low, 100 * high], color=colours[promise], linewidth=9, alpha=0.25)
                axes.plot(at, 100 * middle, "_", color=colours[promise], markersize=14, markeredgewidth=2)
                label = words[promise] if place == 0 else None
                axes.plot(at, 100 * row["achieved"], "o", color=colours[promise], label=label)
                left_out = [
                    one["rejects"][f"{promise} {row['rate']}"] / one["fresh"] for one in kept["series"].values()
                ]
                label = "a series left out" if place == 0 and promise == "average" else None
                beside = [at + 0.08] * len(left_out)
                axes.plot(beside, [100 * share for share in left_out], "x", color="#222222", markersize=5, label=label)
        for place, rate in enumerate(RATES):
            label = "promised" if place == 0 else None
            axes.plot([place - 0.36, place + 0.36], [100 * rate] * 2, color="#222222", linewidth=1.5, label=label)
        axes.set_xticks(range(len(RATES)), [f"{100 * rate:g} %" for rate in RATES])
        axes.set_xlabel("promised")
        axes.set_title(method.replace("_", " "), loc="left", fontweight="bold")
        axes.grid(axis="y", color="#e3e8ed")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    first = np.atleast_1d(panels)[0]
    first.set_ylabel("good images rejected, %")
    first.legend(frameon=False, loc="upper left")
    trials = next(iter(methods.values()))["rows"][0]
    figure.suptitle(
        f"Good magnetic tiles: {CALIBRATED} set the threshold, {trials['fresh']} fresh ones are rejected as often as "
        f"this, in {trials['trials']} trials at random.\nDot: mean; dash: median; bar: nine trials of ten; cross: one "
        "of six series that neither model nor threshold has seen.",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def main() -> None:
    """Measures what is not measured yet, and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=4, help="models a method, each of other images")
    parser.add_argument("--splits", type=int, default=250, help="divisions of the other images, a model")
    parser.add_argument("--table-only", action="store_true", help="no new measurement")
    arguments = parser.parse_args()
    path = RESULTS / "false_rejects.json"
    kept = json.loads(path.read_text()) if path.exists() else {"methods": {}}
    if not arguments.table_only:
        kept |= {"machine": machine(), "learnt": LEARNT, "calibrated": CALIBRATED, "confidence": CONFIDENCE}
    for method in METHODS:
        one = kept["methods"].setdefault(method, {"scores": []})
        while not arguments.table_only and len(one["scores"]) < arguments.fits:
            one["scores"].append(held_out_scores(method, len(one["scores"]), good_images())[0])
            keep("false_rejects", kept)
            print(method, len(one["scores"]), "fits", flush=True)
        fits = []
        for seed, scores in enumerate(one["scores"]):
            rng = np.random.default_rng([seed, *method.encode()])
            rejects = tried(np.array(scores), arguments.splits, rng)
            fits.append({"fresh": len(scores) - CALIBRATED, "rejects": rejects})
        one["rows"] = summarise(fits)
        for series in SERIES:
            if not arguments.table_only and series not in one.setdefault("series", {}):
                one["series"][series] = series_left_out(method, series)
                keep("false_rejects", kept)
                print(method, series, flush=True)
    keep("false_rejects", kept)
    draw(kept["methods"], HERE.parent / "docs" / "false-rejects.png")


if __name__ == "__main__":
    main()
