"""Several minimum sizes under one promise.

A small defect is found hot, a large one faint. Two rules with a threshold each, joined by "or", reject more good images
than either promises. Instead each size's level S_j is brought to a common scale by a median m_j and a spread s_j that
the held-out images have no part in, and the largest is one score,

    U = max over j of (S_j - m_j) / s_j,

which is calibrated like any other. Its threshold t is one threshold for every size, m_j + t s_j.
"""

from __future__ import annotations

import numpy as np

_ORDERED_LARGEST = 0x7F7FFFFF  # steps from zero to the largest finite float32
_TO_SIGMA = 1.4826  # the median absolute deviation of a normal law, in standard deviations


def learn_scales(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median and spread, (k,) each, of the levels (n, k) of good images: one row an image, one column a size."""
    centre = np.median(levels, axis=0)
    spread = _TO_SIGMA * np.median(np.abs(levels - centre), axis=0)
    deviation = levels.std(axis=0)
    spread = np.where(spread > 0, spread, deviation)  # more than half of the levels are equal
    return centre, np.where(spread > 0, spread, 1.0)


def joint_score(levels: np.ndarray, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """U of levels (..., k); minus infinity where every level is."""
    return ((levels - centre) / spread).max(axis=-1)


def level_thresholds(threshold: float, centre: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """The threshold of each size, (k,) float64 of float32: a level that is a float32 is above it exactly when its share
    of U is above `threshold`."""
    return np.array([_level_threshold(threshold, m, s) for m, s in zip(centre, spread, strict=True)])


def _level_threshold(threshold: float, centre: float, spread: float) -> float:
    """The largest finite float32 v with (v - centre) / spread <= threshold, by that very arithmetic.

    Found by halving the range of all float32 in their order: near zero one step of the quotient is a billion of them.
    """
    low, high = -_ORDERED_LARGEST, _ORDERED_LARGEST  # both as places in that order
    while low < high:
        middle = (low + high + 1) // 2
        if (float(_at_place(middle)) - centre) / spread <= threshold:
            low = middle
        else:
            high = middle - 1
    return float(_at_place(low)) + 0.0


def _at_place(place: int) -> np.float32:
    """The float32 that is so many steps above zero, below it for negative ones."""
    value = np.array(abs(place), np.uint32).view(np.float32)[()]
    return value if place >= 0 else -value
