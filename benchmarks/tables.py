"""Puts the measured tables into the pages that show them, from the JSON files in results/.

    python benchmarks/tables.py [--check]

A page holds `<!-- measured:NAME -->` and `<!-- /measured:NAME -->`; what stands between them is written here and
nowhere else. With --check nothing is written, and the exit code tells whether a page is out of date.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from speed_tables import speed

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    "README.md",
    "benchmarks/README.md",
    "docs/backbones.md",
    "docs/guard.md",
    "docs/memory.md",
    "docs/methods.md",
    "docs/thresholds.md",
)


def accuracy() -> str:
    """One row a data set and configuration: what matters first."""
    lines = [
        "| images, method | image AUROC | pixel AUROC | AUPRO@0.3 | TNR / TPR | fit CPU s | score CPU s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for dataset, configuration, runs in _held_out_runs():
        metrics = (f"{_mean(runs, metric):.3f}" for metric in ("image_auroc", "pixel_auroc", "aupro_0.3"))
        lines.append(_row([f"{dataset}, {configuration}", *metrics, _rates(runs), *_times(runs)]))
    return "\n".join([*lines, "", _about_runs()])


def methods() -> str:
    """One row a data set and configuration, with the spread over seeds and the intervals over images."""
    lines = [
        "| images, method | seeds | image AUROC | pixel AUROC | AUPRO@0.3 | TNR / TPR | own image AUROC | fit CPU s "
        "| fit MB | score CPU s | score MB | model MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for dataset, configuration, runs in _held_out_runs():
        own = [run["method_image_auroc"] for run in runs]
        fit, score = _times(runs)
        cells = [
            f"{dataset}, {configuration}",
            str(len(runs)),
            *(f"{_spread(runs, metric)} {_interval(runs[0], metric)}".strip() for metric in METRICS),
            _rates(runs),
            "-" if None in own else _spread(runs, "method_image_auroc"),
            fit,
            f"{max(run['fit']['peak_mb'] for run in runs):.0f}",
            score,
            f"{max(run['score']['peak_mb'] for run in runs if 'score' in run):.0f}",
            f"{runs[0]['model_mb']:.0f}",
        ]
        lines.append(_row(cells))
    return "\n".join([*lines, "", _about_runs() + " " + _ABOUT_SPREAD])


METRICS = ("image_auroc", "pixel_auroc", "aupro_0.3")
METRIC_NAMES = ("image AUROC", "pixel AUROC", "AUPRO@0.3")
_ABOUT_SPREAD = (
    "Mean ± standard deviation over seeds, which draw reductions and coresets: a method with one seed draws nothing. "
    "In brackets the 95 % interval of seed 0 over test images, which is what another set of images of the kind "
    "would do. Own: what the method's own image score would give in place of S_A."
)


def backbones() -> str:
    """One row a data set, method and backbone; then means, time and bytes."""
    kept = json.loads((RESULTS / "backbones.json").read_text())
    head = ["images, method", "backbone", *METRIC_NAMES, "images a second", "model MB"]
    lines = [_row(head), _row(["---"] * 2 + ["---:"] * (len(head) - 2))]
    for what, of in _backbone_runs(kept).items():
        for backbone, runs in of.items():
            speed = statistics.median(run["images_per_second"] for run in runs)
            size = f"{runs[0]['model_bytes'] / 1e6:.1f}"
            cells = [what, backbone, *(_spread(runs, metric) for metric in METRICS), f"{speed:.1f}", size]
            lines.append(_row(cells))
    for backbone in kept["bytes"] | {"random-embedded": 0}:
        means = [_backbone_mean(kept, backbone, metric) for metric in METRICS]
        lines.append(_row(["mean", backbone, *(f"{mean:.4f}" for mean in means), "", ""]))
    engines = {"openvino_bf16": "OpenVINO bf16", "openvino_fp32": "OpenVINO float32", "torch_bf16": "torch bf16"}
    engines["torch_fp32"] = "torch float32"
    head = ["network at 256x256", "10^6 multiply-adds", *(f"{name}, ms" for name in engines.values()), "weights, MB"]
    lines += ["", _row(head), _row(["---"] + ["---:"] * (len(head) - 1))]
    for name, network in kept["networks"].items():
        times = (f"{network[f'{engine}_ms']:.2f}" for engine in engines)
        size = f"{kept['bytes'][name] / 1e6:.2f}"
        lines.append(_row([name, f"{network['multiply_adds'] / 1e6:.0f}", *times, size]))
    seeds = max(len(runs) for of in _backbone_runs(kept).values() for runs in of.values())
    about = (
        f"Mean ± standard deviation over {seeds} seeds, a fifth of the good images held out. Images a second: the "
        f"whole `score` command, start-up and files included (median), on {kept['machine']['cores']} cores. The "
        "network alone: processor milliseconds an image on one core, eight in a row. ResNet-18's file is its part up "
        "to layer3."
    )
    return "\n".join([*lines, "", about])


def backbones_judged() -> str:
    """Synthetic defects on good images."""
    sets = json.loads((RESULTS / "embedded_judged.json").read_text())["sets"]
    lines = [_row(["images, method, backbone", *METRIC_NAMES]), _row(["---"] + ["---:"] * len(METRICS))]
    for dataset, found in sets.items():
        for what, values in found.items():
            if "cycle" not in what:
                method, backbone = what.split()
                cells = [f"{dataset}, {method}, {backbone}", *(f"{values[metric]:.3f}" for metric in METRICS)]
                lines.append(_row(cells))
    return "\n".join(lines)


def _backbone_runs(kept: dict) -> dict[str, dict[str, list[dict]]]:
    """Runs by data set and method, then by backbone."""
    groups: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for name, run in kept["runs"].items():
        dataset, method, backbone, _ = name.split("/")
        groups[f"{dataset}, {method}"][backbone].append(run)
    return groups


def _backbone_mean(kept: dict, backbone: str, metric: str) -> float:
    """Of data sets and methods, each a mean over its seeds."""
    return statistics.fmean(_mean(of[backbone], metric) for of in _backbone_runs(kept).values())


def backbone_figures() -> str:
    """What `fit` says of the backbone it does not use."""
    kept = json.loads((RESULTS / "backbones.json").read_text())
    sets, methods, _, seeds = (
        sorted({*parts}) for parts in zip(*(name.split("/") for name in kept["runs"]), strict=True)
    )
    of = f"means of {' and '.join(methods).replace('_', ' ')} on {' and '.join(sets)}, {len(seeds)} seeds"
    figures = {
        name: {
            "of": of,
            **{metric: round(_backbone_mean(kept, name, metric), 4) for metric in METRICS},
            "network_ms": network["openvino_bf16_ms"],
        }
        for name, network in kept["networks"].items()
    }
    return json.dumps(figures, indent=1) + "\n"


def _held_out_runs() -> list[tuple[str, str, list[dict]]]:
    """Data set, configuration and runs with the default hold-out."""
    groups: dict[str, list[dict]] = defaultdict(list)
    for name, run in json.loads((RESULTS / "accuracy.json").read_text())["runs"].items():
        if "/holdout_0.2/" in name:
            groups[name.rpartition("/")[0]].append(run)
    return [(*name.split("/")[:2], runs) for name, runs in sorted(groups.items())]


def _about_runs() -> str:
    about = json.loads((RESULTS / "accuracy.json").read_text())["machine"]
    where = f"{about['cores']} cores ({about['cpu']}{', AMX' if about['amx_bf16'] else ''})"
    return (
        "ResNet-18 to layer 3 at 256x256, no crop, masks at their own size; a fifth of the good images held out to "
        f"set the threshold, for TNR / TPR. Seconds (median) are CPU seconds of whole commands on {where}, "
        f"torch {about['versions']['torch']}, no GPU. mtd: magnetic tiles, 761 good images, 579 to score; bottle450: "
        "MVTec AD bottle at half size, 209 and 83."
    )


def _rates(runs: list[dict]) -> str:
    return f"{_mean(runs, 'tnr'):.3f} / {_mean(runs, 'tpr'):.3f}"


def _times(runs: list[dict]) -> tuple[str, str]:
    fit, score = (statistics.median(run[verb]["cpu_s"] for run in runs if verb in run) for verb in ("fit", "score"))
    return f"{fit:.0f}", f"{score:.0f}"


def _interval(run: dict, metric: str) -> str:
    if f"{metric}_low" not in run:  # of a run before intervals were kept
        return ""
    return f"[{run[f'{metric}_low']:.3f}, {run[f'{metric}_high']:.3f}]"


_AS_CANDIDATE = {  # candidates of --method auto, as accuracy.py names the same fit
    "padim-coarse": "padim_layer2,layer3",
    "padim": "padim",
    "patchcore": "patchcore_1%",
    "fusion": "fusion",
    "padim-large": "padim_384",
    "patchcore-large": "patchcore_1%_384",
}


def auto() -> str:
    """What synthetic defects said of each candidate, beside what real ones say."""
    runs = json.loads((RESULTS / "accuracy.json").read_text())["runs"]
    lines = [
        "| images, candidate | criterion | behind the best | planted: image AUROC / AUPRO@0.05 "
        "| real: image AUROC / pixel AUROC / AUPRO@0.3 |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    about = []
    for dataset, found in json.loads((RESULTS / "auto.json").read_text())["datasets"].items():
        for trial in found["trials"]:
            name = trial["candidate"]
            run = runs.get(f"{dataset}/{_AS_CANDIDATE.get(name)}/holdout_0.2/seed_0")
            real = "-" if run is None else " / ".join(f"{run[metric]:.3f}" for metric in METRICS)
            cells = [
                f"{dataset}, `{name}`{' (chosen)' if name == found['chosen'] else ''}",
                f"{trial['criterion']:.3f}",
                f"{trial['behind']:.3f} ± {trial['behind_standard_error']:.3f}" if trial["behind"] else "the best",
                f"{trial['image_auroc']:.3f} / {trial['aupro_0.05']:.3f}",
                real,
            ]
            lines.append(_row(cells))
        about.append(f"{found['took']['cpu_s']:.0f} s on {dataset}")
    return "\n".join([*lines, "", f"CPU time, with the fit of the chosen: {', '.join(about)}."])


def trimmed() -> str:
    """What was left out of clean and of contaminated good images, and what that did."""
    kept = json.loads((RESULTS / "trim.json").read_text())
    lines = [
        "| good images, method | `--trim` | left out | of them planted | image AUROC |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in kept["rows"]:
        dirty = row["images"] == "contaminated"
        images = f"{row['set']}, {'5 % planted' if dirty else 'clean'}, {row['method']}"
        planted = f"{row['planted_found']}" if dirty else "-"
        lines.append(_row([images, row["trim"], f"{row['trimmed']}", planted, f"{row['image_auroc']:.4f}"]))
    return "\n".join(lines)


def peer() -> str:
    """Our means, learnt from all images, beside single runs of anomalib."""
    theirs = json.loads((RESULTS / "peer.json").read_text())
    kept = json.loads((RESULTS / "accuracy.json").read_text())
    lines = [
        "| | image AUROC | pixel AUROC | AUPRO@0.3 | fit s | fit GB | test s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, other in theirs.items():
        runs = [run for key, run in kept["runs"].items() if key.startswith(f"{name}/holdout_0/")]
        if not isinstance(other, dict) or not runs:
            continue
        fit, test = ([run[step]["wall_s"] for run in runs] for step in ("fit", "eval"))
        peak = max(run["fit"]["peak_mb"] for run in runs) / 1024
        metrics = ("image_auroc", "pixel_auroc", "aupro_0.3")
        seeds = f"{len(runs)} seed{'s' * (len(runs) > 1)}"
        cells = [f"{name}, adcli ({seeds})", *(_spread(runs, metric) for metric in metrics)]
        lines.append(_row([*cells, f"{statistics.median(fit):.1f}", f"{peak:.1f}", f"{statistics.median(test):.1f}"]))
        cells = [f"{name}, anomalib", *(f"{other[metric]:.4f}" for metric in metrics)]
        lines.append(_row([*cells, f"{other['fit_s']:.1f}", f"{other['peak_gb']:.1f}", f"{other['test_s']:.1f}"]))
    lines += ["", f"Ours are whole commands, imports included (test: `adcli eval`). Theirs: {theirs['peer']}."]
    return "\n".join(lines)


def memory() -> str:
    """Whole fits of different sizes."""
    kept = json.loads((RESULTS / "memory.json").read_text())
    lines = ["| fit of | seconds | peak MB |", "| --- | ---: | ---: |"]
    for method in ("padim", "patchcore"):
        for what, took in kept[method].items():
            lines.append(_row([f"{method}, {what}", f"{took['wall_s']:.1f}", f"{took['peak_mb']:.0f}"]))
    return "\n".join(lines)


def forecasts() -> str:
    """What doctor predicts, beside what happened."""
    lines = [
        "| images, method | fit CPU s | fit MB | score CPU s | score MB | model MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    kept = json.loads((RESULTS / "forecasts.json").read_text())
    for name, found in kept["runs"].items():
        told, fit, score = found["predicted"], found["fit"], found["score"]
        began, each = told["score_start_cpu_seconds"], told["score_cpu_seconds_per_image"]
        cells = [
            name,
            f"{told['fit_cpu_seconds']:.1f} / {fit['cpu_s']:.1f}",
            f"{told['fit_memory_bytes'] / 2**20:.0f} / {fit['peak_mb']:.0f}",
            f"{began + 24 * each:.1f} / {score['cpu_s']:.1f}",
            f"{told['score_memory_bytes'] / 2**20:.0f} / {score['peak_mb']:.0f}",
            f"{told['model_bytes'] / 1e6:.2f} / {found['model_bytes'] / 1e6:.2f}",
        ]
        lines.append(_row(cells))
    took = statistics.median(found["doctor"]["wall_s"] for found in kept["runs"].values())
    told = (
        f"Predicted / measured, CPU seconds and peak MB of whole commands; `adcli doctor` took {took:.1f} s (median)."
    )
    return "\n".join([*lines, "", told])


def large() -> str:
    """Scoring of very large images in tiles."""
    kept = json.loads((RESULTS / "large.json").read_text())
    lines = ["| score of 8192x8192 RGB, tiles of 512 | seconds | peak MB |", "| --- | ---: | ---: |"]
    for what, took in kept["runs"].items():
        lines.append(_row([what, f"{took['wall_s']:.1f}", f"{took['peak_mb']:.0f}"]))
    return "\n".join(lines)


def false_rejects() -> str:
    """What was promised of good tiles' rejects, and what became of it."""
    kept = json.loads((RESULTS / "false_rejects.json").read_text())
    lines = [
        "| method | promise | rejected, mean | expected | trials at most the rate | expected | a series left out, mean "
        "| at worst |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    words = {"average": "on average at most", "confidence": "with 95 % confidence at most"}
    for method, found in kept["methods"].items():
        for row in found["rows"]:
            key = f"{row['promise']} {row['rate']}"
            series = [one["rejects"][key] / one["fresh"] for one in found["series"].values()]
            cells = [
                method.replace("_", " "),
                f"{words[row['promise']]} {100 * row['rate']:g} %",
                f"{100 * row['achieved']:.2f} %",
                f"{100 * row['expected']:.2f} %",
                f"{100 * row['at_most_rate']:.1f} %",
                f"{100 * row['expected_at_most_rate']:.1f} %",
                f"{100 * statistics.fmean(series):.1f} %",
                f"{100 * max(series):.1f} %",
            ]
            lines.append(_row(cells))
    row = found["rows"][0]
    lines += [
        "",
        f"Magnetic tiles, good images only: {kept['learnt']} learnt from, {kept['calibrated']} to set the threshold, "
        f"{row['fresh']} fresh ones to try it on; {row['trials']} trials of {len(found['scores'])} fits a method. "
        "Expected: of exchangeable images, by the beta-binomial law, for so many fresh ones: they measure a rate "
        "coarsely, so fewer trials than the confidence stay at most the rate, also where it holds. A series left "
        "out: one of the six that the tiles were photographed in, seen by neither model nor threshold.",
    ]
    return "\n".join(lines)


def guard_rates() -> str:
    """How often the guard objects to good images."""
    kept = json.loads((RESULTS / "guard.json").read_text())
    lines = [
        "| good images | learnt from | set the limit | bound, 1/(n+1) | above the largest score | above the limit |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rows in kept["rates"].items():
        for row in rows:
            shares = (f"{100 * row[key]:.2g} %" for key in ("promised", "bare", "above"))
            lines.append(_row([name, str(row["learnt"]), str(row["held_out"]), *shares]))
    series = kept["series"].values()
    lines += [
        "",
        f"Means of {kept['splits']} divisions. Of a series of tiles that is new to the guard, as a new lot would be, "
        f"it objects to {100 * statistics.fmean(series):.2g} % (mean of six; at worst {100 * max(series):.2g} %).",
    ]
    return "\n".join(lines)


def guard_faults() -> str:
    """Verdicts on images that nobody should call OK, and on the test images."""
    kept = json.loads((RESULTS / "guard.json").read_text())["verdicts"]
    lines = [_row(["NG / CHECK / OK", *kept]), _row(["---", *["---:"] * len(kept)])]
    for fault in sorted({fault for found in kept.values() for fault in found}, key=_faults_first(kept)):
        cells = []
        for found in kept.values():
            count = found.get(fault)
            told = "-" if count is None else " / ".join(str(count.get(one, 0)) for one in ("NG", "CHECK", "OK"))
            cells.append(told)
        lines.append(_row([fault.replace("_", " "), *cells]))
    lines += [
        "",
        "Faults made of good test images, below them the test images themselves; models of all good training images, a "
        "fifth held out, by the paper's rule. Another product: good test images of the other set, in the right format "
        "and size.",
    ]
    return "\n".join(lines)


def _faults_first(kept: dict[str, dict]) -> Callable[[str], tuple[bool, str]]:
    """Faults are in all columns, defect types are not; good images are the last of the faults."""
    return lambda fault: (sum(fault in found for found in kept.values()) < len(kept), fault == "good", fault)


def endurance() -> str:
    """What hours of damaged files, kills and scoring came to."""
    kept = {name: RESULTS / f"{name}.json" for name in ("fuzz", "kills", "soak")}
    found = {name: json.loads(path.read_text()) for name, path in kept.items() if path.exists()}
    lines = ["| program | what was tried | what came of it |", "| --- | --- | --- |"]
    targets = found.get("fuzz", {"targets": {}})["targets"]
    for name in {"images": 0, "models": 0, "results": 0, "texts": 0} | targets:
        if not (one := targets.get(name)):
            lines.append(_row(["`fuzz.py`", name, "not run yet"]))
            continue
        failed = ", ".join(f"{count} {what}" for what, count in one["failed"].items()) or "none"
        tried = f"{name}: {one['cases']} cases in {one['seconds'] / 60:.0f} min"
        slowest = f"slowest {one['slowest_s']:.1f} s, memory +{one['peak_growth_mb']:.0f} MB"
        lines.append(
            _row(["`fuzz.py`", tried, f"failed: {failed}; {one['kinds_of_outcome']} kinds of outcome; {slowest}"])
        )
    if one := found.get("kills"):
        places = ", ".join(f"{count} {place}" for place, count in sorted(one["kills_by_place"].items()))
        tried = f"{one['kills']} kills of {one['runs']} runs over {one['images']} images: {places}"
        came = f"{len(one['failures'])} of {one['runs']} folders other than an undisturbed run's"
        lines.append(_row(["`kills.py`", tried, f"{came}; {one['lines_kept']} lines were on the disk at a kill"]))
    if one := found.get("soak"):
        tried = f"{one['images']:,} images of {one['size']}x{one['size']}, {one['images_a_second']:.0f} a second"
        told = ", ".join(f"{mb:.0f} at {int(count):,}" for count, mb in one["rss_mb"].items())
        files, threads = (one[f"{what}_most_then_least"][1] for what in ("files", "threads"))
        ends = f"afterwards as few as {files} files open and {threads} threads"
        lines.append(_row(["`soak.py`", tried, f"memory in MB: {told}; growth {one['growth_mb']:.0f} MB; {ends}"]))
    lines += [_row([f"`{name}.py`", "-", "not run yet"]) for name in ("kills", "soak") if name not in found]
    return "\n".join(lines)


def rulers() -> str:
    """The same maps measured by us, by sorting, and by a peer."""
    kept = json.loads((RESULTS / "rulers.json").read_text())
    head = ["maps", "metric", "adcli", "every pixel sorted", "anomalib", "anomalib, maps brought to 0..1"]
    lines = [_row(head), "| --- | --- | ---: | ---: | ---: | ---: |"]
    for dataset, found in kept["datasets"].items():
        peer = found["anomalib"]
        sources = (found["adcli"], found["sorting"], peer["raw"], peer["scaled"])
        at = dataset if found["size"] == "own" else f"{dataset}, all at {found['size']}x{found['size']}"
        for metric in ("image_auroc", "pixel_auroc", "aupro_0.3", "aupro_0.05", "aupimo"):
            values = [source.get(metric) for source in sources]
            lines.append(_row([at, f"`{metric}`", *("-" if value is None else f"{value:.6f}" for value in values)]))
        counted = (found["adcli"]["regions"], found["sorting"]["regions"], peer.get("largest_region_label"))
        lines.append(_row([at, "regions", *map(str, counted), ""]))
        theirs = sum(value for key, value in peer["scaled"].items() if key.endswith("_s"))
        seconds = (f"{found['adcli']['wall_s']:.1f}", f"{found['sorting']['wall_s']:.1f}", "", f"{theirs:.1f}")
        lines.append(_row([at, "seconds", *seconds]))
        if failed := peer.get("failed"):
            lines.append(_row([at, f"{', '.join(failed['metrics'])}", "", "", f"ended with {failed['exit']}", ""]))
    version = next(iter(kept["datasets"].values()))["anomalib"]["version"]
    lines += ["", f"anomalib {version}. Seconds: ours are the whole command, theirs the metrics alone, without import."]
    return "\n".join(lines)


def eval_speed() -> str:
    """Whole processes beside the sort of all pixels, and the metrics by themselves."""
    lines = [
        "| 160 maps of 1024x1024 | seconds | stable argsort, labels carried | times faster | peak MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for law in ("smooth", "noise"):
        path = RESULTS / f"eval_speed_{law}.json"
        if not path.exists():
            continue
        kept = json.loads(path.read_text())
        ours, theirs = (min(run["wall_s"] for run in kept[which]) for which in ("eval", "sort"))
        faster, peak = f"{kept['times_faster_whole_process']:.1f}", f"{kept['peak_mb']:.0f}"
        lines.append(_row([f"`adcli eval --from`, {law}", f"{ours:.1f}", f"{theirs:.1f}", faster, peak]))
    for law, found in json.loads((RESULTS / "metrics_speed.json").read_text())["laws"].items():
        cpu = (f"{found[which]['whole_cpu_s']:.1f}" for which in ("ours", "sort"))
        faster, peak = f"{found['times_less_cpu']:.1f}", f"{found['ours']['peak_rss_mib']:.0f}"
        lines.append(_row([f"metrics alone, {law} (CPU)", *cpu, faster, peak]))
    return "\n".join(lines)


def intervals() -> str:
    """How often intervals of pixel metrics hold the true value."""
    kept = json.loads((RESULTS / "intervals.json").read_text())
    metrics = ("pixel_auroc", "pixel_ap", "aupro_0.3", "aupro_0.05")
    lines = [_row(["maps", "good + defective", *metrics]), _row(["---"] * 2 + ["---:"] * len(metrics))]
    for law, found in kept["pixels"].items():
        for images, of in found.items():
            if images != "truth":
                cells = (f"{_held(of[metric]['percentile'])} / {_held(of[metric]['expanded'])}" for metric in metrics)
                lines.append(_row([law, images, *cells]))
    told = (
        f"Shares, in %, of {kept['repeats']} sets whose 95 % interval holds the true value: plain percentiles / ours."
    )
    return "\n".join([*lines, "", told])


def _held(found: dict) -> str:
    return f"{100 * found['held']:.0f}"


BLOCKS: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "methods": methods,
    "backbones": backbones,
    "backbones_judged": backbones_judged,
    "auto": auto,
    "trim": trimmed,
    "peer": peer,
    "memory": memory,
    "forecasts": forecasts,
    "large": large,
    "false_rejects": false_rejects,
    "guard_rates": guard_rates,
    "guard_faults": guard_faults,
    "endurance": endurance,
    "rulers": rulers,
    "eval_speed": eval_speed,
    "intervals": intervals,
    "speed": speed,
}


FILES: dict[str, Callable[[], str]] = {"adcli/report/backbones.json": backbone_figures}
"""Written whole."""


def filled(page: str) -> str:
    """The page with every measured block as the results have it."""
    for name, make in BLOCKS.items():
        pattern = re.compile(rf"(<!-- measured:{name} -->\n).*?(<!-- /measured:{name} -->)", re.DOTALL)
        if pattern.search(page):
            page = pattern.sub(lambda found, text=make(): f"{found[1]}{text}\n{found[2]}", page)
    return page


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _mean(runs: list[dict], metric: str) -> float:
    return statistics.fmean(run[metric] for run in runs)


def _spread(runs: list[dict], metric: str) -> str:
    mean = _mean(runs, metric)
    if len(runs) == 1:
        return f"{mean:.4f}"
    return f"{mean:.4f} ± {statistics.stdev(run[metric] for run in runs):.4f}"


def main() -> None:
    """Writes the pages, or tells whether they are up to date."""
    stale = []
    for name in (*PAGES, *FILES):
        path = ROOT / name
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if (fresh := FILES[name]() if name in FILES else filled(text)) != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(fresh, encoding="utf-8")
    print("out of date: " + ", ".join(stale) if stale else "up to date")
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
