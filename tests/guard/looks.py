"""Images as the guard sees them, made up or of generated textures."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from adcli.guard import Look, examine

SIDE = 64
Fault = Callable[[np.ndarray], np.ndarray]


def texture(rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """Blurred noise in two colours, (side, side, 3) uint8: a good image."""
    grain = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 1.2)
    gray = 120 + rng.normal(0, 3) + 60 * grain
    return np.clip(np.stack([gray * 1.1, gray, gray * 0.8], axis=2), 0, 255).round().astype(np.uint8)


def pool(prepared: np.ndarray) -> np.ndarray:
    """Stands in for a network: what fixed filters answer on average, 24 numbers."""
    gray = prepared.mean(axis=2)
    found = [prepared[..., channel].mean() for channel in range(3)]
    for width in (1, 2, 4):
        smooth = cv2.GaussianBlur(gray, (0, 0), width)
        for other in (gray, np.roll(smooth, width, 0), np.roll(smooth, width, 1), np.roll(smooth, -width, (0, 1))):
            found.append(np.abs(other - smooth).mean())
    found += [np.abs(gray - np.roll(gray, by, axis)).mean() for by in (1, 3, 7) for axis in (0, 1)]
    found += [np.maximum(gray - level, 0).mean() for level in (0.3, 0.5, 0.7)]
    return np.array(found, np.float32)


def look(pixels: np.ndarray) -> Look:
    """An image of the network's own size."""
    prepared = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    if prepared.ndim == 2:
        prepared = np.repeat(prepared[..., None], 3, axis=2)
    return examine(pixels, cv2.resize(prepared, (SIDE, SIDE), interpolation=cv2.INTER_AREA))(pool(prepared))


def covered(pixels: np.ndarray) -> np.ndarray:
    """A hand before the lens."""
    pixels = pixels.copy()
    pixels[:, : pixels.shape[1] // 2] = 15
    return pixels


def softened(pixels: np.ndarray) -> np.ndarray:
    """A little out of focus, at the same contrast."""
    smooth = cv2.GaussianBlur(pixels.astype(float), (0, 0), 1.5)
    mean = smooth.mean((0, 1))
    return bytes_of(mean + (smooth - mean) * pixels.std((0, 1)) / smooth.std((0, 1)))


def bytes_of(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


FAULTS: dict[str, tuple[Fault, str]] = {  # and what the guard says of it
    "black": (np.zeros_like, "more black"),
    "white": (lambda pixels: np.full_like(pixels, 255), "brighter"),
    "lens cap with noise": (lambda pixels: bytes_of(pixels * 0.02 + 3), "darker"),
    "one gray": (lambda pixels: np.full_like(pixels, 110), "less contrast"),
    "out of focus": (lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 3), "less contrast"),
    "a little out of focus": (softened, "less sharp"),
    "half the light": (lambda pixels: bytes_of(pixels * 0.5), "darker"),
    "twice the light": (lambda pixels: bytes_of(pixels * 2.0), "brighter"),
    "half covered": (covered, "darker"),
    "red and blue exchanged": (lambda pixels: pixels[..., ::-1].copy(), "less red"),
    "no colours": (lambda pixels: np.repeat(pixels.mean(2, keepdims=True).astype(np.uint8), 3, 2), "less colourful"),
    "another product": (
        lambda pixels: np.broadcast_to((np.arange(64) // 8 % 2 * 90 + 75).astype(np.uint8)[:, None, None], (64, 64, 3)),
        "more contrast",
    ),
    "gray": (lambda pixels: pixels[..., 1].copy(), "gray of 8 bits, where good images are RGB of 8 bits"),
    "16 bits": (lambda pixels: pixels * np.uint16(257), "RGB of 16 bits, where good images are RGB of 8 bits"),
    "another size": (lambda pixels: cv2.resize(pixels, (48, 64)), "48 x 64 pixels, where good images have 64 x 64"),
    "one pixel less": (lambda pixels: pixels[:, 1:], "63 x 64 pixels, where good images have 64 x 64"),
}
