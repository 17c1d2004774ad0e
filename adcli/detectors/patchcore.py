"""PatchCore: the distance of every patch to the nearest of a coreset of good patches.

Roth, Pemula, Zepeda, Schoelkopf, Brox, Gehler 2022, "Towards Total Recall in Industrial Anomaly Detection",
CVPR 2022, arXiv:2106.08265. With what was built on it since: whitened distances, neighbours of the same place only, and
training sets that hold some defects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from adcli.detectors import LeftOutScorer, PatchScores, Scorer, check_joining, check_places, check_shapes
from adcli.detectors.banks import Bank, Choice, Pool, appended, make_bank
from adcli.detectors.neighbours import Everywhere, Rows, reweighted
from adcli.detectors.params import newer
from adcli.detectors.patchcore_graph import PatchCoreGraph
from adcli.detectors.patches import collect, embed
from adcli.detectors.whitening import Whitening, learn_whitening
from adcli.detectors.windows import Window
from adcli.errors import UsageError
from adcli.gallery import RESIDENT_BYTES, Gallery, Spool
from adcli.graphs import Graph
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features


@dataclass(frozen=True)
class PatchCoreParams:
    """What a user may set with -p."""

    coreset: float = 0.1  # share of the good patches kept; section 4.4.2 compares 0.25, 0.1 and 0.01
    dims: int = 1024  # wider features are pooled to this many, section 4.1
    projection: int = 128  # dimensions of the random projection that picks are made in, section 3.2
    neighbours: int = 9  # b of the re-weighted image score, eq. 7
    whiten: bool = newer(False)  # distances under the covariance of all good patches (arXiv:2605.27748)
    positional: int = newer(-1)  # neighbours at most so many rows and columns away, 0 or more (RAD); -1: anywhere
    denoise: float = newer(0.0)  # share removed as suspicious, the rest weighted (SoftPatch: 0.15); 0: none


@dataclass(frozen=True)
class Positions:
    """Where in the bank the vectors of each of P positions lie."""

    starts: np.ndarray  # (P + 1,) int64: those of position p are rows starts[p] to starts[p + 1]
    seen: np.ndarray  # (P,) int64, good patches that they stand for


@dataclass(frozen=True)
class PatchCore:
    """What PatchCore has learnt. M bank vectors of D dimensions."""

    Params: ClassVar[type] = PatchCoreParams
    image_stage: ClassVar[str] = "the re-weighted distance of its strangest patch"  # eq. 7

    params: PatchCoreParams
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) of each layer
    bank: Gallery  # (M, D) float32, whitened where there is a whitening
    owner: np.ndarray  # (M,) int32, place in the order of learning of the input that each bank vector is from
    patches_seen: int  # good patches that the bank stands for
    covering_radius: float  # of the coreset, in the space it was chosen in
    n_images: int | None = None  # inputs learnt from; None in files from before it was kept
    whitening: Whitening | None = None
    positions: Positions | None = None  # the bank lies in their order
    factors: np.ndarray | None = None  # (M,) float32, by which a distance to each vector is multiplied

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """Layers 2 and 3 (section 3.1 of the paper)."""
        return backbone.layers[1:]

    @classmethod
    def fit(
        cls, features: Features, params: PatchCoreParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> PatchCore:
        """Collects every good patch and keeps a greedy coreset.

        All n patches lie in a temporary file of 4 n D bytes (twice that while they are whitened). Memory: 4 n times the
        projection's dimensions; none of that for coreset=1.

        Raises:
            UsageError: for no images, or impossible parameters.
            EnvironmentFault: when the disk is full.
        """
        _check(params)
        patches = collect(features, params.dims)
        vectors, n_images, whitening = patches.vectors, patches.n_images, None
        if not len(vectors):
            raise UsageError("patchcore has no good images to learn from")
        if params.whiten:
            whitening = learn_whitening(vectors, patches.device)
            spool = Spool(vectors.shape[1:], np.float32)
            appended(vectors, spool, whitening, patches.device)
            vectors = spool.gallery()
        grid = features.shapes[0][1] * features.shapes[0][2]
        pool = Pool(vectors, patches.image, patches.position, grid, patches.device)
        del patches  # and with it the file of vectors that are not whitened
        bank = make_bank(pool, _choice(params), rng, progress)
        return cls._of(bank, params, features.shapes, n_images, whitening)

    def updated(self, features: Features, rng: np.random.Generator, progress: Progress = no_progress) -> PatchCore:
        """The detector with more good images, of which it sees the new ones and its own bank.

        The coreset is chosen anew from the bank and the new patches together, in the size that all patches ever seen
        ask for. That only approaches a fit to all images: what the first fit passed over is not there to be chosen, and
        the covering radius is of what is. With coreset=1 it is that fit, but for the whitening, which stays as it was,
        and for the suspicions, which are those of the new patches among themselves.

        Raises:
            UsageError: for no images, or features of another shape.
        """
        check_joining(features, self.shapes)
        patches = collect(features, self.params.dims)
        if not len(patches.vectors):
            raise UsageError("patchcore has no good images to learn from")
        spool = Spool(self.bank.shape[1:], np.float32)
        appended(self.bank, spool, None, "cpu")
        appended(patches.vectors, spool, self.whitening, patches.device)
        before = int(self.owner.max()) + 1 if self.n_images is None else self.n_images
        grid = self.shapes[0][1] * self.shapes[0][2]
        position, old = np.zeros(len(self.bank), np.int32), np.array([len(self.bank)])
        seen = np.array([self.patches_seen])
        if self.positions is not None:
            seen, old = self.positions.seen, np.diff(self.positions.starts)
            position = np.repeat(np.arange(grid, dtype=np.int32), old)
        pool = Pool(
            spool.gallery(),
            np.concatenate([self.owner, patches.image + np.int32(before)]),
            np.concatenate([position, patches.position]),
            grid,
            patches.device,
            len(self.bank),
            self.factors,
            seen - old,
        )
        bank = make_bank(pool, _choice(self.params), rng, progress)
        return self._of(bank, self.params, self.shapes, before + patches.n_images, self.whitening)

    @classmethod
    def _of(
        cls,
        bank: Bank,
        params: PatchCoreParams,
        shapes: tuple[tuple[int, int, int], ...],
        n_images: int,
        whitening: Whitening | None,
    ) -> PatchCore:
        positions = None if bank.starts is None else Positions(bank.starts, bank.seen)
        seen = int(bank.seen.sum())
        return cls(
            params, shapes, bank.vectors, bank.owner, seen, bank.radius, n_images, whitening, positions, bank.factors
        )

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Distance of every patch to its nearest bank vector (eq. 6), and the re-weighted image score (eq. 7).

        A bank of more than adcli.gallery.RESIDENT_BYTES is read for every batch, a block at a time.
        """
        return _Scorer(self, device)

    def graph(self, own: bool) -> Graph | None:
        """The scorer as a graph; none for `whiten` and `positional`, and for a bank that is not held in memory."""
        if self.whitening is not None or self.positions is not None or self.bank.nbytes > RESIDENT_BYTES:
            return None
        return PatchCoreGraph(self, own)

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """Distances to the nearest bank vector of another image, and the image score among those of others.

        Those of a fit without the image where the bank holds all patches (coreset=1). A coreset is not chosen anew:
        where one of the image's patches was kept in place of another image's, it leaves a gap that such a fit would
        fill. So the scores are on average a little too high, and a threshold made from them rejects rather too few good
        images than too many; of single patches the score may be lower than such a fit's, whose bank is another choice.
        The covariance of `whiten`, and the suspicions of `denoise`, have seen the image and stay as they are.

        Raises:
            UsageError: when the bank holds patches of one image only, or around some position.
        """
        if len(np.unique(self.owner)) < 2:
            raise UsageError(
                "all patches that patchcore has kept are of one image, so it cannot be left out: give more images or a "
                "larger coreset"
            )
        score = _Scorer(self, device)
        if score.lonely():
            raise UsageError(
                f"within {self.params.positional} rows and columns of some position all patches that patchcore has "
                "kept are of one image, so it cannot be left out: give a larger coreset or positional"
            )
        return score


