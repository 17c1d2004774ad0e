"""Peak memory of a padim fit for 100 and for 700 images, and PatchCore's coreset time for 320 images.

    python benchmarks/memory.py

The magnetic tiles are used (see accuracy.py for where they lie); results go to benchmarks/results/memory.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from measure import SHARED, WEIGHTS, adcli, keep, machine, run

COUNTS = (100, 700)


def main() -> None:
    """Fits with as many images as COUNTS says, and prints what it took."""
    images = sorted((SHARED / "data" / "mtd" / "train" / "good").glob("*.jpg"))
    results: dict[str, object] = {"machine": machine(), "padim": {}, "patchcore": {}}
    with tempfile.TemporaryDirectory() as folder:
        common = ["--weights", str(WEIGHTS), "--holdout", "0", "--json", "--force", "--model", f"{folder}/model.h5"]
        for count in COUNTS:
            paths = [str(path) for path in images[:count]]
            _, took = run(adcli("fit", *paths, *common))
            results["padim"][f"{count} images"] = took
        for share in ("0.01", "0.1"):
            paths = [str(path) for path in images[:320]]
            text, took = run(adcli("fit", *paths, *common, "--method", "patchcore", "-p", f"coreset={share}"))
            assert json.loads(text)["learnt"] == 320
            results["patchcore"][f"320 images, coreset {share}"] = took
    path: Path = keep("memory", results)
    print(path.read_text())


if __name__ == "__main__":
    main()
