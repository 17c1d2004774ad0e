"""Peak memory and time of scoring images of 8192x8192 pixels in tiles, one image at a time and two.

    python benchmarks/large.py

The images are drawn here: a grain with a scratch of 300 pixels, which is one pixel wide at 256x256. Results go to
benchmarks/results/large.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
from measure import WEIGHTS, adcli, keep, machine, run

SIDE = 8192
TILE = ("--tile", "512", "--overlap", "64")


def grain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A good surface, (H, W) uint8."""
    noise = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), 2)
    return np.clip(120 + 25 * noise / noise.std(), 0, 255).astype(np.uint8)


def main() -> None:
    """Fits on cuttings that differ in size, so that padim shares its statistics, and scores RGB images of 8192x8192."""
    rng = np.random.default_rng(0)
    results: dict[str, object] = {"machine": machine(), "pixels": SIDE * SIDE, "tile": 512, "overlap": 64, "runs": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("good", "one", "two"):
            (folder / part).mkdir()
        for number in range(14):
            cv2.imwrite(str(folder / "good" / f"{number:02}.png"), grain(rng, 1100, 1300 + number))
        for number in range(2):
            image = grain(rng, SIDE, SIDE)
            cv2.line(image, (1000 + 3000 * number, 7000), (1300 + 3000 * number, 7040), 250, 4)
            for part in ("one", "two")[number:]:
                path = folder / part / f"{number}.png"
                cv2.imwrite(str(path), np.dstack([image] * 3), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        for method, more in (("padim", ()), ("patchcore", ("-p", "coreset=0.01"))):
            model = str(folder / f"{method}.h5")
            fit = ("fit", str(folder / "good"), "--model", model, "--method", method, *more, *TILE, "--no-pictures")
            run(adcli(*fit, "--weights", str(WEIGHTS)))
            for part, workers in (("one", "1"), ("two", "2")):
                out = folder / f"{method}-{part}"
                words = ("score", str(folder / part), "--out", str(out), "--model", model, "--workers", workers)
                text, took = run(adcli(*words, "--overlays", "all", "--masks", "all", "--json"))
                assert json.loads(text)["ng"] >= 1, text
                results["runs"][f"{method}, {part} image{'s' * (part == 'two')}, workers {workers}"] = took
    path: Path = keep("large", results)
    print(path.read_text())


if __name__ == "__main__":
    main()
