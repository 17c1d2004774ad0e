"""adcli compare"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json
from adcli.errors import GateFailed, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from adcli.tasks.compare import Comparison

_WHAT = "a folder of score or eval, a JSON document of eval, or a model"


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help=f"What was: {_WHAT}.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="What is: the same kind; beside a model, a folder of score.")],
    max_drop: Annotated[
        list[str],
        o.option(
            "--max-drop", help="Gate of two evals: how much lower a metric of all may be, image_auroc=0.005; repeat."
        ),
    ] = [],  # noqa: B006
    max_changed: Annotated[
        str | None,
        o.option("--max-changed", help="Gate of two runs: verdicts that may change, such as 3, or 1% of the images."),
    ] = None,
    max_shift: Annotated[
        float | None,
        o.option("--max-shift", help="Gate of a run and a model: shift of the median score, in held-out spreads."),
    ] = None,
    false_alarm: Annotated[
        float | None,
        o.option(
            "--false-alarm",
            help="Gate of a run and a model: fails on an alarm, with this probability of a false one. "
            "Not given: alarms at 0.01 are shown only.",
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        o.option(
            "--group-by",
            metavar="REGEX",
            help="With a model: a table by the lot or hour in the images' paths (group 1 or the match).",
        ),
    ] = None,
    by_hour: Annotated[
        bool, o.option("--by-hour", help="With a model: a table by the hour of the images' files, local time.")
    ] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Tell what changed between two runs of score, two tables of eval, or a run and a model's held-out images.

    \b
    adcli compare ./monday ./tuesday --max-changed 1%
    adcli compare ./eval-before ./eval-after --max-drop image_auroc=0.005
    adcli compare model.h5 ./results --false-alarm 0.01 --group-by 'lot([0-9]+)'
    """
    from adcli.report.text import plain
    from adcli.tasks.compare import Gates
    from adcli.tasks.compare import compare as task

    changed = None if max_changed is None else parse_allowance(max_changed)
    gates = Gates(tuple(_drop(text) for text in max_drop), changed, max_shift, false_alarm)
    compared = task(a, b, gates, group_by=group_by, by_hour=by_hour)
    terminal = Terminal(quiet)
    parts, document = _rendered(compared.comparison)
    if json:
        show_json(plain(document | {"failures": compared.failures, "notes": compared.comparison.notes}))
    else:
        show(*parts)
    for note in compared.comparison.notes:
        terminal.say(f"note: {note}")
    if compared.failures:
        raise GateFailed("a gate failed: " + "; ".join(compared.failures))
    return 0


def _rendered(comparison: Comparison) -> tuple[list[Table | str], dict[str, Any]]:
    from adcli.report import comparisons as report
    from adcli.tasks.compared_runs import RunComparison
    from adcli.tasks.compared_tables import TableComparison

    if isinstance(comparison, RunComparison):
        return report.run_tables(comparison), report.run_json(comparison)
    if isinstance(comparison, TableComparison):
        return report.table_tables(comparison), report.table_json(comparison)
    return report.drift_tables(comparison), report.drift_json(comparison)


def parse_allowance(text: str) -> int | Fraction:
    """`3` to a number of images, `1%` to a share of them."""
    found = re.fullmatch(r"(\d{1,12})|(\d{1,3}(?:\.\d{1,9})?)\s?%", text.strip(), re.ASCII)
    if found and found[1]:
        return int(found[1])
    if found and Fraction(found[2]) <= 100:
        return Fraction(found[2]) / 100
    raise UsageError(f"--max-changed {text} is no number of images: write one such as 3, or a share such as 1%")


def _drop(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        bound = float(value)
    except ValueError:
        bound = math.nan
    if not 0 <= bound < math.inf:
        raise UsageError(f"--max-drop {text} is no gate: write METRIC=VALUE, such as image_auroc=0.005")
    return name.strip(), bound
