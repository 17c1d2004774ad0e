"""An image turned about its centre."""

from __future__ import annotations

import cv2
import numpy as np


def turn(pixels: np.ndarray, angle: float) -> np.ndarray:
    """Pixels (H, W) or (H, W, 3) turned about their centre, counter-clockwise by degrees, in the same frame.

    The corners that nothing comes into are mirrored: see `shown` for what not to learn from.
    """
    return _turned(pixels, angle, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101)


def shown(seen: np.ndarray, angle: float) -> np.ndarray:
    """Of pixels (H, W) bool, those of the turned image that come from a seen one wholly, (H, W) bool."""
    return _turned(seen.view(np.uint8) * np.uint8(255), angle, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT) == 255


def _turned(pixels: np.ndarray, angle: float, interpolation: int, border: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=interpolation, borderMode=border)
