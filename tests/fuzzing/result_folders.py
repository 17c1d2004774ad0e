"""The readers of results: what they are given is compared or continued, or refused in one sentence."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import adcli.engines.torch  # noqa: F401 - before workers are forked, or each of them would import it
from adcli.errors import AdcliError
from adcli.finding import find_images
from adcli.report import comparisons
from adcli.report.chain import append_linked, broken_links
from adcli.report.text import plain
from adcli.store import load
from adcli.tasks.compare import compare
from adcli.tasks.compared_runs import RunComparison
from adcli.tasks.compared_tables import TableComparison
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapper
from adcli.tasks.score import Outputs, score
from tests.fuzzing.cases import Case, Target, Violation, outcome, put
from tests.fuzzing.mutations import damaged

_ODD = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        0.5,
        -0.0,
        1e308,
        1e400,
        float("nan"),
        2**63,
        -(2**63),
        10**400,
        "",
        "x",
        "NG",
        "OK",
    ),
    *("\x00", "\ud800", "../../x", "/etc/x", "masks/../../x.png", "a" * 5000, [], {}, [[]], [None], {"x": 1}, [1] * 4),
)
_WORDS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"null",
    b"NaN",
    b"1e999",
    b"\\ud800",
    b"\x00",
    b"\xff",
    b"[" * 50000,
)
OUTSIDE = "x.png"  # beside the folder of results: nobody may remove it


def result_target(folder: Path, dataset: Path, model: Path, run: Callable[..., object]) -> Target:
    """Two runs, a run that broke off, two evaluations and a log, of which one file is damaged; `run` runs a command."""
    run("score", dataset / "test" / "dent", "--out", folder / "run", "-m", model, "--junit")
    run("score", dataset / "test", "--out", folder / "other", "-m", model)
    run("eval", dataset, "--out", folder / "table", "-m", model)
    shutil.copytree(folder / "table", folder / "other_table")
    _break_off(folder / "run", folder / "broken")
    (folder / "log").mkdir()
    for number in range(4):
        append_linked(folder / "log" / "log.jsonl", {"number": number})
    bases = {
        "run": ("results.jsonl", "run.json"),
        "broken": ("results.jsonl", ".adcli-run.json"),
        "table": ("eval.json", "scores.csv"),
        "log": ("log.jsonl",),
    }
    files = {name: _contents(folder / name) for name in bases}
    ways: dict[str, dict[str, Callable[[Path], object]]] = {
        "run": {
            "compare": lambda out: _compared(folder / "other", out),
            "compare with a model": lambda out: _compared(model, out),
            "resume": lambda out: _scored(dataset, model, out, resume=True),
            "replace": lambda out: _scored(dataset, model, out, force=True),
        },
        "broken": {
            "compare": lambda out: _compared(out, folder / "run"),
            "resume": lambda out: _scored(dataset, model, out, resume=True),
            "resume, database": lambda out: _scored(dataset, model, out, database=True, resume=True),
            "replace": lambda out: _scored(dataset, model, out, force=True),
        },
        "table": {"compare": lambda out: _compared(folder / "other_table", out)},
        "log": {"links": lambda out: broken_links(out / "log.jsonl")},
    }

    def make(rng: np.random.Generator) -> tuple[str, Case]:
        base = list(bases)[rng.choice(4, p=(0.4, 0.4, 0.15, 0.05))]
        name = bases[base][rng.integers(len(bases[base]))]
        way = list(ways[base])[rng.integers(len(ways[base]))]
        case = dict(files[base])
        others = [data for one in files.values() for data in one.values()]
        if rng.random() < 0.6 and not name.endswith(".csv"):
            case[name] = _odd_lines(case[name], rng) if name.endswith(".jsonl") else _odd_document(case[name], rng)
        else:
            case[name] = damaged(case[name], rng, others, _WORDS)
        return f"{base}: {way}", {f"out/{key}": data for key, data in case.items()}

    def check(kind: str, case: Case, folder: Path) -> str:
        put(case | {OUTSIDE: b"another's"}, folder)
        base, way = kind.split(": ")
        try:
            came = ways[base][way](folder / "out")
        except AdcliError as error:
            return f"{kind}: {outcome(error, folder)}"
        finally:
            if not (folder / OUTSIDE).exists():
                raise Violation("a file outside of the folder was removed")
        return f"{kind}: {came if isinstance(came, str) else 'done'}"

    return Target("results", make, check)


def _contents(folder: Path) -> Case:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _break_off(run: Path, target: Path) -> None:
    """A copy of a finished run as it was after half of its images."""
    shutil.copytree(run, target)
    record = json.loads((run / "run.json").read_bytes())
    lines = (run / "results.jsonl").read_bytes().splitlines(keepends=True)
    names = [json.loads(line)["image"] for line in lines]
    root = str(Path(names[0]).parent)
    stems = [str(Path(name).relative_to(root).with_suffix("")) for name in names]
    configuration = {name: record[name] for name in ("model", "engine", "precision", "outputs")}
    configuration["outputs"]["html"] = True
    begun = {"key": "k", "configuration": configuration, "inputs": list(zip(names, stems, strict=True)), "further": []}
    (target / ".adcli-run.json").write_text(json.dumps(begun))
    (target / "results.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    (target / "run.json").unlink()
    (target / "results.csv").unlink()


def _compared(a: Path, b: Path) -> None:
    """A comparison, and all that is shown of it."""
    compared = compare(a, b).comparison
    if isinstance(compared, RunComparison):
        shown = comparisons.run_tables(compared), comparisons.run_json(compared)
    elif isinstance(compared, TableComparison):
        shown = comparisons.table_tables(compared), comparisons.table_json(compared)
    else:
        shown = comparisons.drift_tables(compared), comparisons.drift_json(compared)
    json.dumps(plain(shown[1]), allow_nan=False)


def _scored(dataset: Path, model: Path, out: Path, database: bool = False, **how: bool) -> str:
    """A run that is continued or replaced: at its end there is one line an image."""
    torch.set_num_threads(1)
    outputs = Outputs(junit=True, html="resume" in how, sqlite=out.parent / "runs.db" if database else None)
    found = find_images([str(dataset / "test" / "dent")], exclude=out)
    with patch("adcli.tasks.score.Mapper", _mapper_of(model)):
        scored = score(found, model, out, outputs=outputs, machine=Machine(workers=1), **how)
    lines = [json.loads(line) for line in (out / "results.jsonl").read_bytes().splitlines()]
    if sorted({line["image"] for line in lines}) != sorted(line["image"] for line in lines):
        raise Violation("an image has two lines")
    if scored.images != len(lines) or sum(scored.counts.values()) != len(lines):
        raise Violation(f"{len(lines)} lines and totals of {scored.images}")
    if not scored.already_finished and json.loads((out / "run.json").read_bytes())["images"] != len(lines):
        raise Violation("run.json counts other images")
    return "already finished" if scored.already_finished else "scored"


@cache
def _mapper_of(path: Path) -> Callable[..., Mapper]:
    """The model made ready once, and not for every case."""
    mapper = Mapper(load(path).model, Machine(workers=1))
    return lambda *_, **__: mapper


def _odd_lines(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    for _ in range(int(rng.choice([1, 1, 3]))):
        number = int(rng.integers(len(lines)))
        what = rng.random()
        if what < 0.75:
            lines[number] = _odd_document(lines[number].strip() or b"{}", rng) + b"\n"
        elif what < 0.85:
            lines.insert(number, lines[rng.integers(len(lines))])
        else:
            other = int(rng.integers(len(lines)))
            lines[number], lines[other] = lines[other], lines[number]
    return b"".join(lines)


def _odd_document(data: bytes, rng: np.random.Generator) -> bytes:
    """JSON in which a value somewhere is another, is gone, or is in another place."""
    try:
        document = {"": json.loads(data)}
    except ValueError:
        return data
    for _ in range(int(rng.choice([1, 1, 2]))):
        places = [(document, "")]
        for place, key in places:  # grows while it is walked: every value of every list and object
            value = place[key]
            if isinstance(value, (dict, list)):
                places += [(value, inner) for inner in (value if isinstance(value, dict) else range(len(value)))]
        place, key = places[rng.integers(min(len(places), 60)) if rng.random() < 0.7 else rng.integers(len(places))]
        what = rng.random()
        if what < 0.75 or key == "":
            place[key] = copy.deepcopy(_ODD[rng.integers(len(_ODD))])  # the next change may be inside it
        elif what < 0.9:
            del place[key]
        else:
            other, elsewhere = places[rng.integers(len(places))]
            place[key] = json.loads(json.dumps(other[elsewhere]))
        if "" not in document:
            return b""
    value: Any = document[""]
    return json.dumps(value).encode()
