"""Procedural pictures of great variety, that a backbone can be taught by: no data set, no licence, any number.

    python benchmarks/embedded/textures.py OUT.npy --count 3000 [--seed 0] [--size 288]
    python benchmarks/embedded/textures.py --sheet OUT.png       # a page of them to look at
    python benchmarks/embedded/textures.py --time                # ms an image, by kind

An image is drawn from the seed and its number alone, so that any part of a set can be made again, on any number of
cores. Beside what is drawn there are parts of the photographs that scikit-image ships.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import surfaces
import things
from cameras import flawed, photographed
from fields import Image, Rng

KINDS: dict[str, tuple[Callable[[Rng, int], Image], float]] = {  # and how often, relatively
    "noise": (surfaces.noise, 1.0),
    "marble": (surfaces.marble, 0.7),
    "stones": (surfaces.stones, 1.0),
    "grating": (surfaces.grating, 0.8),
    "cloth": (surfaces.cloth, 1.0),
    "metal": (surfaces.metal, 1.3),
    "wood": (surfaces.wood, 0.8),
    "tiles": (surfaces.tiles, 0.8),
    "relief": (surfaces.relief, 1.2),
    "strokes": (surfaces.strokes, 0.8),
    "plain": (surfaces.plain, 1.0),
    "leaves": (things.leaves, 2.0),
    "julia": (things.julia, 0.5),
    "flame": (things.flame, 0.5),
    "dots": (things.dots, 0.8),
    "rings": (things.rings, 1.3),
    "rods": (things.rods, 1.0),
    "cables": (things.cables, 0.8),
    "grains": (things.grains, 1.0),
    "lettering": (things.lettering, 0.8),
    "circuit": (things.circuit, 0.6),
    "thing": (things.thing, 1.2),
    "collage": (things.collage, 0.8),
    "photograph": (things.photograph, 4.0),
}
FLAWED = 0.35  # of the images, with defects
_SHARES = np.array([share for _, share in KINDS.values()])


def picture(seed: int, number: int, size: int, kind: str | None = None) -> np.ndarray:
    """One image (size, size, 3), uint8 RGB, of its own seed and number, of any kind or of this one."""
    rng = np.random.default_rng((seed, number))
    drawn_kind = list(KINDS)[rng.choice(len(KINDS), p=_SHARES / _SHARES.sum())]
    draw = KINDS[kind or drawn_kind][0]
    image = draw(rng, size)
    if rng.random() < 0.15:  # seen from nearer, turned
        turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(0, 360), rng.uniform(1, 2))
        image = cv2.warpAffine(image, turn, (size, size), borderMode=cv2.BORDER_REFLECT)
    pixels = photographed(rng, image.astype(np.float32))
    if rng.random() < FLAWED:
        donor = pixels if rng.random() < 0.7 else np.rint(np.clip(surfaces.noise(rng, size), 0, 1) * 255)
        pixels = flawed(rng, pixels, donor.astype(np.uint8))
    return pixels


def make(path: Path, seed: int, count: int, size: int, workers: int) -> np.ndarray:
    """Pictures 0 to count - 1 as a .npy file (count, size, size, 3) of uint8, opened for reading."""
    part = path.with_suffix(".part.npy")
    pool = np.lib.format.open_memmap(part, "w+", np.uint8, (count, size, size, 3))
    # Not forked: OpenCV's threads would not be there in a fork, and be waited for.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_alone) as processes:
        for number, pixels in enumerate(processes.map(partial(_numbered, seed, size), range(count), chunksize=16)):
            pool[number] = pixels
    pool.flush()
    part.replace(path)
    return np.load(path, mmap_mode="r")


def _numbered(seed: int, size: int, number: int) -> np.ndarray:
    return picture(seed, number, size)


def _alone() -> None:
    cv2.setNumThreads(1)


def main() -> None:
    """What the words ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, help="a .npy file")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=288)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sheet", type=Path, help="a .png file: six of each kind, a row each")
    parser.add_argument("--time", action="store_true")
    asked = parser.parse_args()
    _alone()
    if asked.time:
        for kind in KINDS:
            picture(asked.seed, 0, asked.size, kind)
            began = time.process_time()
            for number in range(8):
                picture(asked.seed, number, asked.size, kind)
            print(f"{kind:12}{(time.process_time() - began) / 8e-3:7.1f} ms")
    if asked.sheet:
        rows = [np.hstack([picture(asked.seed, number, asked.size, kind) for number in range(6)]) for kind in KINDS]
        cv2.imwrite(str(asked.sheet), np.vstack(rows)[::2, ::2, ::-1])
    if asked.out:
        began = time.perf_counter()
        make(asked.out, asked.seed, asked.count, asked.size, asked.workers)
        print(f"{asked.count} images of {asked.size}x{asked.size} in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
