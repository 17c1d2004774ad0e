"""The verbs for Python, with the command line's words and defaults.

Each returns what its task returns: plain frozen dataclasses. None prints; pass `progress` to watch.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Literal

from adcli import layouts
from adcli.finding import find_images
from adcli.geometry.augmentation import Augmentation
from adcli.model import Model
from adcli.sizes import AskedSize, parse_pitch
from adcli.store import Stored
from adcli.store import load as load_file
from adcli.store import save as save_file
from adcli.tasks import calibrate as calibrate_task
from adcli.tasks import choosing
from adcli.tasks import compare as compare_task
from adcli.tasks import escapes as escapes_task
from adcli.tasks import evaluate as evaluate_task
from adcli.tasks import export as export_task
from adcli.tasks import fit as fit_task
from adcli.tasks import score as score_task
from adcli.tasks import update as update_task
from adcli.tasks import verify as verify_task
from adcli.tasks.calibrate import Calibrated
from adcli.tasks.candidates import AUTO
from adcli.tasks.compare import Compared, Gates
from adcli.tasks.engines import Machine
from adcli.tasks.escapes import Escapes
from adcli.tasks.evaluate import Evaluated
from adcli.tasks.export import Exported
from adcli.tasks.fit import Fitted
from adcli.tasks.recipe import Recipe, default_size
from adcli.tasks.score import Outputs
from adcli.tasks.sources import Evaluand
from adcli.tasks.totals import Scored
from adcli.tasks.verify import Verified
from adcli.thresholds.estimators import Rule
from adcli.types import Progress, no_progress

AnyPath = str | PathLike[str]


def fit(
    good: AnyPath | Sequence[AnyPath],
    model: AnyPath = "model.h5",
    *,
    method: str = "padim",
    backbone: str = "",
    weights: AnyPath | None = None,
    layers: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
    protocol: str = "adcli",
    params: dict[str, object] | None = None,
    holdout: float = 0.2,
    leave_one_out: bool = False,
    min_area: str | Sequence[str] | None = None,
    min_length: str | None = None,
    min_width: str | None = None,
    pixel_pitch: str | None = None,
    group_by: str | None = None,
    white_level: float | None = None,
    roi: AnyPath | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    align: AnyPath | None = None,
    trim: float | Literal["auto"] | None = None,
    rotate: int | None = None,
    brightness: str | None = None,
    rule: Rule | None = None,
    seed: int = 0,
    offline: bool = False,
    machine: Machine | None = None,
    overwrite: bool = False,
    pictures: bool = True,
    progress: Progress = no_progress,
) -> Fitted:
    """Learns from good images and writes a calibrated model. See `adcli.tasks.fit.fit` for what it raises.

    With `method="auto"` what was tried is in `choice` of the result, and `params` are those of auto.
    """
    recipe = Recipe(
        method=method,
        backbone=backbone,
        weights=None if weights is None else Path(weights),
        layers=tuple(layers),
        image_size=default_size(protocol) if image_size is None else (image_size[0], image_size[1]),
        protocol=protocol,
        params=tuple(f"{name}={value}" for name, value in (params or {}).items()),
        holdout=holdout,
        leave_one_out=leave_one_out,
        size=_size(min_area, min_length, min_width),
        pixel_pitch=None if pixel_pitch is None else parse_pitch(pixel_pitch),
        group_by=group_by,
        white_level=white_level,
        roi=None if roi is None else fspath(roi),
        tile=tile,
        overlap=overlap,
        align=None if align is None else Path(align),
        trim=trim,
        augmentation=Augmentation.parse(rotate, brightness),
        seed=seed,
        offline=offline,
    )
    return (choosing if method == AUTO else fit_task).fit(
        find_images(_several(good)),
        Path(model),
        recipe,
        rule=rule,
        machine=machine,
        overwrite=overwrite,
        pictures=pictures,
        progress=progress,
    )


def update(
    good: AnyPath | Sequence[AnyPath],
    former: AnyPath,
    model: AnyPath = "model.h5",
    *,
    holdout: float = 0.2,
    rule: Rule | None = None,
    min_area: str | Sequence[str] | None = None,
    min_length: str | None = None,
    min_width: str | None = None,
    pixel_pitch: str | None = None,
    group_by: str | None = None,
    machine: Machine | None = None,
    overwrite: bool = False,
    pictures: bool = True,
    progress: Progress = no_progress,
) -> Fitted:
    """`fit --update`: writes the model `former` with new good images joined, calibrated on those of them held out."""
    return update_task.update(
        find_images(_several(good)),
        Path(former),
        Path(model),
        holdout=holdout,
        rule=rule,
        size=_size(min_area, min_length, min_width),
        pixel_pitch=None if pixel_pitch is None else parse_pitch(pixel_pitch),
        group_by=group_by,
        machine=machine,
        overwrite=overwrite,
        pictures=pictures,
        progress=progress,
    )


def calibrate(
    held_out: AnyPath | Sequence[AnyPath],
    model: AnyPath = "model.h5",
    *,
    rule: Rule | None = None,
    min_area: str | Sequence[str] | None = None,
    min_length: str | None = None,
    min_width: str | None = None,
    pixel_pitch: str | None = None,
    group_by: str | None = None,
    leave_out_group: str | None = None,
    machine: Machine | None = None,
    pictures: bool = True,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> Calibrated:
    """Sets the model's threshold from good images it has not seen."""
    return calibrate_task.calibrate(
        find_images(_several(held_out)),
        Path(model),
        rule=rule,
        size=_size(min_area, min_length, min_width),
        pixel_pitch=None if pixel_pitch is None else parse_pitch(pixel_pitch),
        group_by=group_by,
        leave_out_group=leave_out_group,
        machine=machine,
        pictures=pictures,
        dry_run=dry_run,
        progress=progress,
    )


