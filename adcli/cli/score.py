"""adcli score"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json, told_when_stopped
from adcli.cli.inputs import find_inputs

_NAMED = 5  # unreadable images that are named on the terminal; results.jsonl has all


def score(
    images: Annotated[list[str], typer.Argument(metavar="IMAGES", help="Images: files, folders, globs, or -.")],
    out: Annotated[Path, o.option("--out", "-o", help="Folder for the results.")],
    model: o.Model = Path("model.h5"),
    masks: o.Masks = "ng",
    overlays: o.Overlays = "ng",
    maps: o.Maps = False,
    junit: Annotated[bool, o.option("--junit", help="Write junit.xml: NG is a failure, CHECK is skipped.")] = False,
    sqlite: o.Sqlite = None,
    html: Annotated[
        bool, o.option("--html", help="Write report.html, the run on one page that opens anywhere.")
    ] = False,
    fail_on: Annotated[
        str | None, o.option("--fail-on", help="ng: end with 3 if any image is NG; check: also with 4 for CHECK.")
    ] = None,
    resume: Annotated[bool, o.option("--resume", help="Continue an interrupted run.", twin=False)] = False,
    force: Annotated[bool, o.option("--force", help="Start an interrupted run over.", twin=False)] = False,
    weights: o.Weights = None,
    device: o.Device = "auto",
    engine: o.Engine = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = 0,
    workers: o.Workers = 0,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Write a verdict, a mask and an overlay for every image.

    \b
    adcli score ./incoming --out ./results
    adcli score ./incoming --out ./results --fail-on ng --quiet
    find /line/today -name '*.png' | adcli score - --out ./results
    adcli score ./incoming --out ./results --resume
    adcli score ./incoming --out ./results --junit --sqlite line-3.db
    adcli score ./incoming --out ./results --html
    """
    from adcli.parallel import keep_freed_memory

    keep_freed_memory()
    from adcli.report.tables import score_json, score_table
    from adcli.tasks.engines import Machine
    from adcli.tasks.score import Outputs
    from adcli.tasks.score import score as task

    terminal = Terminal(quiet)
    found = find_inputs(images, terminal, exclude=out)
    kept = "what was scored is kept: go on with the same command and --resume"
    with told_when_stopped(terminal, kept), terminal.progress() as progress:
        scored = task(
            found,
            model,
            out,
            outputs=Outputs(masks, overlays, maps, junit, sqlite, html),
            machine=Machine(device, engine, precision, batch_size, workers),
            weights=weights,
            fail_on=fail_on,
            resume=resume,
            force=force,
            progress=progress,
        )
    for _, reason in scored.unreadable[:_NAMED]:
        terminal.warn(f"ERROR: {reason}")
    if len(scored.unreadable) > _NAMED:
        terminal.warn(
            f"{len(scored.unreadable) - _NAMED} more images are ERROR: {out / 'results.jsonl'} has their reasons"
        )
    for note in scored.notes:
        terminal.warn(note)
    if json:
        show_json(score_json(scored))
    else:
        show(score_table(scored))
    return scored.exit_code
