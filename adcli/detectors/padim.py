"""PaDiM: one multivariate Gaussian at every position of the feature grid.

Defard, Setkov, Loesch, Audigier 2020, "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and
Localization", arXiv:2011.08785.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from adcli.detectors import LeftOutScorer, PatchScores, Scorer, check_joining, check_kept, check_places
from adcli.detectors.arrays import as_array, double, inverse_cholesky
from adcli.detectors.moments import Kept, Moments, blocks, joined, kept, learn_moments, unpack
from adcli.detectors.padim_graph import PaDiMGraph
from adcli.detectors.params import newer
from adcli.detectors.reduction import Reduction, learn_reduction
from adcli.detectors.shrinkage import ledoit_wolf
from adcli.errors import UsageError
from adcli.graphs import MOST_BYTES, Graph
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features

SHRINKAGES = ("none", "ledoit-wolf", "auto")
_FEW = 3  # images a dimension, below which `auto` shrinks


@dataclass(frozen=True)
class PaDiMParams:
    """What a user may set with -p."""

    reduction: str = "random"  # random | ortho | pca | none; section 3.2 draws channels at random
    dims: int = 0  # 0: the paper's, 100 of ResNet-18's 448 channels, 550 of Wide ResNet-50-2's 1792
    epsilon: float = 0.01  # added to the covariance diagonal, eq. 1
    upsample: str = "nearest"  # nearest (figure 2 of the paper: each deep vector serves its whole cell) | bilinear
    shrinkage: str = newer("none")  # none | ledoit-wolf | auto: it below 3 images a dimension; epsilon is added still
    updatable: bool = newer(False)  # yes: keep the sums, as large again, so that good images can be joined later


@dataclass(frozen=True)
class PaDiM:
    """What PaDiM has learnt. P = h x w positions, D dimensions."""

    Params: ClassVar[type] = PaDiMParams
    positional: ClassVar[bool] = True

    params: PaDiMParams
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) of each layer
    reduction: Reduction
    n_images: int  # learnt from
    mean: np.ndarray  # (P, D) float32
    whitener: np.ndarray  # (P, D (D + 1) / 2) float32: rows of the lower triangle of inv(cholesky(covariance))
    share: np.ndarray | None = None  # (P,) float32, of the sphere in the covariance, where that is shrunk
    ridge: np.ndarray | None = None  # (P,) float32, what is on the diagonal then: of the sphere, and epsilon
    sums: Kept | None = None  # where the model is updatable

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """Layers 1 to 3 (section 4.2 of the paper)."""
        return backbone.padim_layers

    @classmethod
    def fit(
        cls, features: Features, params: PaDiMParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> PaDiM:
        """Learns mean and covariance of every position in one pass; memory does not grow with the number of images.

        Raises:
            UsageError: for fewer than two images, an unknown reduction, enlargement or shrinkage, or an epsilon that is
                not positive.
        """
        _check(params, features)
        total = sum(channels for channels, _, _ in features.shapes)
        dims = params.dims or (550 if total >= 1000 else min(100, total))
        reduction = learn_reduction(params.reduction, dims, features, params.upsample, rng)
        moments = learn_moments(features, reduction, params.upsample, higher=params.shrinkage != "none")
        return _of(moments, params, features.shapes, reduction, progress)

    def updated(self, features: Features, rng: np.random.Generator, progress: Progress = no_progress) -> PaDiM:
        """What a fit to the old and the new images together gives with the same reduction, but for rounding: `pca` has
        its axes of the old ones.

        Raises:
            UsageError: where the sums were not kept.
        """
        check_kept("padim", self.sums is not None)
        check_joining(features, self.shapes)
        new = learn_moments(features, self.reduction, self.params.upsample, higher=self.sums.fourths is not None)
        moments = joined(self.sums, self.mean, self.n_images, new)
        return _of(moments, self.params, self.shapes, self.reduction, progress)

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Mahalanobis distance of every patch to its position's Gaussian, eq. 2, as the norm of whitened residuals.

        A norm cannot become negative, as the quadratic form with an inverted covariance does in float32.
        """
        import torch

        height, width = self.shapes[0][1:]
        reduce = self.reduction.on(self.shapes, self.params.upsample, device)
        mean = torch.as_tensor(self.mean, device=device).unsqueeze(1)  # (P, 1, D)
        whiten = unpack(self.whitener, self.reduction.dims, device, transposed=True)  # (P, D, D)

        def score(features: tuple[torch.Tensor, ...]) -> PatchScores:
            residual = reduce(features).sub_(mean)  # (P, N, D)
            distance = torch.linalg.vector_norm(torch.bmm(residual, whiten), dim=2)  # (P, N)
            return PatchScores(distance.T.reshape(-1, height, width), None)

        return score

    def graph(self, own: bool) -> Graph | None:
        """The scorer as a graph; none where the whiteners would take too much memory beside it."""
        if 4 * len(self.mean) * self.reduction.dims**2 > MOST_BYTES:
            return None
        return PaDiMGraph(self)

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """The distances of a fit without the image, exact but for rounding, by taking it off mean and covariance.

        Let e = x - mean, S the covariance without epsilon, c = n / (n - 1) and A = (n - 1) S + (n - 2) epsilon I.
        Without x, x - mean is c e, and A becomes A' = A - c e e^T, which divided by the n - 2 of a fit to n - 1 images
        is their covariance with all of its epsilon. By Sherman and Morrison (1950)

            distance^2 = (n - 2) c^2 e^T inv(A') e = (n - 2) c^2 q / (1 - c q),    q = e^T inv(A) e.

        The reduction stays as it is, as it does in such a fit unless it is `pca`, which has seen all images.

        In a shrunk covariance, (1 - share) S takes the place of S, and the ridge that of epsilon; the last factor is
        1 - (1 - share) c q. Share and ridge stay those of all images: there the scores only approach such a fit's.

        A small difference between these features and those that were learnt from matters the more, the fewer images
        there are: 1 - c q is a small number then. As A' is at least (n - 2) epsilon I, e^T inv(A') e is at most
        |e|^2 / ((n - 2) epsilon); held to that, no distance is beyond what some covariance could give.

        Raises:
            UsageError: for fewer than three images.
        """
        import torch

        count = self.n_images
        if count < 3:
            raise UsageError(f"padim learnt from {count} images and can leave none of them out: give at least 3")
        height, width = self.shapes[0][1:]
        reduce = self.reduction.on(self.shapes, self.params.upsample, device)
        mean = torch.as_tensor(self.mean, device=device).unsqueeze(1)  # (P, 1, D)
        whiten = unpack(self.whitener, self.reduction.dims, device, transposed=True)  # (P, D, D)
        if self.share is None or self.ridge is None:
            ridge, data = torch.full((len(mean), 1), self.params.epsilon, device=device), 1.0
        else:
            ridge = torch.as_tensor(self.ridge, device=device).unsqueeze(1)  # (P, 1)
            data = 1 - torch.as_tensor(self.share, device=device).unsqueeze(1)
        _lower_ridge(whiten, ridge / (count - 1))  # now of A / (n - 1)
        share = count / (count - 1)

        def score(features: tuple[torch.Tensor, ...], places: np.ndarray | torch.Tensor) -> PatchScores:
            check_places(features, places)
            residual = reduce(features).sub_(mean)  # (P, N, D)
            most = residual.square().sum(2) / ((count - 2) * ridge)  # (P, N)
            whole = torch.bmm(residual, whiten).square().sum(2) / (count - 1)
            room = (1 - data * share * whole).clamp_min(torch.finfo(whole.dtype).tiny)
            distance = share * ((count - 2) * torch.minimum(whole / room, most)).sqrt()
            return PatchScores(distance.T.reshape(-1, height, width), None)

        return score


