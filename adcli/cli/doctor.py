"""adcli doctor: what this machine has and lacks, and what `fit` and `score` would take of it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json
from adcli.cli.info import told
from adcli.cli.inputs import find_inputs
from adcli.errors import AdcliError, EnvironmentFault, UsageError


def doctor(
    context: typer.Context,
    good: Annotated[
        list[str] | None,
        typer.Argument(metavar="GOOD", help="Good images that a model would be fitted to.", show_default=False),
    ] = None,
    method: o.Method = "padim",
    backbone: o.Backbone = "",
    weights: o.Weights = None,
    layers: o.Layers = "",
    image_size: o.ImageSize = "",
    param: o.Params = [],  # noqa: B006 (typer copies it)
    holdout: o.Holdout = 0.2,
    workers: o.Workers = 0,
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> int:
    """Tell what this machine has and lacks, and which settings are in force; of good images, what fit would take.

    \b
    adcli doctor
    adcli doctor --json
    adcli doctor ./good --method patchcore -p coreset=0.01
    adcli doctor ./good --backbone wide_resnet50_2 --json
    """
    if not good:
        _refuse_without_images(context)
        return _machine(context, json)
    if isinstance(context.obj, AdcliError):
        raise context.obj  # a file that is wrong says nothing of what fit would do
    from adcli.report.forecasts import forecast_json, forecast_notes, forecast_table
    from adcli.tasks.forecast import forecast
    from adcli.tasks.recipe import Recipe

    terminal = Terminal()
    recipe = Recipe(
        method=method,
        backbone=backbone,
        weights=weights,
        layers=tuple(name.strip() for name in layers.split(",") if name.strip()),
        image_size=o.parse_size(image_size) if image_size else Recipe.image_size,
        params=tuple(param),
        holdout=holdout,
        offline=True,
    )
    expected = forecast(find_inputs(good, terminal), recipe, workers)
    if json:
        show_json(forecast_json(expected))
        return 0
    show(forecast_table(expected, ", ".join(good)), *forecast_notes(expected))
    return 0


def _refuse_without_images(context: typer.Context) -> None:
    """Raises UsageError for options that say how a model would be fitted, where it is not said to what."""
    given = [
        "--" + name.replace("_", "-")
        for name in ("method", "backbone", "weights", "layers", "image_size", "param", "holdout", "workers")
        if context.get_parameter_source(name).name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(f"{', '.join(given)} says how images are learnt from: name the images too, or leave it out")


def _machine(context: typer.Context, json: bool) -> int:
    """What this machine has, what is missing and the command that mends it, and which settings are in force."""
    from adcli.backbones import EMBEDDED, embedded_file, weights
    from adcli.cli.settings import faults, settings
    from adcli.engines.torch import fast_bf16, gpu_names, resolve_device
    from adcli.parallel import cores
    from adcli.project.file import Project
    from adcli.report.tables import key_values, rows_table
    from adcli.versions import library_versions

    kept = [entry.name for entry in weights.entries() if entry.path is not None]
    missing = []
    try:
        embedded_file.resolve()
    except EnvironmentFault as error:
        missing.append(str(error))
        kept = [name for name in kept if name != EMBEDDED]
    project = context.obj
    in_force = settings(project, context.find_root().command)
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": cores(),
        "memory_bytes": _memory_bytes(),
        "disk_free_bytes": shutil.disk_usage(Path.cwd()).free,
        "fast_bf16_cpu": fast_bf16(resolve_device("cpu")),
        "gpus": gpu_names(),
        "weights_folder": str(weights.cache_folder()),
        "weights": kept,
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith("ADCLI_")},
        "versions": library_versions(),
        "missing": missing,
        "project": str(project.path) if isinstance(project, Project) else None,
        "faults": faults(project, context.find_root().command),
    }
    if json:
        show_json(facts | {"settings": in_force})
        return 0
    show(key_values("This machine", ((key.replace("_", " "), told(key, value)) for key, value in facts.items())))
    if in_force:
        columns = ["option", "value", "of", "from", "overruled by"]
        rows = (
            [one["option"], told("", one["value"]), one["of"], one["from"], one["overruled_by"] or "-"]
            for one in in_force
        )
        show(rows_table("Settings that are not the built-in ones", columns, rows))
    return 0


def _memory_bytes() -> int | None:
    if sys.platform == "win32" or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
