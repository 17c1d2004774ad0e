"""PaDiM: one multivariate Gaussian at every position of the feature grid.

Defard, Setkov, Loesch, Audigier 2020, "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and
Localization", arXiv:2011.08785.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from adcli.detectors import LeftOutScorer, PatchScores, Scorer, check_finite, check_places
from adcli.detectors.reduction import Reduction, learn_reduction
from adcli.errors import UsageError
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features

_BLOCK_BYTES = 32 << 20  # of whitener worked on at a time


@dataclass(frozen=True)
class PaDiMParams:
    """What a user may set with -p."""

    reduction: str = "random"  # random | ortho | pca | none; section 3.2 draws channels at random
    dims: int = 0  # 0: the paper's, 100 of ResNet-18's 448 channels, 550 of Wide ResNet-50-2's 1792
    epsilon: float = 0.01  # added to the covariance diagonal, eq. 1
    upsample: str = "nearest"  # nearest (figure 2 of the paper: each deep vector serves its whole cell) | bilinear


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
            UsageError: for fewer than two images, an unknown reduction or enlargement, or an epsilon that is not
                positive.
        """
        _check(params, features)
        total = sum(channels for channels, _, _ in features.shapes)
        dims = params.dims or (550 if total >= 1000 else min(100, total))
        reduction = learn_reduction(params.reduction, dims, features, params.upsample, rng)
        moments = _moments(features, reduction, params.upsample)
        whitener = _whiteners(moments, params.epsilon, progress)
        return cls(params, features.shapes, reduction, moments.n_images, moments.mean.cpu().numpy(), whitener)

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Mahalanobis distance of every patch to its position's Gaussian, eq. 2, as the norm of whitened residuals.

        A norm cannot become negative, as the quadratic form with an inverted covariance does in float32.
        """
        import torch

        height, width = self.shapes[0][1:]
        reduce = self.reduction.on(self.shapes, self.params.upsample, device)
        mean = torch.as_tensor(self.mean, device=device).unsqueeze(1)  # (P, 1, D)
        whiten = _unpack(self.whitener, self.reduction.dims, device)  # (P, D, D)

        def score(features: tuple[torch.Tensor, ...]) -> PatchScores:
            residual = reduce(features).sub_(mean)  # (P, N, D)
            distance = torch.linalg.vector_norm(torch.bmm(residual, whiten), dim=2)  # (P, N)
            return PatchScores(distance.T.reshape(-1, height, width), None)

        return score

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """The distances of a fit without the image, exact but for rounding, by taking it off mean and covariance.

        Let e = x - mean, S the covariance without epsilon, c = n / (n - 1) and A = (n - 1) S + (n - 2) epsilon I.
        Without x, x - mean is c e, and A becomes A' = A - c e e^T, which divided by the n - 2 of a fit to n - 1 images
        is their covariance with all of its epsilon. By Sherman and Morrison (1950)

            distance^2 = (n - 2) c^2 e^T inv(A') e = (n - 2) c^2 q / (1 - c q),    q = e^T inv(A) e.

        The reduction stays as it is, as it does in such a fit unless it is `pca`, which has seen all images.

        A small difference between these features and those that were learnt from matters the more, the fewer images
        there are: 1 - c q is a small number then. As A' is at least (n - 2) epsilon I, e^T inv(A') e is at most
        |e|^2 / ((n - 2) epsilon); held to that, no distance is beyond what some covariance could give.

        Raises:
            UsageError: for fewer than three images.
        """
        import torch

        count, epsilon = self.n_images, self.params.epsilon
        if count < 3:
            raise UsageError(f"padim learnt from {count} images and can leave none of them out: give at least 3")
        height, width = self.shapes[0][1:]
        reduce = self.reduction.on(self.shapes, self.params.upsample, device)
        mean = torch.as_tensor(self.mean, device=device).unsqueeze(1)  # (P, 1, D)
        whiten = _unpack(self.whitener, self.reduction.dims, device)  # (P, D, D)
        _lower_ridge(whiten, epsilon / (count - 1))  # now of A / (n - 1)
        share = count / (count - 1)

        def score(features: tuple[torch.Tensor, ...], places: np.ndarray | torch.Tensor) -> PatchScores:
            check_places(features, places)
            residual = reduce(features).sub_(mean)  # (P, N, D)
            most = residual.square().sum(2) / ((count - 2) * epsilon)  # (P, N)
            whole = torch.bmm(residual, whiten).square().sum(2) / (count - 1)
            room = (1 - share * whole).clamp_min(torch.finfo(whole.dtype).tiny)
            distance = share * ((count - 2) * torch.minimum(whole / room, most)).sqrt()
            return PatchScores(distance.T.reshape(-1, height, width), None)

        return score


def _check(params: PaDiMParams, features: Features) -> None:
    _check_count(features.n_images)
    if params.upsample not in ("nearest", "bilinear"):
        raise UsageError(f"upsample={params.upsample} is not known: write nearest or bilinear")
    if not params.epsilon > 0:
        raise UsageError(f"epsilon={params.epsilon:g} leaves the covariance singular: give a positive number")


def _check_count(n_images: int) -> None:
    if n_images < 2:
        raise UsageError(f"padim needs at least 2 good images to learn from, and got {n_images}")


class _Moments(NamedTuple):
    n_images: int
    count: torch.Tensor  # (P,) images that show the position, which are all but outside a region of interest
    mean: torch.Tensor  # (P, D) float32
    scatter: torch.Tensor  # (P, D, D) float32, about the mean


def _moments(features: Features, reduction: Reduction, upsample: str) -> _Moments:
    """Sums over one pass of the features.

    Residuals are taken from the first batch's mean, which lies close to the final one: sums of their products lose
    nothing to cancellation, and float32 suffices.
    """
    n_images, count, shift, sums, scatter = 0, None, None, None, None
    reduce = None
    for batch in features:
        if reduce is None:
            reduce = reduction.on(features.shapes, upsample, batch.layers[0].device)
        vectors = reduce(batch.layers)  # (P, N, D)
        if shift is None:
            shift = vectors.mean(1, keepdim=True)
            positions, _, dims = vectors.shape
            count = vectors.new_zeros(positions)
            sums = vectors.new_zeros(positions, dims)
            scatter = vectors.new_zeros(positions, dims, dims)
        vectors -= shift
        if batch.inside is None:
            count += vectors.shape[1]
        else:
            seen = batch.inside.flatten(1).T  # (P, N)
            vectors *= seen.unsqueeze(2)
            count += seen.sum(1)
        sums += vectors.sum(1)
        scatter.baddbmm_(vectors.mT, vectors)
        n_images += vectors.shape[1]
    _check_count(n_images)  # images that turned out unreadable are missing
    offset = sums / count.clamp_min(1).unsqueeze(1)
    for start, stop in _blocks(scatter):  # by blocks: the outer products of all positions would double the memory
        part = offset[start:stop]
        scatter[start:stop].baddbmm_((part * count[start:stop, None]).unsqueeze(2), part.unsqueeze(1), alpha=-1)
    mean = shift.squeeze(1) + offset
    check_finite(mean)
    check_finite(scatter.diagonal(dim1=1, dim2=2))
    return _Moments(n_images, count, mean, scatter)


def _whiteners(moments: _Moments, epsilon: float, progress: Progress) -> np.ndarray:
    """Packed inverse Cholesky factors (P, D (D + 1) / 2) of scatter / (n - 1) + epsilon I (eq. 1), in float64 blocks.

    L inverse is solved for from the triangular L; the precision matrix is never formed. A position that fewer than two
    images show, which is one outside the region of interest, has nothing but epsilon.
    """
    import torch

    scatter = moments.scatter
    positions, dims, _ = scatter.shape
    freedom = (moments.count.double() - 1).clamp_min(1)[:, None, None]
    packed = np.empty((positions, dims * (dims + 1) // 2), np.float32)
    rows, columns = torch.tril_indices(dims, dims, device=scatter.device)
    identity = torch.eye(dims, dtype=torch.float64, device=scatter.device)
    for start, stop in _blocks(scatter, bytes_per_value=24):
        progress("factorising covariances", start, positions)
        covariance = scatter[start:stop].double() / freedom[start:stop] + epsilon * identity
        inverse = _inverse(torch.linalg.cholesky(covariance), identity)
        packed[start:stop] = inverse[:, rows, columns].float().cpu().numpy()
    progress("factorising covariances", positions, positions)
    return packed


def _lower_ridge(whiten: torch.Tensor, ridge: float) -> None:
    """Changes unpacked whiteners (P, D, D) into those of the same covariances less ridge I, in float64 blocks.

    What float32 made of a whitener is the exact one of a covariance that differs by a small factor in every direction,
    so the directions that hold nothing but epsilon keep what is left of it.
    """
    import torch

    identity = torch.eye(whiten.shape[1], dtype=torch.float64, device=whiten.device)
    for start, stop in _blocks(whiten, bytes_per_value=24):
        lower = _inverse(whiten[start:stop].mT.double(), identity)
        covariance = lower @ lower.mT - ridge * identity
        whiten[start:stop] = _inverse(torch.linalg.cholesky(covariance), identity).mT


def _inverse(lower: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
    """Inverses of lower triangles (B, D, D)."""
    import torch

    return torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)


def _unpack(packed: np.ndarray, dims: int, device: torch.device | str) -> torch.Tensor:
    """Packed lower triangles to their dense transposes (P, D, D): residual (N, D) @ block whitens it."""
    import torch

    positions = len(packed)
    dense = torch.zeros(positions, dims, dims, device=device)
    rows, columns = torch.tril_indices(dims, dims, device=device)
    for start, stop in _blocks(dense):
        dense[start:stop, columns, rows] = torch.as_tensor(packed[start:stop], device=device)
    return dense


def _blocks(stack: torch.Tensor, bytes_per_value: int = 4) -> list[tuple[int, int]]:
    """Ranges of positions whose D x D matrices fill a bounded block of memory."""
    positions, dims, _ = stack.shape
    step = max(1, _BLOCK_BYTES // (dims * dims * bytes_per_value))
    return [(start, min(start + step, positions)) for start in range(0, positions, step)]
