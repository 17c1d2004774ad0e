"""Accuracy on the magnetic tiles and the bottles with ResNet-18, beside time and memory of the whole commands.

    python benchmarks/accuracy.py [--only mtd/patchcore_10%/holdout_0] [--seeds 5]

The images and weights are not ours and not in this repository: ADCLI_SHARED names the folder with data/mtd,
data/bottle450 (MVTec AD layout) and weights/. Results are merged into benchmarks/results/accuracy.json, run by run, so
an interrupted measurement goes on where it stopped. No choice is made by these numbers: every run is listed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from measure import RESULTS, SHARED, WEIGHTS, adcli, keep, machine, run

DATASETS = ("bottle450", "mtd")
CONFIGURATIONS = {
    "padim": ["--method", "padim"],
    "patchcore_1%": ["--method", "patchcore", "-p", "coreset=0.01"],
    "patchcore_10%": ["--method", "patchcore", "-p", "coreset=0.1"],
}
HOLDOUTS = ("0", "0.2")
METRICS = (
    "image_auroc",
    "image_auroc_low",
    "image_auroc_high",
    "image_ap",
    "pixel_auroc",
    "pixel_ap",
    "aupro_0.3",
    "aupro_0.05",
    "tnr",
    "tpr",
    "region_overlap",
    "method_image_auroc",
)


def measure(dataset: str, configuration: str, holdout: str, seed: int) -> dict[str, Any]:
    """One model: fit, eval, and (where it has a threshold) score, each as a whole command."""
    root = SHARED / "data" / dataset
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.h5")
        chosen = [*CONFIGURATIONS[configuration], "--seed", str(seed), "--holdout", holdout]
        fit = [*chosen, "--weights", str(WEIGHTS), "--model", model, "--json"]
        text, fit_took = run(adcli("fit", str(root / "train" / "good"), *fit))
        fitted = json.loads(text)
        text, eval_took = run(adcli("eval", str(root), "--model", model, "--json"))
        row = json.loads(text)["rows"][-1]
        result = {
            "seed": seed,
            "learnt": fitted["learnt"],
            "precision": fitted["precision"],
            **{name: row.get(name) for name in METRICS},
            "fit": fit_took,
            "eval": eval_took,
            "model_mb": round(Path(model).stat().st_size / 2**20, 1),
        }
        if holdout != "0":
            out = str(Path(folder) / "results")
            _, result["score"] = run(adcli("score", str(root / "test"), "--model", model, "--out", out, "--json"))
        return result


def main() -> None:
    """Measures what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of a run's name, such as mtd/padim")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of padim")
    parser.add_argument("--other-seeds", type=int, default=1, help="seeds of patchcore")
    arguments = parser.parse_args()
    path = RESULTS / "accuracy.json"
    kept = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    kept["machine"] = machine()
    kept["weights"] = WEIGHTS.name
    for dataset in DATASETS:
        for configuration in CONFIGURATIONS:
            for holdout in HOLDOUTS:
                seeds = arguments.seeds if configuration == "padim" else arguments.other_seeds
                for seed in range(seeds):
                    name = f"{dataset}/{configuration}/holdout_{holdout}/seed_{seed}"
                    if arguments.only not in name or name in kept["runs"]:
                        continue
                    kept["runs"][name] = measure(dataset, configuration, holdout, seed)
                    keep("accuracy", kept)
                    one = kept["runs"][name]
                    print(name, one["image_auroc"], one["pixel_auroc"], one["aupro_0.3"], one["fit"], flush=True)


if __name__ == "__main__":
    main()
