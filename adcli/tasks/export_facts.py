"""What a program must know that runs an exported graph: the JSON file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from adcli.engines import INPUT, OUTPUT
from adcli.model import Model
from adcli.regions import largest_float32_up_to
from adcli.sizes import MinSize
from adcli.store import Stored
from adcli.tasks.export_proof import Proof
from adcli.verdicts import map_thresholds
from adcli.versions import library_versions

_STEPS = (
    "pixels: RGB float32, (1, H, W, 3), H and W as in image_size, the aspect ratio not kept; gray is repeated, alpha "
    "dropped, the orientation tag ignored; 8 bits divided by 255, 16 bits by white_level, what is above 1 becomes 1; "
    "an axis that shrinks is averaged (OpenCV's INTER_AREA) before the other grows (INTER_LINEAR)",
    "map: float32, (1, H, W), smoothed already; resize it to the file's own size, bilinear with half-pixel centres "
    "(OpenCV's INTER_LINEAR)",
    "a region is 8-connected, every pixel strictly above a threshold; its minimum area in pixels of the file is "
    "min_area_px, or min_area_share of its pixels, rounded up, at least 1",
    "NG where a region above the threshold of any of the conditions has its minimum size; else CHECK where one above a "
    "check_threshold that is not null has; else OK",
    "compute in float32: runtimes that choose a lower precision by themselves must be told",
)


def facts(
    stored: Stored, kind: str, digests: dict[str, str], proof: Proof | None, packages: Sequence[str]
) -> dict[str, Any]:
    """Flat, units in the names; None where undefined.

    Args:
        digests: sha256 of the written files, by name.
        packages: that wrote them.
    """
    model, spec = stored.model, stored.model.spec
    calibration = model.calibration
    return {
        "format": kind,
        "files": digests,
        "input": INPUT,
        "output": OUTPUT,
        "image_size": spec.image_size,
        "white_level": 65535.0 if spec.white_level is None else spec.white_level,
        "sigma_px": spec.sigma,
        "threshold": calibration and calibration.threshold,
        "check_threshold": calibration and calibration.check_threshold,
        "conditions": _conditions(model),
        "pixel_pitch_mm": model.pixel_pitch,
        "steps": _STEPS,
        "method": spec.method,
        "params": vars(model.detector.params),
        "backbone": spec.backbone,
        "layers": spec.layers,
        "weights_digest": model.provenance.weights_digest,
        "model_sha256": stored.sha256,
        "detector_digest": stored.detector_digest,
        "rule": calibration and calibration.rule,
        "guarantee": calibration and calibration.guarantee,
        "threshold_engine": calibration and calibration.engine,
        "threshold_precision": calibration and calibration.precision,
        "not_in_the_graph": _missing(model),
        "verified": None if proof is None else proof.facts(),
        "versions": library_versions() | {name: version(name) for name in packages},
    }


def _conditions(model: Model) -> list[dict[str, float | int | None]]:
    """The sizes, any of which counts, each with its thresholds in the units of the map.

    A threshold is the largest float32 up to the exact one: a float32 is above either or neither.
    """
    calibration = model.calibration
    above: list[list[float | None]] = []
    for threshold in (None, None) if calibration is None else (calibration.threshold, calibration.check_threshold):
        if threshold is None:
            above.append([None] * len(model.sizes))
        else:
            above.append([float(largest_float32_up_to(one)) for one in map_thresholds(model, threshold)])
    return [
        _size(size, model.pixel_pitch) | {"threshold": at, "check_threshold": check_at}
        for size, at, check_at in zip(model.sizes, *above, strict=True)
    ]


def _size(size: MinSize, pixel_pitch: float | None) -> dict[str, float | int | None]:
    is_share = size.area.unit == "share"
    any_image = size.pixels(1, 1, pixel_pitch)  # nothing else depends on the image's size
    return {
        "min_area_px": None if is_share else any_image.area,
        "min_area_share": size.area.value if is_share else None,
        "min_length_px": any_image.length,
        "min_width_px": any_image.width,
    }


def _missing(model: Model) -> dict[str, Any]:
    """What `score` does beside, that can make CHECK of an OK."""
    calibration = model.calibration
    return {
        "input_guard": calibration is not None and calibration.guard is not None,
        "image_stage": asdict(calibration.image_stage) if calibration and calibration.image_stage else None,
    }
