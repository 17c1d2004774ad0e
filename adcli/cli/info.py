"""adcli info, adcli methods: what a model and this adcli are."""

from __future__ import annotations

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
    from adcli.report.calibration_json import engine_json, guard_json, stage_json
    from adcli.report.tables import key_values, training_facts
    from adcli.store import SCHEMA, load

    stored = load(path or model, held=False)
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
            key_values(f"{path or model}", ((key.replace("_", " "), told(key, value)) for key, value in facts.items()))
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


def told(key: str, value: Any) -> str:
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