def _check(params: PaDiMParams, features: Features) -> None:
    _check_count(features.n_images)
    if params.upsample not in ("nearest", "bilinear"):
        raise UsageError(f"upsample={params.upsample} is not known: write nearest or bilinear")
    if params.shrinkage not in SHRINKAGES:
        raise UsageError(f"shrinkage={params.shrinkage} is not known: write {', '.join(SHRINKAGES[:-1])} or auto")
    if not params.epsilon > 0:
        raise UsageError(f"epsilon={params.epsilon:g} leaves the covariance singular: give a positive number")


def _check_count(n_images: int) -> None:
    if n_images < 2:
        raise UsageError(f"padim needs at least 2 good images to learn from, and got {n_images}")


def _of(
    moments: Moments,
    params: PaDiMParams,
    shapes: tuple[tuple[int, int, int], ...],
    reduction: Reduction,
    progress: Progress,
) -> PaDiM:
    """The detector that follows from the moments."""
    _check_count(moments.n_images)  # images that turned out unreadable are missing
    few = moments.n_images < _FEW * reduction.dims
    shrinks = params.shrinkage == "ledoit-wolf" or (params.shrinkage == "auto" and few)
    sums = kept(moments) if params.updatable else None
    packed, share, ridge = _whiteners(moments, params.epsilon, shrinks, progress)
    mean = as_array(moments.mean)
    return PaDiM(params, shapes, reduction, moments.n_images, mean, packed, share, ridge, sums)


