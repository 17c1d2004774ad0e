"""Every option that more than one verb has, declared once. `ADCLI_<OPTION>` in the environment is its twin."""

from __future__ import annotations

import os
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from adcli.errors import UsageError

MOST_IMAGES = 10**9  # a batch; memory ends long before
MOST_WORKERS = 256  # each holds images of its own: thousands would only fill the memory


def option(*names: str, help: str, twin: bool = True, **more: Any) -> Any:
    """A typer option with its environment twin, named after its first long name."""
    long = next(name for name in names if name.startswith("--"))
    if twin:
        more["envvar"] = "ADCLI_" + long.partition("/")[0].strip("-").replace("-", "_").upper()
    return typer.Option(*names, help=help, show_envvar=False, **more)


def share(text: str | float) -> float:
    """A share as a decimal, or in percent: 0.05 or 5%."""
    words = str(text).strip()
    try:
        number = Decimal(words.removesuffix("%").strip())
        return float(number / 100 if words.endswith("%") else number)
    except (ArithmeticError, ValueError) as error:  # no number; more than a Decimal holds; a signalling NaN
        raise typer.BadParameter(f"{words!r} is no share: write 0.05 or 5%") from error


Method = Annotated[str, option("--method", help="Method; adcli methods lists them. auto: chosen on good images alone.")]
Backbone = Annotated[
    str,
    option(
        "--backbone",
        help="embedded, a torchvision CNN, random-NAME for an untrained one, or several joined by +; default: the "
        "method's, or embedded.",
    ),
]
Layers = Annotated[str, option("--layers", help="Layers of the backbone, separated by commas; default: the method's.")]
Params = Annotated[list[str], option("--param", "-p", help="The method's own parameters, NAME=VALUE; repeat.")]
Holdout = Annotated[float, option("--holdout", help="Share of good images held out to set the threshold on; 0: none.")]
Model = Annotated[Path, option("--model", "-m", help="Model file.")]
ImageSize = Annotated[
    str, option("--image-size", help="Input of the network: 256 or HxW. Default: 256; 224 with --protocol paper.")
]
Layout = Annotated[
    str,
    option(
        "--layout",
        help="Layout of DATASET: auto, mvtec-ad, mvtec-ad-2, mvtec-loco, visa, btad, kolektor-sdd, csv.",
    ),
]
Json = Annotated[bool, option("--json", help="Print one JSON document instead of tables.")]
Quiet = Annotated[bool, option("--quiet", "-q", help="Say nothing on stderr but what went wrong.")]
Verbose = Annotated[bool, option("--verbose", "-v", help="Print tracebacks of errors.")]
ProjectFile = Annotated[
    Path | None,
    option(
        "--project",
        metavar="FILE",
        help="Project file, or its folder. Default: adcli.toml here or in the nearest folder above.",
    ),
]
NoProject = Annotated[bool, option("--no-project", help="Read no project file.")]
Device = Annotated[str, option("--device", help="auto, cpu, cuda or cuda:N.")]
Engine = Annotated[str, option("--engine", help="auto, torch or openvino.")]
Precision = Annotated[
    str, option("--precision", help="auto, fp32 or bf16; auto at fit: bf16 where the machine is faster in it.")
]
BatchSize = Annotated[
    int, option("--batch-size", min=0, max=MOST_IMAGES, help="Images a batch; 0: the engine's own choice.")
]
Workers = Annotated[int, option("--workers", min=0, max=MOST_WORKERS, help="Threads; 0: one a core.")]
Offline = Annotated[bool, option("--offline", help="Never touch the network.")]
Weights = Annotated[
    Path | None,
    option(
        "--weights",
        help="Checkpoint of the backbone (.npz: embedded); only the layers used need be in it. Several: their folder.",
    ),
]
Masks = Annotated[str, option("--masks", help="Masks to write: ng (NG and CHECK), all or none.")]
Overlays = Annotated[str, option("--overlays", help="Overlays to write: ng (NG and CHECK), all or none.")]
Maps = Annotated[bool, option("--maps", help="Write the raw score maps, float32 TIFF.")]
Sqlite = Annotated[
    Path | None, option("--sqlite", metavar="FILE", help="SQLite database that the results are added to.")
]
MinimumArea = Annotated[
    list[str],
    option(
        "--min-area",
        help="Area a defect must have to count: 25px, 0.4mm2, 0.1%, 1px:length=2mm or footprint, the default. "
        "Given several times, any of them counts, under one promise.",
    ),
]
MinimumLength = Annotated[
    str | None, option("--min-length", help="Length a defect must have as well, such as 2mm or 40px.")
]
MinimumWidth = Annotated[
    str | None, option("--min-width", help="Width a defect must have as well, such as 0.1mm or 3px.")
]
GroupBy = Annotated[
    str | None,
    option(
        "--group-by",
        metavar="REGEX",
        help="Several images show one part: its name in their path, (group 1) or the match. The part is then the unit.",
    ),
]
Pictures = Annotated[
    bool,
    option(
        "--pictures/--no-pictures",
        help="Draw the calibration and its suspects beside the model; without, earlier ones are removed.",
    ),
]
PixelPitch = Annotated[
    str | None, option("--pixel-pitch", help="Size of a pixel of the original image, such as 0.05mm.")
]
RuleName = Annotated[
    str,
    option(
        "--rule",
        help="Estimator that sets the threshold: area (the paper's), conformal, max, pixel-quantile, sigma or pot.",
    ),
]
Quantile = Annotated[
    float | None, option("--quantile", help="Share of the pixels below the pixel-quantile threshold. Default: 0.999.")
]
Sigmas = Annotated[
    float | None, option("--sigmas", help="Standard deviations of the sigma threshold above the mean. Default: 3.")
]
MaxFalseReject = Annotated[
    float | None,
    option(
        "--max-false-reject", parser=share, metavar="SHARE", help="Share of good images that may be NG: 0.01 or 1%."
    ),
]
Confidence = Annotated[
    float | None,
    option(
        "--confidence",
        parser=share,
        metavar="SHARE",
        help="Confidence of that bound, such as 0.95; without it, it is an average.",
    ),
]
Guard = Annotated[
    bool,
    option("--guard/--no-guard", help="CHECK instead of OK for an image that is wholly unlike the good ones."),
]
GuardReject = Annotated[
    float | None,
    option(
        "--guard-reject",
        parser=share,
        metavar="SHARE",
        help="Share of good images that the input guard may make CHECK; without it, as few as the images allow.",
    ),
]
ImageStage = Annotated[
    str | None,
    option(
        "--image-stage",
        metavar="SCORE",
        help="CHECK instead of OK above a limit on another image score: own (the method's), maximum, top1 or "
        "structcore.",
    ),
]
ImageStageReject = Annotated[
    float | None,
    option(
        "--image-stage-reject",
        parser=share,
        metavar="SHARE",
        help="Share of good images that the image stage may make CHECK; without it, as few as the images allow.",
    ),
]
CheckFalseReject = Annotated[
    float | None,
    option(
        "--check-false-reject",
        parser=share,
        metavar="SHARE",
        help="Larger share that may be CHECK or NG; makes the CHECK band.",
    ),
]
ThresholdByHand = Annotated[float | None, option("--threshold", help="Threshold by hand; recorded as such.")]


def parse_size(text: str) -> tuple[int, int]:
    """`256` or `HxW` to (H, W)."""
    found = re.fullmatch(r"([0-9]{1,9})(?:x([0-9]{1,9}))?", text.strip().lower())
    if found is None:
        raise UsageError(f"{text!r} is not an image size: write 256, or HxW such as 256x512")
    return int(found[1]), int(found[2] or found[1])


def stdin_lines(inputs: list[str]) -> Any:
    """The lines of standard input where an input is `-`, else None. Names need not be UTF-8."""
    if "-" not in inputs or sys.stdin is None:  # None: closed, as by <&-
        return None
    return map(os.fsdecode, sys.stdin.buffer)
