"""What `fit --method auto` tries: a literal list, from the cheapest to score with to the dearest.

The order is part of the rule (see adcli.tasks.choosing): of candidates that cannot be told apart, the first wins. A new
method is a line here; one whose weights, layers or room are missing is passed over with the reason.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace

from adcli.detectors import DETECTORS, find_method
from adcli.errors import UsageError
from adcli.tasks.recipe import Recipe

AUTO = "auto"
_ENLARGED = 0.9  # an image must have so much of a larger input's side; else the network would see nothing new


@dataclass(frozen=True)
class Candidate:
    """One configuration to try."""

    name: str
    method: str
    params: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()  # (): the recipe's, or the method's own
    backbone: str | None = None  # None: the recipe's, or the method's own
    scale: float = 1.0  # of the recipe's image size

    def words(self) -> str:
        """What sets it apart, as options of `fit` to paste, where no other image size is asked for."""
        words = ["--method", self.method]
        for param in self.params:
            words += ["-p", param]
        words += ["--layers", ",".join(self.layers)] if self.layers else []
        words += [] if self.backbone is None else ["--backbone", self.backbone]
        if self.scale != 1:
            height, width = recipe_of(self, Recipe()).image_size
            words += ["--image-size", str(height) if height == width else f"{height}x{width}"]
        return shlex.join(words)


CANDIDATES = (
    Candidate("padim-coarse", "padim", layers=("layer2", "layer3")),
    Candidate("padim", "padim"),
    Candidate("patchcore", "patchcore", params=("coreset=0.01",)),
    Candidate("fusion", "fusion"),
    Candidate("padim-large", "padim", scale=1.5),
    Candidate("patchcore-large", "patchcore", params=("coreset=0.01",), scale=1.5),
    Candidate("padim-wide", "padim", backbone="wide_resnet50_2"),
    Candidate("patchcore-wide", "patchcore", params=("coreset=0.01",), backbone="wide_resnet50_2"),
)


def named(text: str) -> tuple[Candidate, ...]:
    """The candidates of a list of names, separated by commas, in the order of the table; of an empty one, all."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    known = [candidate.name for candidate in CANDIDATES]
    if unknown := sorted(names.difference(known)):
        raise UsageError(f"there is no candidate {unknown[0]!r} of --method auto: known are {', '.join(known)}")
    return tuple(candidate for candidate in CANDIDATES if not names or candidate.name in names)


def recipe_of(candidate: Candidate, recipe: Recipe) -> Recipe:
    """The recipe with a candidate's method instead of auto."""
    height, width = recipe.image_size
    return replace(
        recipe,
        method=candidate.method,
        params=candidate.params,
        layers=candidate.layers or recipe.layers,
        backbone=recipe.backbone if candidate.backbone is None else candidate.backbone,
        image_size=(round(candidate.scale * height), round(candidate.scale * width)),
    )


def obstacle(candidate: Candidate, recipe: Recipe, sizes: list[tuple[int, int]]) -> str | None:
    """Why a candidate has no use for images of these sizes (H, W), or cannot be tried at all; None: it can."""
    from adcli.backbones import RANDOM, weights

    if candidate.method not in DETECTORS:
        return f"this adcli has no method {candidate.method}"
    own = candidate.backbone or find_method(candidate.method).backbone
    if own is not None and own != recipe.backbone and recipe.backbone != Recipe.backbone:
        return f"it needs the backbone {own}, and --backbone names {recipe.backbone}"
    if candidate.backbone is not None:
        if recipe.weights is not None:
            return f"it needs the backbone {own}, and --weights gives another's"
        if not own.startswith(RANDOM) and weights.locate(own) is None:
            return f"the weights of {own} are not here: adcli weights pull {own}"
    if candidate.layers and recipe.layers and candidate.layers != recipe.layers:
        return f"it needs the layers {', '.join(candidate.layers)}, and --layers names others"
    if candidate.scale > 1:
        wanted = [_ENLARGED * side for side in recipe_of(candidate, recipe).image_size]
        seen = [(recipe.tile, recipe.tile) if recipe.tile else size for size in sizes]
        sides = [min(height / wanted[0], width / wanted[1]) for height, width in seen]
        if sorted(sides)[len(sides) // 2] < 1:
            least = "x".join(str(math.ceil(side)) for side in wanted)
            return f"most images have fewer than {least} pixels, so it would see nothing new"
    return None
