"""Joining new good images to a model, without those that it has learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from adcli.detectors import DETECTORS, check_updates
from adcli.errors import UnreadableImage, UsageError
from adcli.finding import FoundImage
from adcli.geometry.views import Views
from adcli.guard import Guard, Look, learn_guard
from adcli.model import Model, digest_rows
from adcli.sizes import AskedSize
from adcli.store import load
from adcli.tasks.calibrate import calibrate_model, resized
from adcli.tasks.dividing import divide_new, identify
from adcli.tasks.engines import Machine, check_machine, choose_device, learning_engine, own_backbone
from adcli.tasks.features import ImageFeatures
from adcli.tasks.fit import Fitted, few_scored, write_fitted
from adcli.tasks.holdout import LEAST_JOINED
from adcli.tasks.learning import enough_memory
from adcli.tasks.precision import settle
from adcli.tasks.recipe import Recipe
from adcli.thresholds.estimators import Rule, check
from adcli.types import Progress, no_progress
from adcli.versions import library_versions


def update(
    images: Sequence[FoundImage],
    former: Path,
    path: Path,
    *,
    holdout: float = Recipe.holdout,
    rule: Rule | None = None,
    size: AskedSize | None = None,
    pixel_pitch: float | None = None,
    group_by: str | None = None,
    machine: Machine | None = None,
    overwrite: bool = False,
    pictures: bool = True,
    progress: Progress = no_progress,
) -> Fitted:
    """Writes the model `former` to `path`, having learnt from new good images too, its threshold set anew on the share
    of them that was held out. Method, backbone, geometry, augmentation and seed are those of the model; it is one file
    or the other, and `former` is only read.

    Raises:
        UsageError: the method cannot join images, none is new, or `path` exists and is not to be overwritten.
        GateFailed: there are too few images for the rate that is asked for.
        ModelFileError: `former` is no model, or damaged.
        Busy: another run holds the model.
    """
    rule, machine = rule or Rule(), machine or Machine()
    if not 0 <= holdout < 1:
        raise UsageError(f"a hold-out of {holdout:g} is no share: give 0 to below 1, such as 0.2")
    check(rule)
    check_machine(machine)

    def make() -> Fitted:
        model = resized(load(former).model, size, pixel_pitch, group_by)
        return _update(images, model, holdout, rule, machine, pictures, progress)

    return write_fitted(path, overwrite, make)


def _update(
    images: Sequence[FoundImage],
    former: Model,
    holdout: float,
    rule: Rule,
    machine: Machine,
    pictures: bool,
    progress: Progress,
) -> Fitted:
    spec = former.spec
    check_updates(DETECTORS[spec.method], former.detector.params)
    if machine.precision not in ("auto", spec.precision):
        raise UsageError(
            f"the model learnt in {spec.precision}, and what joins it is learnt in the same: leave out --precision"
        )
    known, unreadable = identify(images, machine.threads, progress)
    views = Views(former.geometry, spec.image_size, spec.white_level, sigma=0)
    for image in list(known):
        if reason := views.refusal(known[image][1]):
            digest, _ = known.pop(image)
            unreadable.append((image, UnreadableImage(f"{image.path} {reason}.", digest)))
    if not known:
        raise UsageError(f"none of the {len(images)} images fits the model; the first: {unreadable[0][1]}")
    divided = divide_new({image: digest for image, (digest, _) in known.items()}, former, holdout, rule)
    device = choose_device(machine)
    extractor = own_backbone(former, machine, device)
    engine = learning_engine(extractor, machine, device, spec.precision, spec.image_size)
    features = ImageFeatures(
        [image for image, _ in divided.learn],
        [known[image][1] for image, _ in divided.learn],
        views,
        engine,
        machine.threads,
        machine.batch_size,
        progress,
        spec.augmentation,
        LEAST_JOINED,
    )
    before = former.provenance
    joined_before = before.updates or ()
    rng = np.random.default_rng([spec.seed, len(joined_before) + 1])  # other draws each time
    with enough_memory(spec.method):
        detector = former.detector.updated(features, rng, progress)
    unreadable += features.unreadable
    lost = {image.given for image, _ in features.unreadable}
    joined = {digest for image, digest in divided.learn if image.given not in lost}
    guard, notes = _joined_guard(former.guard, features.looks)
    provenance = replace(
        before,
        learnt=digest_rows(before.learnt_digests() | joined),
        unreadable=before.unreadable + len(unreadable),
        versions=library_versions(),
        updates=(*joined_before, len(joined)),
    )
    model = replace(former, detector=detector, guard=guard, calibration=None, provenance=provenance)
    notes = divided.notes + notes + getattr(detector, "notes", [])
    calibrated = None
    if divided.held_out:
        found = [image for image, _ in divided.held_out]
        settled = settle(model, found, rule, machine, progress, extractor)
        calibrated = calibrate_model(model, settled, rule, progress, pictures=pictures)
        model = calibrated.model
        unreadable += calibrated.unreadable
        notes += few_scored(calibrated)
    elif former.calibration is not None:
        notes.append(
            "the threshold was of the model before the update, and is gone: set one with adcli calibrate on good "
            "images that the model has not seen"
        )
    listed = [(image.given, str(reason)) for image, reason in unreadable]
    return Fitted(model, len(provenance.learnt), calibrated, listed, notes, engine.precision, str(engine.device), [])


def _joined_guard(guard: Guard | None, looks: list[Look]) -> tuple[Guard | None, list[str]]:
    """The guard that all images teach, those from before by the looks that it has kept; and what must be said of it."""
    if guard is None:
        return None, []  # calibration says so
    if guard.looks is None:
        return guard, [
            "the model was made by an adcli that kept no looks of good images: its input guard stays as it was, and "
            "may object to new kinds of them; fit it anew to have one of all"
        ]
    return learn_guard([*guard.looks.each(), *looks]), []
