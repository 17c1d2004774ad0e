"""The methods: what each is, and where its file lies.

A detector is what it has learnt: a frozen dataclass of parameters and numpy arrays. `Detector.fit` is the only way to
have one, and a model file is a picture of its fields, so no method saves or loads itself. A new method is one file here
and one line in `DETECTORS`; importing this package imports no torch.
"""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from adcli.errors import UsageError
from adcli.image_scores import OF_MAPS, OWN
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.graphs import Graph, Reduce

    Tensor = torch.Tensor


class PatchScores(NamedTuple):
    """What a detector says of a batch. Raw units, larger is stranger."""

    grid: Any  # (N, h, w) float32, one score a patch
    image: Any  # (N,) float32, the method's own image score where its paper has one, else None


class Batch(NamedTuple):
    """Features of some good images, or of tiles of them."""

    layers: tuple[Tensor, ...]  # a float32 tensor (N, C, h, w) for every layer; of `reduced` features an array
    inside: Tensor | None = None  # (N, h, w) bool on the first layer's grid: the patches to learn from; None: all

    def patches(self, vectors: Tensor) -> Tensor:
        """Those rows of `vectors` (N h w, D), image after image and row by row, that are to be learnt from."""
        return vectors if self.inside is None else vectors[self.inside.flatten()]

    def inside_on(self, grid: tuple[int, int]) -> Tensor | None:
        """`inside` on another grid (h, w): its cells that see some of what is to be learnt from."""
        if self.inside is None or tuple(self.inside.shape[1:]) == grid:
            return self.inside
        from torch.nn.functional import adaptive_max_pool2d

        return adaptive_max_pool2d(self.inside.float().unsqueeze(1), grid).squeeze(1) > 0


class Features(Protocol):
    """Features of the good images, batch by batch in a fixed order. Iterating again starts over."""

    n_images: int  # inputs of the network: images, or tiles of them
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w), one a layer

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches."""
        ...


@runtime_checkable
class ReducedFeatures(Features, Protocol):
    """What features may offer beside."""

    def reduced(self, reduce: Reduce) -> Iterator[Batch] | None:
        """The same batches in one pass, as arrays, with what `reduce` makes of the layers of an input, (N, n, D), as
        their only layer; None where that cannot be computed along with the network."""
        ...


Scorer = Callable[["tuple[Tensor, ...]"], PatchScores]
"""Features of a batch, one tensor (N, C, h, w) a layer, to its scores. Each image's do not depend on its neighbours."""

LeftOutScorer = Callable[["tuple[Tensor, ...]", Any], PatchScores]
"""Features of a batch of images that the detector learnt from, and the place (N,) of each in the order of learning
(integers from 0, in numpy or torch; unreadable images, which `Features` does not yield, are not counted), to the scores
that a detector which had learnt from the others alone would give them."""


class Detector(Protocol):
    """What every method offers. `params` and all other fields go to the model file as they are.

    A method whose statistics belong to a position of the grid says so by a class variable `positional`: the tiles of an
    image then stand above each other in one grid, each with statistics of its own, where that is possible. One whose
    scores are not on the first layer's grid has a property `grid`, h and w of one input. One that has an image score of
    its own says in a few words what that is by `image_stage`. What a user is to know of what was learnt, such as that a
    parameter could not be met, is in a property `notes`, sentences that `fit` prints.
    """

    Params: ClassVar[type]
    params: Any

    @classmethod
    def fit(cls, features: Features, params: Any, rng: np.random.Generator, progress: Progress = no_progress) -> Any:
        """Learns from good images. Raises UsageError for what the method cannot learn from."""
        ...

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """The layers the method uses of a backbone when the user names none."""
        ...

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """The detector with its arrays on a device, ready to score."""
        ...


class LeavesOut(Protocol):
    """What a detector may offer beside: scores for the images it learnt from, without a fit for each."""

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """The detector on a device, ready to score its own images. The features are to be those that it learnt from,
        and the method says where the scores only approach those of a fit without the image.

        Raises:
            UsageError: when too few images were learnt from to do without one.
        """
        ...


class Compiles(Protocol):
    """What a detector may offer beside: its scorer as a graph, for engines other than torch."""

    def graph(self, own: bool) -> Graph | None:
        """The graph, with the method's own image score where `own`; None where these parameters have none."""
        ...


