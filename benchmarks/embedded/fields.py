"""What pictures are made of: random fields (n, n) in [0, 1], colours, light, and ways to lay one over another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

Rng = np.random.Generator
Image = np.ndarray
"""(n, n, 3) float32, RGB in [0, 1]."""


def stretched(field: np.ndarray) -> np.ndarray:
    """From 0 to 1 between the lowest and the highest hundredth, cut off beyond."""
    low, high = np.quantile(field[::4, ::4], (0.01, 0.99))
    return np.clip((field - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def grid(n: int, rng: Rng | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x, y (n, n) from the middle, in sides; turned by any angle where a generator is given."""
    y, x = np.mgrid[:n, :n].astype(np.float32) / n - 0.5
    if rng is None:
        return x, y
    angle = rng.uniform(0, 2 * math.pi)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def spectral(rng: Rng, n: int, exponent: float, stretch: float = 1.0) -> np.ndarray:
    """Noise whose amplitude falls as frequency^-exponent; `stretch` draws it out along any direction."""
    fx, fy = np.meshgrid(np.fft.rfftfreq(n).astype(np.float32), np.fft.fftfreq(n).astype(np.float32))
    angle = rng.uniform(0, math.pi) if stretch != 1 else 0.0
    along = fx * math.cos(angle) + fy * math.sin(angle)
    across = fy * math.cos(angle) - fx * math.sin(angle)
    radius = np.sqrt(np.square(along * stretch) + np.square(across)) + np.float32(1 / n)
    noise = np.fft.rfft2(rng.standard_normal((n, n), np.float32))
    return stretched(np.fft.irfft2(noise * radius**-exponent, (n, n)))


def lattice(rng: Rng, n: int, cells: int, octaves: int = 3, fade: float = 0.5) -> np.ndarray:
    """Smooth noise of about `cells` hills a side, and finer ones upon them."""
    total = np.zeros((n, n), np.float32)
    for octave in range(octaves):
        side = min(cells << octave, n) + 2
        coarse = rng.standard_normal((side, side), np.float32)
        total += fade**octave * cv2.resize(coarse, (n, n), interpolation=cv2.INTER_CUBIC)
    return stretched(total)


def cells(rng: Rng, n: int, count: int, jitter: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest of some points, in sides, and its number: Worley's noise and Voronoi's cells.

    Less `jitter` brings the points towards a square lattice.
    """
    side = max(2, round(math.sqrt(count)))
    lattice_points = (np.stack(np.mgrid[:side, :side], -1).reshape(-1, 2) + 0.5) / side
    points = lattice_points * (1 - jitter) + rng.random(lattice_points.shape) * jitter
    seeds = np.full((n, n), 255, np.uint8)
    seeds[tuple((points * n).astype(int).clip(0, n - 1).T)] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return distance / n, labels


def edges(labels: np.ndarray, width: float) -> np.ndarray:
    """(n, n) from 0 far from borders between labels to 1 on them; `width` in pixels."""
    still = np.ones(labels.shape, np.uint8)
    still[:, 1:] &= labels[:, 1:] == labels[:, :-1]
    still[1:] &= labels[1:] == labels[:-1]
    return np.clip(1.5 - cv2.distanceTransform(still, cv2.DIST_L2, 3) / max(width, 0.5), 0, 1)


def bent(rng: Rng, image: np.ndarray, reach: float, hills: int = 3) -> np.ndarray:
    """A field or image drawn aside by smooth noise, up to `reach` sides."""
    n = len(image)
    y, x = np.mgrid[:n, :n].astype(np.float32)
    dx, dy = (np.float32(reach * n) * (lattice(rng, n, hills, 2) - 0.5) for _ in range(2))
    return cv2.remap(image, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def colours(rng: Rng, count: int) -> np.ndarray:
    """(count, 3) that go together: gray, of one hue, or any; most parts are of few colours, and dull ones."""
    base, spread = rng.random(3), rng.choice([0.08, 0.25, 0.6])
    drawn = base + spread * rng.standard_normal((count, 3)) * rng.uniform(0.2, 1, 3)
    light = rng.normal(0, rng.uniform(0.05, 0.4), (count, 1))
    mixed = drawn + light
    if (kind := rng.random()) < 0.35:
        mixed = mixed.mean(1, keepdims=True) + np.zeros(3)
    elif kind < 0.75:
        mixed = mixed.mean(1, keepdims=True) + rng.uniform(0.1, 0.6) * (mixed - mixed.mean(1, keepdims=True))
    return np.clip(mixed, 0, 1).astype(np.float32)


def painted(rng: Rng, field: np.ndarray, stops: int = 0) -> Image:
    """A field in [0, 1] as an image, through a ramp of a few colours."""
    stops = stops or int(rng.integers(2, 6))
    ramp, places = colours(rng, stops), np.sort(rng.random(stops))
    places[0], places[-1] = 0, 1
    steps = np.linspace(0, 1, 256)
    table = np.stack([np.interp(steps, places, ramp[:, channel]) for channel in range(3)], 1).astype(np.float32)
    return table[(np.clip(field, 0, 1) * 255).astype(np.uint8)]


def lit(rng: Rng, height: np.ndarray, depth: float) -> np.ndarray:
    """Light and shade (n, n) about 1 of a height field, from any direction, with a gloss."""
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0) * np.float32(depth)
    dy = cv2.Sobel(height, cv2.CV_32F, 0, 1) * np.float32(depth)
    angle, steep = rng.uniform(0, 2 * math.pi), rng.uniform(0.4, 1.2)
    facing = (dx * math.cos(angle) + dy * math.sin(angle)) * math.cos(steep) + math.sin(steep)
    facing /= np.sqrt(1 + dx * dx + dy * dy)
    gloss = rng.choice([0.0, 0.3, 0.8]) * np.clip(facing, 0, 1) ** int(rng.integers(8, 40))
    return (0.35 + 0.65 * np.clip(facing / math.sin(steep), 0, 2) + gloss).astype(np.float32)


def shaded(rng: Rng, n: int, strength: float) -> np.ndarray:
    """Uneven light (n, n, 1) about 1: a slope, a lamp, or a smooth field."""
    x, y = grid(n, rng)
    if (kind := rng.random()) < 0.4:
        field = x
    elif kind < 0.8:
        field = -np.hypot(x - np.float32(rng.uniform(-0.5, 0.5)), y - np.float32(rng.uniform(-0.5, 0.5)))
    else:
        field = lattice(rng, n, 2, 1)
    return (1 + np.float32(strength) * (field - field.mean()))[..., None]


def over(below: Image, above: Image | Sequence[float], alpha: np.ndarray) -> Image:
    """One image, or colour, laid over another where `alpha` (n, n) says so."""
    alpha = alpha[..., None]
    return (below + (np.asarray(above, np.float32) - below) * alpha).astype(np.float32)


def drawn(n: int, draw: object, *arguments: object, soft: int = 4) -> np.ndarray:
    """The outline (n, n) in [0, 1] that a cv2 function fills, with smooth edges: drawn large, and made small."""
    canvas = np.zeros((n * soft, n * soft), np.uint8)
    draw(canvas, *arguments)
    return cv2.resize(canvas, (n, n), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
