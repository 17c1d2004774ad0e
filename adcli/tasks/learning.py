"""One fit: from good images that are known to a model without a threshold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adcli.detectors import Method
from adcli.engines import LearningEngine
from adcli.errors import EnvironmentFault, UnreadableImage
from adcli.finding import FoundImage
from adcli.geometry import Geometry
from adcli.geometry.views import Views
from adcli.guard import Look, learn_guard
from adcli.maps import footprint
from adcli.model import Model, Provenance, Spec, digest_rows
from adcli.sizes import MinArea, MinSize
from adcli.tasks.engines import Machine, steps_of
from adcli.tasks.features import ImageFeatures
from adcli.tasks.mapping import is_out_of_memory
from adcli.tasks.recipe import Recipe
from adcli.types import Progress
from adcli.versions import library_versions

SIGMA = 4.0  # of the map's smoothing, input pixels: PaDiM section 4.2, PatchCore section 4.2

Known = tuple[FoundImage, str]
"""An image and its sha256."""


@dataclass(frozen=True)
class Plan:
    """All that a fit needs beside the images."""

    recipe: Recipe
    method: Method
    params: Any
    geometry: Geometry
    extractor: Any
    engine: LearningEngine
    machine: Machine
    sizes: dict[FoundImage, tuple[int, int]]  # H, W of every image that may be learnt from


@dataclass(frozen=True)
class Learnt:
    """What one fit has learnt."""

    model: Model  # without a threshold
    images: list[Known]  # in the order of learning
    looks: list[Look]  # of each, followed by those of its copies
    unreadable: list[tuple[FoundImage, UnreadableImage]]


def learn(plan: Plan, images: Sequence[Known], progress: Progress) -> Learnt:
    """Fits the method to images.

    Raises:
        UsageError: the method cannot learn from them.
        EnvironmentFault: the memory is too small.
    """
    from adcli.backbones.weights import state_digest

    recipe, geometry = plan.recipe, plan.geometry
    found = [image for image, _ in images]
    sizes = [plan.sizes[image] for image in found]
    views = Views(geometry, recipe.image_size, recipe.white_level, sigma=0)
    features = ImageFeatures(
        found,
        sizes,
        views,
        plan.engine,
        plan.machine.threads,
        plan.machine.batch_size,
        progress,
        recipe.augmentation,
    )
    with enough_memory(recipe.method):
        rng = np.random.default_rng(recipe.seed)
        detector = plan.method.detector().fit(features, plan.params, rng, progress)
    unreadable = {image.given for image, _ in features.unreadable}
    learnt = [(image, digest) for image, digest in images if image.given not in unreadable]
    rows, columns = getattr(detector, "grid", features.shapes[0][1:])
    share = footprint((rows // views.stacked, columns), recipe.image_size, SIGMA)
    if geometry.tiling is not None:  # of a whole tile; images smaller than one have smaller ones
        share *= geometry.tiling.smallest(sizes) / geometry.tiling.tile**2
    if geometry.crop is not None:
        share *= geometry.crop.share
    state, network = plan.extractor.state(), steps_of(plan.extractor)
    model = Model(
        spec=Spec(
            method=recipe.method,
            backbone=plan.extractor.name,
            layers=tuple(plan.extractor.layers),
            image_size=recipe.image_size,
            sigma=SIGMA,
            white_level=recipe.white_level,
            precision=plan.engine.precision,
            seed=recipe.seed,
            augmentation=recipe.augmentation,
        ),
        geometry=geometry,
        weights=state,
        detector=detector,
        guard=learn_guard(features.looks),
        footprint=share,
        sizes=(MinSize(MinArea(share, "share")),),
        scales=None,
        pixel_pitch=recipe.pixel_pitch,
        group_by=recipe.group_by or None,
        calibration=None,
        provenance=Provenance(
            digest_rows(digest for _, digest in learnt), len(unreadable), state_digest(state), library_versions()
        ),
        network=None if network is None else network.to_text(),
    )
    by_footprint = (MinSize(model.footprint_area()),)
    asked = by_footprint if recipe.size is None else recipe.size.over(by_footprint, model.footprint_area())
    return Learnt(replace(model, sizes=asked), learnt, features.looks, features.unreadable)


@contextlib.contextmanager
def enough_memory(method: str) -> Iterator[None]:
    """Says in one sentence what to do where learning needs more than there is."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise EnvironmentFault(
            f"the memory is too small to fit {method} at this size: lower --image-size or --workers, or give "
            "fewer images"
        ) from error
