"""From the features of several layers to one vector of D dimensions a position.

All reductions are linear, so they are applied to each layer before it is enlarged to the first layer's grid: enlarging
and projecting commute, and the wide concatenation is never built.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from adcli.detectors import check_finite, check_shapes
from adcli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from adcli.detectors import Features

KINDS = ("random", "ortho", "pca", "none")


@dataclass(frozen=True)
class Reduction:
    """A choice of channels, or a projection of them.

    `random` keeps D channels drawn without replacement (PaDiM, section 3.2); `ortho` projects on D orthonormal random
    directions (Kim et al. 2021, arXiv:2105.14737, semi-orthogonal embedding); `pca` on the D leading eigenvectors of
    the covariance of all good patches; `none` keeps every channel.
    """

    channels: np.ndarray | None  # (D,) int64, ascending; None when projected
    projection: np.ndarray | None  # (C, D) float32; None when channels are kept

    @property
    def dims(self) -> int:
        """D, the length of a reduced vector."""
        return len(self.channels) if self.channels is not None else self.projection.shape[1]

    def on(self, shapes: tuple[tuple[int, int, int], ...], upsample: str, device: Any) -> Reducer:
        """The reduction with its arrays on a device."""
        return Reducer(self, shapes, upsample, device)


class Reducer:
    """Applies a Reduction to batches of features."""

    def __init__(self, reduction: Reduction, shapes: tuple[tuple[int, int, int], ...], upsample: str, device: Any):
        import torch

        self.shapes = shapes
        self.grid = shapes[0][1:]
        self.upsample = upsample
        edges = np.cumsum([0, *(channels for channels, _, _ in shapes)])
        self.picks: list[torch.Tensor] | None = None
        self.matrices: list[torch.Tensor] | None = None
        spans = list(pairwise(edges))
        if reduction.channels is not None:
            kept = reduction.channels
            self.picks = [torch.as_tensor(kept[(kept >= a) & (kept < b)] - a, device=device) for a, b in spans]
        else:
            matrix = torch.as_tensor(np.ascontiguousarray(reduction.projection), device=device)
            self.matrices = [matrix[a:b] for a, b in spans]

    def __call__(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Features (N, C_l, h_l, w_l) to vectors (P, N, D) float32, P = h x w positions of the first layer's grid."""
        import torch

        check_shapes(features, self.shapes)
        if self.picks is not None:
            parts = [self._enlarge(f.index_select(1, p)) for f, p in zip(features, self.picks, strict=True) if len(p)]
            reduced = torch.cat(parts, dim=1)
        else:
            parts = [
                self._enlarge(torch.einsum("nchw,cd->ndhw", f, m)) for f, m in zip(features, self.matrices, strict=True)
            ]
            reduced = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        return reduced.flatten(2).permute(2, 0, 1).contiguous()

    def _enlarge(self, feature: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as functional

        if feature.shape[-2:] == tuple(self.grid):
            return feature
        if self.upsample == "nearest":
            return functional.interpolate(feature, size=self.grid, mode="nearest")
        return functional.interpolate(feature, size=self.grid, mode="bilinear", align_corners=False)


def learn_reduction(kind: str, dims: int, features: Features, upsample: str, rng: np.random.Generator) -> Reduction:
    """Draws or learns a reduction of the concatenated layers to `dims` dimensions.

    Raises:
        UsageError: for an unknown kind, or more dimensions than there are channels.
    """
    total = sum(channels for channels, _, _ in features.shapes)
    if kind not in KINDS:
        raise UsageError(f"there is no reduction {kind!r}: known are {', '.join(KINDS)}")
    if kind == "none":
        return Reduction(np.arange(total), None)
    if not 1 <= dims <= total:
        raise UsageError(f"dims={dims} cannot be kept: the layers together have {total} channels")
    if kind == "random":
        return Reduction(np.sort(rng.choice(total, dims, replace=False)), None)
    if kind == "ortho":
        orthonormal, upper = np.linalg.qr(rng.standard_normal((total, dims)))
        # Signs fixed by R's diagonal make Q uniform over all orthonormal frames (Mezzadri 2007).
        return Reduction(None, (orthonormal * np.sign(np.diag(upper))).astype(np.float32))
    return Reduction(None, _principal_axes(features, total, dims, upsample))


def _principal_axes(features: Features, total: int, dims: int, upsample: str) -> np.ndarray:
    """Leading eigenvectors (C, D) of the covariance of all patches, in one pass, centred on the first batch's mean."""
    import torch

    everything = Reduction(np.arange(total), None)
    shift = scatter = sums = None
    count = 0
    for batch in features:
        reduce = everything.on(features.shapes, upsample, batch.layers[0].device)
        vectors = batch.patches(reduce(batch.layers).transpose(0, 1).flatten(0, 1))  # (N P, C)
        if shift is None:
            shift = vectors.mean(0)
            scatter = torch.zeros(total, total, dtype=torch.float64)
            sums = torch.zeros(total, dtype=torch.float64)
        vectors = vectors - shift
        scatter += (vectors.T @ vectors).double().cpu()
        sums += vectors.sum(0).double().cpu()
        count += len(vectors)
    if count == 0:
        raise UsageError("there are no good images to learn from")
    covariance = scatter / count - torch.outer(sums, sums) / count**2
    check_finite(covariance)
    _, axes = torch.linalg.eigh(covariance)
    axes = axes.flip(1)[:, :dims].numpy()
    # An eigenvector's sign is arbitrary: the largest entry is made positive, so that equal data give equal bytes.
    signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(dims)])
    return (axes * signs).astype(np.float32)
