"""From patch scores to a map of the file's own size.

The grid is enlarged to the network's input (bilinear, half-pixel centres), smoothed there by a Gaussian (reflected at
the border, cut at four sigma), and enlarged or reduced to the file's size, bilinear again. Raw units throughout.
"""

from __future__ import annotations

import cv2
import numpy as np


def lift(grid: np.ndarray, input_size: tuple[int, int], sigma: float, file_size: tuple[int, int]) -> np.ndarray:
    """Patch scores (h, w) to a map (H, W) float32 of the file's size.

    Args:
        grid: (h, w) float32.
        input_size: H, W of the network's input, in whose pixels `sigma` counts.
        sigma: standard deviation of the smoothing; 0 for none.
        file_size: H, W of the original image.
    """
    return resize(smooth(resize(grid, input_size), sigma), file_size)


def resize(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 to another size, bilinear with half-pixel centres."""
    if values.shape == tuple(size):
        return values
    return cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W) float32, convolved with a Gaussian of `sigma` pixels, cut at four sigma, mirrored at the border."""
    if sigma <= 0:
        return values
    width = 2 * int(4 * sigma + 0.5) + 1
    return cv2.GaussianBlur(values, (width, width), sigmaX=sigma, sigmaY=sigma, borderType=cv2.BORDER_REFLECT)


def footprint(grid_size: tuple[int, int], input_size: tuple[int, int], sigma: float) -> float:
    """What one hot patch becomes: pixels above half its peak, as a share of the image.

    One patch in the middle of a silent grid is lifted. A minimum area below this share makes the area rule the plain
    maximum, because no real peak is smaller.
    """
    grid = np.zeros(grid_size, np.float32)
    grid[grid_size[0] // 2, grid_size[1] // 2] = 1
    lifted = lift(grid, input_size, sigma, input_size)
    return float(np.count_nonzero(lifted > lifted.max() / 2) / lifted.size)


def lifting(patches: int, pixels: int, sigma: float) -> np.ndarray:
    """`lift` to the network's input along one axis as a matrix (H, h) float32.

    Enlarging and smoothing are linear and work on one axis after the other, so a map is R G C^T for a grid G and the
    matrices R of its rows and C of its columns.
    """
    units = np.eye(patches, dtype=np.float32)[:, :, np.newaxis]
    return np.stack([lift(unit, (pixels, 1), sigma, (pixels, 1))[:, 0] for unit in units], axis=1)
