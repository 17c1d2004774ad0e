"""adcli calibrate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, lacks_blocks, show, show_json
from adcli.cli.inputs import find_inputs


def calibrate(
    held_out: Annotated[list[str], typer.Argument(metavar="HELD_OUT", help="Good images the model has not seen.")],
    model: o.Model = Path("model.h5"),
    min_area: o.MinimumArea = [],  # noqa: B006 (typer's way of an option that may be given several times)
    min_length: o.MinimumLength = None,
    min_width: o.MinimumWidth = None,
    pixel_pitch: o.PixelPitch = None,
    group_by: o.GroupBy = None,
    leave_out_group: Annotated[
        str | None,
        o.option(
            "--leave-out-group",
            metavar="REGEX",
            help="Lots, named in the path: how many images of each are rejected by a threshold from the others.",
        ),
    ] = None,
    rule: o.RuleName = "area",
    max_false_reject: o.MaxFalseReject = None,
    confidence: o.Confidence = None,
    check_false_reject: o.CheckFalseReject = None,
    quantile: o.Quantile = None,
    sigmas: o.Sigmas = None,
    threshold: o.ThresholdByHand = None,
    guard: o.Guard = True,
    guard_reject: o.GuardReject = None,
    image_stage: o.ImageStage = None,
    image_stage_reject: o.ImageStageReject = None,
    pictures: o.Pictures = True,
    dry_run: Annotated[bool, o.option("--dry-run", help="Print what would come of it, and write nothing.")] = False,
    device: o.Device = "auto",
    engine: o.Engine = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = 0,
    workers: o.Workers = 0,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Set the threshold on good images that the model never saw, and say what it promises.

    \b
    adcli calibrate ./held-out
    adcli calibrate ./held-out --min-area 0.4mm2 --pixel-pitch 0.05mm
    adcli calibrate ./held-out --max-false-reject 0.01 --confidence 0.95
    adcli calibrate ./held-out --max-false-reject 0.01 --check-false-reject 0.05
    adcli calibrate ./held-out --min-area 30px --min-area 2000px --dry-run
    adcli calibrate ./held-out --image-stage own
    adcli calibrate ./held-out --group-by '(part[0-9]+)_' --leave-out-group 'lot[0-9]+'
    """
    from adcli.parallel import keep_freed_memory

    keep_freed_memory()
    from adcli.report.calibration_json import calibration_json
    from adcli.report.calibrations import calibration_tables
    from adcli.sizes import AskedSize, parse_pitch
    from adcli.tasks.calibrate import calibrate as task
    from adcli.tasks.engines import Machine
    from adcli.tasks.pictures import pictures_beside
    from adcli.thresholds.estimators import Rule

    terminal = Terminal(quiet)
    images = find_inputs(held_out, terminal)
    with terminal.progress() as progress:
        calibrated = task(
            images,
            model,
            rule=Rule(
                rule,
                max_false_reject,
                confidence,
                check_false_reject,
                threshold,
                quantile,
                sigmas,
                guard,
                guard_reject,
                image_stage,
                image_stage_reject,
            ),
            size=AskedSize.parse(min_area, min_length, min_width),
            pixel_pitch=None if pixel_pitch is None else parse_pitch(pixel_pitch),
            group_by=group_by,
            leave_out_group=leave_out_group,
            machine=Machine(device, engine, precision, batch_size, workers),
            pictures=pictures,
            dry_run=dry_run,
            progress=progress,
        )
    for image, reason in calibrated.unreadable:
        terminal.warn(f"left out {image.given}: {reason}")
    for note in calibrated.notes:
        terminal.warn(note)
    if dry_run:
        terminal.say("a dry run: nothing was written")
    elif calibrated.pictures:
        terminal.say("pictures: " + ", ".join(str(path) for path in pictures_beside(model)))
    if json:
        show_json({"model": str(model)} | calibration_json(calibrated))
    else:
        show(*calibration_tables(calibrated, ascii=lacks_blocks()))
    return 5 if calibrated.unreadable else 0
