"""Every method on the magnetic tiles and the bottles with ResNet-18, beside time and memory of the whole commands.

    python benchmarks/accuracy.py [--only mtd/padim/holdout_0] [--seeds 3]

The images and weights are not ours and not in this repository: ADCLI_SHARED names the folder with data/mtd,
data/bottle450 (MVTec AD layout) and weights/. Results are merged into benchmarks/results/accuracy.json, run by run, so
an interrupted measurement goes on where it stopped. No choice is made by these numbers: every run is listed. A method
that draws nothing is run once, as more seeds would give the same model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from measure import RESULTS, SHARED, WEIGHTS, adcli, keep, machine, run

from adcli.detectors import DETECTORS

DATASETS = ("bottle450", "mtd")
SLIM = {"patchcore": ["-p", "coreset=0.01"]}  # as good as the default here, and much faster
RESNET18 = ["--backbone", "resnet18"]  # backbones.py measures it beside adcli's own
METHODS = {
    name: ["--method", name, *([] if method.backbone else RESNET18), *SLIM.get(name, [])]
    for name, method in DETECTORS.items()
}
CONFIGURATIONS = {
    **{name: words for name, words in METHODS.items() if name != "patchcore"},
    "patchcore_1%": METHODS["patchcore"],
    "patchcore_10%": ["--method", "patchcore", *RESNET18, "-p", "coreset=0.1"],
    "patchcore_1%_whiten": [*METHODS["patchcore"], "-p", "whiten=yes"],
    "patchcore_1%_positional": [*METHODS["patchcore"], "-p", "positional=1"],
    "patchcore_1%_384": [*METHODS["patchcore"], "--image-size", "384"],
    "padim_384": [*METHODS["padim"], "--image-size", "384"],
    "padim_layer2,layer3": [*METHODS["padim"], "--layers", "layer2,layer3"],
    "padim_ortho": [*METHODS["padim"], "-p", "reduction=ortho"],
    "fusion_layers": [*METHODS["fusion"], "-p", "members=patchcore[each](coreset=0.01)"],
    "spade_grid=2": [*METHODS["spade"], "-p", "grid=2"],
}
PEERS = ("padim", "patchcore_1%")  # also learnt from all images, as peers do
METRICS = (
    "image_auroc",
    "image_auroc_low",
    "image_auroc_high",
    "image_ap",
    "pixel_auroc",
    "pixel_auroc_low",
    "pixel_auroc_high",
    "pixel_ap",
    "aupro_0.3",
    "aupro_0.3_low",
    "aupro_0.3_high",
    "aupro_0.05",
    "tnr",
    "tpr",
    "region_overlap",
    "method_image_auroc",
)


def seeds_of(configuration: str, asked: int) -> range:
    """Seeds that make a difference; of a method's variants one."""
    method = DETECTORS[CONFIGURATIONS[configuration][1]]
    plain = CONFIGURATIONS[configuration] in METHODS.values()
    return range(asked if method.seeded and plain else 1)


def measure(dataset: str, configuration: str, holdout: str, seed: int, weights: Path) -> dict[str, Any]:
    """One model: fit, eval, and (where it has a threshold) score, each as a whole command."""
    root = SHARED / "data" / dataset
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model.h5")
        chosen = [*CONFIGURATIONS[configuration], "--seed", str(seed), "--holdout", holdout]
        fit = [*chosen, "--model", model, "--no-pictures", "--json"]
        text, fit_took = run(adcli("fit", str(root / "train" / "good"), *fit), ADCLI_WEIGHTS_DIR=str(weights))
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
        if holdout != "0" and seed == 0:  # the others take as long
            out = str(Path(folder) / "results")
            _, result["score"] = run(adcli("score", str(root / "test"), "--model", model, "--out", out, "--json"))
        return result


def main() -> None:
    """Measures what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of a run's name, such as mtd/padim")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the methods that draw something")
    arguments = parser.parse_args()
    path = RESULTS / "accuracy.json"
    kept = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    kept["machine"] = machine()
    kept["weights"] = WEIGHTS.name
    names = [
        (dataset, configuration, holdout, seed)
        for dataset in DATASETS
        for configuration in CONFIGURATIONS
        for holdout in ("0.2", "0")
        for seed in seeds_of(configuration, arguments.seeds)
        if holdout == "0.2" or configuration in PEERS
    ]
    with tempfile.TemporaryDirectory() as weights:
        run(adcli("weights", "add", str(WEIGHTS), "resnet18"), ADCLI_WEIGHTS_DIR=weights)
        for dataset, configuration, holdout, seed in names:
            name = f"{dataset}/{configuration}/holdout_{holdout}/seed_{seed}"
            if arguments.only not in name or name in kept["runs"]:
                continue
            one = kept["runs"][name] = measure(dataset, configuration, holdout, seed, Path(weights))
            keep("accuracy", kept)
            print(name, one["image_auroc"], one["pixel_auroc"], one["aupro_0.3"], one["fit"], flush=True)


if __name__ == "__main__":
    main()