def score(
    images: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    model: AnyPath = "model.h5",
    *,
    outputs: Outputs | None = None,
    machine: Machine | None = None,
    fail_on: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress = no_progress,
) -> Scored:
    """Writes a verdict, a mask and an overlay an image under `out`, and what else `outputs` asks for."""
    return score_task.score(
        find_images(_several(images), exclude=Path(out)),
        Path(model),
        Path(out),
        outputs=outputs,
        machine=machine,
        fail_on=fail_on,
        resume=resume,
        force=force,
        progress=progress,
    )


def evaluate(
    dataset: AnyPath,
    model: AnyPath = "model.h5",
    *,
    layout: str = "auto",
    origin: AnyPath | None = None,
    scores: AnyPath | None = None,
    map_threshold: float | None = None,
    pro_limits: Sequence[float] = evaluate_task.LIMITS,
    machine: Machine | None = None,
    progress: Progress = no_progress,
) -> Evaluated:
    """Metric tables on a data set of one or several categories, of a model, or of what lies in the folder `origin`."""
    categories = layouts.read_categories(Path(dataset), layout)
    evaluand = Evaluand(
        Path(model),
        None if origin is None else Path(origin),
        None if scores is None else Path(scores),
        map_threshold,
    )
    source_of = evaluand.opener([category.name for category in categories], machine or Machine())
    return evaluate_task.evaluate(categories, source_of, limits=pro_limits, progress=progress)


def escapes(
    dataset: AnyPath,
    model: AnyPath = "model.h5",
    *,
    layout: str = "auto",
    machine: Machine | None = None,
    progress: Progress = no_progress,
) -> Escapes:
    """What gets past the threshold, of the defective images of a data set of one category."""
    category = layouts.read_category(Path(dataset), layout)
    return escapes_task.escapes(
        category.images, Path(model), problems=category.problems, machine=machine, progress=progress
    )


def verify(
    samples: AnyPath, model: AnyPath = "model.h5", *, machine: Machine | None = None, progress: Progress = no_progress
) -> Verified:
    """Limit samples against the model's verdicts. `adcli.tasks.verify.record` appends the result to a log."""
    return verify_task.verify(Path(samples), Path(model), machine=machine, progress=progress)


def compare(
    a: AnyPath, b: AnyPath, gates: Gates | None = None, *, group_by: str | None = None, by_hour: bool = False
) -> Compared:
    """Two folders of `score`, two of `evaluate`, or a model and a folder of `score`."""
    return compare_task.compare(Path(a), Path(b), gates, group_by=group_by, by_hour=by_hour)


def export(
    out: AnyPath,
    model: AnyPath = "model.h5",
    *,
    format: str = "auto",
    verify: AnyPath | Sequence[AnyPath] = (),
    machine: Machine | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Exported:
    """Writes a model as one OpenVINO or ONNX graph, verified on images where any are given, and JSON beside it."""
    images = _several(verify)
    return export_task.export(
        Path(model),
        Path(out),
        format=format,
        verify=find_images(images) if images else (),
        machine=machine,
        force=force,
        progress=progress,
    )


def load(model: AnyPath = "model.h5") -> Stored:
    """Reads and verifies a model file: its `.model`, and the digests that name it."""
    return load_file(Path(model))


def save(model: Model, path: AnyPath) -> None:
    """Writes a model file, whole or not at all."""
    save_file(model, Path(path))


def _size(min_area: str | Sequence[str] | None, min_length: str | None, min_width: str | None) -> AskedSize | None:
    return AskedSize.parse([min_area] if isinstance(min_area, str) else min_area or (), min_length, min_width)


def _several(paths: AnyPath | Sequence[AnyPath]) -> list[str]:
    return [fspath(paths)] if isinstance(paths, (str, PathLike)) else [fspath(path) for path in paths]
