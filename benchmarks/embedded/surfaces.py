"""Pictures of materials that fill the frame."""

from __future__ import annotations

import math

import cv2
import numpy as np
from fields import (
    Image,
    Rng,
    bent,
    cells,
    colours,
    edges,
    grid,
    lattice,
    lit,
    over,
    painted,
    shaded,
    spectral,
    stretched,
)


def noise(rng: Rng, n: int) -> Image:
    """Clouds to sand: 1/f^a, of one stretch or of each channel's own."""
    if rng.random() < 0.3:
        exponent = rng.uniform(0.3, 2)
        field = np.stack([spectral(rng, n, exponent) for _ in range(3)], -1)
        return np.clip(colours(rng, 1) + rng.uniform(0.1, 0.6) * (field - 0.5), 0, 1).astype(np.float32)
    return painted(rng, spectral(rng, n, rng.uniform(0.2, 2.2), rng.choice([1, 1, 3, 10])))


def marble(rng: Rng, n: int) -> Image:
    """Smooth noise folded and bent upon itself."""
    field = lattice(rng, n, int(rng.integers(2, 10)), 4, rng.uniform(0.4, 0.7))
    folds = rng.integers(1, 6)
    field = np.abs(np.sin(math.pi * folds * field)) if rng.random() < 0.6 else field
    return painted(rng, bent(rng, field.astype(np.float32), rng.uniform(0, 0.4)))


def stones(rng: Rng, n: int) -> Image:
    """Voronoi cells: cracked earth, leather, grains of metal, mosaics."""
    distance, labels = cells(rng, n, int(2 ** rng.uniform(4, 11)), rng.uniform(0.4, 1))
    tones = colours(rng, 512)[labels % 512]
    image = over(tones, painted(rng, stretched(distance)), np.full((n, n), rng.random(), np.float32))
    if rng.random() < 0.7:
        seam = edges(labels, rng.uniform(0.5, 4))
        image = over(image, colours(rng, 1)[0], seam * np.float32(rng.uniform(0.3, 1)))
    if rng.random() < 0.5:
        image = image * lit(rng, stretched(distance), rng.uniform(0.5, 6))[..., None]
    return bent(rng, image, rng.uniform(0, 0.1)) if rng.random() < 0.5 else image


