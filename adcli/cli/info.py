"""adcli info, adcli methods, adcli doctor: what a model, this adcli and this machine are."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import show, show_json


def info(
    path: Annotated[Path | None, typer.Argument(metavar="MODEL", help="Model file.", show_default=False)] = None,
    model: o.Model = Path("model.h5"),
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> int:
    """Tell everything that a model file knows.

    \b
    adcli info
    adcli info lid.h5 --json
    """
    from adcli.report.calibrations import engine_json, guard_json, stage_json
    from adcli.report.tables import key_values, training_facts
    from adcli.store import SCHEMA, load

    stored = load(path or model)
    about, calibration = stored.model, stored.model.calibration
    facts: dict[str, Any] = {
        "path": str(path or model),
        "sha256": stored.sha256,
        "size_bytes": stored.size_bytes,
        "schema": SCHEMA,
        "detector_digest": stored.detector_digest,
        "method": about.spec.method,
        "params": vars(about.detector.params),
        **{name: value for name, value in vars(about.detector).items() if isinstance(value, (int, float))},
        "backbone": about.spec.backbone,
        "layers": list(about.spec.layers),
        "weights_digest": about.provenance.weights_digest,
        "image_size": list(about.spec.image_size),
        "sigma_px": about.spec.sigma,
        **about.geometry.facts(),
        "white_level": about.spec.white_level,
        "precision": about.spec.precision,
        "seed": about.spec.seed,
        **training_facts(about),
        "chosen": about.provenance.chosen,
        "learnt": len(about.provenance.learnt),
        "trimmed": 0 if about.provenance.trimmed is None else len(about.provenance.trimmed),
        "unreadable": about.provenance.unreadable,
        "min_area": str(about.sizes[0].area) if len(about.sizes) == 1 else None,
        "sizes": [str(size) for size in about.sizes],
        "group_by": about.group_by,
        "footprint": about.footprint,
        "pixel_pitch_mm": about.pixel_pitch,
        "calibrated": calibration is not None,
        "rule": calibration and calibration.rule,
        "guarantee": calibration and calibration.guarantee,
        "check_guarantee": calibration and calibration.check_guarantee,
        "evidence": calibration and calibration.evidence,
        "threshold": calibration and calibration.threshold,
        "check_threshold": calibration and calibration.check_threshold,
        "max_false_reject": calibration and calibration.max_false_reject,
        "check_false_reject": calibration and calibration.check_false_reject,
        "confidence": calibration and calibration.confidence,
        **guard_json(calibration and calibration.guard),
        **stage_json(calibration and calibration.image_stage),
        **engine_json(calibration),
        "held_out": len(calibration.scores) if calibration else 0,
        "versions": about.provenance.versions,
    }
    if json:
        show_json(facts)
    else:
        show(
            key_values(f"{path or model}", ((key.replace("_", " "), _text(key, value)) for key, value in facts.items()))
        )
    return 0


def methods(json: o.Json = False, verbose: o.Verbose = False) -> int:
    """List the methods: what each stores, needs and can do, its parameters and its paper; and what auto tries.

    \b
    adcli methods
    adcli methods --json
    """
    from adcli.report.method_tables import methods_json, methods_tables
    from adcli.tasks.candidates import CANDIDATES

    if json:
        show_json(methods_json(CANDIDATES))
    else:
        show(*methods_tables(CANDIDATES))
    return 0


def doctor(context: typer.Context, json: o.Json = False, verbose: o.Verbose = False) -> int:
    """Tell what this machine has, what is missing and the command that mends it, and which settings are in force.

    \b
    adcli doctor
    adcli doctor --json
    """
    from adcli.backbones import weights
    from adcli.cli.settings import faults, settings
    from adcli.engines.torch import fast_bf16, gpu_names, resolve_device
    from adcli.parallel import cores
    from adcli.project.file import Project
    from adcli.report.tables import key_values, rows_table
    from adcli.versions import library_versions

    kept = [entry.name for entry in weights.entries() if entry.path is not None]
    missing = []
    if "resnet18" not in kept:
        missing.append(
            "weights of the default backbone: adcli weights pull resnet18, or adcli weights add FILE resnet18"
        )
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
    show(key_values("This machine", ((key.replace("_", " "), _text(key, value)) for key, value in facts.items())))
    if in_force:
        columns = ["option", "value", "of", "from", "overruled by"]
        rows = (
            [one["option"], _text("", one["value"]), one["of"], one["from"], one["overruled_by"] or "-"]
            for one in in_force
        )
        show(rows_table("Settings that are not the built-in ones", columns, rows))
    return 0


def _memory_bytes() -> int | None:
    if sys.platform == "win32" or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _text(key: str, value: Any) -> str:
    """A fact for people."""
    if key.endswith("_bytes") and value is not None:
        return f"{value / 1e9:.3g} GB" if value >= 1e9 else f"{value / 1e6:.3g} MB"
    if key == "footprint":
        return f"{100 * value:.3g} % of the image, or of a tile"
    if key == "uninspected_share" and value is not None:
        return f"{100 * value:.3g} %"
    if value is None or value == []:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
