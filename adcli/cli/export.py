"""adcli export"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json
from adcli.cli.inputs import find_inputs
from adcli.errors import UnreadableImage, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from adcli.tasks.export import Exported

_NAMED = 5  # unreadable images that are named


def export(
    out: Annotated[
        Path, o.option("--out", "-o", metavar="FILE", help="FILE.xml (beside it FILE.bin) or FILE.onnx; and FILE.json.")
    ],
    images: Annotated[
        list[str], typer.Argument(metavar="[IMAGES]...", help="More images for --verify.", show_default=False)
    ] = [],  # noqa: B006
    model: o.Model = Path("model.h5"),
    format: Annotated[str, o.option("--format", help="openvino, onnx, or auto: by the suffix of FILE.")] = "auto",
    verify: Annotated[
        list[str],
        o.option(
            "--verify",
            metavar="IMAGES",
            help="Images that both the file and adcli score; unless they agree, nothing is written. Repeat, or go on.",
        ),
    ] = [],  # noqa: B006
    force: Annotated[bool, o.option("--force", help="Replace FILE.", twin=False)] = False,
    device: o.Device = "auto",
    engine: o.Engine = "auto",
    workers: o.Workers = 0,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Write a model as one OpenVINO or ONNX graph for other programs, and what they need to decide as JSON beside it.

    \b
    adcli export --out lid.onnx --model lid.h5
    adcli export --out lid.xml --verify ./held-out
    adcli export --out lid.onnx --verify ./incoming/*.png --engine torch
    """
    from adcli.tasks.engines import Machine
    from adcli.tasks.export import export as task

    terminal = Terminal(quiet)
    if images and not verify:
        raise UsageError(f"nothing is to be done with {images[0]}: put --verify before the images to compare with")
    found = find_inputs([*verify, *images], terminal) if verify else []
    with terminal.progress() as progress:
        exported = task(
            model,
            out,
            format=format,
            verify=found,
            machine=Machine(device, engine, workers=workers),
            force=force,
            progress=progress,
        )
    for note in exported.notes:
        terminal.warn(note)
    unreadable = () if exported.proof is None else exported.proof.unreadable
    for _, reason in unreadable[:_NAMED]:
        terminal.warn(f"not compared: {reason}")
    if len(unreadable) > _NAMED:
        terminal.warn(f"not compared: {len(unreadable) - _NAMED} more images that cannot be read")
    if json:
        show_json(_json(exported))
    else:
        show(_table(exported))
    return UnreadableImage.exit_code if unreadable else 0


def _table(exported: Exported) -> Table:
    from adcli.report.tables import key_values, number

    rows = [
        ("files", ", ".join(map(str, exported.files))),
        ("size", f"{exported.size_bytes / 1e6:.3g} MB"),
        ("pixels", "1 x {} x {} x 3".format(*exported.facts["image_size"])),
        ("threshold", number(exported.facts["threshold"], 6)),
    ]
    if exported.proof is None:
        rows.append(("verified", "no: give --verify IMAGES"))
    else:
        found = exported.proof.facts()
        relative = f"{found['largest_relative_difference']:.2g}"
        rows += [
            ("verified on", f"{found['images']} images, against {found['engine']} in float32"),
            ("map values differ by", f"{number(found['largest_difference'])}, {relative} of the image's largest"),
            ("image scores differ by", number(found["largest_score_difference"])),
            ("verdicts that differ", number(found["verdicts_changed"])),
        ]
    return key_values("Exported", rows)


def _json(exported: Exported) -> dict[str, Any]:
    return {
        **exported.facts,
        "files": [str(file) for file in exported.files],
        "size_bytes": exported.size_bytes,
        "notes": exported.notes,
    }
