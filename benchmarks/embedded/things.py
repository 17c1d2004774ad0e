"""Pictures of things: many over each other, some on a ground, one in the middle; signs; curves; photographs."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import surfaces
from fields import Image, Rng, bent, colours, drawn, grid, lattice, lit, over, painted, shaded, spectral, stretched

GROUNDS = (surfaces.plain, surfaces.plain, surfaces.noise, surfaces.metal, surfaces.relief, surfaces.cloth)
FILLS = (surfaces.noise, surfaces.marble, surfaces.grating, surfaces.relief, surfaces.plain)
PHOTOGRAPHS = (  # in scikit-image's own package; the documentation of skimage.data names authors and licences
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)


def ground(rng: Rng, n: int) -> Image:
    """What things lie on."""
    return GROUNDS[rng.integers(len(GROUNDS))](rng, n)


def fill(rng: Rng, n: int) -> Image:
    """What things are of."""
    return FILLS[rng.integers(len(FILLS))](rng, n)


def leaves(rng: Rng, n: int) -> Image:
    """Dead leaves: discs, ovals and polygons of all sizes (density ~ size^-3) over each other, plain or textured."""
    labels = np.zeros((n, n), np.int32)
    count, kind = int(rng.integers(100, 700)), rng.integers(4)
    low, high = n * 2 ** rng.uniform(-7, -5), n * rng.uniform(0.1, 0.5)
    u = rng.random(count)
    radii = 1 / np.sqrt(u / low**2 + (1 - u) / high**2)
    for number, radius in enumerate(radii, 1):
        x, y = rng.integers(0, n, 2).tolist()
        shape = rng.integers(3) if kind == 3 else kind
        if shape == 0:
            cv2.circle(labels, (x, y), int(radius) + 1, number, -1)
        elif shape == 1:
            axes = (int(radius) + 1, int(radius * rng.uniform(0.2, 1)) + 1)
            cv2.ellipse(labels, (x, y), axes, rng.uniform(0, 180), 0, 360, number, -1)
        else:
            angles = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 7)))
            corners = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
            cv2.fillPoly(labels, [corners.astype(np.int32)], number)
    image = colours(rng, count + 1)[labels]
    if rng.random() < 0.7:
        of = rng.integers(0, 4, count + 1)[labels]
        for number in range(1, int(rng.integers(2, 5))):
            image = np.where((of == number)[..., None], image * (0.4 + 1.2 * fill(rng, n)), image)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 0.6), 0, 1)


def julia(rng: Rng, n: int) -> Image:
    """The escape times of z^k + c, c near the border of the Mandelbrot set."""
    angle = rng.uniform(0, 2 * math.pi)
    c = np.complex64((0.5 * np.exp(1j * angle) - 0.25 * np.exp(2j * angle)) * rng.uniform(0.98, 1.15))
    x, y = grid(n, rng)
    zoom = np.float32(2 ** rng.uniform(-3, 1.6))
    z = (x + 1j * y) * zoom + np.complex64(rng.normal(0, 0.3) + 1j * rng.normal(0, 0.3))
    z, steps = z.astype(np.complex64), np.zeros((n, n), np.float32)
    for _ in range(32):
        z = z * z + c
        size = z.real**2 + z.imag**2
        steps += np.exp(-size / 4)
        np.clip(z.real, -1e3, 1e3, out=z.real)
        np.clip(z.imag, -1e3, 1e3, out=z.imag)
    return painted(rng, stretched(np.sqrt(steps)))


def flame(rng: Rng, n: int) -> Image:
    """A fractal of a few affine maps, by the chaos game, its density in colours: ferns, dust, lace."""
    maps = rng.uniform(-1, 1, (int(rng.integers(2, 6)), 2, 3)).astype(np.float32)
    for one in maps:
        one[:, :2] *= rng.uniform(0.4, 0.9) / np.linalg.norm(one[:, :2], 2)
    points, density = rng.uniform(-1, 1, (6000, 2)).astype(np.float32), np.zeros(n * n)
    for step in range(24):
        chosen = maps[rng.integers(0, len(maps), len(points))]
        points = np.einsum("nij,nj->ni", chosen[:, :, :2], points) + chosen[:, :, 2]
        if step > 6:
            at = ((points / 4 + 0.5) * n).astype(int)
            at = at[(at >= 0).all(1) & (at < n).all(1)]
            density += np.bincount(at[:, 0] * n + at[:, 1], minlength=n * n)
    field = np.log1p(density).reshape(n, n).astype(np.float32)
    return over(ground(rng, n), painted(rng, stretched(field)), np.clip(field, 0, 1))


def dots(rng: Rng, n: int) -> Image:
    """Holes or dots on a lattice: halftones, perforated sheets, mesh."""
    x, y = grid(n, rng)
    count = np.float32(2 ** rng.uniform(2.5, 6))
    u, v = x * count, y * count
    u = u + np.float32(0.5) * np.mod(np.floor(v), 2) if rng.random() < 0.5 else u
    if rng.random() < 0.5:
        distance = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    else:
        distance = np.maximum(abs(u - np.floor(u) - 0.5), abs(v - np.floor(v) - 0.5))
    size = rng.uniform(0.15, 0.45) * (0.3 + lattice(rng, n, 3, 2) if rng.random() < 0.4 else 1)
    alpha = np.clip((size - distance) * (n / count) + 0.5, 0, 1)
    return over(ground(rng, n), fill(rng, n), alpha)


def rings(rng: Rng, n: int) -> Image:
    """Bottles, caps, gears and washers seen from above: concentric bands with gloss, on a ground."""
    x, y = grid(n)
    x, y = x - np.float32(rng.normal(0, 0.05)), y - np.float32(rng.normal(0, 0.05))
    radius, angle = np.hypot(x, y * np.float32(rng.uniform(0.85, 1.15))), np.arctan2(y, x)
    if rng.random() < 0.3:
        teeth = np.sin(angle * int(rng.integers(5, 40)))
        radius = radius + np.float32(rng.uniform(0.005, 0.03)) * np.tanh(3 * teeth)
    image = ground(rng, n)
    borders = np.sort(rng.uniform(0.02, 0.5, int(rng.integers(2, 9))))[::-1]
    for border, tone in zip(borders, colours(rng, len(borders)), strict=True):
        inside = np.clip((border - radius) * n + 0.5, 0, 1)
        wave = np.cos(int(rng.integers(1, 5)) * angle + np.float32(rng.uniform(0, 6)))
        gloss = 1 + rng.uniform(0, 0.6) * np.clip(wave, 0, 1) ** int(rng.integers(1, 9))
        band = tone * gloss[..., None] * (1 + rng.uniform(0, 0.4) * (spectral(rng, n, 1.2) - 0.5))[..., None]
        image = over(image, band, inside.astype(np.float32))
    return np.clip(image, 0, 1)


def _rod(rng: Rng, n: int, image: Image, thick: float, length: float) -> Image:
    """One rod, with a thread, a head, or neither."""
    x, y = grid(n, rng)
    x, y = x - np.float32(rng.uniform(-0.3, 0.3)), y - np.float32(rng.uniform(-0.3, 0.3))
    width = np.full((n, n), thick, np.float32)
    if rng.random() < 0.5:
        width *= 1 + np.float32(0.15) * np.sin(x * np.float32(rng.uniform(1, 3) / thick) + y * np.float32(1 / thick))
    if rng.random() < 0.6:
        width = np.where(x > length / 2 - 2 * thick, np.float32(1.8 * thick), width)
    inside = np.clip((width - abs(y)) * n + 0.5, 0, 1) * np.clip((length / 2 - abs(x)) * n + 0.5, 0, 1)
    round_ = np.sqrt(np.clip(1 - np.square(y / width), 0, 1))
    shade = 0.25 + 0.75 * round_ + rng.uniform(0, 0.8) * np.exp(-np.square((y / width - rng.uniform(-0.5, 0.5)) / 0.15))
    shadow = cv2.GaussianBlur(inside, (0, 0), max(1.0, thick * n / 3))
    image = image * (1 - rng.uniform(0, 0.5) * shadow)[..., None]
    return over(image, colours(rng, 1)[0] * shade[..., None], inside)


def rods(rng: Rng, n: int) -> Image:
    """Screws, pins and pencils on a ground."""
    image = ground(rng, n)
    for _ in range(int(rng.choice([1, 1, 2, 5]))):
        image = _rod(rng, n, image, rng.uniform(0.01, 0.09), rng.uniform(0.3, 1))
    return np.clip(image, 0, 1)


def cables(rng: Rng, n: int) -> Image:
    """Bundles of round insulated wires cut across, or wires side by side along the frame."""
    image = ground(rng, n)
    if rng.random() < 0.5:
        radius = rng.uniform(0.05, 0.22)
        for tone in colours(rng, int(rng.integers(2, 9))):
            cx, cy = rng.normal(0, 0.22, 2).astype(np.float32)
            x, y = grid(n)
            d = np.hypot(x - cx, y - cy) / np.float32(radius)
            image = over(image, tone * (1.1 - 0.3 * d)[..., None], np.clip((1 - d) * radius * n, 0, 1))
            core = np.stack([np.cos(6 * x / radius), np.cos(6 * y / radius)]).min(0)
            copper = np.array((0.7, 0.45, 0.3), np.float32) * (0.7 + 0.4 * core)[..., None]
            image = over(image, copper, np.clip((0.6 - d) * radius * n, 0, 1))
        return np.clip(image, 0, 1)
    x, y = grid(n, rng)
    y = y + np.float32(rng.uniform(0, 0.15)) * np.sin(x * np.float32(rng.uniform(2, 12)))
    place = y * np.float32(2 ** rng.uniform(1.5, 5))
    number = np.floor(place).astype(int)
    round_ = np.sqrt(np.clip(1 - np.square(2.2 * (place - number - 0.5)), 0, 1))
    wires = colours(rng, 32)[number % 32] * (0.2 + 0.9 * round_)[..., None]
    return np.clip(over(image, wires, (round_ > 0).astype(np.float32)), 0, 1)


def grains(rng: Rng, n: int) -> Image:
    """Pills, rice, beads, capsules: alike, apart or in heaps, each with its light and shadow."""
    image, size = ground(rng, n), n * 2 ** rng.uniform(-6, -2.5)
    flat, tones = rng.uniform(0.25, 1), colours(rng, 3)
    count = int(np.clip(rng.uniform(0.2, 1.2) * n * n / size**2 / 3, 3, 500))
    alpha, height = np.zeros((n, n), np.uint8), np.zeros((n, n), np.float32)
    paint = np.zeros((n, n, 3), np.float32)
    places, angles, inks = rng.integers(0, n, (count, 2)), rng.uniform(0, 180, count), rng.integers(0, 3, count)
    for at, angle, tone in zip(places.tolist(), angles, inks, strict=True):
        axes = (int(size) + 1, int(size * flat) + 1)
        cv2.ellipse(alpha, at, axes, angle, 0, 360, 255, -1)
        cv2.ellipse(paint, at, axes, angle, 0, 360, tones[tone].tolist(), -1)
        cv2.ellipse(height, at, axes, angle, 0, 360, 0.3, max(1, int(size / 5)))
        cv2.ellipse(height, at, (int(size * 0.8), int(size * flat * 0.8)), angle, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(alpha.astype(np.float32) / 255, (0, 0), 0.8)
    height = cv2.GaussianBlur(height, (0, 0), max(1.0, size / 4))
    shadow = np.roll(cv2.GaussianBlur(soft, (0, 0), max(1.0, size / 4)), rng.integers(-4, 5, 2), (0, 1))
    image = image * (1 - rng.uniform(0, 0.6) * shadow)[..., None]
    return np.clip(over(image, paint * lit(rng, height, rng.uniform(1, 4))[..., None], soft), 0, 1)


def lettering(rng: Rng, n: int) -> Image:
    """Words, figures and signs of all sizes, in lines or anywhere."""
    image, ink = ground(rng, n), colours(rng, 4)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:-+/#%&"))
    lines, scale = int(rng.integers(1, 16)), 2 ** rng.uniform(-1.5, 1.5)
    canvas = np.zeros((2 * n, 2 * n), np.uint8)
    for line in range(lines):
        words = "".join(rng.choice(letters, rng.integers(2, 30)))
        at = (int(rng.integers(-n // 4, n)), int((line + 1) * 2 * n / (lines + 1)))
        cv2.putText(
            canvas, words, at, int(rng.integers(8)), 2 * scale, 255, int(1 + 4 * scale * rng.random()), cv2.LINE_AA
        )
    for _ in range(int(rng.integers(0, 8))):
        x, y, side = rng.integers(0, 2 * n, 3).tolist()
        cv2.rectangle(canvas, (x, y), (x + side // 3, y + side // 5), 255, int(rng.choice([-1, 2, 6])))
        cv2.circle(canvas, (y, x), side // 8, 255, int(rng.choice([-1, 2, 6])))
    turn = cv2.getRotationMatrix2D((n, n), rng.choice([0, 0, 90, rng.uniform(-180, 180)]), rng.uniform(0.8, 1.3))
    alpha = cv2.resize(cv2.warpAffine(canvas, turn, (2 * n, 2 * n)), (n, n), interpolation=cv2.INTER_AREA)
    return over(image, painted(rng, lattice(rng, n, 2, 1)) * ink[0], alpha.astype(np.float32) / 255)


def circuit(rng: Rng, n: int) -> Image:
    """Boards: traces at right angles, pads, chips with legs, in rows."""
    board = colours(rng, 1)[0] * (0.8 + 0.3 * spectral(rng, n, 1))[..., None]
    traces, pads = np.zeros((n, n), np.uint8), np.zeros((n, n), np.uint8)
    step = int(n * 2 ** rng.uniform(-5.5, -3.5)) + 2
    for _ in range(int(rng.integers(8, 60))):
        at = rng.integers(0, n // step + 1, 2) * step
        for _ in range(int(rng.integers(1, 6))):
            to = at + step * rng.integers(1, 5) * np.array(((1, 0), (0, 1), (-1, 0), (0, -1), (1, 1)))[rng.integers(5)]
            cv2.line(traces, at.tolist(), to.tolist(), 255, max(1, step // 4), cv2.LINE_AA)
            at = to
        cv2.circle(pads, at.tolist(), max(1, step // 3), 255, -1, cv2.LINE_AA)
    metal, chip = colours(rng, 2)
    image = over(over(board, metal * 0.7, traces.astype(np.float32) / 255), metal, pads.astype(np.float32) / 255)
    for _ in range(int(rng.integers(0, 7))):
        x, y = (rng.integers(0, n // step, 2) * step).tolist()
        w, h = (rng.integers(2, 8, 2) * step).tolist()
        for leg in range(x, x + w, max(step // 2, 2)):
            cv2.rectangle(image, (leg, y - step // 2), (leg + step // 5, y + h + step // 2), (0.8, 0.8, 0.8), -1)
        cv2.rectangle(image, (x, y), (x + w, y + h), chip.tolist(), -1)
    return np.clip(image, 0, 1)


def thing(rng: Rng, n: int) -> Image:
    """One thing with a wavy outline in the middle, of a fill, lit, on a ground: nuts, parts, fruit."""
    angles = np.linspace(0, 2 * math.pi, 180, endpoint=False)
    radius = np.ones(180)
    for order in range(2, int(rng.integers(3, 12))):
        radius += rng.normal(0, 0.4 / order) * np.cos(order * angles + rng.uniform(0, 6))
    radius = rng.uniform(0.15, 0.45) * np.clip(radius, 0.2, 2) / radius.max()
    middle = 0.5 + rng.normal(0, 0.04, 2)
    outline = (4 * n * (middle + np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1))).astype(np.int32)
    alpha = drawn(n, cv2.fillPoly, [outline], 255)
    bulge = cv2.GaussianBlur(alpha, (0, 0), n * rng.uniform(0.02, 0.1))
    below = ground(rng, n) * (1 - rng.uniform(0, 0.6) * np.roll(bulge, rng.integers(-8, 9, 2), (0, 1)))[..., None]
    return np.clip(over(below, fill(rng, n) * lit(rng, bulge, rng.uniform(0, 12))[..., None], alpha), 0, 1)


def collage(rng: Rng, n: int) -> Image:
    """Two materials with a straight, wavy or cloudy border."""
    kind = rng.integers(3)
    x, _ = grid(n, rng)
    field = x if kind == 0 else lattice(rng, n, int(rng.integers(2, 8)), 3) - 0.5
    field = bent(rng, x, 0.3) if kind == 1 else field
    alpha = np.clip(field * np.float32(2 ** rng.uniform(2, 8)) + 0.5, 0, 1)
    return over(ground(rng, n), fill(rng, n), alpha) * shaded(rng, n, rng.uniform(0, 0.5))


@cache
def _photograph(name: str) -> np.ndarray:
    """One that scikit-image ships, RGB uint8, its longer side at most 900 pixels."""
    import skimage

    path = Path(skimage.__file__).parent / "data" / name
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise FileNotFoundError(
            f"{path}: this scikit-image ships no {name}; install the one that benchmarks/embedded/README.md names"
        )
    scale = min(1.0, 900 / max(pixels.shape[:2]))
    return cv2.resize(pixels[..., ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def photograph(rng: Rng, n: int) -> Image:
    """A part of one of scikit-image's, at any scale that fills the frame."""
    pixels = _photograph(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))])
    side = int(min(pixels.shape[:2]) * rng.uniform(0.2, 1))
    y, x = (rng.integers(0, length - side + 1) for length in pixels.shape[:2])
    part = pixels[y : y + side, x : x + side]
    how = cv2.INTER_AREA if side > n else cv2.INTER_CUBIC
    return np.clip(cv2.resize(part, (n, n), interpolation=how).astype(np.float32) / 255, 0, 1)
