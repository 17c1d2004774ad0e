"""Learning a model from good images, and calibrating it on those held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from adcli.backbones import find_backbone
from adcli.detectors import Method, check_leaves_out, find_method, leaves_out, parse_params
from adcli.errors import EnvironmentFault, UnreadableImage, UsageError
from adcli.files import hold, remove_own_leftovers
from adcli.finding import FoundImage
from adcli.geometry import Geometry, Views
from adcli.geometry.alignment import read_golden
from adcli.geometry.roi import read_roi
from adcli.geometry.tiles import Tiling
from adcli.guard import CORRELATION, learn_guard, left_out_scores
from adcli.images import identify_image
from adcli.maps import footprint
from adcli.model import Model, Provenance, Spec, digest_rows
from adcli.parallel import stream
from adcli.parts import Grouping
from adcli.sizes import AskedSize, MinArea, MinSize
from adcli.store import save
from adcli.tasks.calibrate import HELD_OUT, LEAVE_ONE_OUT, Calibrated, calibrate_model
from adcli.tasks.evidence import learn_scales_from
from adcli.tasks.features import ImageFeatures
from adcli.tasks.holdout import LEAST_HELD_OUT, split, split_parts
from adcli.tasks.mapping import Machine, Mapper, check_engine, is_out_of_memory
from adcli.tasks.pictures import write_pictures
from adcli.thresholds.estimators import Rule, check, check_enough
from adcli.types import Progress, no_progress
from adcli.versions import library_versions

if TYPE_CHECKING:
    from adcli.engines.torch import TorchEngine

SIGMA = 4.0  # of the map's smoothing, input pixels: PaDiM section 4.2, PatchCore section 4.2
_LEAST_SIDE, _MOST_SIDE = 32, 8192  # pixels of the network's input
_FIT_BATCH = 16
_MOST_TILES = 10_000  # of an image
_MOST_OWN = 16  # tiles that a method may learn each for itself: PaDiM's model grows with each by that of an image
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


@dataclass(frozen=True)
class Recipe:
    """What `fit` is asked to make. Words as on the command line."""

    method: str = "padim"
    backbone: str = "resnet18"
    weights: Path | None = None
    layers: tuple[str, ...] = ()
    image_size: tuple[int, int] = (256, 256)
    params: tuple[str, ...] = ()
    holdout: float = 0.2
    leave_one_out: bool = False  # learn from all, and calibrate on each as if it had been left out
    size: AskedSize | None = None  # None: the measured footprint
    pixel_pitch: float | None = None
    group_by: str | None = None
    white_level: float | None = None
    roi: str | None = None  # a mask image, a box or a polygon
    tile: int | None = None
    overlap: int | None = None  # None: an eighth of the tile
    align: Path | None = None  # the golden image
    seed: int = 0
    offline: bool = False


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
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name the model's file with --model")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write the model to")
    _refuse_overwriting(path, overwrite)
    with hold(path.with_name(path.name + ".lock")):
        _refuse_overwriting(path, overwrite)  # another run may have written it while this one waited
        remove_own_leftovers(path)
        fitted = _fit(images, recipe, rule or Rule(), machine, pictures, progress)
        save(fitted.model, path)
        drawn = {} if fitted.calibrated is None else fitted.calibrated.pictures
        fitted.notes.extend(write_pictures(drawn, path))
    return fitted


def _refuse_overwriting(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists: name another with --model, or overwrite it with --force")


def _fit(
    images: Sequence[FoundImage], recipe: Recipe, rule: Rule, machine: Machine, pictures: bool, progress: Progress
) -> Fitted:
    method = find_method(recipe.method)
    params = parse_params(method.detector().Params, list(recipe.params))
    _check(recipe)
    check(rule)
    check_engine(machine.engine)
    if recipe.leave_one_out:
        check_leaves_out(method)
    extractor, engine = _open_backbone(recipe, method, machine, progress)
    known, unreadable = _identify(images, machine.threads, progress)
    learn, held_out = _divide({image: digest for image, (digest, _) in known.items()}, recipe, rule)
    geometry, notes = _geometry(recipe, method, sorted({size for _, size in known.values()}))
    learnt_sizes = [known[image][1] for image, _ in learn]
    views = Views(geometry, recipe.image_size, recipe.white_level, sigma=0)
    found = [image for image, _ in learn]
    batch = machine.batch_size
    features = ImageFeatures(found, learnt_sizes, views, engine, extractor, machine.threads, batch, progress)
    rng = np.random.default_rng(recipe.seed)
    try:
        detector = method.detector().fit(features, params, rng, progress)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise EnvironmentFault(
            f"the memory is too small to fit {recipe.method} at this size: lower --image-size or --workers, or give "
            "fewer images"
        ) from error
    unreadable += features.unreadable
    left_out = {image.given for image, _ in unreadable}
    learnt = [(image, digest) for image, digest in learn if image.given not in left_out]
    share = footprint(features.grid, recipe.image_size, SIGMA)
    if geometry.tiling is not None:  # of a whole tile; images smaller than one have smaller ones
        share *= geometry.tiling.smallest(learnt_sizes) / geometry.tiling.tile**2
    state = extractor.state()
    model = Model(
        spec=Spec(
            method=recipe.method,
            backbone=recipe.backbone,
            layers=tuple(extractor.layers),
            image_size=recipe.image_size,
            sigma=SIGMA,
            white_level=recipe.white_level,
            precision=engine.precision,
            seed=recipe.seed,
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
        provenance=_provenance([digest for _, digest in learnt], len(unreadable), state),
    )
    if geometry.golden is not None:
        correlations = np.array([look.statistics[CORRELATION] for look in features.looks])
        notes.append(
            f"aligned: the good images correlate with the golden one from {correlations.min():.2f} to "
            f"{correlations.max():.2f}, half of them above {np.median(correlations):.2f}"
        )
    by_footprint = (MinSize(model.footprint_area()),)
    sizes = by_footprint if recipe.size is None else recipe.size.over(by_footprint, model.footprint_area())
    model = replace(model, sizes=sizes)
    places = [LearntImage(image.path, image.given, image.relative, place) for place, (image, _) in enumerate(learnt)]
    if len(model.sizes) > 1 and leaves_out(method) and geometry.tiling is None:
        # Chosen by content, so that the order of the files does not matter.
        chosen = sorted(places, key=lambda image: learnt[image.place][1])[:_SCALED_BY]
        left_out_mapper = Mapper(model, machine, extractor, left_out=True)
        model = replace(model, scales=learn_scales_from(model, left_out_mapper, chosen, progress))
    calibrated = None
    if recipe.leave_one_out:
        mapper = Mapper(model, machine, extractor, left_out=True)
        calibrated = calibrate_model(
            model,
            mapper,
            places,
            rule,
            progress,
            evidence=LEAVE_ONE_OUT,
            left_out=left_out_scores(features.looks),
            pictures=pictures,
        )
        notes.append(
            "leave-one-out: each image was scored as if it had not been learnt from, by a model that has one image "
            "less; what is promised of the threshold is approximate"
        )
    elif held_out:
        mapper = Mapper(model, machine, extractor)
        found = [image for image, _ in held_out]
        calibrated = calibrate_model(model, mapper, found, rule, progress, evidence=HELD_OUT, pictures=pictures)
        unreadable += calibrated.unreadable
    if calibrated is not None:
        model = calibrated.model
        if calibrated.images < LEAST_HELD_OUT:
            notes.append(f"only {calibrated.images} images could be scored: the threshold stands on little")
    listed = [(image.given, str(reason)) for image, reason in unreadable]
    return Fitted(model, len(learnt), calibrated, listed, notes, engine.precision, str(engine.device))


@dataclass(frozen=True)
class LearntImage:
    """An image that the model learnt from, and its place in the order of learning."""

    path: Path
    given: str
    relative: PurePosixPath
    place: int


def _divide(
    digests: dict[FoundImage, str], recipe: Recipe, rule: Rule
) -> tuple[list[tuple[FoundImage, str]], list[tuple[FoundImage, str]]]:
    """Images to learn from and images held out, each with its digest."""
    pairs = list(digests.items())
    if recipe.leave_one_out:
        first = {digest: image for image, digest in reversed(pairs)}  # a twin that stays would give its score away
        learn = [(image, digest) for image, digest in pairs if first[digest] is image]
        check_enough(rule, len(learn))
        return learn, []
    if not recipe.group_by:
        learn, held_out = split(pairs, recipe.holdout)
        units = len({digest for _, digest in held_out})
    else:
        grouping = Grouping(recipe.group_by)
        parts = {image: grouping.of(image) for image, _ in pairs}
        learn, held_out = split_parts(pairs, parts, recipe.holdout)
        units = len({parts[image] for image, _ in held_out})
    if not held_out:
        if rule != Rule():
            raise UsageError(
                "--holdout 0 sets no threshold, so its options have no use here: give them to adcli calibrate"
            )
    elif recipe.size is None or len(recipe.size.sizes) < 2:
        check_enough(rule, units)
    return learn, held_out


def _geometry(recipe: Recipe, method: Method, sizes: Sequence[tuple[int, int]]) -> tuple[Geometry, list[str]]:
    """What is asked of regions, tiles and alignment, for images of these sizes (H, W); and what must be said of it."""
    tiling, notes = None, []
    roi = None if recipe.roi is None else read_roi(recipe.roi, sizes)
    if recipe.leave_one_out and roi is not None and len(sizes) > 1:
        raise UsageError(
            "--leave-one-out with --roi needs images of one size: others see other positions; hold images out instead"
        )
    golden = None if recipe.align is None else read_golden(recipe.align, recipe.white_level)
    if recipe.tile is not None:
        tiling = Tiling(recipe.tile, recipe.tile // 8 if recipe.overlap is None else recipe.overlap)
        pieces = [len(tiling.boxes(size)) for size in sizes]
        if max(pieces) == 1:
            raise UsageError(f"a tile of {recipe.tile} pixels is no smaller than the images: leave out --tile")
        if max(pieces) > _MOST_TILES:
            raise UsageError(
                f"{max(pieces)} tiles an image are more than {_MOST_TILES}: give a larger --tile, or a smaller "
                "--overlap"
            )
        if getattr(method.detector(), "positional", False):
            count = Views(Geometry(roi, tiling), recipe.image_size, None, 0).count(sizes[0])
            if len(sizes) == 1 and count <= _MOST_OWN:
                tiling = replace(tiling, own_statistics=sizes[0])
            else:
                why = "the images differ in size" if len(sizes) > 1 else f"{count} tiles are more than {_MOST_OWN}"
                notes.append(
                    f"all tiles share the statistics of {method.name}, as {why}: that suits textures; for parts with "
                    "a shape take patchcore, or larger tiles"
                )
    return Geometry(roi, tiling, golden), notes


def _check(recipe: Recipe) -> None:
    if not 0 <= recipe.holdout < 1:
        raise UsageError(f"a hold-out of {recipe.holdout:g} is no share: give 0 to below 1, such as 0.2")
    if not all(_LEAST_SIDE <= side <= _MOST_SIDE for side in recipe.image_size):
        raise UsageError(
            f"an image size of {recipe.image_size[0]}x{recipe.image_size[1]} is not possible: give {_LEAST_SIDE} to "
            f"{_MOST_SIDE} a side"
        )
    if recipe.white_level is not None and not 0 < recipe.white_level < math.inf:
        raise UsageError(f"a white level of {recipe.white_level:g} is none: give the sensor's, such as 4095")
    if not 0 <= recipe.seed < 2**63:
        raise UsageError(f"a seed of {recipe.seed} is not possible: give 0 to 2^63 - 1")
    if recipe.leave_one_out and recipe.holdout not in (0, Recipe.holdout):
        raise UsageError("--leave-one-out holds nothing out: leave out --holdout")
    if recipe.leave_one_out and recipe.group_by:
        raise UsageError("--leave-one-out leaves out images, not parts: leave out --group-by, or hold parts out")
    if recipe.overlap is not None and recipe.tile is None:
        raise UsageError("--overlap is of tiles: give --tile as well, such as --tile 512")
    if recipe.leave_one_out and recipe.tile is not None:
        raise UsageError("--leave-one-out leaves out whole images, not all tiles of one: leave out --tile, or hold out")
    if recipe.group_by:
        Grouping(recipe.group_by)  # refuses what is no expression
    if recipe.size is not None:
        for size in recipe.size.over((MinSize(MinArea(0, "px")),), 0.0):
            size.pixels(1, 1, recipe.pixel_pitch)  # refuses mm without the size of a pixel


def _identify(
    images: Sequence[FoundImage], threads: int, progress: Progress
) -> tuple[dict[FoundImage, tuple[str, tuple[int, int]]], list[tuple[FoundImage, UnreadableImage]]]:
    """sha256 and H, W of every readable image, and the others with their reasons."""

    def identify(image: FoundImage) -> tuple[str, tuple[int, int]] | UnreadableImage:
        try:
            return identify_image(image.path)
        except UnreadableImage as error:
            return error

    known: dict[FoundImage, tuple[str, tuple[int, int]]] = {}
    unreadable = []
    for number, (image, outcome) in enumerate(zip(images, stream(images, identify, threads), strict=True), 1):
        if isinstance(outcome, UnreadableImage):
            unreadable.append((image, outcome))
        else:
            known[image] = outcome
        progress("identifying images", number, len(images))
    if not known:
        raise UsageError(f"none of the {len(images)} images could be read; the first: {unreadable[0][1]}")
    return known, unreadable


def _open_backbone(recipe: Recipe, method: Method, machine: Machine, progress: Progress) -> tuple[Any, TorchEngine]:
    from adcli.backbones import RANDOM, weights
    from adcli.backbones.extractor import build_extractor
    from adcli.engines.torch import TorchEngine, fast_bf16, resolve_device

    backbone = find_backbone(recipe.backbone, recipe.layers or None)
    layers = recipe.layers or method.detector().layers(backbone)
    device = resolve_device(machine.device)
    state = None
    if not recipe.backbone.startswith(RANDOM):
        file = weights.resolve(recipe.backbone, file=recipe.weights, offline=recipe.offline, progress=progress)
        state = weights.read_checkpoint(file)
    elif recipe.weights is not None:
        raise UsageError(f"{recipe.backbone} is untrained and takes no weights: write {recipe.backbone[len(RANDOM) :]}")
    extractor = build_extractor(recipe.backbone, layers, state, recipe.seed)
    precision = machine.precision
    if precision == "auto":
        precision = "bf16" if fast_bf16(device) else "fp32"
    return extractor, TorchEngine(extractor, device, precision, machine.batch_size)


def _provenance(learnt: list[str], unreadable: int, state: dict[str, np.ndarray]) -> Provenance:
    from adcli.backbones.weights import state_digest

    return Provenance(digest_rows(learnt), unreadable, state_digest(state), library_versions())
