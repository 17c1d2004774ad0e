"""adcli submission"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json, told_when_stopped

if TYPE_CHECKING:
    from rich.table import Table

    from adcli.tasks.submission import Submitted

_NAMED = 5  # unreadable images that are named on the terminal; --json has all


def submission(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder of MVTec AD 2, or of one of its objects.")],
    out: Annotated[Path, o.option("--out", "-o", help="Folder for the submission, new or empty.")],
    models: Annotated[
        Path, o.option("--models", metavar="PATH", help="The objects' models, with {category} for the object's name.")
    ] = Path("models/{category}.h5"),
    public: Annotated[
        bool, o.option("--public", help="Write test_public too, for an evaluation of your own; the server refuses it.")
    ] = False,
    archive: Annotated[
        bool, o.option("--archive", help="Also pack what the server takes into OUT.tar.gz, if it is complete.")
    ] = False,
    force: Annotated[bool, o.option("--force", help="Replace the submission in --out.", twin=False)] = False,
    device: o.Device = "auto",
    engine: o.Engine = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = 0,
    workers: o.Workers = 0,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Write maps and masks of the MVTec AD 2 images without truth, in the form that its server takes.

    \b
    adcli submission ./mvtec_ad_2 --models 'models/{category}.h5' --out ./submission
    adcli submission ./mvtec_ad_2 --out ./submission --archive

    Maps are float16: raw scores divided by the model's NG threshold, so 1 is where NG begins, and nothing depends on
    the test images. Outside of the region of interest they are -65504; what is above 65504 becomes that. Masks are 0
    and 255: the NG mask that adcli score writes, empty for OK and CHECK.
    """
    from adcli.tasks.engines import Machine
    from adcli.tasks.submission import submission as task

    terminal = Terminal(quiet)
    lost = "the submission is not complete: start it over with --force"
    with told_when_stopped(terminal, lost), terminal.progress() as progress:
        submitted = task(
            root,
            str(models),
            out,
            public=public,
            archive=archive,
            machine=Machine(device, engine, precision, batch_size, workers),
            force=force,
            progress=progress,
        )
    for _, reason in submitted.unreadable[:_NAMED]:
        terminal.warn(f"ERROR: {reason}")
    for note in submitted.notes:
        terminal.warn(note)
    if json:
        show_json(_json(submitted))
    else:
        show(_table(submitted))
        if submitted.archive is not None:
            show(f"packed in {submitted.archive}")
    return 5 if submitted.unreadable else 0


def _table(submitted: Submitted) -> Table:
    from adcli.report.tables import rows_table

    columns = ["object", "split", "images", "written", "missing", "OK", "CHECK", "NG"]
    cells = [
        [
            row["object"],
            row["split"],
            *(str(row[key]) for key in ("images", "written")),
            str(len(row["missing"])),
            *(str(row[key]) for key in ("ok", "check", "ng")),
        ]
        for row in submitted.rows
    ]
    return rows_table(f"Submission in {submitted.out}", columns, cells)


def _json(submitted: Submitted) -> dict[str, Any]:
    return {
        "out": str(submitted.out),
        "complete": submitted.is_complete,
        "archive": None if submitted.archive is None else str(submitted.archive),
        "rows": submitted.rows,
        "unreadable": [{"image": path, "reason": reason} for path, reason in submitted.unreadable],
        "notes": submitted.notes,
    }
