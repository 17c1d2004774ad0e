"""The steps of adcli run: verbs, one after another in this process, and what became of each."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from adcli.cli import exits
from adcli.cli.console import Terminal, about
from adcli.project.plan import Step

if TYPE_CHECKING:
    from rich.table import Table

Call = tuple[Step, list[str]]  # and the words behind `adcli VERB`
_GOES_ON = (0, 3, 4, 5)  # the next verb of a part is run after these


@dataclass(frozen=True)
class Done:
    """What became of a step; numbers are None where the verb does not tell them."""

    part: str
    verb: str
    images: int | None = None
    ok: int | None = None
    check: int | None = None
    ng: int | None = None
    error: int | None = None  # images that could not be read
    exit_code: int | None = None  # None: not run
    seconds: float | None = None
    note: str = ""
    document: dict[str, Any] | None = None  # what the verb prints with --json


def run_steps(
    context: typer.Context, calls: Sequence[Call], *, resume: bool, quiet: bool, verbose: bool
) -> Iterator[Done]:
    """Runs the steps in this process; after one that failed, the part's further ones are left out."""
    tone = [*(["--quiet"] * quiet), *(["--verbose"] * verbose), "--json"]
    failed: dict[str, str] = {}
    for step, line in calls:
        if step.part in failed:
            yield Done(step.part, step.verb, note=f"not run: {failed[step.part]}")
            continue
        command = context.find_root().command.commands[step.verb]
        model = step.values.get("model") or os.environ.get("ADCLI_MODEL", "")
        if step.verb == "fit" and resume and Path(str(model)).exists():
            yield Done(step.part, step.verb, exit_code=0, note=f"finished before: {model}")
            continue
        if step.verb == "fit" and model:
            with contextlib.suppress(OSError):  # fit says what is wrong with it
                Path(str(model)).parent.mkdir(parents=True, exist_ok=True)
        done = _run(context, command, step, [*tone, *line], verbose)
        if done.exit_code not in _GOES_ON:
            failed[step.part] = f"{step.verb} ended with {done.exit_code}"
        yield done


def _run(context: typer.Context, command: Any, step: Step, line: list[str], verbose: bool) -> Done:
    printed = io.StringIO()
    began = time.perf_counter()
    sentence = ""
    with about(f"{step.part}: {step.verb}"):
        try:
            with contextlib.redirect_stdout(printed), command.make_context(step.verb, line, context.parent) as inner:
                code = command.invoke(inner) or 0
        except (KeyboardInterrupt, exits.Terminated):
            raise
        except BaseException as error:
            code, sentence = exits.explain(error, verbose)
            if sentence:
                Terminal().warn(sentence)
    seconds = round(time.perf_counter() - began, 3)
    document = json.loads(printed.getvalue()) if printed.getvalue() else None
    told = {} if document is None else _told(step.verb, document)
    told["note"] = sentence or told.get("note", "")
    return Done(step.part, step.verb, exit_code=code, seconds=seconds, document=document, **told)


def _told(verb: str, document: dict[str, Any]) -> dict[str, Any]:
    """What a verb's document has for the table."""
    from adcli.report.tables import number, rate
    from adcli.tasks.calibrate import LEAVE_ONE_OUT

    if verb == "score":
        told = {key: document[key] for key in ("images", "ok", "check", "ng", "error")}
        return told | {"note": "finished before" if document["already_finished"] else ""}
    if verb == "verify":
        return {"images": document["samples"], "note": f"{document['missed']} missed"}
    if verb == "eval":
        row = document["rows"][-1]
        metrics = {"image AUROC": "image_auroc", "TNR": "tnr", "TPR": "tpr"}
        note = ", ".join(f"{name} {rate(row[key])}" for name, key in metrics.items())
        return {"images": row["good"] + row["defective"], "note": note}
    images = document.get("learnt", 0)
    if document.get("evidence") != LEAVE_ONE_OUT:  # else those learnt from are those it is calibrated on
        images += document.get("images", 0)
    note = f"threshold {number(document['threshold'], 6)}" if "threshold" in document else "no threshold yet"
    return {"images": images, "note": note}


def steps_table(title: str, done: Sequence[Done]) -> Table:
    """What became of each step."""
    from adcli.report.tables import rows_table

    columns = ["part", "verb", "images", "OK", "CHECK", "NG", "ERROR", "exit", "seconds", ""]
    rows = []
    for one in done:
        counts = [one.images, one.ok, one.check, one.ng, one.error, one.exit_code]
        cells = ["-" if count is None else str(count) for count in counts]
        rows.append([one.part, one.verb, *cells, "-" if one.seconds is None else f"{one.seconds:.1f}", one.note])
    return rows_table(title, columns, rows)
