"""adcli fit"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.chosen import tell_choice
from adcli.cli.console import Terminal, lacks_blocks, show, show_json
from adcli.cli.inputs import find_inputs
from adcli.errors import UsageError

# What an updated model has from the one before; of two models one would have to give way.
_OF_THE_MODEL = (
    *(
        "method",
        "backbone",
        "weights",
        "layers",
        "image_size",
        "protocol",
        "param",
        "white_level",
        "roi",
        "tile",
        "overlap",
        "align",
    ),
    *("leave_one_out", "trim", "rotate", "brightness", "seed"),
)


def fit(
    context: typer.Context,
    good: Annotated[list[str], typer.Argument(metavar="GOOD", help="Good images: files, folders, globs, or -.")],
    model: o.Model = Path("model.h5"),
    method: o.Method = "padim",
    backbone: o.Backbone = "",
    weights: o.Weights = None,
    layers: o.Layers = "",
    image_size: o.ImageSize = "",
    protocol: Annotated[
        str, o.option("--protocol", help="adcli: the whole image; paper: 224x224 in the middle of 256x256.")
    ] = "adcli",
    param: o.Params = [],  # noqa: B006 (typer copies it)
    holdout: o.Holdout = 0.2,
    leave_one_out: Annotated[
        bool,
        o.option(
            "--leave-one-out",
            help="Where good images are few: learn from all, set the threshold on each as if left out; approximate.",
        ),
    ] = False,
    min_area: o.MinimumArea = [],  # noqa: B006
    min_length: o.MinimumLength = None,
    min_width: o.MinimumWidth = None,
    pixel_pitch: o.PixelPitch = None,
    group_by: o.GroupBy = None,
    white_level: Annotated[
        float | None, o.option("--white-level", help="White of 16-bit images, such as 4095; default 65535.")
    ] = None,
    roi: Annotated[
        str | None,
        o.option(
            "--roi",
            metavar="REGION",
            help="Where to look: a mask image, a box x,y,w,h or a polygon 'x,y x,y x,y', in pixels or in %.",
        ),
    ] = None,
    tile: Annotated[
        int | None, o.option("--tile", metavar="PIXELS", help="Cut large images into tiles, such as 512.")
    ] = None,
    overlap: Annotated[
        int | None, o.option("--overlap", metavar="PIXELS", help="What tiles share. Default: an eighth of the tile.")
    ] = None,
    align: Annotated[
        Path | None,
        o.option("--align", metavar="GOLDEN", help="Bring every image to where this good one has its part."),
    ] = None,
    rotate: Annotated[
        int | None,
        o.option(
            "--rotate", metavar="ANGLES", help="Learn from each image at so many angles, such as 8 over 360 degrees."
        ),
    ] = None,
    brightness: Annotated[
        str | None,
        o.option("--brightness", metavar="LOW:HIGH", help="Learn from each image darker and brighter too, as 0.8:1.2."),
    ] = None,
    trim: Annotated[
        str | None,
        o.option(
            "--trim",
            metavar="SHARE",
            help="Leave suspicious images out and list them: auto, or at most this share of all, such as 5%.",
        ),
    ] = None,
    update: Annotated[
        Path | None,
        o.option("--update", metavar="FORMER", help="Model that the images join, if new to it; --model is written."),
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
    force: Annotated[bool, o.option("--force", help="Overwrite the model.", twin=False)] = False,
    seed: Annotated[int, o.option("--seed", min=0, max=2**63 - 1, help="Seed of everything that is drawn.")] = 0,
    offline: o.Offline = False,
    device: o.Device = "auto",
    engine: o.Engine = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = 0,
    workers: o.Workers = 0,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Learn a model from good images, and set its threshold on those it holds out.

    \b
    adcli fit ./good
    adcli fit ./good --method patchcore -p coreset=0.01 --model lid.h5
    adcli fit ./good --method auto
    adcli fit ./good --min-area 0.4mm2 --pixel-pitch 0.05mm
    adcli fit ./good-few --leave-one-out
    adcli fit ./good --holdout 0 && adcli calibrate ./good-of-today
    adcli fit ./good --trim auto
    adcli fit ./good-few --method patchcore --rotate 8 --brightness 0.8:1.2
    adcli fit ./good -p updatable=yes && adcli fit ./good-of-today --update model.h5 --model newer.h5
    """
    from adcli.parallel import keep_freed_memory

    keep_freed_memory()
    from adcli.backbones import EMBEDDED, JOIN, RANDOM
    from adcli.geometry.augmentation import Augmentation
    from adcli.report.backbones import beside
    from adcli.report.calibration_json import calibration_json
    from adcli.report.calibrations import calibration_tables
    from adcli.report.choices import choice_json
    from adcli.report.tables import fit_json, fit_summary
    from adcli.sizes import AskedSize, parse_pitch
    from adcli.tasks import choosing
    from adcli.tasks import fit as fitting
    from adcli.tasks.candidates import AUTO
    from adcli.tasks.engines import Machine
    from adcli.tasks.pictures import pictures_beside
    from adcli.tasks.recipe import Recipe, default_size
    from adcli.tasks.update import update as update_task
    from adcli.thresholds.estimators import Rule

    terminal = Terminal(quiet)
    if update is not None:
        _refuse_beside_update(context)
    size, pitch = (
        AskedSize.parse(min_area, min_length, min_width),
        None if pixel_pitch is None else parse_pitch(pixel_pitch),
    )
    recipe = Recipe(
        method=method,
        backbone=backbone,
        weights=weights,
        layers=tuple(name.strip() for name in layers.split(",") if name.strip()),
        image_size=o.parse_size(image_size) if image_size else default_size(protocol),
        protocol=protocol,
        params=tuple(param),
        holdout=holdout,
        leave_one_out=leave_one_out,
        size=size,
        pixel_pitch=pitch,
        group_by=group_by,
        white_level=white_level,
        roi=roi,
        tile=tile,
        overlap=overlap,
        align=align,
        trim=trim if trim in (None, "auto") else o.share(trim),
        augmentation=Augmentation.parse(rotate, brightness),
        seed=seed,
        offline=offline,
    )
    images = find_inputs(good, terminal)
    asked = Rule(
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
    )
    common: dict[str, Any] = {
        "rule": asked,
        "machine": Machine(device, engine, precision, batch_size, workers),
        "overwrite": force,
        "pictures": pictures,
    }
    with terminal.progress() as progress:
        if update is not None:
            sizes: dict[str, Any] = {"size": size, "pixel_pitch": pitch, "group_by": group_by}
            fitted = update_task(images, update, model, holdout=holdout, progress=progress, **sizes, **common)
        else:
            fitted = (choosing if method == AUTO else fitting).fit(images, model, recipe, progress=progress, **common)
    if fitted.choice is not None:
        tell_choice(fitted.choice, context, terminal, json)
    for untrained in (name for name in fitted.model.spec.backbone.split(JOIN) if name.startswith(RANDOM)):
        terminal.say(
            f"{untrained} is untrained: it sees texture and contrast, but finds less than a pretrained network"
        )
    own = weights is not None and fitted.model.spec.backbone == EMBEDDED  # a file that nobody has measured
    if update is None and not own and (told := beside(fitted.model.spec.backbone)) is not None:
        terminal.say(told)
    for given, reason in fitted.unreadable:
        terminal.warn(f"left out {given}: {reason}")
    for one in fitted.trimmed:
        terminal.warn(f"trimmed {one.image}: {one.why()}")
    for note in fitted.notes + (fitted.calibrated.notes if fitted.calibrated else []):
        terminal.warn(note)
    if json:
        tried = {} if fitted.choice is None else choice_json(fitted.choice)
        calibrated = calibration_json(fitted.calibrated) if fitted.calibrated else {}
        show_json(fit_json(fitted, model) | calibrated | tried)
    else:
        if fitted.calibrated:
            show(*calibration_tables(fitted.calibrated, ascii=lacks_blocks()))
        show(fit_summary(fitted, model))
    if fitted.calibrated and fitted.calibrated.pictures:
        terminal.say("pictures: " + ", ".join(str(path) for path in pictures_beside(model)))
    after = "adcli score IMAGES --out results" if fitted.calibrated else "adcli calibrate HELD_OUT"
    terminal.say(f"next: {after}" + ("" if model == Path("model.h5") else f" --model {shlex.quote(str(model))}"))
    return 5 if fitted.unreadable else 0


def _refuse_beside_update(context: typer.Context) -> None:
    """Raises UsageError for options on the command line that the former model has settled."""
    given = [
        "--" + name.replace("_", "-")
        for name in _OF_THE_MODEL
        if context.get_parameter_source(name).name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(f"--update keeps what the former model was made with: leave out {', '.join(given)}")
