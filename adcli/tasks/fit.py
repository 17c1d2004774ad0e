"""Learning a model from good images, and calibrating it on those held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adcli.detectors import check_image_stage, check_leaves_out, find_method, leaves_out
from adcli.detectors.params import parse_params
from adcli.errors import UsageError
from adcli.files import hold, remove_own_leftovers
from adcli.finding import FoundImage
from adcli.guard import CORRELATION, left_out_scores
from adcli.model import Model, digest_rows
from adcli.store import save
from adcli.tasks.calibrate import LEAVE_ONE_OUT, Calibrated, calibrate_model
from adcli.tasks.dividing import divide, identify
from adcli.tasks.engines import Machine, check_machine
from adcli.tasks.evidence import gather, learn_scales_from
from adcli.tasks.holdout import LEAST_HELD_OUT
from adcli.tasks.learning import Plan, learn
from adcli.tasks.mapping import Mapper
from adcli.tasks.opening import open_backbone
from adcli.tasks.pictures import write_pictures
from adcli.tasks.precision import Settled, settle
from adcli.tasks.recipe import Recipe, check_recipe, plan_geometry
from adcli.tasks.trim import TrimmedImage, places, suspicious_held_out, trim
from adcli.thresholds.estimators import Rule, check
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    from adcli.tasks.choosing import Choice

_SCALED_BY = 100  # images learnt from that bring several sizes to one scale, each left out; enough for a median


@dataclass(frozen=True)
class Fitted:
    """What `fit` did."""

    model: Model
    learnt: int
    calibrated: Calibrated | None  # None with nothing held out
    unreadable: list[tuple[str, str]]  # path as given, reason
    notes: list[str]
    precision: str
    device: str
    trimmed: list[TrimmedImage]  # highest first
    choice: Choice | None = None  # what --method auto has tried


def fit(
    images: Sequence[FoundImage],
    path: Path,
    recipe: Recipe | None = None,
    *,
    rule: Rule | None = None,
    machine: Machine | None = None,
    overwrite: bool = False,
    pictures: bool = True,
    progress: Progress = no_progress,
) -> Fitted:
    """Learns from good images and writes the model, calibrated on the share of them that was held out.

    Pictures of the calibration are written beside it.

    Raises:
        UsageError: the recipe is impossible, there are too few images, or `path` exists and is not to be overwritten.
        EnvironmentFault: weights, a device or room on the disk are missing.
        Busy: another run holds the model.
    """
    recipe, machine = recipe or Recipe(), machine or Machine()
    return write_fitted(path, overwrite, lambda: _fit(images, recipe, rule or Rule(), machine, pictures, progress))


def write_fitted(path: Path, overwrite: bool, make: Callable[[], Fitted]) -> Fitted:
    """Makes a model and writes it, with its pictures beside it; refuses to before it is made where that may not be."""
    check_place(path, overwrite)
    with hold(path.with_name(path.name + ".lock")):
        _refuse_overwriting(path, overwrite)  # another run may have written it while this one waited
        remove_own_leftovers(path)
        fitted = make()
        save(fitted.model, path)
        drawn = {} if fitted.calibrated is None else fitted.calibrated.pictures
        fitted.notes.extend(write_pictures(drawn, path))
    return fitted


def fit_to_all(images: Sequence[FoundImage], recipe: Recipe, machine: Machine, progress: Progress) -> Fitted:
    """Learns from all of these images, with no threshold and no file."""
    alone = replace(recipe, holdout=0, leave_one_out=False, trim=None)
    return _fit(images, alone, Rule(), machine, False, progress)


def check_place(path: Path, overwrite: bool) -> None:
    """Raises UsageError where no model can or may be written."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the model's file with --model")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write the model to")
    _refuse_overwriting(path, overwrite)


