"""What happens to a picture before a network sees it: defects, light, lens, sensor, file."""

from __future__ import annotations

import math

import cv2
import numpy as np
from fields import Image, Rng, cells, lattice, shaded

from adcli.blemishes import KINDS, LEAST_SIZE, blemish, most_size
from adcli.planting import KINDS as PLAIN
from adcli.planting import plant


def flawed(rng: Rng, pixels: np.ndarray, donor: np.ndarray) -> np.ndarray:
    """One to four synthetic defects on an image of uint8, those of adcli.blemishes and adcli.planting.

    Detectors ask for the features of defects too: the student should be like its teacher there as well.
    """
    for _ in range(int(rng.integers(1, 5))):
        size = float(np.clip(len(pixels) * 2 ** rng.uniform(-6, -1.5), LEAST_SIZE, 0.6 * most_size(pixels.shape)))
        if rng.random() < 0.3:
            kind = PLAIN[rng.integers(len(PLAIN))]
            pixels, _ = plant(pixels, kind, size, rng.uniform(0.05, 0.6), rng)
        else:
            pixels, _ = blemish(pixels, donor, KINDS[rng.integers(len(KINDS))], size, rng.uniform(0.2, 1), rng)
    return pixels


def _motion(rng: Rng, image: Image) -> Image:
    length = int(rng.integers(3, 16))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, math.pi)
    half = np.array((math.cos(angle), math.sin(angle))) * (length - 1) / 2
    middle = (length - 1) / 2
    cv2.line(kernel, np.rint(middle - half).astype(int).tolist(), np.rint(middle + half).astype(int).tolist(), 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def _toned(rng: Rng, image: Image) -> Image:
    """Gray, colour cast, contrast, gamma, inverted."""
    if (chance := rng.random()) < 0.3:
        image = image.mean(2, keepdims=True) + np.zeros(3, np.float32)
    elif chance < 0.6:
        gray = image.mean(2, keepdims=True)
        image = gray + np.float32(rng.uniform(0.2, 1.6)) * (image - gray)
    if rng.random() < 0.1:
        image = 1 - image
    if rng.random() < 0.4:
        image = image * rng.uniform(0.75, 1.15, 3)
    if rng.random() < 0.6:
        image = (image - image.mean()) * rng.uniform(0.3, 1.6) + image.mean() + rng.normal(0, 0.12)
    if rng.random() < 0.5:
        image = np.clip(image, 0, 1) ** np.float32(2 ** rng.uniform(-1, 1))
    return image.astype(np.float32)


def photographed(rng: Rng, image: Image) -> np.ndarray:
    """A picture as a camera and a file would have it, (n, n, 3) uint8."""
    n = len(image)
    if rng.random() < 0.75:  # exposed
        image = image * min(6.0, rng.uniform(0.25, 0.65) / max(float(image.mean()), 0.01))
    if rng.random() < 0.4:
        image = image * shaded(rng, n, rng.uniform(0.2, 1.2))
    image = _toned(rng, image)
    if rng.random() < 0.15:  # vignette
        y, x = np.mgrid[:n, :n].astype(np.float32) / n - 0.5
        image = image * (1 - np.float32(rng.uniform(0.3, 1.2)) * (x * x + y * y))[..., None]
    if rng.random() < 0.1:  # dust and drops on the glass
        distance, _ = cells(rng, n, int(rng.integers(4, 60)))
        spots = np.clip(1 - distance * np.float32(rng.uniform(30, 120)), 0, 1)
        image = image + np.float32(rng.uniform(-0.3, 0.3)) * (spots * lattice(rng, n, 3, 1))[..., None]
    if (chance := rng.random()) < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), 2 ** rng.uniform(-1, 2))
    elif chance < 0.4:
        image = _motion(rng, image)
    elif chance < 0.5:  # few pixels
        side = int(n * rng.uniform(0.25, 0.8))
        image = cv2.resize(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), (n, n))
    if rng.random() < 0.5:
        sigma = np.float32(2 ** rng.uniform(-8, -3.5))
        channels = 1 if rng.random() < 0.5 else 3
        image = image + sigma * rng.standard_normal((n, n, channels), np.float32)
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))]
        pixels = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_COLOR)
    return pixels
