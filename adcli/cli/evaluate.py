"""adcli eval"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json
from adcli.errors import GateFailed, UsageError

if TYPE_CHECKING:
    from adcli.layouts import Category


def evaluate(
    dataset: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATASET", help="Folder of a data set, of one or several categories, or a CSV.", show_default=False
        ),
    ] = None,
    good: Annotated[list[str], o.option("--good", help="Good images instead of DATASET; repeat.")] = [],  # noqa: B006
    bad: Annotated[list[str], o.option("--bad", help="Defective images; repeat.")] = [],  # noqa: B006
    masks: Annotated[list[str], o.option("--masks", help="Masks of the defective images; repeat.")] = [],  # noqa: B006
    layout: o.Layout = "auto",
    model: o.Model = Path("model.h5"),
    origin: Annotated[
        Path | None,
        o.option(
            "--from", metavar="DIR", help="Evaluate results of score, or another tool's maps, instead of a model."
        ),
    ] = None,
    scores: Annotated[
        Path | None, o.option("--scores", metavar="CSV", help="Image scores beside those maps: image,score.")
    ] = None,
    map_threshold: Annotated[
        float | None, o.option("--map-threshold", help="Threshold of those maps, chosen without the test images.")
    ] = None,
    out: Annotated[
        Path | None, o.option("--out", "-o", help="Folder for tables, curves, galleries and the per-image scores.")
    ] = None,
    minimum: Annotated[
        list[str],
        o.option("--min", help="Gate on the last row, such as image_auroc=0.95; below it ends with 6; repeat."),
    ] = [],  # noqa: B006
    baseline: Annotated[
        Path | None, o.option("--baseline", metavar="FILE", help="An earlier eval.json or its folder: print changes.")
    ] = None,
    pro_limit: Annotated[
        list[float], o.option("--pro-limit", help="A limit of AUPRO besides 0.3 and 0.05; repeat.")
    ] = [],  # noqa: B006
    tables: Annotated[str, o.option("--tables", help="Tables to print: default, paper or all.")] = "default",
    csv: Annotated[bool, o.option("--csv", help="Print the table as CSV.")] = False,
    markdown: Annotated[bool, o.option("--markdown", help="Print the table as Markdown.")] = False,
    latex: Annotated[bool, o.option("--latex", help="Print the table as LaTeX.")] = False,
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
    """Print metric tables of a model, a run or another tool's maps on labelled images.

    \b
    adcli eval ./dataset
    adcli eval --good ./ok --bad ./ng --masks ./ng-masks
    adcli eval ./dataset --json --min image_auroc=0.95 --min tnr=0.9
    adcli eval ./mvtec --model 'models/{category}.h5' --out ./evaluated
    adcli eval ./dataset --from ./results
    adcli eval ./dataset --from ./their-maps --baseline ./evaluated
    """
    from adcli.parallel import keep_freed_memory

    keep_freed_memory()
    from adcli.files import hold
    from adcli.report import evaluations as report
    from adcli.report.evaluation_files import write_evaluation
    from adcli.report.metric_tables import TABLES
    from adcli.report.results import LOCK
    from adcli.tasks.compared_tables import compare_with_baseline, read_baseline
    from adcli.tasks.engines import Machine
    from adcli.tasks.evaluate import evaluate as task
    from adcli.tasks.sources import Evaluand

    if sum((json, csv, markdown, latex)) > 1:
        raise UsageError("--json, --csv, --markdown and --latex exclude each other: choose one")
    if tables not in TABLES:
        raise UsageError(f"--tables {tables} is not known: write {', '.join(TABLES)}")
    limits = _limits(pro_limit)
    gates = [_gate(text, limits) for text in minimum]
    terminal = Terminal(quiet)
    before = None if baseline is None else read_baseline(baseline)
    categories = _categories(dataset, good, bad, masks, layout)
    machine = Machine(device, engine, precision, batch_size, workers)
    source_of = Evaluand(model, origin, scores, map_threshold, weights).opener([c.name for c in categories], machine)
    with hold(out / LOCK) if out else contextlib.nullcontext(), terminal.progress() as progress:
        evaluated = task(categories, source_of, limits=limits, gallery=out is not None, progress=progress)
        compared = None if before is None else compare_with_baseline(before, evaluated)
        said = [] if out is None else write_evaluation(evaluated, out, compared)
    for problem in evaluated.problems:
        terminal.say(problem.sentence)
    for given, reason in evaluated.unreadable:
        terminal.warn(f"left out {given}: {reason}")
    for note in said:
        terminal.warn(note)
    if json:
        show_json(report.eval_json(evaluated, compared))
    elif csv:
        show(report.eval_csv(evaluated).rstrip("\n"))
    elif markdown:
        show(report.eval_markdown(evaluated, tables, compared))
    elif latex:
        show(report.eval_latex(evaluated, tables, compared))
    else:
        show(*report.eval_tables(evaluated, tables, compared))
    for note in [*evaluated.notes, *(compared.notes if compared else [])]:
        terminal.say(f"note: {note}")
    _check_gates(gates, evaluated.rows[-1])
    return 5 if evaluated.unreadable else 0


def _categories(dataset: Path | None, good: list[str], bad: list[str], masks: list[str], layout: str) -> list[Category]:
    from adcli import layouts
    from adcli.finding import find_images

    if dataset is not None:
        if good or bad or masks:
            raise UsageError("DATASET and --good, --bad, --masks exclude each other: give one or the other")
        return layouts.read_categories(dataset, layout)
    if not good and not bad:
        raise UsageError("nothing to evaluate: give the folder of a data set, or --good and --bad")
    found = [find_images(part) if part else None for part in (good, bad, masks)]
    return [layouts.read_folders(found[0] or [], found[1] or [], found[2])]


def _limits(given: list[float]) -> tuple[float, ...]:
    from adcli.tasks.evaluate import LIMITS

    for limit in given:
        if not 0 < limit <= 1:
            raise UsageError(f"--pro-limit {limit:g} is no rate: write one above 0 and at most 1, such as 0.3")
        if float(f"{limit:g}") != limit or limit < 1e-9:  # the column is named after it
            raise UsageError(f"--pro-limit {limit!r} names no column: write at most six digits, and 1e-9 or more")
    return tuple(dict.fromkeys([*LIMITS, *given]))


def _gate(text: str, limits: tuple[float, ...]) -> tuple[str, float]:
    from adcli.tasks.evaluated_rows import metric_names

    name, _, value = text.partition("=")
    name, known = name.strip(), metric_names(limits)
    with contextlib.suppress(ValueError):
        if math.isfinite(float(value)):
            if name not in known:
                raise UsageError(f"--min {text}: there is no metric {name!r}; known are {', '.join(known)}")
            return name, float(value)
    raise UsageError(f"--min {text} is no gate: write METRIC=VALUE, such as image_auroc=0.95")


def _check_gates(gates: list[tuple[str, float]], row: dict[str, Any]) -> None:
    failed = []
    for name, bound in gates:
        value = row.get(name)
        if value is None or not value >= bound:  # NaN is below every bound
            failed.append(
                f"{name} is {'undefined' if value is None or value != value else f'{value:.4f}'}, below {bound:g}"
            )
    if failed:
        raise GateFailed("a gate failed: " + "; ".join(failed))
