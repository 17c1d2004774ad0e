"""What a calibration found, as JSON for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adcli.guard import GuardLimit
    from adcli.image_scores import StageLimit
    from adcli.model import Calibration
    from adcli.tasks.calibrate import Calibrated
    from adcli.thresholds import Estimate


def stage_json(stage: StageLimit | None) -> dict[str, Any]:
    """The image stage in `calibrate --json`, `fit --json` and `info --json`."""
    return {
        "image_stage": stage and stage.score,
        "image_stage_limit": stage and stage.limit,
        "image_stage_rate": stage and stage.rate,
        "image_stage_rate_high": stage and stage.rate_high,
        "image_stage_reject": stage and stage.max_reject,
        "image_stage_beyond": stage and stage.beyond,
    }


def guard_json(guard: GuardLimit | None) -> dict[str, Any]:
    """The input guard in `calibrate --json`, `fit --json` and `info --json`."""
    return {
        "guard": guard is not None,
        "guard_limit": guard and guard.limit,
        "guard_rate": guard and guard.rate,
        "guard_rate_high": guard and guard.rate_high,
        "guard_reject": guard and guard.max_reject,
        "guard_beyond": guard and guard.beyond,
    }


def engine_json(calibration: Calibration | None) -> dict[str, Any]:
    """What the threshold belongs to, and what float32 would change."""
    check = calibration and calibration.precision_check
    return {
        "threshold_engine": calibration and calibration.engine,
        "threshold_precision": calibration and calibration.precision,
        "precision_images": check and check.images,
        "precision_planted": check and check.planted,
        "precision_difference": check and check.largest_difference,
        "precision_verdicts_changed": check and check.verdicts_changed,
        "precision_auroc": check and check.auroc,
        "precision_auroc_fp32": check and check.auroc_fp32,
    }


def calibration_json(calibrated: Calibrated) -> dict[str, Any]:
    """`calibrate --json`, flat but for the lists."""
    in_force, check, model = calibrated.in_force, calibrated.check, calibrated.model
    return {
        "rule": in_force.rule,
        "threshold": in_force.threshold,
        "check_threshold": check and check.threshold,
        "evidence": model.require_calibration().evidence,
        "held_out": calibrated.n,
        "images": calibrated.images,
        "group_by": model.group_by,
        "rejected": in_force.rejected,
        "rate": in_force.rate,
        "rate_low": in_force.rate_low,
        "rate_high": in_force.rate_high,
        "guarantee": in_force.guarantee,
        "promises": in_force.promises,
        "check_guarantee": check and check.guarantee,
        **guard_json(model.require_calibration().guard),
        **stage_json(model.require_calibration().image_stage),
        **engine_json(model.require_calibration()),
        "threshold_before": calibrated.before and calibrated.before.threshold,
        "min_area": str(model.sizes[0].area) if len(model.sizes) == 1 else None,
        "sizes": [str(size) for size in model.sizes],
        "scales": None
        if model.scales is None
        else {
            "centre": model.scales.centre.tolist(),
            "spread": model.scales.spread.tolist(),
            "images": model.scales.images,
            "evidence": model.scales.evidence,
        },
        "min_area_px": list(calibrated.area_px),
        "footprint_px": list(calibrated.footprint_px),
        "pixel_pitch_mm": model.pixel_pitch,
        "estimates": [_estimate_json(one, one is in_force) for one in calibrated.side_by_side],
        "suspects": [
            {
                "image": suspect.image,
                "part": suspect.part,
                "score": suspect.score,
                "threshold_without": suspect.without,
                "threshold_without_it_and_above": suspect.without_and_above,
            }
            for suspect in calibrated.suspects
        ],
        "lots": [vars(lot) for lot in calibrated.lots],
        "left_out": [{"image": image.given, "reason": str(reason)} for image, reason in calibrated.unreadable],
        "notes": calibrated.notes,
    }


def _estimate_json(estimate: Estimate, in_force: bool) -> dict[str, Any]:
    return {
        "rule": estimate.rule,
        "in_force": in_force,
        "threshold": estimate.threshold,
        "rejected": estimate.rejected,
        "n": estimate.n,
        "rate": estimate.rate,
        "rate_low": estimate.rate_low,
        "rate_high": estimate.rate_high,
        "promises": estimate.promises,
        "guarantee": estimate.guarantee,
        "refusal": estimate.refusal,
        "needed": estimate.needed,
    }
