"""Make a small labelled dataset in the MVTec AD layout: brushed metal, good and with scratches, stains and dents.

    python examples/make_textures.py OUT [--seed 0] [--size 256] [--good 60] [--test-good 20] [--defects 10]

Every picture is a new sheet: the brushing, its direction, the lamp and the exposure vary, as they do in a plant. A
defective picture differs from its flawless twin in the pixels of its mask and in no other. The same arguments give the
same bytes on one machine. Needs numpy and OpenCV only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

SHEET = 256  # pixels a side for which lengths below are given; other sizes scale them


def blurred_noise(rng: np.random.Generator, size: int, sigma_x: float, sigma_y: float) -> np.ndarray:
    """Gaussian noise of deviation 1, smooth over `sigma_x` and `sigma_y` pixels of a 256-pixel sheet."""
    scale = size / SHEET
    noise = rng.standard_normal((size, size), dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=max(sigma_x * scale, 0.1), sigmaY=max(sigma_y * scale, 0.1))
    return (noise - noise.mean()) / noise.std()


def brushed_metal(rng: np.random.Generator, size: int) -> np.ndarray:
    """The sheet itself: fine streaks over broader bands, turned by a degree or two. (size, size), around 0."""
    fine = blurred_noise(rng, size, 18, 0.45)
    broad = blurred_noise(rng, size, 60, 1.6)
    bands = blurred_noise(rng, size, 90, 6)
    hairs = np.clip(blurred_noise(rng, size, 9, 0.4) - 2.2, 0, None)  # a few deeper grooves catch the light
    grain = 0.055 * fine + 0.035 * broad + 0.02 * bands + 0.05 * hairs
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.normal(0, 1.2), 1.0)
    return cv2.warpAffine(grain, turn, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def lamp(rng: np.random.Generator, size: int) -> np.ndarray:
    """Brightness of the light on the sheet: a soft bar across the brushing, off centre, darker corners."""
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size - 0.5
    slope = rng.normal(0, 0.12)
    bar = np.exp(-(((x - rng.normal(0, 0.08) - slope * y) / rng.uniform(0.38, 0.5)) ** 2))
    corners = 1 - 0.25 * (x**2 + y**2)
    exposure = 1 + rng.normal(0, 0.03)
    return exposure * (0.36 + 0.24 * bar) * corners


def line(size: int, points: np.ndarray, width: float) -> np.ndarray:
    """A smooth-edged line through `points` (x, y), 1 in its middle."""
    canvas = np.zeros((size, size), np.uint8)
    fixed = np.round(points * 256).astype(np.int32).reshape(-1, 1, 2)  # OpenCV's sub-pixel coordinates, 8 bits
    cv2.polylines(canvas, [fixed], False, 255, max(1, round(width)), cv2.LINE_AA, shift=8)
    return canvas.astype(np.float32) / 255


# Each defect takes the sheet and its light, and returns the brightness with the defect and where it reaches to.


def scratch(rng: np.random.Generator, grain: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A groove dragged across the brushing: a bright edge beside a dark one, deepest in its middle, of uneven depth."""
    size = len(grain)
    scale = size / SHEET
    start = rng.uniform(0.2, 0.8, 2) * size
    angle = rng.uniform(np.radians(25), np.radians(155))
    along = np.linspace(-0.5, 0.5, 60) * rng.uniform(60, 130) * scale
    bow = rng.normal(0, 6) * scale * (along / np.abs(along).max()) ** 2 + np.cumsum(rng.normal(0, 0.12, 60)) * scale
    direction, normal = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    path = start + along[:, None] * direction + bow[:, None] * normal
    width = rng.uniform(1.0, 2.2) * scale
    bright, dark = line(size, path, width), line(size, path + normal * (0.7 * width + 0.5), width)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    place = ((x - start[0]) * direction[0] + (y - start[1]) * direction[1]) / np.abs(along).max()
    depth = np.clip(1.3 * (1 - place**2), 0, 1) * np.clip(0.8 + 0.35 * blurred_noise(rng, size, 7, 7), 0.25, 1)
    strength = rng.uniform(0.22, 0.34)
    change = strength * depth * (bright - 0.8 * dark * (1 - 0.6 * bright))
    return light * (1 + grain) + change, (np.maximum(bright, dark) * depth > 0.15)