class _Scorer:
    """A detector on a device: features, and the places of images to leave out, to scores."""

    def __init__(self, detector: PatchCore, device: torch.device | str):
        import torch

        self._params, self._shapes = detector.params, detector.shapes
        self._grid = detector.shapes[0][1:]
        self._rows = Rows(detector.bank, device)
        if detector.positions is None:
            self._search: Everywhere | Window = Everywhere(self._rows, detector.owner)
        else:
            reach = detector.params.positional
            self._search = Window(self._rows, detector.owner, detector.positions.starts, self._grid, reach)
        self._whiten = None if detector.whitening is None else detector.whitening.on(device)
        self._factors = None if detector.factors is None else torch.as_tensor(detector.factors, device=device)

    def lonely(self) -> bool:
        """Whether some patch has neighbours of one image only."""
        return isinstance(self._search, Window) and self._search.lonely()

    def __call__(
        self, features: tuple[torch.Tensor, ...], places: np.ndarray | torch.Tensor | None = None
    ) -> PatchScores:
        """Scores of a batch. A patch without neighbours, which lies outside the region of interest, scores 0."""
        import torch

        check_shapes(features, self._shapes)
        if places is not None:
            check_places(features, places)
            places = torch.as_tensor(places, device=features[0].device)
        queries = embed(features, self._params.dims)  # (N h w, D)
        if self._whiten is not None:
            queries = self._whiten(queries)
        nearest = self._search.nearest(queries, places)
        at = nearest.clamp_min(0)
        # The product form picks the neighbour; the distance itself is taken directly, exact also where it is 0.
        distance = torch.linalg.vector_norm(queries - self._rows.take(at), dim=1).masked_fill(nearest < 0, 0)
        if self._factors is not None:  # the authors' code weighs patches so, and takes the largest without eq. 7
            distance = distance * self._factors[at]
        distance = distance.reshape(len(features[0]), -1)  # (N, h w)
        image = distance.amax(1)
        if self._factors is None and self._params.neighbours > 1:
            image = self._reweighted(queries, distance, nearest.reshape(distance.shape), places)
        return PatchScores(distance.reshape(-1, *self._grid), image)

    def _reweighted(
        self, queries: torch.Tensor, distance: torch.Tensor, nearest: torch.Tensor, places: torch.Tensor | None
    ) -> torch.Tensor:
        """Image scores (N,), each by eq. 7 from its farthest patch."""
        import torch

        count, scores = self._params.neighbours, []
        queries = queries.view(*distance.shape, -1)
        for image, worst in enumerate(distance.argmax(1).tolist()):
            at = nearest[image, worst]
            place = None if places is None else int(places[image])
            (centre,) = self._rows.take(at.clamp_min(0).reshape(1))
            around = self._search.around(centre, worst, count, place)
            scores.append(reweighted(queries[image, worst], distance[image, worst], at, around, self._rows, count))
        return torch.stack(scores)


def _choice(params: PatchCoreParams) -> Choice:
    return Choice(params.coreset, params.projection, params.denoise, params.positional >= 0)


def _check(params: PatchCoreParams) -> None:
    if not 0 < params.coreset <= 1:
        raise UsageError(f"coreset={params.coreset:g} is no share of the patches: give a number above 0 and at most 1")
    for name in ("dims", "projection", "neighbours"):
        if getattr(params, name) < 1:
            raise UsageError(f"{name}={getattr(params, name)} must be at least 1")
    if params.positional < -1:
        raise UsageError(
            f"positional={params.positional} is no distance: give 0 or more, or -1 for neighbours anywhere"
        )
    if not 0 <= params.denoise < 1:
        raise UsageError(f"denoise={params.denoise:g} is no share of the patches: give a number from 0 to below 1")
