"""The four verbs from Python, on a dataset in the MVTec AD layout. Everything is written beside it, to FOLDER-results.

python examples/make_textures.py textures
python examples/python_api.py textures
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import adcli
from adcli.errors import AdcliError


def main(dataset: Path) -> None:
    out = dataset.with_name(dataset.name + "-results")
    out.mkdir(exist_ok=True)
    model = out / "model.h5"
    good = sorted((dataset / "train/good").glob("*.png"))
    learn, hold_out = good[::2], good[1::2]

    fitted = adcli.fit(learn, model, method="padim", holdout=0, overwrite=True)
    print(f"learnt from {fitted.learnt} images; {fitted.model.detector.mean.shape[0]} positions")

    calibrated = adcli.calibrate(hold_out, model, min_area="0.2%")
    print(f"NG above {calibrated.in_force.threshold:.4g}. {calibrated.in_force.guarantee}")

    scored = adcli.score(dataset / "test", out / "scored", model)
    print(scored.counts)
    for line in (out / "scored/results.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["verdict"] == "NG":
            largest = record["regions"][0]
            print(f"{record['image']}: {largest['area_px']} px at {largest['bbox']}, p = {record['p_value']:.3g}")

    row = adcli.evaluate(dataset, model).rows[-1]
    print(f"image AUROC {row['image_auroc']:.3f}, AUPRO@0.3 {row['aupro_0.3']:.3f}, good accepted {row['tnr']:.3f}")

    stored = adcli.load(model)
    print(f"{model}: sha256 {stored.sha256[:12]}, detector {stored.detector_digest[:12]}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/python_api.py FOLDER")
    try:
        main(Path(sys.argv[1]))
    except AdcliError as error:  # every refusal is one sentence and an exit code
        sys.exit(f"{error}")
