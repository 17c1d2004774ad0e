"""What `fit` is asked to make, and what of it is impossible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from adcli.backbones import EMBEDDED, EMBEDDED_SUFFIX, PIXELS
from adcli.detectors import DETECTORS, Method, is_positional
from adcli.errors import UsageError
from adcli.geometry import Geometry
from adcli.geometry.alignment import read_golden
from adcli.geometry.augmentation import Augmentation
from adcli.geometry.crop import CentreCrop
from adcli.geometry.drawing import read_roi
from adcli.geometry.tiles import Tiling
from adcli.geometry.views import Views
from adcli.parts import Grouping
from adcli.sizes import AskedSize, MinArea, MinSize

_LEAST_SIDE, _MOST_SIDE = 32, 8192  # pixels of the network's input
_MOST_TILES = 10_000  # of an image
_OF_CHECKPOINTS = "resnet18"  # of methods that take any, where a checkpoint is given and no name
_MOST_OWN = 16  # tiles that a method may learn each for itself: PaDiM's model grows with each by that of an image
PROTOCOLS = {"adcli": (256, 256), "paper": (224, 224)}  # and the H, W of the network's input where none is asked for


@dataclass(frozen=True)
class Recipe:
    """What `fit` is asked to make. Words as on the command line."""

    method: str = "padim"
    backbone: str = ""  # see choose_backbone
    weights: Path | None = None
    layers: tuple[str, ...] = ()
    image_size: tuple[int, int] = (256, 256)  # of the network's input
    protocol: str = "adcli"  # adcli: the whole image | paper: the middle of an image resized to 8/7 of it
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
    trim: float | Literal["auto"] | None = None  # suspicious images not to learn from, at most this share of all
    augmentation: Augmentation | None = None  # copies to learn from beside each image
    seed: int = 0
    offline: bool = False
    chosen: str | None = None  # how --method auto came to this recipe; for the model to tell


def default_size(protocol: str) -> tuple[int, int]:
    """H, W of the network's input where none is asked for; that of `adcli` for what `check_recipe` will refuse."""
    return PROTOCOLS.get(protocol, PROTOCOLS["adcli"])


def check_recipe(recipe: Recipe) -> None:
    """Raises UsageError for what no images could make possible."""
    if not 0 <= recipe.holdout < 1:
        raise UsageError(f"a hold-out of {recipe.holdout:g} is no share: give 0 to below 1, such as 0.2")
    if not all(_LEAST_SIDE <= side <= _MOST_SIDE for side in recipe.image_size):
        raise UsageError(
            f"an image size of {recipe.image_size[0]}x{recipe.image_size[1]} is not possible: give {_LEAST_SIDE} to "
            f"{_MOST_SIDE} a side"
        )
    if recipe.protocol not in PROTOCOLS:
        raise UsageError(f"there is no protocol {recipe.protocol!r}: write {' or '.join(PROTOCOLS)}")
    if recipe.protocol == "paper" and recipe.tile is not None:
        raise UsageError("--protocol paper looks at the middle of an image, and tiles at all of it: leave one out")
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
    if recipe.leave_one_out and recipe.trim is not None:
        raise UsageError("--trim would choose what --leave-one-out sets the threshold on: hold images out instead")
    if recipe.leave_one_out and recipe.augmentation is not None:
        raise UsageError(
            "--leave-one-out leaves out single images, not their turned or brightened copies: leave out --rotate and "
            "--brightness, or hold images out"
        )
    if recipe.trim not in (None, "auto") and not 0 < recipe.trim < 1:
        raise UsageError(f"--trim {recipe.trim:g} is no share of the images: give auto, or 0.05 or 5 %")
    if recipe.group_by:
        Grouping(recipe.group_by)  # refuses what is no expression
    if recipe.size is not None:
        for size in recipe.size.over((MinSize(MinArea(0, "px")),), 0.0):
            size.pixels(1, 1, recipe.pixel_pitch)  # refuses mm without the size of a pixel


def choose_backbone(method: Method, asked: str, weights: Path | None = None) -> str:
    """The backbone's name; `asked` is empty where none was named: then the only one that the method can use, or that
    which adcli brings along, or that of a checkpoint, whose file says not what it is of: resnet18.

    Raises:
        UsageError: for a backbone that the method cannot use.
    """
    if method.backbone is not None:
        if asked not in ("", method.backbone):
            raise UsageError(f"{method.name} works on the backbone {method.backbone} only: leave out --backbone")
        return method.backbone
    if asked == PIXELS:
        able = ", ".join(name for name, other in DETECTORS.items() if other.backbone == PIXELS)
        raise UsageError(f"{method.name} needs the features of a network, and {PIXELS} is none: it is for {able}")
    if asked:
        return asked
    return EMBEDDED if weights is None or weights.suffix.lower() == EMBEDDED_SUFFIX else _OF_CHECKPOINTS


def plan_geometry(
    recipe: Recipe, method: Method, params: Any, sizes: Sequence[tuple[int, int]]
) -> tuple[Geometry, list[str]]:
    """What is asked of regions, tiles and alignment, for images of these sizes (H, W); and what must be said of it."""
    tiling, notes = None, []
    if recipe.augmentation is not None and recipe.augmentation.rotations > 1 and is_positional(method, params):
        notes.append(
            f"--rotate blurs what {method.name} learns of each position, as another part of the image turns into it; "
            "for parts that turn take a method without positions, such as patchcore, or bring them upright with --align"
        )
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
        if is_positional(method, params):
            count = Views(Geometry(roi, tiling), recipe.image_size, None, 0).count(sizes[0])
            if len(sizes) == 1 and count <= _MOST_OWN:
                tiling = replace(tiling, own_statistics=sizes[0])
            else:
                why = "the images differ in size" if len(sizes) > 1 else f"{count} tiles are more than {_MOST_OWN}"
                notes.append(
                    f"all tiles share the statistics of {method.name}, as {why}: that suits textures; for parts with "
                    "a shape take patchcore, or larger tiles"
                )
    crop = CentreCrop.around(recipe.image_size) if recipe.protocol == "paper" else None
    geometry = Geometry(roi, tiling, golden, crop)
    if geometry.uninspected() == 1:
        raise UsageError("the region of interest lies outside the middle that --protocol paper looks at: leave one out")
    return geometry, notes
