"""adcli eval"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Annotated

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json
from adcli.errors import GateFailed, UsageError


def evaluate(
    dataset: Annotated[
        Path | None, typer.Argument(metavar="DATASET", help="Folder in the MVTec AD layout.", show_default=False)
    ] = None,
    good: Annotated[list[str], o.option("--good", help="Good images instead of DATASET; repeat.")] = [],  # noqa: B006
    bad: Annotated[list[str], o.option("--bad", help="Defective images; repeat.")] = [],  # noqa: B006
    masks: Annotated[list[str], o.option("--masks", help="Masks of the defective images; repeat.")] = [],  # noqa: B006
    model: o.Model = Path("model.h5"),
    out: Annotated[Path | None, o.option("--out", "-o", help="Folder for the table and the per-image scores.")] = None,
    minimum: Annotated[
        list[str],
        o.option("--min", help="Gate on the row all, such as image_auroc=0.95; below it ends with 6; repeat."),
    ] = [],  # noqa: B006
    csv: Annotated[bool, o.option("--csv", help="Print the table as CSV.")] = False,
    markdown: Annotated[bool, o.option("--markdown", help="Print the table as Markdown.")] = False,
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
    """Print metric tables of a model on labelled images.

    \b
    adcli eval ./dataset
    adcli eval --good ./ok --bad ./ng --masks ./ng-masks
    adcli eval ./dataset --json --min image_auroc=0.95 --min tnr=0.9
    """
    from adcli.files import hold
    from adcli.report import tables
    from adcli.report.results import LOCK
    from adcli.tasks.evaluate import evaluate as task
    from adcli.tasks.mapping import Machine

    if sum((json, csv, markdown)) > 1:
        raise UsageError("--json, --csv and --markdown exclude each other: choose one")
    gates = [_gate(text) for text in minimum]
    terminal = Terminal(quiet)
    labelled, category = _dataset(dataset, good, bad, masks)
    with hold(out / LOCK) if out else contextlib.nullcontext(), terminal.progress() as progress:
        evaluated = task(
            labelled,
            model,
            category=category,
            machine=Machine(device, engine, precision, batch_size, workers),
            weights=weights,
            progress=progress,
        )
        if out is not None:
            tables.write_evaluation(evaluated, out)
    for given, reason in evaluated.unreadable:
        terminal.warn(f"left out {given}: {reason}")
    if json:
        show_json(tables.eval_json(evaluated))
    elif csv:
        show(tables.eval_csv(evaluated).rstrip("\n"))
    elif markdown:
        show(tables.eval_markdown(evaluated))
    else:
        show(*tables.eval_tables(evaluated))
    for note in evaluated.notes:
        terminal.say(f"note: {note}")
    _check_gates(gates, evaluated.rows[-1])
    return 5 if evaluated.unreadable else 0


def _dataset(dataset: Path | None, good: list[str], bad: list[str], masks: list[str]):
    from adcli import layouts
    from adcli.finding import find_images

    if dataset is not None:
        if good or bad or masks:
            raise UsageError("DATASET and --good, --bad, --masks exclude each other: give one or the other")
        return layouts.read_dataset(dataset), dataset.resolve().name
    if not good and not bad:
        raise UsageError("nothing to evaluate: give a folder in the MVTec AD layout, or --good and --bad")
    found = [find_images(part) if part else None for part in (good, bad, masks)]
    return layouts.three_folders(found[0] or [], found[1] or [], found[2]), ""


def _gate(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    with contextlib.suppress(ValueError):
        if math.isfinite(float(value)):
            return name.strip(), float(value)
    raise UsageError(f"--min {text} is no gate: write METRIC=VALUE, such as image_auroc=0.95")


def _check_gates(gates: list[tuple[str, float]], row: dict[str, object]) -> None:
    failed = []
    metrics = {name: value for name, value in row.items() if not isinstance(value, str)}
    for name, bound in gates:
        if name not in metrics:
            raise UsageError(f"there is no metric {name!r}: known are {', '.join(metrics)}")
        value = metrics[name]
        if value is None or not value >= bound:  # NaN is below every bound
            failed.append(
                f"{name} is {'undefined' if value is None or value != value else f'{value:.4f}'}, below {bound:g}"
            )
    if failed:
        raise GateFailed("a gate failed: " + "; ".join(failed))