def _whiteners(
    moments: Moments, epsilon: float, shrinks: bool, progress: Progress
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Packed inverse Cholesky factors (P, D (D + 1) / 2) of scatter / (n - 1) + epsilon I (eq. 1), in float64 blocks;
    where it shrinks, also the share (P,) of the sphere and what is on the diagonal (P,).

    L inverse is solved for from the triangular L; the precision matrix is never formed. A position that fewer than two
    images show, which is one outside the region of interest, has nothing but epsilon.
    """
    from adcli.parallel import cores, stream

    scatter, count = moments.scatter, double(moments.count)
    positions, dims, _ = scatter.shape
    freedom = (count - 1).clip(1)[:, None, None]
    packed = np.empty((positions, dims * (dims + 1) // 2), np.float32)
    shares, ridges = np.zeros(positions, np.float32), np.full(positions, epsilon, np.float32)

    def factorise(span: tuple[int, int]) -> int:
        start, stop = span
        block = double(scatter[start:stop])
        if shrinks:
            share = ledoit_wolf(count[start:stop].clip(1), block, moments.fourths[start:stop])
        block /= freedom[start:stop]  # the covariance
        ridge: Any = epsilon
        if shrinks:
            ridge = share * block.diagonal(0, 1, 2).mean(1) + epsilon
            block *= (1 - share)[:, None, None]
            shares[start:stop], ridges[start:stop] = as_array(share), as_array(ridge)
            ridge = ridge[:, None]
        diagonal = np.arange(dims)
        block[:, diagonal, diagonal] += ridge
        try:
            inverse = as_array(inverse_cholesky(block)).astype(np.float32)
        except ValueError as error:
            raise UsageError(f"epsilon={epsilon:g} leaves a covariance singular: give more, such as 0.01") from error
        for row in range(dims):  # in less than half the time of picking the numbers one by one
            first = row * (row + 1) // 2
            packed[start:stop, first : first + row + 1] = inverse[:, row, : row + 1]
        return stop

    progress("factorising covariances", 0, positions)
    workers = cores() if isinstance(scatter, np.ndarray) else 1
    # All at work share a block, and each wants three.
    for done in stream(blocks(scatter, bytes_per_value=24 * workers), factorise, workers):
        progress("factorising covariances", done, positions)
    return packed, shares if shrinks else None, ridges if shrinks else None


def _lower_ridge(whiten: torch.Tensor, ridge: torch.Tensor) -> None:
    """Changes unpacked whiteners (P, D, D) into those of the same covariances less ridge (P, 1) I, in float64 blocks.

    What float32 made of a whitener is the exact one of a covariance that differs by a small factor in every direction,
    so the directions that hold nothing but epsilon keep what is left of it.
    """
    import torch

    identity = torch.eye(whiten.shape[1], dtype=torch.float64, device=whiten.device)

    def inverse(lower: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)

    for start, stop in blocks(whiten, bytes_per_value=24):
        lower = inverse(whiten[start:stop].mT.double())
        covariance = lower @ lower.mT - ridge[start:stop].double().unsqueeze(2) * identity
        whiten[start:stop] = inverse(torch.linalg.cholesky(covariance)).mT
