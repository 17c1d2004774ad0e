"""What `adcli fit --method auto` chooses on good images alone, for the table beside what real defects say of each.

    python benchmarks/auto.py

Runs after accuracy.py, whose figures for the same fits the table takes. Results go to results/auto.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from accuracy import DATASETS
from measure import SHARED, WEIGHTS, adcli, keep, machine, run


def main() -> None:
    """One choice a data set, with the defaults."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for dataset in DATASETS:
            good, model = SHARED / "data" / dataset / "train" / "good", Path(folder) / f"{dataset}.h5"
            fit = adcli("fit", str(good), "--method", "auto", "--weights", str(WEIGHTS), "--model", str(model))
            text, took = run([*fit, "--no-pictures", "--json"])
            found[dataset] = {"took": took, **json.loads(text)["auto"]}
            print(dataset, found[dataset]["chosen"], took, flush=True)
    keep("auto", {"machine": machine(), "datasets": found})


if __name__ == "__main__":
    main()
