"""What `adcli doctor FOLDER` predicts of time, memory and size, beside what `fit` and `score` then take.

    python benchmarks/forecasts.py [NAME ...]

Every method on bottle450, padim on the magnetic tiles too (see accuracy.py for where they lie); NAME: only runs of
that name, the others are kept. Results go to benchmarks/results/forecasts.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from measure import RESULTS, SHARED, WEIGHTS, adcli, keep, machine, run

RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "bottle450, padim": ("bottle450", ()),
    "bottle450, patchcore 1 %": ("bottle450", ("--method", "patchcore", "-p", "coreset=0.01")),
    "bottle450, patchcore 10 %": ("bottle450", ("--method", "patchcore")),
    "bottle450, spade": ("bottle450", ("--method", "spade")),
    "bottle450, mahalanobis": ("bottle450", ("--method", "mahalanobis")),
    "bottle450, dictionary": ("bottle450", ("--method", "dictionary")),
    "bottle450, texture": ("bottle450", ("--method", "texture")),
    "bottle450, variation": ("bottle450", ("--method", "variation")),
    "bottle450, lbp": ("bottle450", ("--method", "lbp")),
    "bottle450, fusion": ("bottle450", ("--method", "fusion")),
    "mtd, padim": ("mtd", ()),
}
_PIXELS = ("texture", "variation", "lbp")  # methods without weights
_SCORED = 24  # images


def main() -> None:
    """Predicts, fits and scores for each run."""
    path = RESULTS / "forecasts.json"
    kept = json.loads(path.read_text())["runs"] if path.exists() else {}
    for name in sys.argv[1:] or RUNS:
        dataset, options = RUNS[name]
        kept[name] = one(dataset, list(options))
        keep("forecasts", {"machine": machine(), "runs": {each: kept[each] for each in RUNS if each in kept}})
        print(name, json.dumps(kept[name]))


def one(dataset: str, options: list[str]) -> dict[str, object]:
    """What is predicted, and what it came to."""
    folder = SHARED / "data" / dataset
    good = str(folder / "train" / "good")
    pixels = any(option in _PIXELS for option in options)
    words = [good, *options, *([] if pixels else ["--weights", str(WEIGHTS)])]
    scored = sorted(map(str, (folder / "test").glob("*/*.[jp][pn]g")))
    scored = [scored[place * len(scored) // _SCORED] for place in range(_SCORED)]
    with tempfile.TemporaryDirectory() as out:
        model = f"{out}/model.h5"
        text, doctor = run(adcli("doctor", *words, "--json", "--no-project"))
        _, fit = run(adcli("fit", *words, "--json", "--no-project", "--model", model))
        _, score = run(adcli("score", *scored, "--json", "--no-project", "--model", model, "--out", f"{out}/results"))
        size = Path(model).stat().st_size
    return {"predicted": json.loads(text), "doctor": doctor, "fit": fit, "score": score, "model_bytes": size}


if __name__ == "__main__":
    main()
