"""The embedded backbone beside ResNet-18, which taught it, and beside itself untrained: what is found, and how fast.

    python benchmarks/backbones.py [--only mtd/padim] [--seeds 3]

Each run is `fit`, `eval` and `score` of whole data sets, as anyone would type them; the networks alone are timed on one
core, in turn. The images are not ours and nothing was learnt from them by the backbone: ADCLI_SHARED names the folder
with data/mtd, data/bottle450 (MVTec AD layout) and weights/. Runs are merged into benchmarks/results/backbones.json, so
an interrupted measurement goes on where it stopped; runs of another file of embedded weights are not kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import RESULTS, SHARED, WEIGHTS, adcli, keep, machine, run

from adcli.backbones import embedded_file

DATASETS = ("bottle450", "mtd")
METHODS = {"padim": ["--method", "padim"], "patchcore_1%": ["--method", "patchcore", "-p", "coreset=0.01"]}
BACKBONES = {
    "embedded": ["--backbone", "embedded"],
    "resnet18": ["--backbone", "resnet18", "--weights", str(WEIGHTS)],
    "random-embedded": ["--backbone", "random-embedded"],
}
METRICS = ("image_auroc", "pixel_auroc", "aupro_0.3")
SIZE = 256  # pixels, of the timed input
REPEATS, IN_A_ROW = 20, 8  # turns, and images a turn, as those of a folder follow each other


def measure(dataset: str, method: str, backbone: str, seed: int) -> dict[str, Any]:
    """One model: fit, eval and score, each as a whole command."""
    root = SHARED / "data" / dataset
    with tempfile.TemporaryDirectory() as folder:
        model, out = str(Path(folder) / "model.h5"), str(Path(folder) / "results")
        words = [*METHODS[method], *BACKBONES[backbone], "--seed", str(seed), "--no-pictures"]
        _, fit = run(adcli("fit", str(root / "train" / "good"), *words, "--model", model))
        text, _ = run(adcli("eval", str(root), "--model", model, "--json"))
        row = json.loads(text)["rows"][-1]
        text, score = run(adcli("score", str(root / "test"), "--model", model, "--out", out, "--json"))
        return {
            **{metric: row[metric] for metric in METRICS},
            "fit": fit,
            "score": score,
            "images_per_second": round(json.loads(text)["images"] / score["wall_s"], 2),
            "model_bytes": Path(model).stat().st_size,
        }


def network_milliseconds() -> dict[str, dict[str, Any]]:
    """Of an image through each network on one core: processor time, medians over turns."""
    import numpy as np
    import torch
    from embedded.shapes import contenders, multiply_adds, untrained

    from adcli.backbones.embedded import Shape

    torch.set_num_threads(1)
    shape = Shape()
    words = ":".join(",".join(map(str, part)) for part in ([shape.stem], shape.widths, shape.blocks))
    networks = {"embedded": untrained(words), "resnet18": untrained("resnet18")}
    pixels = np.random.default_rng(0).random((1, SIZE, SIZE, 3), np.float32)
    calls = {name: contenders(network, pixels) for name, network in networks.items()}
    kinds = ("openvino_bf16", "openvino_fp32", "torch_bf16", "torch_fp32")
    took: dict[str, list[list[float]]] = {name: [[] for _ in kinds] for name in networks}
    for repeat in range(REPEATS + 3):
        for name, of in calls.items():
            for place, call in enumerate(of):
                began = time.process_time()
                for _ in range(IN_A_ROW):
                    call()
                if repeat >= 3:  # compiled and warm by now
                    took[name][place].append(1e3 * (time.process_time() - began) / IN_A_ROW)
    return {
        name: {
            "multiply_adds": multiply_adds(network, SIZE),
            **{f"{kind}_ms": round(statistics.median(took[name][place]), 3) for place, kind in enumerate(kinds)},
        }
        for name, network in networks.items()
    }


def main() -> None:
    """Measures what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of a run's name, such as mtd/padim")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    path, sha256 = RESULTS / "backbones.json", hashlib.sha256(embedded_file.FILE.read_bytes()).hexdigest()
    kept = json.loads(path.read_text()) if path.exists() else {}
    if kept.get("sha256") != sha256:  # the others' runs stay
        runs = {name: one for name, one in kept.get("runs", {}).items() if "/embedded/" not in name}
        kept = {"sha256": sha256, "runs": runs}
    kept["machine"] = machine()
    kept["bytes"] = {"embedded": embedded_file.FILE.stat().st_size, "resnet18": WEIGHTS.stat().st_size}
    if "networks" not in kept:
        kept["networks"] = network_milliseconds()
        keep("backbones", kept)
    for seed in range(asked.seeds):
        for dataset in DATASETS:
            for method in METHODS:
                for backbone in BACKBONES:  # in turn, so that the machine's moods meet all alike
                    name = f"{dataset}/{method}/{backbone}/seed_{seed}"
                    if asked.only not in name or name in kept["runs"]:
                        continue
                    one = kept["runs"][name] = measure(dataset, method, backbone, seed)
                    keep("backbones", kept)
                    print(name, *(f"{one[metric]:.4f}" for metric in METRICS), one["images_per_second"], flush=True)


if __name__ == "__main__":
    main()
