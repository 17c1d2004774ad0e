"""What speed.py measures, part by part; each returns what is kept of it."""

from __future__ import annotations

import json
import math
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from measure import HERE, WEIGHTS, adcli, machine, run
from speed_bound import BOUND, OTHERS
from speed_models import METHODS, Bench, family, images_in
from speed_turns import Record, in_turns, medians, rounded, timed

PEER_FITS = ("padim",)  # PatchCore's takes from 20 minutes to hours: results/peer.json


def scoring(bench: Bench, images: Path, model: Path, out: Path, *words: str) -> list[str]:
    """The command that is timed: its defaults, masks and overlays for NG and CHECK among them."""
    return adcli("score", str(images), "--model", str(model), "--out", str(out), "--json", "--quiet", *words)


def warm(bench: Bench, name: str, method: str, engines: Sequence[str], out: Path, device: str = "cpu") -> None:
    """Files into the system's cache, libraries among them."""
    images = images_in(bench.scored(name))
    for path in images:
        path.read_bytes()
    for engine in engines:
        shutil.rmtree(out, ignore_errors=True)
        run(scoring(bench, images[0], bench.model(name, method), out, "--engine", engine, "--device", device))


def score_part(bench: Bench, engines: Sequence[str], name: str, method: str, runs: int, device: str) -> Record:
    """The same images through everybody."""
    images, model, plain = bench.scored(name), bench.model(name, method), bench.plain(name, method)
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        out = Path(folder) / "out"
        jobs: dict[str, Callable[[], Record]] = {}
        for engine in engines:
            words = scoring(bench, images, model, out, "--engine", engine, "--device", device)
            jobs[f"adcli, {engine}"] = partial(timed, words, out, ("ok", "check", "ng", "error", "seconds"))
        words = [sys.executable, str(HERE / "speed_plain.py"), "score", str(images), str(out), str(plain)]
        for precision, more in (("fp32", []), ("bf16", ["--bf16"])):
            command = [*words, "--device", device, *more]
            jobs[f"plain torch, {precision}"] = partial(timed, command, out, ("ok", "ng"))
        if bench.peer_python:
            checkpoint = bench.checkpoint(name, method)
            command = bench.peer("predict", family(method), str(checkpoint), str(images), str(out), "--device", device)
            jobs["anomalib"] = partial(
                timed, command, out, ("ok", "ng", "pictures", "import_s", "predict_s", "version")
            )
        warm(bench, name, method, engines, out, device)
        contenders = in_turns(jobs, runs, twice=[name for name in jobs if name.startswith("plain")])
    return {"images": bench.facts(name), "rows_in_bank": bench.rows_in_bank(name, method), "contenders": contenders}


def bound_part(bench: Bench, engine: str, name: str, method: str, runs: int) -> Record:
    """Stages alone on one core, on all cores at once, the command, and the command on one image."""
    images, model = bench.scored(name), bench.model(name, method)
    cores = machine()["cores"]
    stages = [sys.executable, str(HERE / "speed_bound.py"), str(images), str(model), "--engine", engine]
    says = ("images", "drawn", "engine", "precision", "seconds")

    def together() -> Record:
        """As many processes as cores, each on one of them: what they take from each other shows in their seconds."""
        with ThreadPoolExecutor(cores) as pool:
            commands = [[*stages, "--core", str(core)] for core in range(cores)]
            done = list(pool.map(lambda command: timed(command, says=says), commands))
        return medians(done) | {"seconds": medians([one["seconds"] for one in done])}

    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        out = Path(folder) / "out"
        whole = scoring(bench, images, model, out, "--engine", engine, "--device", "cpu")
        single = scoring(bench, images_in(images)[0], model, out, "--engine", engine, "--device", "cpu")
        jobs = {
            "alone": partial(timed, stages, says=says),
            "together": together,
            "command": partial(timed, whole, out, ("seconds",)),
            "one image": partial(timed, single, out, ("seconds",)),
        }
        warm(bench, name, method, [engine], out)
        found = in_turns(jobs, runs)
    result: Record = {"images": len(images_in(images)), "cores": cores, "contenders": found}
    if all("median" in one for one in found.values()):
        result |= shares(found, result["images"], cores)
    return result


def shares(found: dict[str, Any], images: int, cores: int) -> Record:
    """The bound, and what of the command's time it is: with all, and without what one image takes as well."""
    said = {}
    wall, start = (found[name]["median"]["wall_s"] for name in ("command", "one image"))
    for name in ("alone", "together"):
        stages = medians([one["seconds"] for one in found[name]["runs"]])
        bound = sum(stages[stage] for stage in BOUND) / cores
        everything = bound + sum(stages[stage] for stage in OTHERS) / cores
        said[name] = {
            "stages_s": stages,
            "bound_s": bound,
            "all_stages_s": everything,
            "share": bound / wall,
            "share_without_start": bound * (images - 1) / images / (wall - start) if wall > start else math.nan,
            "all_stages_share_without_start": everything * (images - 1) / images / (wall - start)
            if wall > start
            else math.nan,
        }
    return rounded(said)