class Composed(Protocol):
    """What a detector offers beside that consists of detectors."""

    @staticmethod
    def made_of(params: Any) -> tuple[tuple[Method, Any], ...]:
        """The methods that these parameters name, each with its own parameters."""
        ...

    @staticmethod
    def bound(params: Any, backbone: Backbone, named: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
        """The parameters with every layer that they mean written out, and all those layers, in the order of the
        features; `named` are those that the user wants instead of the methods' own, if any."""
        ...


class Updates(Protocol):
    """What a detector may offer beside: joining new good images to what was learnt, the former ones being gone."""

    def updated(self, features: Features, rng: np.random.Generator, progress: Progress = no_progress) -> Any:
        """A detector of the same kind and parameters that has learnt from the new images too; this one stays as it was.
        The method says how far that is from a fit to all of the images.

        Raises:
            UsageError: when what it takes was not kept, or the new images cannot be learnt from.
        """
        ...


@dataclass(frozen=True)
class Method:
    """One line of `adcli methods`."""

    name: str
    location: str  # module:Class
    title: str
    paper: str
    stores: str
    needs: str
    backbone: str | None = None  # the only one that it can use; None: any network
    seeded: bool = True  # whether chance has a part in what is learnt

    def detector(self) -> type[Detector]:
        """The method's class; importing its file imports no torch either."""
        module, _, name = self.location.partition(":")
        return getattr(importlib.import_module(module), name)


DETECTORS: dict[str, Method] = {
    "padim": Method(
        name="padim",
        location="adcli.detectors.padim:PaDiM",
        title="PaDiM: one Gaussian a position",
        paper="Defard et al. 2020, arXiv:2011.08785",
        stores="mean and packed whitener of every position",
        needs="aligned parts; from about 20 good images",
    ),
    "patchcore": Method(
        name="patchcore",
        location="adcli.detectors.patchcore:PatchCore",
        title="PatchCore: nearest neighbour in a coreset of good patches",
        paper="Roth et al. 2022, arXiv:2106.08265",
        stores="bank of patch features",
        needs="no alignment; from about 10 good images",
    ),
    "spade": Method(
        name="spade",
        location="adcli.detectors.spade:SPADE",
        title="SPADE: nearest neighbour in the most similar good images",
        paper="Cohen and Hoshen 2020, arXiv:2005.02357",
        stores="features of every good image, on disk also while scoring",
        needs="no alignment; from about 10 good images",
        seeded=False,
    ),
    "mahalanobis": Method(
        name="mahalanobis",
        location="adcli.detectors.mahalanobis:Mahalanobis",
        title="Mahalanobis: one Gaussian of averaged features a layer",
        paper="Rippel et al. 2020, arXiv:2005.14140",
        stores="averaged features of every image, mean of every position, one covariance a layer",
        needs="aligned parts or textures; from about 10 good images",
        seeded=False,
    ),
    "dictionary": Method(
        name="dictionary",
        location="adcli.detectors.dictionary:Dictionary",
        title="CNN feature dictionary: distance to a few typical good patches",
        paper="Napoletano et al. 2018, Sensors 18(1):209",
        stores="a few typical patches, and the axes they are told apart by",
        needs="textures; no alignment; from about 10 good images",
    ),
    "texture": Method(
        name="texture",
        location="adcli.detectors.texture:Texture",
        title="Texture inspection: Gaussian mixtures of gray patches on a pyramid",
        paper="Boettger and Ulrich 2016, doi:10.1134/S1054661816010053",
        stores="a few Gaussians a level",
        needs="even textures; from about 5 good images, and no weights",
        backbone="pixels",
    ),
    "variation": Method(
        name="variation",
        location="adcli.detectors.variation:Variation",
        title="Variation model: mean and deviation of every pixel",
        paper="Steger, Ulrich, Wiedemann 2018, Machine Vision Algorithms and Applications, section 3.4",
        stores="two numbers a pixel",
        needs="parts aligned to a pixel, see --align; from about 10 good images, and no weights",
        backbone="pixels",
        seeded=False,
    ),
    "lbp": Method(
        name="lbp",
        location="adcli.detectors.lbp:LBP",
        title="LBP: one Gaussian of local binary pattern histograms",
        paper="Ojala et al. 2002, doi:10.1109/TPAMI.2002.1017623",
        stores="sums over all blocks",
        needs="even textures; from about 5 good images, and no weights",
        backbone="pixels",
        seeded=False,
    ),
    "fusion": Method(
        name="fusion",
        location="adcli.detectors.fusion:Fusion",
        title="Fusion: several methods, layers or backbones, their scores on one scale",
        paper="none of its own; the scale: Batzner et al. 2024, arXiv:2303.14535",
        stores="what its members store, and two numbers each",
        needs="what its members need",
    ),
}


def check_shapes(features: tuple[Tensor, ...], shapes: tuple[tuple[int, int, int], ...]) -> None:
    """Raises ValueError for a batch whose layers are not those that were announced or learnt."""
    found = tuple(tuple(layer.shape[1:]) for layer in features)
    if found != shapes:
        raise ValueError(f"the features have the shapes (C, h, w) {found}, where {shapes} are expected")


def check_joining(features: Features, shapes: tuple[tuple[int, int, int], ...]) -> None:
    """Raises UsageError for new images whose features are not of the shapes that were learnt."""
    if features.shapes != shapes:
        raise UsageError(
            f"the new images have features of the shapes (C, h, w) {features.shapes}, where {shapes} were learnt: "
            "update with the same image size and geometry"
        )


def check_kept(name: str, kept: bool) -> None:
    """Raises UsageError for a model of this method that has not kept what new images are joined to."""
    if not kept:
        raise UsageError(
            f"this {name} model has not kept the sums that good images are joined to: fit it with -p updatable=yes, "
            f"or in a fusion with the member {name}(updatable=yes)"
        )


def check_places(features: tuple[Tensor, ...], places: np.ndarray | Tensor) -> None:
    """Raises ValueError where there is not one place an image."""
    if tuple(places.shape) != (len(features[0]),):
        raise ValueError(f"there are {len(features[0])} images, and places of the shape {tuple(places.shape)}")


def check_finite(values: Any) -> None:
    """Raises UsageError where what was learnt from good images, an array or a tensor, is no number."""
    lowest, highest = values.min(), values.max()  # carry NaN on, and need no copy of what may be the largest array
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise UsageError(
            "the features of the good images hold NaN, infinity or numbers too large for float32: the weights do not "
            "fit this backbone"
        )


def find_method(name: str) -> Method:
    """The method of that name. Raises UsageError, naming near misses."""
    if name in DETECTORS:
        return DETECTORS[name]
    near = difflib.get_close_matches(name, DETECTORS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(DETECTORS)}"
    raise UsageError(f"there is no method {name!r}: {hint} (adcli methods lists them)")


def made_of(method: Method, params: Any = None) -> tuple[tuple[Method, Any], ...]:
    """The methods a detector consists of, each with its parameters: itself alone, unless its parameters name others.

    Without parameters, by default ones.
    """
    cls = method.detector()
    if not hasattr(cls, "made_of"):
        return ((method, params),)
    return cls.made_of(cls.Params() if params is None else params)


def choose_layers(
    method: Method, params: Any, backbone: Backbone, named: tuple[str, ...] = ()
) -> tuple[Any, tuple[str, ...]]:
    """The layers to learn from, those that the user named, if any, and the parameters, which may come to name them."""
    cls = method.detector()
    if hasattr(cls, "bound"):
        return cls.bound(params, backbone, named)
    return params, named or default_layers(method, backbone)


def default_layers(method: Method, backbone: Backbone) -> tuple[str, ...]:
    """The method's own layers of a backbone, or of every part of one, prefixed by the part's name."""
    if backbone.parts:
        return tuple(f"{part.name}.{layer}" for part in backbone.parts for layer in default_layers(method, part))
    return tuple(method.detector().layers(backbone) or backbone.layers)


def is_positional(method: Method, params: Any = None) -> bool:
    """Whether any statistics belong to positions of the grid: by the method's class, or by a parameter `positional`,
    which is a number of positions, 0 or more."""
    return any(
        getattr(one.detector(), "positional", False) or getattr(own, "positional", -1) >= 0
        for one, own in made_of(method, params)
    )


def leaves_out(method: Method, params: Any = None) -> bool:
    """Whether a method can score its own images as if they had been left out."""
    return _unable(method, params) is None


def check_updates(method: Method, params: Any) -> None:
    """Raises UsageError for a model that cannot join new images to what it has learnt: by its methods' classes, or by
    a parameter `updatable`, which says whether that is kept."""
    for one, own in made_of(method, params):
        if not hasattr(one.detector(), "updated"):
            able = ", ".join(name for name, other in DETECTORS.items() if hasattr(other.detector(), "updated"))
            instead = f", or take a method that can: {able}" if able else ""
            member = "" if one is method else f", a member of the {method.name},"
            raise UsageError(
                f"{one.name}{member} cannot join new images to what it has learnt: fit it anew to all good "
                f"images{instead}"
            )
        check_kept(one.name, getattr(own, "updatable", True))


def check_leaves_out(method: Method, params: Any = None) -> None:
    """Raises UsageError for a method that cannot."""
    unable = _unable(method, params)
    if unable is not None:
        able = ", ".join(name for name, other in DETECTORS.items() if leaves_out(other))
        raise UsageError(
            f"{unable.name} cannot leave out single images that it has learnt from: hold images out instead, or take "
            f"one of {able}"
        )


def _unable(method: Method, params: Any) -> Method | None:
    unable = (one for one, _ in made_of(method, params) if not hasattr(one.detector(), "left_out_scorer"))
    return next(unable, None)


def check_image_stage(name: str, detector: Any, score: str) -> None:
    """Raises UsageError for an image stage by the method's own image score where the method, or its class, has none."""
    if score != OWN or getattr(detector, "image_stage", None):
        return
    able = [method.name for method in DETECTORS.values() if getattr(method.detector(), "image_stage", None)]
    raise UsageError(
        f"{name} has no image score of its own, which {', '.join(able)} have: give --image-stage {', '.join(OF_MAPS)}"
    )
