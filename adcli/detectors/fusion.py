"""Fusion: several detectors on the same images, the scores of each brought to the scale of good images it has not seen.

The scale is that of EfficientAD's two maps (Batzner, Heckler, Koenig 2024, "EfficientAD: Accurate Visual Anomaly
Detection at Millisecond-Level Latencies", WACV 2024, arXiv:2303.14535), the mean of members the sum rule of Kittler et
al. 1998, "On Combining Classifiers", IEEE TPAMI 20 (3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from adcli.detectors import Batch, LeftOutScorer, Method, PatchScores, Scorer, check_shapes
from adcli.detectors.fusion_graph import FusionGraph
from adcli.detectors.members import Spelt, bind, read_members, union
from adcli.errors import UsageError
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features
    from adcli.graphs import Graph

_LOW, _HIGH = 0.9, 0.995  # quantiles of good patches that become 0 and 1: q_a and q_b of EfficientAD
_EVERY = 5  # one image of so many is held out, as `fit` does by default


@dataclass(frozen=True)
class FusionParams:
    """What a user may set with -p."""

    members: str = "padim+patchcore(coreset=0.01)"  # `METHOD@BACKBONE[LAYERS](NAME=VALUE,...)`, joined by +
    fuse: str = "mean"  # mean | max of the members' scores, each on its scale


@dataclass(frozen=True)
class Member:
    """A detector, and the scale of its scores."""

    method: str
    layers: tuple[int, ...]  # places among the layers of the fusion
    centre: float  # becomes 0
    spread: float  # centre + spread becomes 1
    detector: Any

    def __post_init__(self) -> None:
        if not self.spread > 0:
            raise ValueError(f"the spread of {self.method} is {self.spread:g}, where a positive number belongs")


@dataclass(frozen=True)
class Fusion:
    """What a fusion has learnt."""

    Params: ClassVar[type] = FusionParams

    params: FusionParams
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) of each layer
    members: tuple[Member, ...]

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """All of them; `bound` tells which of them the members use."""
        return backbone.layers

    @staticmethod
    def made_of(params: FusionParams) -> tuple[tuple[Method, Any], ...]:
        """The members' methods and parameters."""
        return tuple((member.method, member.params) for member in read_members(params.members))

    @staticmethod
    def bound(params: FusionParams, backbone: Backbone, named: tuple[str, ...]) -> tuple[FusionParams, tuple[str, ...]]:
        """The parameters with each member's layers, and the layers of all."""
        members = bind(read_members(params.members), backbone, named)
        return replace(params, members="+".join(map(str, members))), union(members)

    @property
    def grid(self) -> tuple[int, int]:
        """h, w of the finest member."""
        return max((self._grid_of(member) for member in self.members), key=lambda grid: grid[0] * grid[1])

    @classmethod
    def fit(
        cls, features: Features, params: FusionParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> Fusion:
        """Fits the members one after another, a pass or more over the features each, and then their scales.

        The scale is of scores that images learnt from would have if left out, where the detector has them. Otherwise it
        is of a second one that learns without a fifth of the images, which it then scores; the member itself is of all.

        Raises:
            UsageError: for what a member refuses, members that cannot be read, or scores of no spread.
        """
        if params.fuse not in ("mean", "max"):
            raise UsageError(f"fuse={params.fuse} is not known: write mean or max")
        spelt = read_members(params.members)
        parts = [_Part(features, layers) for layers in _places(spelt, len(features.shapes))]
        detectors = [
            one.method.detector().fit(part, one.params, rng, progress) for one, part in zip(spelt, parts, strict=True)
        ]
        scorers = [_left_out_scorer(detector, part.device) for detector, part in zip(detectors, parts, strict=True)]
        tails = _left_out(features, parts, scorers)
        members = []
        for one, part, detector, found in zip(spelt, parts, detectors, tails, strict=True):
            centre, spread = _scale(one, found or _held_out(features, one, part, rng, progress))
            members.append(Member(one.method.name, part.layers, centre, spread, detector))
        return cls(params, features.shapes, tuple(members))

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Mean or maximum of (score - centre) / spread over the members, on the finest one's grid."""
        return self._fused([member.detector.scorer(device) for member in self.members])

    def graph(self, own: bool) -> Graph | None:
        """The scorer as a graph; none where a member has none."""
        graphs = [
            member.detector.graph(False) if hasattr(member.detector, "graph") else None for member in self.members
        ]
        return None if None in graphs else FusionGraph(self, graphs)

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """The same of the members' left-out scores, as exact as those are; the scales have seen all images.

        Raises:
            UsageError: when a member cannot leave an image out.
        """
        self._check_all("left_out_scorer", "cannot leave out single images that it has learnt from")
        return self._fused([member.detector.left_out_scorer(device) for member in self.members])

    def updated(self, features: Features, rng: np.random.Generator, progress: Progress = no_progress) -> Fusion:
        """The members with these images as well, each by its own update; the scales stay.

        Raises:
            UsageError: when a member cannot be updated.
        """
        self._check_all("updated", "cannot learn from further images")
        members = tuple(
            replace(member, detector=member.detector.updated(_Part(features, member.layers), rng, progress))
            for member in self.members
        )
        return replace(self, members=members)

    @property
    def notes(self) -> list[str]:
        """What the members want a user to know."""
        return [note for member in self.members for note in getattr(member.detector, "notes", [])]

    def _check_all(self, ability: str, lack: str) -> None:
        for member in self.members:
            if not hasattr(member.detector, ability):
                raise UsageError(f"{member.method}, a member of the fusion, {lack}: leave it out of members")

    def _grid_of(self, member: Member) -> tuple[int, int]:
        return getattr(member.detector, "grid", self.shapes[member.layers[0]][1:])

    def _fused(self, scorers: Sequence[Callable[..., PatchScores]]) -> Callable[..., PatchScores]:
        import torch
        import torch.nn.functional as functional

        size = self.grid

        def score(features: tuple[torch.Tensor, ...], *places: np.ndarray | torch.Tensor) -> PatchScores:
            check_shapes(features, self.shapes)
            fused = None
            for member, scorer in zip(self.members, scorers, strict=True):
                own = scorer(tuple(features[layer] for layer in member.layers), *places).grid
                scaled = (own - member.centre) / member.spread
                if scaled.shape[1:] != size:
                    scaled = functional.interpolate(scaled.unsqueeze(1), size=size, mode="bilinear").squeeze(1)
                if fused is None:
                    fused = scaled
                else:
                    fused = torch.maximum(fused, scaled) if self.params.fuse == "max" else fused + scaled
            return PatchScores(fused if self.params.fuse == "max" else fused / len(scorers), None)

        return score


class _Part:
    """The features as a member sees them: some of the layers, and all images or those at some places.

    Of the latest iteration: `levels`, the mean feature of each image, which tells it from others but not by its place,
    and the `device` of the features.
    """

    def __init__(self, features: Features, layers: tuple[int, ...], kept: set[int] | None = None):
        self.layers = layers
        self.shapes = tuple(features.shapes[layer] for layer in layers)
        self.n_images = features.n_images if kept is None else len(kept)
        self.levels: list[float] = []
        self.device: torch.device | str = "cpu"
        self._features, self._kept = features, kept

    def __iter__(self) -> Iterator[Batch]:
        levels: list[float] = []
        for batch in self._features:
            check_shapes(batch.layers, self._features.shapes)
            self.device = batch.layers[0].device
            first = len(levels)
            levels += [float(image.mean()) for image in batch.layers[self.layers[0]]]
            own = self.of(batch)
            if self._kept is None:
                yield own
            elif rows := [row for row in range(len(levels) - first) if first + row in self._kept]:
                yield Batch(
                    tuple(layer[rows] for layer in own.layers), None if own.inside is None else own.inside[rows]
                )
        self.levels = levels

    def of(self, batch: Batch) -> Batch:
        """The same of one batch of all images: patches to learn from are those that see any of the first grid's."""
        layers = tuple(batch.layers[layer] for layer in self.layers)
        return Batch(layers, batch.inside_on(tuple(layers[0].shape[2:])))


def _places(spelt: Sequence[Spelt], count: int) -> list[tuple[int, ...]]:
    """The layers of each member as places among those of the features; all, where none are named."""
    if not any(one.layers for one in spelt):
        return [tuple(range(count))] * len(spelt)
    names = union(spelt)
    if len(names) != count or not all(one.layers for one in spelt):
        raise ValueError(f"the features have {count} layers, where the members name {', '.join(names)}")
    return [tuple(names.index(layer) for layer in one.layers) for one in spelt]


def _left_out_scorer(detector: Any, device: torch.device | str) -> LeftOutScorer | None:
    """None where the method has none, or learnt from too little to leave anything out."""
    try:
        return detector.left_out_scorer(device) if hasattr(detector, "left_out_scorer") else None
    except UsageError:
        return None


def _left_out(
    features: Features, parts: Sequence[_Part], scorers: Sequence[LeftOutScorer | None]
) -> list[list[np.ndarray]]:
    """Tails of left-out scores, in one pass for all members; none where there is no scorer."""
    import torch

    found: list[list[np.ndarray]] = [[] for _ in parts]
    place = 0
    for batch in features if any(scorers) else ():
        places = np.arange(place, place + len(batch.layers[0]))
        place += len(places)
        for tails, scorer, part in zip(found, scorers, parts, strict=True):
            if scorer is not None:
                own = part.of(batch)
                with torch.inference_mode():
                    tails += _tails(scorer(own.layers, places).grid, own)
    return found


def _held_out(
    features: Features, one: Spelt, part: _Part, rng: np.random.Generator, progress: Progress
) -> list[np.ndarray]:
    """Tails of the scores of a fifth of the images by a detector that learnt from the others.

    Chosen by rank of what the features are, not by place, so that the order of the files does not matter; of every five
    neighbours in rank the middle one, so that those held out range as widely as the others.
    """
    import torch

    ranked = np.argsort(part.levels, kind="stable").tolist()
    held = set(ranked[_EVERY // 2 :: _EVERY] or ranked[:1])
    others = _Part(features, part.layers, set(ranked) - held)
    if not others.n_images:
        raise UsageError(f"{one.method.name} in a fusion needs at least 2 good images: one of them gives it a scale")
    try:
        scorer = one.method.detector().fit(others, one.params, rng, progress).scorer(part.device)
    except UsageError as error:
        raise UsageError(f"{one.method.name} learns without a fifth of the images, for its scale: {error}") from error
    tails: list[np.ndarray] = []
    for batch in _Part(features, part.layers, held):
        with torch.inference_mode():
            tails += _tails(scorer(batch.layers).grid, batch)
    return tails


def _tails(grid: torch.Tensor, batch: Batch) -> list[np.ndarray]:
    """The two quantiles of each image's patches, of a grid (N, h, w); none of an image that is not looked at."""
    inside = batch.inside_on(tuple(grid.shape[1:]))
    scores = grid.double().cpu().numpy()
    if inside is None:
        return [np.quantile(image, (_LOW, _HIGH)) for image in scores]
    seen = inside.cpu().numpy()
    return [np.quantile(image[own], (_LOW, _HIGH)) for image, own in zip(scores, seen, strict=True) if own.any()]


def _scale(one: Spelt, tails: list[np.ndarray]) -> tuple[float, float]:
    """Centre and spread: medians over the images, so that each counts alike and a few bad ones do not."""
    low, high = np.array(tails).T
    centre, spread = float(np.median(low)), float(np.median(high - low))
    if not spread > 0:
        raise UsageError(
            f"{one.method.name} gives all patches of good images the same score, which makes no scale: leave it out of "
            "members, or learn from images that differ"
        )
    return centre, spread
