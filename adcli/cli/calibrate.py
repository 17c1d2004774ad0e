"""adcli calibrate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json


def calibrate(
    held_out: Annotated[list[str], typer.Argument(metavar="HELD_OUT", help="Good images the model has not seen.")],
    model: o.Model = Path("model.h5"),
    min_area: o.MinimumArea = None,
    pixel_pitch: o.PixelPitch = None,
    rule: o.RuleName = "area",
    max_false_reject: o.MaxFalseReject = None,
    confidence: o.Confidence = None,
    check_false_reject: o.CheckFalseReject = None,
    threshold: o.ThresholdByHand = None,
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
    """
    from adcli.finding import find_images
    from adcli.regions import MinArea, parse_pitch
    from adcli.report.tables import calibration_json, calibration_tables
    from adcli.tasks.calibrate import Rule
    from adcli.tasks.calibrate import calibrate as task
    from adcli.tasks.mapping import Machine

    terminal = Terminal(quiet)
    images = find_images(held_out, stdin=o.stdin_lines(held_out))
    with terminal.progress() as progress:
        calibrated = task(
            images,
            model,
            rule=Rule(rule, max_false_reject, confidence, check_false_reject, threshold),
            min_area=None if min_area is None else MinArea.parse(min_area),
            pixel_pitch=None if pixel_pitch is None else parse_pitch(pixel_pitch),
            machine=Machine(device, engine, precision, batch_size, workers),
            progress=progress,
        )
    for image, reason in calibrated.unreadable:
        terminal.warn(f"left out {image.given}: {reason}")
    for note in calibrated.notes:
        terminal.warn(note)
    if json:
        show_json({"model": str(model)} | calibration_json(calibrated))
    else:
        show(*calibration_tables(calibrated))
    return 5 if calibrated.unreadable else 0