def _refuse_overwriting(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists: name another with --model, or overwrite it with --force")


def _fit(
    images: Sequence[FoundImage], recipe: Recipe, rule: Rule, machine: Machine, pictures: bool, progress: Progress
) -> Fitted:
    method = find_method(recipe.method)
    params = parse_params(method.detector().Params, list(recipe.params))
    check_recipe(recipe)
    check(rule)
    check_machine(machine, method)
    if rule.image_stage is not None:
        check_image_stage(method.name, method.detector(), rule.image_stage)
    if recipe.leave_one_out:
        check_leaves_out(method, params)
    params, extractor, engine = open_backbone(recipe, method, params, machine, progress)
    known, unreadable = identify(images, machine.threads, progress)
    learn_from, held_out = divide({image: digest for image, (digest, _) in known.items()}, recipe, rule)
    sizes = {image: size for image, (_, size) in known.items()}
    geometry, notes = plan_geometry(recipe, method, params, sorted(set(sizes.values())))
    plan = Plan(recipe, method, params, geometry, extractor, engine, machine, sizes)
    trimmed = None
    if recipe.trim is not None:
        trimmed = trim(plan, learn_from, recipe.trim, progress)
        learn_from = trimmed.kept
        notes += trimmed.notes
    learnt = learn(plan, learn_from, progress)
    unreadable += learnt.unreadable
    left_out = [] if trimmed is None else trimmed.left_out
    provenance = replace(
        learnt.model.provenance,
        unreadable=len(unreadable),
        chosen=recipe.chosen,
        trimmed=digest_rows(one.sha256 for one in left_out) if left_out else None,
    )
    model = replace(learnt.model, provenance=provenance)
    notes += getattr(model.detector, "notes", [])
    if geometry.golden is not None:
        correlations = np.array([look.statistics[CORRELATION] for look in learnt.looks])
        notes.append(
            f"aligned: the good images correlate with the golden one from {correlations.min():.2f} to "
            f"{correlations.max():.2f}, half of them above {np.median(correlations):.2f}"
        )
    several = len(model.sizes) > 1 and geometry.tiling is None and recipe.augmentation is None
    alike = geometry.roi is None or len(set(sizes.values())) == 1  # else images see other positions
    if several and alike and leaves_out(method, params):
        # Chosen by content, so that the order of the files does not matter.
        chosen = sorted(places(learnt.images), key=lambda image: learnt.images[image.place][1])[:_SCALED_BY]
        left_out_mapper = Mapper(model, machine, extractor, left_out=True)
        model = replace(model, scales=learn_scales_from(model, left_out_mapper, chosen, progress))
    calibrated = None
    if recipe.leave_one_out:
        mapper = Mapper(model, machine, extractor, left_out=True)
        calibrated = calibrate_model(
            model,
            Settled(mapper, gather(model, mapper, places(learnt.images), rule, progress)),
            rule,
            progress,
            evidence=LEAVE_ONE_OUT,
            left_out=left_out_scores(learnt.looks),
            pictures=pictures,
        )
        notes.append(
            "leave-one-out: each image was scored as if it had not been learnt from, by a model that has one image "
            "less; what is promised of the threshold is approximate"
        )
    elif held_out:
        found = [image for image, _ in held_out]
        settled = settle(model, found, rule, machine, progress, extractor)
        calibrated = calibrate_model(model, settled, rule, progress, pictures=pictures)
        unreadable += calibrated.unreadable
    if calibrated is not None:
        model = calibrated.model
        notes += few_scored(calibrated)
        if trimmed is not None:
            notes += suspicious_held_out(trimmed, calibrated)
    listed = [(image.given, str(reason)) for image, reason in unreadable]
    device = str(engine.device)
    return Fitted(model, len(learnt.images), calibrated, listed, notes, engine.precision, device, left_out)


def few_scored(calibrated: Calibrated) -> list[str]:
    """What must be said of a threshold from fewer images than are held out at least."""
    if calibrated.images >= LEAST_HELD_OUT:
        return []
    return [f"only {calibrated.images} images could be scored: the threshold stands on little"]
