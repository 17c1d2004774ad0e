"""Small maps of every kind that a score has to bear: ties, plateaus, single rows, holes, infinities."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

EIGHT = np.ones((3, 3), int)
KINDS = ["noise", "smooth", "plateaus", "ties", "tiny", "line", "holes", "constant", "infinite"]


def make_map(kind: str, rng: np.random.Generator) -> np.ndarray:
    height, width = rng.integers(3, 26, 2)
    noise = rng.normal(size=(height, width))
    if kind == "smooth":
        noise = ndimage.gaussian_filter(noise, rng.uniform(0.7, 3))
    elif kind == "plateaus":
        noise = np.round(ndimage.gaussian_filter(noise, 1.5) * rng.choice([5, 20]))
    elif kind == "ties":
        noise = rng.integers(0, rng.integers(2, 6), (height, width)) * 0.1
    elif kind == "tiny":
        noise = rng.normal(size=rng.integers(1, 4, 2))
    elif kind == "line":
        noise = rng.normal(size=(1, width) if rng.random() < 0.5 else (height, 1))
    elif kind == "holes":
        noise[rng.random((height, width)) < rng.uniform(0.1, 0.9)] = -np.inf
    elif kind == "constant":
        noise = np.full((height, width), rng.choice([-1.5, 0.0, 0.1]))
    elif kind == "infinite":
        noise[rng.random((height, width)) < 0.2] = np.inf
        noise[rng.random((height, width)) < 0.2] = -np.inf
    return noise.astype(np.float32)


def make_area(score_map: np.ndarray, rng: np.random.Generator) -> int:
    return int(np.ceil(np.exp(rng.uniform(0, np.log(1.2 * score_map.size)))))