def verdicts_part(bench: Bench, engines: Sequence[str], name: str, method: str) -> Record:
    """What engines and precisions say of each file, beside torch in fp32. The threshold is the same for all."""
    from adcli.store import load

    images, model = bench.scored(name), bench.model(name, method)
    said: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        out = Path(folder) / "out"
        for engine, precision in dict.fromkeys(
            [("torch", "fp32"), *((e, p) for e in engines for p in ("auto", "fp32"))]
        ):
            shutil.rmtree(out, ignore_errors=True)
            words = ["--engine", engine, "--precision", precision, "--masks", "none", "--overlays", "none"]
            run(scoring(bench, images, model, out, *words, "--device", "cpu"))
            used = json.loads((out / "run.json").read_text())["precision"]
            lines = map(json.loads, (out / "results.jsonl").read_text().splitlines())
            said[f"{engine}, {used}"] = {line["image"]: line for line in lines}
    reference = said.pop("torch, fp32")
    check = load(model).model.require_calibration().precision_check
    return {
        "images": len(reference),
        "held_out_difference": None if check is None else check.largest_difference,
        "reference": "torch, fp32",
        "others": {other: compared(reference, lines) for other, lines in said.items()},
    }


def _crosses(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether a threshold lies between two scores; else it is the input guard that says otherwise."""
    limits = [limit for limit in (one["threshold"], one.get("check_threshold")) if limit is not None]
    scores = [line["score"] for line in (one, two)]
    return None not in scores and any((scores[0] > limit) != (scores[1] > limit) for limit in limits)


def compared(reference: dict[str, Any], other: dict[str, Any]) -> Record:
    """Two results of the same images."""
    if reference.keys() != other.keys():
        sys.exit("the results are not of the same images")
    pairs = [(reference[image], other[image]) for image in reference]
    pairs = [(one["score"], two["score"]) for one, two in pairs if one["score"] and two["score"] is not None]
    differing = [
        {
            "image": Path(image).name,
            "verdicts": [reference[image]["verdict"], other[image]["verdict"]],
            "scores": [reference[image]["score"], other[image]["score"]],
            "threshold": reference[image]["threshold"],
            "by_score": _crosses(reference[image], other[image]),
        }
        for image in reference
        if reference[image]["verdict"] != other[image]["verdict"]
    ]
    return {
        "differing": len(differing),
        "largest_difference": max(abs(two - one) for one, two in pairs),
        "largest_relative": max(abs(two / one - 1) for one, two in pairs),
        "mean_relative": statistics.fmean(abs(two / one - 1) for one, two in pairs),
        "files": differing,
    }


def fit_part(bench: Bench, engines: Sequence[str], method: str, runs: int) -> Record:
    """All of the images learnt from, as the peer does; and a plain fit, which holds a fifth out for the threshold."""
    good = bench.learnt("160")
    weights = str(WEIGHTS)
    jobs: dict[str, Callable[[], Record]] = {}
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        model = str(Path(folder) / "model.h5")
        for engine in engines:
            words = [*METHODS[method], "--weights", weights, "--device", "cpu", "--engine", engine, "--json", "--force"]
            command = adcli("fit", str(good), *words, "--model", model, "--quiet")
            jobs[f"adcli, {engine}"] = partial(timed, [*command, "--holdout", "0"], says=("learnt",))
            jobs[f"adcli with threshold, {engine}"] = partial(timed, command, says=("learnt",))
        if bench.peer_python and method in PEER_FITS:
            words = ["fit", family(method), str(good), str(Path(folder) / "model.ckpt"), "--weights", weights]
            jobs["anomalib"] = partial(timed, bench.peer(*words, "--good-only"), says=("import_s", "fit_s", "version"))
        contenders = in_turns(jobs, runs, once=("anomalib",))
    return {"images": len(images_in(good)), "contenders": contenders}


def start_part(bench: Bench, engines: Sequence[str], runs: int) -> Record:
    """Short commands, each in a new process."""
    model, method = bench.model("160", "padim"), "padim"
    images = images_in(bench.scored("160"))
    jobs: dict[str, Callable[[], Record]] = {
        "python -c pass": partial(timed, [sys.executable, "-c", "pass"]),
        "adcli --help": partial(timed, adcli("--help")),
        "adcli info": partial(timed, adcli("info", str(model))),
    }
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        out = Path(folder) / "out"
        one = Path(folder) / "one"
        one.mkdir()
        shutil.copy(images[0], one)
        for engine in engines:
            words = scoring(bench, one, model, out, "--engine", engine, "--device", "cpu")
            jobs[f"adcli score of one image, {engine}"] = partial(timed, words, out, ("ok", "check", "ng"))
        words = [sys.executable, str(HERE / "speed_plain.py"), "score", str(one), str(out)]
        jobs["plain torch, one image"] = partial(timed, [*words, str(bench.plain("160", method))], out, ("ok", "ng"))
        if bench.peer_python:
            command = bench.peer("predict", method, str(bench.checkpoint("160", method)), str(one), str(out))
            jobs["anomalib, one image"] = partial(timed, command, out, ("import_s", "predict_s", "version"))
        warm(bench, "160", method, engines, out)
        return {"contenders": in_turns(jobs, runs)}
