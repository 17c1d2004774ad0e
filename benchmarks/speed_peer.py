"""anomalib's own fit and predict as whole processes, for speed.py to time; runs in an interpreter that has anomalib.

    python benchmarks/speed_peer.py fit METHOD DATA CHECKPOINT --weights FILE [--bank BANK.npy]
    python benchmarks/speed_peer.py fit METHOD GOOD CHECKPOINT --weights FILE --good-only
    python benchmarks/speed_peer.py predict METHOD CHECKPOINT IMAGES OUT [--device cuda]

Everything is anomalib's default, but for the backbone (ResNet-18, with the weights given) and PatchCore's bank where
one is given. `fit` learns from a data set in the MVTec AD layout and sets thresholds on half of its test images, as
anomalib does; from a folder of good images alone it sets none. `predict` is Engine.predict of a folder, with the
pictures that it writes. The last line printed is JSON: seconds of the import and of the step by itself.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()
LAYERS = {"padim": ["layer1", "layer2", "layer3"], "patchcore": ["layer2", "layer3"]}


def make_model(method: str, weights: Path | None) -> Any:
    """A model with these weights in its backbone; without, its checkpoint has them."""
    import torch
    from anomalib.models import Padim, Patchcore

    known = {"backbone": "resnet18", "layers": LAYERS[method], "pre_trained": False}
    model = Padim(**known) if method == "padim" else Patchcore(**known, coreset_sampling_ratio=0.01)
    if weights is not None:
        network = model.model.feature_extractor.feature_extractor
        missing, _ = network.load_state_dict(torch.load(weights, weights_only=True), strict=False)
        if wanting := [name for name in missing if not name.endswith("num_batches_tracked")]:
            raise SystemExit(f"{weights} lacks {', '.join(wanting)}")
    return model


def make_engine(folder: Path, device: str, **more: Any) -> Any:
    from anomalib.engine import Engine

    return Engine(default_root_dir=folder, accelerator="gpu" if device == "cuda" else "cpu", **more)


def read_data(data: Path) -> Any:
    """A data set in the MVTec AD layout, with any suffix (its own reader of that layout takes .png alone)."""
    from anomalib.data import Folder

    kinds = sorted(path.name for path in (data / "ground_truth").iterdir())
    return Folder(
        name=data.name,
        root=data,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{kind}" for kind in kinds],
        mask_dir=[f"ground_truth/{kind}" for kind in kinds],
    )


def fit(method: str, data: Path, checkpoint: Path, weights: Path, bank: Path | None, good_only: bool) -> dict[str, Any]:
    """Writes a checkpoint."""
    import numpy as np
    import torch
    from anomalib.data import Folder

    torch.manual_seed(0)
    model = make_model(method, weights)
    if good_only:
        module = Folder(name=data.name, normal_dir=data, test_split_mode="none", val_split_mode="none")
    else:
        module = read_data(data)
    # Without test images there is nothing to validate on, and its Folder would still be asked for them.
    engine = make_engine(checkpoint.with_suffix(""), "cpu", **({"limit_val_batches": 0} if good_only else {}))
    imported = time.perf_counter()
    if bank is None:
        engine.fit(model, datamodule=module)
    else:
        model.model.memory_bank = torch.from_numpy(np.load(bank))
        model._is_fitted = torch.tensor([True])  # so that it does not choose a bank of its own
        engine.validate(model, datamodule=module, verbose=False)
    engine.trainer.save_checkpoint(checkpoint)
    return {"import_s": imported - BEGAN, "fit_s": time.perf_counter() - imported}


def predict(method: str, checkpoint: Path, images: Path, out: Path, device: str) -> dict[str, Any]:
    """Predicts a folder, and counts the pictures."""
    model = make_model(method, None)
    engine = make_engine(out, device)
    imported = time.perf_counter()
    predictions = engine.predict(model, data_path=images, ckpt_path=checkpoint)
    took = time.perf_counter() - imported
    labels = [bool(label) for batch in predictions for label in batch.pred_label]
    pictures = sum(path.is_file() for path in out.rglob("images/**/*"))
    counts = {"ok": len(labels) - sum(labels), "ng": sum(labels), "pictures": pictures}
    return counts | {"import_s": imported - BEGAN, "predict_s": took}


def main() -> None:
    import anomalib

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("fit")
    one.add_argument("method", choices=LAYERS)
    one.add_argument("data", type=Path)
    one.add_argument("checkpoint", type=Path)
    one.add_argument("--weights", type=Path, required=True)
    one.add_argument("--bank", type=Path)
    one.add_argument("--good-only", action="store_true")
    one = verbs.add_parser("predict")
    one.add_argument("method", choices=LAYERS)
    one.add_argument("checkpoint", type=Path)
    one.add_argument("images", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--device", default="cpu")
    arguments = vars(parser.parse_args())
    said = {"fit": fit, "predict": predict}[arguments.pop("verb")](**arguments)
    print("\n" + json.dumps(said | {"version": anomalib.__version__}))


if __name__ == "__main__":
    main()
