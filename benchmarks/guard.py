"""The input guard on real images: how often it objects to good ones, and what it and the threshold make of faults.

    python benchmarks/guard.py

Good images (those to learn from and the good test images) are divided at random again and again: some teach the guard,
a quarter as many set its limit, and the rest tell how often it objects. Beside the limit as it is set, never below
`ROOM`, stands the bare largest of the held-out scores, whose rate is the promise itself. The magnetic tiles are also
divided by the six series that they were photographed in: nothing is promised of a series that is new.

Faults are made of good test images (bottle450: 20; magnetic tiles: every ninth, 22) and scored by whole commands, with
models of all good training images, a fifth of them held out. Other products are good test images of the other set.

Results go to results/guard.json.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import SHARED, WEIGHTS, adcli, keep, machine, run

from adcli.guard import Look

SETS = ("bottle450", "mtd")
DIVISIONS = {"bottle450": ((20, 5), (60, 15), (150, 38)), "mtd": ((20, 5), (60, 15), (160, 40), (600, 150))}
SPLITS = 400
SERIES = ("exp1", "exp2", "exp3", "exp4", "exp5", "exp6")
METHODS = {"padim": [], "patchcore": ["-p", "coreset=0.01"]}


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def noisy(pixels: np.ndarray, deviation: float) -> np.ndarray:
    return rounded(pixels + np.random.default_rng(0).normal(0, deviation, pixels.shape))


def blurred(pixels: np.ndarray, share: float) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), share * pixels.shape[1])


def covered(pixels: np.ndarray, share: float) -> np.ndarray:
    pixels = pixels.copy()
    pixels[:, : round(share * pixels.shape[1])] = 12
    return pixels


def other_colours(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if pixels.ndim == 2 else cv2.COLOR_BGR2GRAY)


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "black": np.zeros_like,
    "white": lambda pixels: np.full_like(pixels, 255),
    "lens covered": lambda pixels: noisy(np.full_like(pixels, 8), 2),
    "half covered": lambda pixels: covered(pixels, 0.5),
    "a fifth covered": lambda pixels: covered(pixels, 0.2),
    "a little blurred (sigma 1 in 128)": lambda pixels: blurred(pixels, 1 / 128),
    "blurred (sigma 1 in 64)": lambda pixels: blurred(pixels, 1 / 64),
    "shaken (1 in 28)": lambda pixels: cv2.blur(pixels, (max(3, pixels.shape[1] // 28), 1)),
    "noise, 10 levels": lambda pixels: noisy(pixels, 10),
    "half the light": lambda pixels: rounded(pixels * 0.5),
    "twice the light": lambda pixels: rounded(pixels * 2.0),
    "inverted": lambda pixels: 255 - pixels,
    "every other 8 rows black": lambda pixels: (pixels.T * (np.arange(len(pixels)) // 8 % 2 == 0)).T.astype(np.uint8),
    "another number of channels": other_colours,
    "16 bits": lambda pixels: pixels * np.uint16(257),
    "three times the size": lambda pixels: cv2.resize(pixels, None, fx=3, fy=3),
    "turned by a quarter": lambda pixels: np.rot90(pixels),
    "moved by a fifth": lambda pixels: np.roll(pixels, pixels.shape[1] // 5, 1),
}


def files(name: str, part: str) -> list[Path]:
    return sorted((SHARED / "data" / name / part).iterdir())


def looks_of(name: str, folder: Path) -> dict[str, Look]:
    """All good images as the guard sees them, by file name."""
    from adcli import load
    from adcli.finding import find_images
    from adcli.tasks.engines import Machine
    from adcli.tasks.mapping import Mapper

    model = folder / f"{name}.h5"
    good = [str(path) for part in ("train/good", "test/good") for path in files(name, part)]
    run(adcli("fit", *good[:30], "--holdout", "0", "--weights", str(WEIGHTS), "--model", str(model)))
    mapper = Mapper(load(model).model, Machine())
    return dict(
        mapper.stream(
            find_images(good), lambda image, mapped: (image.path.parent.parent.name + image.path.name, mapped.look)
        )
    )


def tried(learn: list[Look], held_out: list[Look], fresh: list[Look]) -> tuple[float, float, float]:
    """The limit, and the shares of fresh images above it and above the largest held-out score."""
    from adcli.guard import learn_guard
    from adcli.thresholds.guards import guard_limit

    guard = learn_guard(learn)
    scores, new = (np.array([guard.score(look) for look in part]) for part in (held_out, fresh))
    limit = guard_limit(scores, None).limit
    return limit, float((new > limit).mean()), float((new > scores[np.isfinite(scores)].max()).mean())


def divided(looks: list[Look], learnt: int, held_out: int) -> dict[str, Any]:
    rng = np.random.default_rng([learnt, held_out])
    found = []
    for _ in range(SPLITS):
        order = [looks[place] for place in rng.permutation(len(looks))]
        found.append(tried(order[:learnt], order[learnt : learnt + held_out], order[learnt + held_out :]))
    limits, above, bare = np.array(found).T
    return {
        "learnt": learnt,
        "held_out": held_out,
        "promised": 1 / (held_out + 1),
        "bare": float(bare.mean()),
        "above": float(above.mean()),
        "limits": [float(limits.min()), float(np.median(limits)), float(limits.max())],
    }


def new_series(looks: dict[str, Look]) -> dict[str, float]:
    """The share of each series that a guard of the five others objects to."""
    rng = np.random.default_rng(0)
    shares = {}
    for series in SERIES:
        new = [look for name, look in looks.items() if f"{series}_" in name]
        known = [look for name, look in looks.items() if f"{series}_" not in name]
        order = [known[place] for place in rng.permutation(len(known))]
        shares[series] = tried(order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :], new)[1]
    return shares


def write_faults(name: str, folder: Path) -> None:
    """One folder a fault."""
    good = files(name, "test/good")[:: 1 if name == "bottle450" else 9]
    made = {fault: [(path.stem, spoil(cv2.imread(str(path), -1))) for path in good] for fault, spoil in FAULTS.items()}
    (other,) = (one for one in SETS if one != name)
    # In the right format and size, so that only the picture tells.
    width, height = cv2.imread(str(good[0]), -1).shape[1::-1]
    made["another product"] = [
        (path.stem, cv2.resize(other_colours(cv2.imread(str(path), -1)), (width, height)))
        for path in files(other, "test/good")[:20]
    ]
    for fault, images in made.items():
        (folder / fault).mkdir(parents=True)
        for stem, pixels in images:
            cv2.imwrite(str(folder / fault / f"{stem}.png"), np.ascontiguousarray(pixels))


def verdicts(name: str, method: str, faults: Path, folder: Path) -> dict[str, dict[str, int]]:
    """Verdicts by fault, of the faults and of the test images."""
    model = str(folder / f"{name}-{method}.h5")
    train = str(SHARED / "data" / name / "train" / "good")
    chosen = ["--method", method, *METHODS[method], "--weights", str(WEIGHTS), "--no-pictures"]
    run(adcli("fit", train, *chosen, "--model", model))
    counts: dict[str, Counter[str]] = {}
    for source in (faults, SHARED / "data" / name / "test"):
        out = folder / f"{name}-{method}-{source.name}"
        run(adcli("score", str(source), "--model", model, "--out", str(out), "--masks", "none", "--overlays", "none"))
        for line in (out / "results.jsonl").read_text().splitlines():
            record = json.loads(line)
            counts.setdefault(Path(record["image"]).parent.name, Counter())[record["verdict"]] += 1
    return {fault: dict(sorted(count.items())) for fault, count in sorted(counts.items())}


def main() -> None:
    """Measures all of it: some minutes."""
    kept: dict[str, Any] = {"machine": machine(), "splits": SPLITS, "rates": {}, "verdicts": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in SETS:
            looks = looks_of(name, folder)
            kept["rates"][name] = [divided(list(looks.values()), *division) for division in DIVISIONS[name]]
            print(name, kept["rates"][name], flush=True)
            if name == "mtd":
                kept["series"] = new_series(looks)
                print(kept["series"], flush=True)
            write_faults(name, folder / f"faults-{name}")
            for method in METHODS:
                found = verdicts(name, method, folder / f"faults-{name}", folder)
                kept["verdicts"][f"{name}, {method}"] = found
                print(name, method, found, flush=True)
    keep("guard", kept)


if __name__ == "__main__":
    main()
