"""A Gaussian of the network's pooled features, one vector of D dimensions an image, from few images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adcli.errors import UsageError

USUAL = 0.95  # share of good images that a unit of deviation spans
_LEAST_UNIT = 0.05  # of sqrt(D), the least unit of the distance: D independent features lie at sqrt(D) +- 0.7
_LEAST_VARIANCE = 1e-12  # of features that are zero in every good image
_LEAST_RELATIVE = 1e-3  # of the features' own size, their least standard deviation: above what machines differ by


@dataclass(frozen=True)
class Gate:
    """A Gaussian of pooled features: r axes, and one spread for all directions beside them."""

    mean: np.ndarray  # (D,) float64
    axes: np.ndarray  # (r, D) float32, orthonormal
    spreads: np.ndarray  # (r,) float64, standard deviation along each
    rest: float  # standard deviation in every other direction
    usual: float  # median distance of the images learnt from, each left out
    unit: float  # from there to the 95 % quantile

    def distance(self, pooled: np.ndarray) -> float:
        """The Mahalanobis distance of features (D,); infinite where they are no numbers."""
        if not np.isfinite(pooled).all():
            return math.inf
        apart = pooled - self.mean
        along = self.axes @ apart
        beside = apart - along @ self.axes
        return math.sqrt(np.square(along / self.spreads).sum() + np.square(beside).sum() / self.rest**2)


class PooledFeatures:
    """Mean and shrunk covariance of pooled features (n, D), by the singular values of the centred ones: squaring them
    first would lose half of the digits, and with n < D most of the matrix is one number."""

    def __init__(self, pooled: np.ndarray):
        """Raises UsageError for what is no number."""
        if not np.isfinite(pooled).all():
            raise UsageError(
                "the features of the good images hold NaN or infinity: the weights do not fit this backbone"
            )
        pooled = pooled.astype(np.float64)
        self.mean = pooled.mean(axis=0)
        centred = pooled - self.mean
        n, dims = centred.shape
        left, values, axes = np.linalg.svd(centred, full_matrices=False)
        kept = values > values.max(initial=0) * max(n, dims) * np.finfo(np.float64).eps
        self.left, self.values, self.axes = left[:, kept], values[kept], axes[kept]
        self.rho = shrinkage(centred)
        least = _LEAST_RELATIVE**2 * float(np.square(self.mean).mean()) + _LEAST_VARIANCE
        self.ridge = self.rho * max(float(np.square(values).sum()) / (n * dims), least)  # rho mu

    def gate(self, usual: float, unit: float) -> Gate:
        """The Gaussian, with what `usual_distance` says of the distances."""
        n = len(self.left)
        spreads = np.sqrt((1 - self.rho) * self.values**2 / n + self.ridge)
        return Gate(self.mean, self.axes.astype(np.float32), spreads, math.sqrt(self.ridge), usual, unit)

    def left_out_distances(self) -> np.ndarray:
        """Distance (n,) of each image from mean and covariance of the others, rho and mu being those of all.

        Let e = x - mean and c = n / (n - 1). Without x, x - mean is c e, and the scatter is smaller by c e e^T. With
        B = (1 - rho) scatter / (n - 1) + rho mu I, k = (1 - rho) c / (n - 1) and q = e^T inv(B) e, Sherman and Morrison
        (1950) give the distance^2 as c^2 q / (1 - k q). All of e lies along the axes.
        """
        n = len(self.left)
        c, k = n / (n - 1), (1 - self.rho) * n / (n - 1) ** 2
        along = np.square(self.left * self.values)
        q = (along / ((1 - self.rho) * self.values**2 / (n - 1) + self.ridge)).sum(axis=1)
        most = along.sum(axis=1) / self.ridge  # e^T inv(B') e for any B' >= rho mu I
        return c * np.sqrt(np.minimum(q / np.maximum(1 - k * q, np.finfo(np.float64).tiny), most))


def shrinkage(centred: np.ndarray) -> float:
    """The share rho of mu I in the covariance (1 - rho) S + rho mu I, by Ledoit and Wolf 2004, "A well-conditioned
    estimator for large-dimensional covariance matrices", J. Multivariate Analysis 88, lemmas 3.2 to 3.4, from n
    centred vectors (n, D). S has the divisor n; norms are those of matrices, divided by D.

    Never below 1 / n: of two images, whose covariance has one direction, it would be none at all.
    """
    n, dims = centred.shape
    products = centred @ centred.T if n < dims else centred.T @ centred  # equal traces, also of their squares
    squared_norm = np.square(products).sum() / n**2  # |S|^2
    mu = np.trace(products) / n / dims
    spread = squared_norm / dims - mu**2  # d^2 = |S - mu I|^2
    if spread <= 0:
        return 1.0
    error = (np.square(np.square(centred).sum(1)).sum() / n - squared_norm) / (n * dims)  # b^2, of S as an estimate
    return float(np.clip(error / spread, 1 / n, 1.0))


def usual_distance(distances: np.ndarray, dims: int) -> tuple[float, float]:
    """The median of distances, and the unit in which a larger one is told: from there to the 95 % quantile."""
    usual = float(np.median(distances))
    return usual, max(float(np.quantile(distances, USUAL)) - usual, _LEAST_UNIT * math.sqrt(dims))
