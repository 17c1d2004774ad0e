"""The tables of whole commands' speed, from results/speed.json; called by tables.py."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from speed_bound import BOUND, OTHERS

RESULTS = Path(__file__).resolve().parent / "results"
NAMES = {"160": "160 PNGs of 1024x1024", "mtd": "579 magnetic tiles"}
SCORED = ("padim", "patchcore_1%")
NONE = "not measured"


def speed() -> str:
    """Every table, one below the other, with what must be said of them."""
    path = RESULTS / "speed.json"
    kept = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    parts = kept["parts"]
    tables = [
        _commands(parts, "score", "`adcli score`, masks and overlays for NG and CHECK"),
        _shares(parts),
        _starts(parts),
        _verdicts(parts),
        _fits(parts),
    ]
    if any(name.startswith("cuda/") for name in parts):
        tables.append(_commands(parts, "cuda", "`adcli score` on a GPU"))
    return "\n\n".join([*tables, _about(kept)])


def faster(contenders: dict[str, Any]) -> float | None:
    """How many times the wall time of our first contender anomalib takes: the median over paired runs."""
    ours, theirs = _first(contenders, "adcli"), contenders.get("anomalib", {"runs": []})
    if ours is None or not theirs["runs"]:
        return None
    pairs = zip(ours["runs"], theirs["runs"], strict=False)
    return statistics.median(other["wall_s"] / one["wall_s"] for one, other in pairs)


def _first(contenders: dict[str, Any], beginning: str) -> dict[str, Any] | None:
    return next((one for name, one in contenders.items() if name.startswith(beginning) and one["runs"]), None)


def _each(kind: str) -> list[tuple[str, str]]:
    """Names of parts, and how a table calls them."""
    return [(f"{kind}/{name}/{method}", f"{NAMES[name]}, {method}") for name in NAMES for method in SCORED]


def _commands(parts: dict[str, Any], kind: str, title: str) -> str:
    names = list(dict.fromkeys(who for part, _ in _each(kind) for who in parts.get(part, {}).get("contenders", {})))
    lines = [_row([f"{title}: s", *names, "times faster than anomalib", "stolen"]), _rule(len(names) + 2)]
    for part, told in _each(kind):
        if part not in parts:
            lines.append(_row([told, *[NONE] * (len(names) + 2)]))
            continue
        found = parts[part]["contenders"]
        times = faster(found)
        walls = (_wall(found.get(name)) for name in names)
        lines.append(_row([told, *walls, "-" if times is None else f"{times:.1f}", _stolen(found)]))
    return "\n".join(lines)


def _wall(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    return f"{found['median']['wall_s']:.2f}" if "median" in found else "failed"


def _stolen(contenders: dict[str, Any]) -> str:
    """The share of the cores' time that other machines took: the median over all runs, where it was kept."""
    found = [run["stolen"] for one in contenders.values() for run in one["runs"] if "stolen" in run]
    return _percent(statistics.median(found)) if found else "-"


def _shares(parts: dict[str, Any]) -> str:
    """Of the bound, by stages in core-milliseconds an image."""
    heads = [*(f"{stage} ms" for stage in BOUND), *(f"({stage} ms)" for stage in OTHERS)]
    lines = [
        _row(
            ["images, method, engine", *heads, "bound s", "command s", "share", "of cores at once", "without start-up"]
        ),
        _rule(len(heads) + 5),
    ]
    for part, told in _each("bound"):
        engines = [name for name in parts if name.startswith(f"{part}/")]
        if not engines:
            lines.append(_row([told, *[NONE] * (len(heads) + 5)]))
        for name in engines:
            found = parts[name]
            engine = f"{told}, {name.rpartition('/')[2]}"
            if "alone" not in found:
                lines.append(_row([engine, *["failed"] * (len(heads) + 5)]))
                continue
            alone, wall = found["alone"], found["contenders"]["command"]["median"]["wall_s"]
            each = (f"{1000 * alone['stages_s'][stage] / found['images']:.1f}" for stage in (*BOUND, *OTHERS))
            shares = [_percent(one["share"]) for one in (alone, found["together"])]
            shares.append(_percent(alone["share_without_start"]))
            lines.append(_row([engine, *each, f"{alone['bound_s']:.2f}", f"{wall:.2f}", *shares]))
    return "\n".join(lines)


