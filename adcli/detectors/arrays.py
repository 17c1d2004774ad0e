"""What numpy's arrays and torch's tensors spell differently, for code that takes both.

What is learnt on a CPU is learnt with numpy, so that torch need not be imported; on a GPU with torch, where it lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Values = Any
"""An array, or a tensor."""


def array_if_on_cpu(values: Values) -> Values:
    """A tensor in the CPU's memory as an array, without a copy; one on a GPU as it is."""
    if isinstance(values, np.ndarray) or values.device.type != "cpu":
        return values
    return values.numpy()


def as_array(values: Values) -> np.ndarray:
    """An array, copied from a GPU if need be."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


def like(values: Values, other: np.ndarray) -> Values:
    """Another array as one of this kind, on the same device."""
    if isinstance(values, np.ndarray):
        return other
    import torch

    return torch.as_tensor(other, device=values.device)


def zeros(values: Values, shape: tuple[int, ...], wide: bool = False) -> Values:
    """Zeros of this kind, in float32, or float64 where `wide`."""
    if isinstance(values, np.ndarray):
        return np.zeros(shape, np.float64 if wide else np.float32)
    import torch

    return values.new_zeros(shape, dtype=torch.float64 if wide else torch.float32)


def double(values: Values) -> Values:
    """A copy of float32 in float64."""
    return values.astype(np.float64) if isinstance(values, np.ndarray) else values.double()


def inverse_cholesky(covariances: Values) -> Values:
    """Inverses of the lower Cholesky factors of covariances (B, D, D) float64, solved for from the triangles.

    Raises:
        ValueError: one of them is singular.
    """
    if isinstance(covariances, np.ndarray):
        try:
            return _inverted(np.linalg.cholesky(covariances))
        except np.linalg.LinAlgError as error:
            raise ValueError("a covariance is singular") from error
    import torch

    try:
        lower = torch.linalg.cholesky(covariances)
    except torch.linalg.LinAlgError as error:
        raise ValueError("a covariance is singular") from error
    identity = torch.eye(lower.shape[1], dtype=lower.dtype, device=lower.device)
    return torch.linalg.solve_triangular(lower, identity.expand_as(lower), upper=False)


_FEW = 16  # rows of a triangle that are solved for one by one


def _inverted(lower: np.ndarray) -> np.ndarray:
    """Inverses of lower triangles (B, D, D), by halves: of [[A, 0], [B, C]] it is [[A', 0], [-C' B A', C']]."""
    size = lower.shape[1]
    inverse = np.zeros_like(lower)
    if size <= _FEW:
        scale = 1 / np.diagonal(lower, 0, 1, 2)
        for row in range(size):
            inverse[:, row, row] = scale[:, row]
            if row:
                left = lower[:, row : row + 1, :row] @ inverse[:, :row, :row]
                inverse[:, row, :row] = left[:, 0] * -scale[:, row : row + 1]
        return inverse
    half = size // 2
    first, last = _inverted(lower[:, :half, :half]), _inverted(lower[:, half:, half:])
    inverse[:, :half, :half], inverse[:, half:, half:] = first, last
    np.matmul(last @ lower[:, half:, :half], -first, out=inverse[:, half:, :half])
    return inverse
