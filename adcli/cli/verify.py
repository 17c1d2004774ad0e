"""adcli verify"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json
from adcli.errors import AdcliError, GateFailed

if TYPE_CHECKING:
    from rich.table import Table

    from adcli.tasks.verify import Verified

_NAMED = 5  # missed samples in the sentence; the table has all


def verify(
    samples: Annotated[Path, typer.Argument(metavar="SAMPLES", help="CSV file with the columns image and expected.")],
    model: o.Model = Path("model.h5"),
    log: Annotated[
        Path | None, o.option("--log", help="File a line is appended to. Default: SAMPLES.verified.jsonl.")
    ] = None,
    by: Annotated[str | None, o.option("--by", help="Who checks, for the log. Default: the login name.")] = None,
    device: o.Device = "auto",
    engine: o.Engine = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = 0,
    workers: o.Workers = 0,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Check limit samples before a shift: the verdicts expected against the model's. Any that is missed ends with 6.

    \b
    adcli verify samples.csv
    adcli verify samples.csv --model lid.h5 --by "early shift"
    adcli verify samples.csv --log /srv/quality/line-3.jsonl --json
    """
    from adcli.report.chain import broken_links
    from adcli.tasks.engines import Machine
    from adcli.tasks.verify import check_log, log_beside, record
    from adcli.tasks.verify import verify as task

    terminal = Terminal(quiet)
    log = log_beside(samples) if log is None else log
    check_log(log, samples, model)
    with terminal.progress() as progress:
        verified = task(
            samples, model, machine=Machine(device, engine, precision, batch_size, workers), progress=progress
        )
    line_sha256, fault = None, None
    try:
        if broken := broken_links(log):
            lines = ", ".join(map(str, broken[:_NAMED])) + (" and more" if len(broken) > _NAMED else "")
            terminal.warn(f"{log} was altered: line {lines} does not follow the line before as it was written")
        line_sha256 = record(verified, log, by)
    except AdcliError as error:  # the verdicts are shown all the same
        fault = error
    for note in verified.notes:
        terminal.warn(note)
    if json:
        show_json(_json(verified, log, line_sha256))
    else:
        show(_table(verified), _summary(verified))
    if fault is not None:
        raise fault
    if verified.missed:
        raise GateFailed(_gate(verified))
    return 0


def _table(verified: Verified) -> Table:
    from adcli.report.tables import number, rows_table

    columns = ["image", "expected", "verdict", "score", "threshold", "result"]
    cells = [
        [
            row.sample.given,
            "/".join(verdict.value for verdict in row.sample.expected),
            row.verdict.value,
            number(row.score, 6),
            number(verified.calibration.threshold, 6),
            row.missing or "met",
        ]
        for row in sorted(verified.rows, key=lambda row: row.is_met)
    ]
    if verified.calibration.check_threshold is not None:
        columns.insert(4, "check above")
        for row in cells:
            row.insert(4, number(verified.calibration.check_threshold, 6))
    return rows_table(f"Samples of {verified.samples}, missed ones first", columns, cells)


def _summary(verified: Verified) -> str:
    n, missed = len(verified.rows), len(verified.missed)
    return f"all {n} samples are met" if not missed else f"{n - missed} of {n} samples are met, {missed} missed"


def _gate(verified: Verified) -> str:
    missed = [row.sample.given for row in verified.missed]
    more = " and more" if len(missed) > _NAMED else ""
    return f"{len(missed)} of {len(verified.rows)} samples missed: {', '.join(missed[:_NAMED])}{more}"


def _json(verified: Verified, log: Path, line_sha256: str | None) -> dict[str, Any]:
    return {
        "model": verified.model_sha256,
        "detector_digest": verified.detector_digest,
        "threshold": verified.calibration.threshold,
        "check_threshold": verified.calibration.check_threshold,
        "samples": len(verified.rows),
        "missed": len(verified.missed),
        "rows": [
            {
                "image": row.sample.given,
                "line": row.sample.line,
                "expected": [verdict.value for verdict in row.sample.expected],
                "region": row.sample.region,
                "verdict": row.verdict.value,
                "score": row.score,
                "met": row.is_met,
                "missing": row.missing,
                "sha256": row.sha256,
            }
            for row in verified.rows
        ],
        "notes": verified.notes,
        "log": str(log),
        "log_line_sha256": line_sha256,  # null where the log could not be written
    }
