"""Judges embedded weights while they are developed, without a look at real defects.

    python benchmarks/embedded/judge.py GOOD --weights embedded.npz --teacher RESNET18.pth [--methods padim,patchcore]

The good images of a folder are divided in two. A model learns from one half; the other half, as it is and with
synthetic defects (adcli.blemishes, adcli.planting), is what it is evaluated on. The same for ResNet-18, which taught,
and for the untrained network of the same shape. Nothing is learnt by the backbone here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adcli.blemishes import KINDS, LEAST_SIZE, blemish, most_size
from adcli.finding import find_images
from adcli.images import read_image
from adcli.planting import KINDS as PLAIN
from adcli.planting import plant

METHODS = {"padim": ["--method", "padim"], "patchcore": ["--method", "patchcore", "-p", "coreset=0.01"]}
COLUMNS = ("image_auroc", "pixel_auroc", "aupro_0.3")


def lay_out(images: list[Path], root: Path, seed: int, copies: int) -> None:
    """A data set as MVTec AD lays them out: a half to learn from, a half as it is and, `copies` times, with defects."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    learn, look = np.array_split(order, 2)
    for name, part in (("train/good", learn), ("test/good", look)):
        (root / name).mkdir(parents=True)
        for number in part:
            (root / name / f"{number:05}{images[number].suffix}").symlink_to(images[number].resolve())
    kinds = [*KINDS, *PLAIN]
    for place, number in enumerate(np.repeat(look, copies)):
        kind = kinds[place % len(kinds)]
        pixels = read_image(images[number]).pixels
        size = max(LEAST_SIZE, min(pixels.shape[:2]) * 2 ** rng.uniform(-5, -2.5))
        if kind in PLAIN:
            planted, mask = plant(pixels, kind, size, rng.uniform(0.05, 0.25), rng)
        else:
            donor = read_image(images[learn[rng.integers(len(learn))]]).pixels
            size = min(size, most_size(pixels.shape))
            planted, mask = blemish(pixels, donor, kind, size, rng.uniform(0.15, 0.6), rng)
        for folder, suffix, content in (("test", "", planted), ("ground_truth", "_mask", np.uint8(255) * mask)):
            path = root / folder / kind / f"{place:05}{suffix}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), content[..., ::-1] if content.ndim == 3 else content)


def judged(root: Path, words: list[str], seed: int) -> dict[str, float]:
    """What `adcli fit` and `adcli eval` say."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.h5")
        fit = ["--model", model, "--holdout", "0", "--no-pictures", "--seed", str(seed)]
        _adcli("fit", str(root / "train" / "good"), *words, *fit)
        row = json.loads(_adcli("eval", str(root), "--model", model, "--json"))["rows"][-1]
    return {name: round(row[name], 4) for name in COLUMNS}


def _adcli(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "adcli", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"adcli {' '.join(words)}: {done.stderr}")
    return done.stdout


def main() -> None:
    """A table, and with --out the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("good", type=Path, help="a folder of good images")
    parser.add_argument("--weights", type=Path, required=True, action="append", help="an .npz file; may be repeated")
    parser.add_argument("--teacher", type=Path, required=True, help="ResNet-18, torchvision's IMAGENET1K_V1")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--copies", type=int, default=2, help="defective images for each good one")
    parser.add_argument("--most", type=int, default=300, help="good images, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a .json file")
    asked = parser.parse_args()
    images = [found.path for found in find_images([str(asked.good)])]
    chosen = np.sort(np.random.default_rng(asked.seed).permutation(len(images))[: asked.most])
    backbones = {"resnet18": ["--backbone", "resnet18", "--weights", str(asked.teacher)]}
    backbones |= {str(path): ["--backbone", "embedded", "--weights", str(path)] for path in asked.weights}
    backbones["random-embedded"] = ["--backbone", "random-embedded"]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        lay_out([images[number] for number in chosen], Path(folder), asked.seed, asked.copies)
        for method in asked.methods.split(","):
            for name, words in backbones.items():
                one = found[f"{method} {name}"] = judged(Path(folder), [*METHODS[method], *words], asked.seed)
                print(
                    f"{method:10} {Path(name).name:24}",
                    *(f"{key} {value:.4f}" for key, value in one.items()),
                    flush=True,
                )
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