def grating(rng: Rng, n: int) -> Image:
    """Waves, checks, hexagons, rings or rays, sharp or soft, and their sums."""
    x, y = grid(n, rng)
    total = np.zeros((n, n), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        f = np.float32(2 * math.pi * 2 ** rng.uniform(1, 6))
        kind = rng.integers(5)
        if kind == 0:
            wave = np.sin(f * x + np.float32(rng.uniform(0, 6)))
        elif kind == 1:
            wave = np.sin(f * x) * np.sin(f * y)
        elif kind == 2:
            turns = [math.cos(k * math.pi / 3) * x + math.sin(k * math.pi / 3) * y for k in range(3)]
            wave = sum(np.cos(f * turn) for turn in turns) / 3
        elif kind == 3:
            wave = np.sin(f * np.hypot(x - np.float32(rng.normal(0, 0.4)), y))
        else:
            wave = np.sin(int(rng.integers(3, 40)) * np.arctan2(y, x + np.float32(rng.normal(0, 0.3))))
        total += np.tanh(wave * np.float32(rng.choice([1, 3, 20])))
        x, y = grid(n, rng)
    field = stretched(total)
    return painted(rng, bent(rng, field, rng.uniform(0, 0.1)) if rng.random() < 0.4 else field)


def cloth(rng: Rng, n: int) -> Image:
    """Threads over and under each other, each of its own thickness and colour, with fibres."""
    x, y = grid(n, rng) if rng.random() < 0.5 else grid(n)
    wavy = rng.uniform(0, 0.02)
    x, y = (a + np.float32(wavy) * (lattice(rng, n, 3, 2) - 0.5) for a in (x, y))
    count = 2 ** rng.uniform(3, 6)
    u, v = (np.float32(count) * a + 1000 for a in (x, y))
    iu, iv = u.astype(int), v.astype(int)
    skip, shift = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    above = (iu + shift * iv) % skip == 0  # the warp lies above: plain weave, twills
    across_u, across_v = u - iu - 0.5, v - iv - 0.5
    profile = np.where(above, 1 - 4 * across_u**2, 1 - 4 * across_v**2)
    bulge = np.where(above, 1 - across_v**2, 1 - across_u**2)
    tone = 0.2 * rng.standard_normal((2, 128)).astype(np.float32)
    pair = colours(rng, 2)
    image = np.where(above[..., None], pair[0], pair[1])
    image = image + np.float32(rng.uniform(0, 1)) * np.where(above, tone[0][iu % 128], tone[1][iv % 128])[..., None]
    fibre = spectral(rng, n, 0.5, 6) - 0.5
    light = (0.3 + 0.7 * np.clip(profile, 0, 1) ** rng.uniform(0.3, 1)) * bulge + rng.uniform(0, 0.3) * fibre
    return np.clip(image * light[..., None], 0, 1).astype(np.float32)


def metal(rng: Rng, n: int) -> Image:
    """Brushed, turned or blasted, with scratches and a gloss."""
    kind = rng.integers(4)
    x, y = grid(n, rng)
    if kind == 0:
        field = spectral(rng, n, rng.uniform(0.3, 1), rng.uniform(10, 60))
    elif kind == 1:  # turned: marks on circles
        radius = np.hypot(x + np.float32(rng.normal(0, 0.4)), y + np.float32(rng.normal(0, 0.4)))
        marks = cv2.GaussianBlur(rng.random((1, 4096), np.float32), (0, 0), rng.uniform(1, 8))[0]
        field = stretched(marks[(radius * np.float32(rng.uniform(500, 2500))).astype(int) % 4096])
    elif kind == 2:  # milled: overlapping arcs
        step = np.float32(rng.uniform(0.03, 0.2))
        place = x - np.floor(x / step) * step
        field = stretched(np.sin(np.hypot(place, y) * np.float32(rng.uniform(100, 500))))
    else:
        field = spectral(rng, n, rng.uniform(0, 0.6))
    image = colours(rng, 1)[0].mean() * (0.7 + rng.uniform(0.1, 0.6) * (field[..., None] - 0.5)) + np.zeros(3)
    image = image * (1 + rng.uniform(0, 0.1) * rng.standard_normal(3))
    gleam = np.exp(-np.square((x - rng.uniform(-0.5, 0.5)) / rng.uniform(0.05, 0.5)))
    image = image + rng.uniform(0, 0.4) * gleam[..., None]
    for _ in range(int(rng.integers(0, 25))):
        ends = rng.integers(0, n, 4).tolist()
        tone = float(rng.uniform(-0.2, 0.25))
        line = np.zeros((n, n), np.float32)
        cv2.line(line, ends[:2], ends[2:], tone, 1, cv2.LINE_AA)
        image = image + line[..., None]
    return np.clip(image, 0, 1).astype(np.float32)


def wood(rng: Rng, n: int) -> Image:
    """Rings cut lengthwise or across, pores, knots, planks."""
    x, y = grid(n, rng)
    x = x * np.float32(rng.uniform(0.03, 0.5)) + np.float32(rng.normal(0, 0.5))
    if rng.random() < 0.4:
        px, py = rng.normal(0, 0.3, 2).astype(np.float32)
        y = y + np.float32(0.1) * np.exp(-(np.square(x - px) + np.square(y - py)) * 60)
    radius = np.hypot(x, y + np.float32(rng.normal(0, 1))) + np.float32(0.06) * lattice(rng, n, 3, 3)
    rings = np.mod(radius * np.float32(rng.uniform(10, 60)), 1)
    field = 0.7 * rings ** rng.uniform(0.5, 3) + 0.4 * spectral(rng, n, 0.7, rng.uniform(8, 30))
    image = painted(rng, stretched(field), 2)
    if rng.random() < 0.4:
        planks = np.floor(grid(n)[0] * rng.integers(2, 8)).astype(int)
        image = image * (1 + 0.25 * rng.standard_normal(16))[planks % 16][..., None]
        image = over(image, (0.05, 0.05, 0.05), edges(planks, 1.5))
    return np.clip(image, 0, 1).astype(np.float32)


def tiles(rng: Rng, n: int) -> Image:
    """Bricks, tiles and plates in courses, with joints and a relief."""
    x, y = grid(n, rng) if rng.random() < 0.3 else grid(n)
    rows, flat = 2 ** rng.uniform(1, 4.5), rng.uniform(0.3, 1)
    v = y * np.float32(rows) + 100
    u = x * np.float32(rows * flat) + 100 + np.float32(rng.choice([0, 0.5, 0.33])) * np.floor(v)
    labels = np.floor(v).astype(np.int32) * 512 + np.floor(u).astype(np.int32)
    image = colours(rng, 256)[(labels * 7919) % 256]
    image = over(np.full((n, n, 3), image.mean((0, 1)), np.float32), image, np.full((n, n), rng.random(), np.float32))
    rough = spectral(rng, n, rng.uniform(0.3, 1.5))
    image = image * (1 + rng.uniform(0, 0.8) * (rough - 0.5))[..., None]
    joint = edges(labels, rng.uniform(1, n / rows / 6 + 1))
    image = over(image, colours(rng, 1)[0], joint)
    return np.clip(image * lit(rng, cv2.GaussianBlur(1 - joint, (0, 0), 1.2), rng.uniform(0.2, 2))[..., None], 0, 1)


def relief(rng: Rng, n: int) -> Image:
    """One colour, and light on what is embossed: leather, plaster, hammered metal, knurls."""
    kind = rng.integers(4)
    if kind == 0:
        height = spectral(rng, n, rng.uniform(0.8, 2), rng.choice([1, 4]))
    elif kind == 1:
        height = stretched(cells(rng, n, int(2 ** rng.uniform(5, 10)), rng.uniform(0.3, 1))[0])
    elif kind == 2:
        height = lattice(rng, n, int(rng.integers(4, 40)), 2)
    else:
        x, y = grid(n, rng)
        f = np.float32(2 * math.pi * 2 ** rng.uniform(2, 5.5))
        height = stretched(np.abs(np.sin(f * x)) + np.abs(np.sin(f * y * np.float32(rng.uniform(0.3, 1)))))
    return colours(rng, 1)[0] * lit(rng, height, rng.uniform(0.5, 8))[..., None]


def strokes(rng: Rng, n: int) -> Image:
    """Short lines along a flow: grass, hair, felt, chips."""
    image = np.zeros((n, n, 3), np.float32) + colours(rng, 1)[0]
    flow, tones = lattice(rng, n, int(rng.integers(1, 5)), 2), colours(rng, 64)
    loose, length = rng.choice([0.1, 0.5, 3.0]), n * 2 ** rng.uniform(-6, -2)
    at = rng.integers(0, n, (int(rng.integers(300, 1500)), 2))
    angles = 2 * math.pi * flow[at[:, 1], at[:, 0]] + rng.normal(0, loose, len(at))
    ends = at + np.stack([np.cos(angles), np.sin(angles)], 1) * length * rng.uniform(0.4, 1, (len(at), 1))
    thick = int(rng.integers(1, 4))
    inks = tones[rng.integers(0, 64, len(at))].tolist()
    for start, end, tone in zip(at.tolist(), ends.astype(int).tolist(), inks, strict=True):
        cv2.line(image, start, end, tone, thick, cv2.LINE_AA if thick == 1 else cv2.LINE_8)
    return image


def plain(rng: Rng, n: int) -> Image:
    """Nearly nothing: one colour, a slope, a faint grain, a few stains."""
    image = colours(rng, 1)[0] * shaded(rng, n, rng.uniform(0, 1))
    image = image + rng.uniform(0, 0.08) * (spectral(rng, n, rng.uniform(0, 1.5)) - 0.5)[..., None]
    for _ in range(int(rng.integers(0, 4))):
        stain = np.clip(3 * (lattice(rng, n, int(rng.integers(2, 8)), 3) - rng.uniform(0.5, 0.9)), 0, 1)
        image = image + np.float32(rng.uniform(-0.3, 0.3)) * stain[..., None] * rng.random(3)
    return np.clip(image, 0, 1).astype(np.float32)