def _starts(parts: dict[str, Any]) -> str:
    lines = [_row(["a new process", "s", "CPU s", "peak MB"]), _rule(3)]
    found = parts.get("start", {"contenders": {}})["contenders"]
    for name, one in found.items():
        if "median" not in one:
            lines.append(_row([name, "failed", "-", "-"]))
            continue
        took = one["median"]
        lines.append(_row([name, f"{took['wall_s']:.2f}", f"{took['cpu_s']:.2f}", f"{took['peak_mb']:.0f}"]))
    return "\n".join(lines if found else [*lines, _row(["`adcli --help`", NONE, NONE, NONE])])


def _verdicts(parts: dict[str, Any]) -> str:
    lines = [
        _row(
            [
                "beside torch in fp32",
                "engine, precision",
                "other verdicts",
                "scores from the threshold at most",
                "told beforehand",
                "mean, largest",
            ]
        ),
        _rule(5),
    ]
    for part, told in _each("verdicts"):
        if part not in parts:
            lines.append(_row([told, *[NONE] * 5]))
            continue
        held_out = parts[part]["held_out_difference"]
        allowed = "-" if held_out is None else f"{2 * held_out:.2g}"
        for other, found in parts[part]["others"].items():
            decided = [file for file in found["files"] if file["by_score"]]
            apart = [abs(file["scores"][0] - file["threshold"]) for file in decided]
            reach = f"{max(apart):.2g}" if apart else "-"
            guarded = len(found["files"]) - len(decided)
            by_guard = f", {guarded} by the input guard" if guarded else ""
            number = f"{found['differing']} of {parts[part]['images']}{by_guard}"
            differ = f"{_percent(found['mean_relative'], 3)}, {_percent(found['largest_relative'], 2)}"
            lines.append(_row([told, other, number, reach, allowed, differ]))
    return "\n".join(lines)


def _fits(parts: dict[str, Any]) -> str:
    """Beside what the peer took once: measured here, or at another time on a machine of the same kind."""
    once = json.loads((RESULTS / "peer.json").read_text())
    methods = ("padim", "patchcore_1%", "patchcore_10%")
    found = {method: parts.get(f"fit/{method}", {}).get("contenders", {}) for method in methods}
    names = list(dict.fromkeys(who for one in found.values() for who in one if who != "anomalib"))
    lines = [_row(["`adcli fit` on 320 PNGs of 1024x1024: s", *names, "anomalib", "stolen"]), _rule(len(names) + 2)]
    for method in methods:
        theirs = found[method].get("anomalib", {})
        if "median" in theirs:
            told = f"{theirs['median']['wall_s']:.0f}"
        else:
            took = once["320 PNGs of 1024x1024"][method]["fit_s"]
            told = f"({took if isinstance(took, str) else round(took + once['import_s'])})"
        walls = [_wall(found[method].get(name)) for name in names] if found[method] else [NONE] * len(names)
        lines.append(_row([method, *walls, told, _stolen(found[method])]))
    return "\n".join(lines)


def _about(kept: dict[str, Any]) -> str:
    parts = kept["parts"]
    said = [
        "Seconds of whole processes, from start to exit: medians of runs in turns (of the plain script two), each row "
        "at one time; between rows the machine was up to twice as slow; times faster: the median over pairs of runs. "
        "Stolen: of the cores' time by other machines on the same host, while the row was measured; it slows most what "
        "keeps all cores busy. Bound: stages alone on one core, in its time, divided by the number of cores; those in "
        "brackets are measured and not counted. Of cores at once: the share where the bound is measured on every core "
        "at the same time, as they take from each other what they share. Without start-up: less the time of the "
        "command on one image. Other verdicts: of how many files; how far the scores in fp32 of those that the "
        "threshold decides are from it; twice the largest difference that fit saw on held-out images, and printed; and "
        "by how much the scores of all files differ. anomalib in brackets: one run at another time (peer.json)."
    ]
    score = [part for name, part in parts.items() if name.startswith("score/")]
    if score and (peer := next((p["contenders"]["anomalib"] for p in score if "anomalib" in p["contenders"]), None)):
        version = next((run["version"] for run in peer["runs"]), "")
        said.append(f"anomalib {version}: Engine.predict, import and its pictures included, the same weights.")
    if banks := {part["rows_in_bank"] for part in score if part["rows_in_bank"]}:
        told = " and ".join(f"{rows:,}" for rows in sorted(banks))
        said.append(f"All search the same PatchCore bank ({told} vectors), the one that adcli chose.")
    if machine := kept.get("machine"):
        amx = ", AMX" if machine["amx_bf16"] else ""
        said.append(f"{machine['cores']} cores ({machine['cpu']}{amx}).")
    return " ".join(said)


def _percent(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(figures: int) -> str:
    return _row(["---", *["---:"] * figures])