def stain(rng: np.random.Generator, grain: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A dried drop: a ragged film that dulls the brushing, darkest at its rim."""
    size = len(grain)
    scale = size / SHEET
    y, x = np.mgrid[:size, :size].astype(np.float32)
    centre = rng.uniform(0.2, 0.8, 2) * size
    radius = rng.uniform(13, 26) * scale
    stretch = rng.uniform(0.75, 1.3)
    distance = np.hypot((x - centre[0]) * stretch, (y - centre[1]) / stretch) / radius
    distance = distance + 0.16 * blurred_noise(rng, size, 8, 8) + 0.04 * blurred_noise(rng, size, 2, 2)
    film = np.clip((1 - distance) / 0.12, 0, 1)
    rim = np.exp(-(((distance - 0.88) / 0.1) ** 2))
    dark = rng.uniform(0.12, 0.2) * film * (0.65 + 0.9 * rim)
    return light * (1 + grain * (1 - 0.45 * film)) * (1 - dark), film > 0.1


def dent(rng: np.random.Generator, grain: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A shallow dimple: lit on one flank, in shade on the other, and the streaks bend through it."""
    size = len(grain)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    centre = rng.uniform(0.15, 0.85, 2) * size
    radius = rng.uniform(9, 17) * size / SHEET
    across, down = (x - centre[0]) / radius, (y - centre[1]) / radius / rng.uniform(0.8, 1.2)
    distance = np.hypot(across, down)
    inside = np.clip(1 - distance**2, 0, 1) ** 1.5
    angle = rng.normal(-np.pi / 2, 0.5)  # the light comes from above
    shade = (across * np.cos(angle) + down * np.sin(angle)) * inside
    pull = 0.35 * radius * inside
    from_x, from_y = (x - pull * across).astype(np.float32), (y - pull * down).astype(np.float32)
    bent = cv2.remap(grain, from_x, from_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    strength = rng.uniform(0.65, 1.0)
    return light * (1 + bent) * (1 - strength * shade - 0.12 * inside), inside > 0.03


DEFECTS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {"scratch": scratch, "stain": stain, "dent": dent}


def picture(seed: tuple[int, ...], size: int, defect: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """One 8-bit gray picture and its mask (0 or 255); the same `seed` without the defect is its flawless twin."""
    sheet, flaw, camera = (np.random.default_rng([*seed, part]) for part in range(3))
    grain, light = brushed_metal(sheet, size), lamp(sheet, size)
    brightness = (light * (1 + grain)).astype(np.float64)  # one precision, or rounding would differ off the mask
    mask = np.zeros((size, size), bool)
    if defect is not None:
        flawed, mask = DEFECTS[defect](flaw, grain, light)
        _, regions, sizes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
        mask = regions == 1 + np.argmax(sizes[1:, cv2.CC_STAT_AREA])  # one region, without the specks beside it
        brightness = np.where(mask, flawed, brightness)
    brightness = brightness + 0.006 * camera.standard_normal((size, size), dtype=np.float32)
    return np.clip(brightness * 255 + 0.5, 0, 255).astype(np.uint8), mask.astype(np.uint8) * 255


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write the dataset into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--good", type=int, default=60, help="good pictures to learn from")
    parser.add_argument("--test-good", type=int, default=20, help="good pictures to test with")
    parser.add_argument("--defects", type=int, default=10, help="defective pictures of each kind")
    options = parser.parse_args()
    for part, (folder, count) in enumerate([("train/good", options.good), ("test/good", options.test_good)]):
        for number in range(count):
            write(options.out / folder / f"{number:03d}.png", picture((options.seed, part, number), options.size)[0])
    for part, defect in enumerate(DEFECTS, start=2):
        for number in range(options.defects):
            pixels, mask = picture((options.seed, part, number), options.size, defect)
            write(options.out / "test" / defect / f"{number:03d}.png", pixels)
            write(options.out / "ground_truth" / defect / f"{number:03d}_mask.png", mask)
    print(options.out)


if __name__ == "__main__":
    main()
