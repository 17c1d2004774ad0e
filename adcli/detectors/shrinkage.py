"""How far a covariance from few vectors is to be shrunk towards a sphere of the same trace.

    (1 - share) S + share mu I,    mu = trace(S) / D

Tensors, or numpy's arrays alike; leading dimensions (...) are covariances independent of each other.
"""

from __future__ import annotations

from typing import Any, TypeVar

Tensor = TypeVar("Tensor", bound=Any)


def ledoit_wolf(count: Tensor, scatter: Tensor, fourths: Tensor) -> Tensor:
    """The share (...) of Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
    matrices", J. Multivariate Analysis 88, lemmas 3.2 to 3.4, from sums over n vectors y of D dimensions about their
    mean: n (...), the scatter (..., D, D), which is the sum of y y^T, and `fourths` (...), the sum of |y|^4.

    With S = scatter / n and the norm |A|^2 = trace(A A^T) / D, the share is b^2 / d^2, where d^2 = |S - mu I|^2 is how
    far S lies from the sphere, and b^2 = sum of |y y^T - S|^2 / n^2, at most d^2, how far from the truth. The terms of
    b^2 are |y|^4 / D - 2 y^T S y / D + |S|^2, and the y^T S y sum to n |S|^2 D: no vector is needed a second time.
    """
    dims = scatter.shape[-1]
    squared = (scatter * scatter).sum((-2, -1)) / (count * count)  # trace(S S^T)
    mu = scatter.diagonal(0, -2, -1).sum(-1) / (count * dims)
    distance = squared / dims - mu * mu
    error = (fourths / count - squared) / (count * dims)
    # Of D = 1, or of vectors that are all the same, S is the sphere itself.
    alike = ~(distance > 0)
    return (error / (distance + alike)).clip(0, 1) * ~alike + alike


def oracle_approximating(count: float, variances: Tensor) -> float:
    """The share of Chen, Wiesel, Eldar and Hero 2010, "Shrinkage algorithms for MMSE covariance estimation", IEEE
    Trans. Signal Processing 58, eq. 23, from the eigenvalues (D,) of S: for Gaussian vectors, as many as `count` that
    are independent of each other, which need not be a whole number.
    """
    dims = len(variances)
    trace, squared = float(variances.sum()), float((variances * variances).sum())
    spread = (count + 1 - 2 / dims) * (squared - trace**2 / dims)
    error = (1 - 2 / dims) * squared + trace**2
    return min(1.0, error / spread) if spread > 0 else 1.0


def moved(
    offset: Tensor,
    count: Tensor,
    sums: Tensor,
    scatter: Tensor,
    cubes: Tensor,
    fourths: Tensor,
) -> tuple[Tensor, Tensor]:
    """Sums of |z|^2 z (..., D) and of |z|^4 (...) of the vectors z = y - offset (..., D), from those of the y: their
    number (...), the sum of y (..., D), of y y^T (..., D, D), of |y|^2 y and of |y|^4.

    By |z|^2 = |y|^2 - 2 y.offset + |offset|^2, multiplied out.
    """
    square = (offset * offset).sum(-1)  # (...)
    along = (sums * offset).sum(-1)
    trace = scatter.diagonal(0, -2, -1).sum(-1)
    turned = (scatter @ offset[..., None])[..., 0]  # (..., D)
    new_fourths = (
        fourths
        - 4 * (cubes * offset).sum(-1)
        + 4 * (turned * offset).sum(-1)
        + 2 * square * trace
        - 4 * square * along
        + count * (square * square)
    )
    factor = 2 * along - trace - count * square
    new_cubes = cubes - 2 * turned + square[..., None] * sums + factor[..., None] * offset
    return new_cubes, new_fourths
