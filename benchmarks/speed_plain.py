"""What one writes in an afternoon with torch and torchvision, as something for speed.py to time `adcli score` against.

    python benchmarks/speed_plain.py fit METHOD GOOD MODEL --weights FILE [--bank BANK.npy]
    python benchmarks/speed_plain.py score IMAGES OUT MODEL [--bf16] [--device cuda]

Nothing of adcli is imported. Pictures come from a DataLoader with a worker a core and pass torchvision's ResNet-18 in
batches; PaDiM (a Gaussian a position, 100 of 448 channels) or PatchCore (`torch.cdist` against the bank) scores them;
the map is smoothed (sigma 4) and enlarged to the picture's size. NG is above the highest score of the good pictures
held out of `fit`; it gets a mask and an overlay. PatchCore's bank is given, since choosing one is another task.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms import v2

LAYERS = {"padim": ["layer1", "layer2", "layer3"], "patchcore": ["layer2", "layer3"]}
CHANNELS, KEPT = 448, 100  # of layers 1 to 3; of them PaDiM keeps so many
SIDE, SIGMA, BATCH = 256, 4.0, 8
SUFFIXES = {".png", ".jpg"}
Loaded = tuple[torch.Tensor, list[torch.Tensor], list[Path]]


class Pictures(Dataset):
    """Pictures as the network takes them, and as they are."""

    def __init__(self, paths: list[Path]):
        self.paths = paths
        normal = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        resized = v2.Resize((SIDE, SIDE), antialias=True)
        self.transform = v2.Compose([resized, v2.ToDtype(torch.float32, scale=True), normal])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, Path]:
        picture = cv2.imread(str(self.paths[number]))
        pixels = torch.from_numpy(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
        return self.transform(pixels), torch.from_numpy(picture), self.paths[number]


def collate(items: list[tuple[torch.Tensor, torch.Tensor, Path]]) -> Loaded:
    inputs, pictures, paths = zip(*items, strict=True)
    return torch.stack(inputs), list(pictures), list(paths)


def load(paths: list[Path]) -> DataLoader:
    return DataLoader(Pictures(paths), batch_size=BATCH, num_workers=os.cpu_count() or 1, collate_fn=collate)


class Network:
    """ResNet-18 with its weights, and one of two methods on top of its features."""

    def __init__(self, method: str, state: dict[str, torch.Tensor], device: str, bf16: bool):
        self.method, self.device, self.bf16 = method, device, bf16
        network = resnet18(weights=None)
        network.load_state_dict(state, strict=False)
        network = create_feature_extractor(network, LAYERS[method]).eval().to(device)
        self.network = network.to(memory_format=torch.channels_last) if bf16 else network
        self.learnt: dict[str, Any] = {}

    def embed(self, inputs: torch.Tensor) -> torch.Tensor:
        """(N, P, D)"""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            layers = list(self.network(inputs.to(self.device)).values())
        layers = [layer.float() for layer in layers]
        size = layers[0].shape[-2:]
        if self.method == "patchcore":
            layers = [functional.avg_pool2d(layer, 3, 1, 1) for layer in layers]
            layers = [functional.interpolate(layer, size, mode="bilinear") for layer in layers]
            return torch.cat(layers, 1).flatten(2).mT
        layers = [functional.interpolate(layer, size) for layer in layers]
        return torch.cat(layers, 1)[:, self.learnt["channels"]].flatten(2).mT

    def maps(self, inputs: torch.Tensor) -> torch.Tensor:
        """(N, SIDE, SIDE)"""
        vectors = self.embed(inputs)
        if self.method == "patchcore":
            scores = torch.cdist(vectors.flatten(0, 1), self.learnt["bank"]).amin(1).view(len(vectors), -1)
        else:
            apart = (vectors - self.learnt["mean"]).transpose(0, 1)  # (P, N, D)
            scores = ((apart @ self.learnt["inverse"]) * apart).sum(2).sqrt().mT
        side = round(scores.shape[1] ** 0.5)
        grid = scores.view(len(scores), 1, side, side)
        large = functional.interpolate(grid, (SIDE, SIDE), mode="bilinear")
        return v2.functional.gaussian_blur(large, [33, 33], [SIGMA, SIGMA])[:, 0]

    def take(self, learnt: dict[str, Any]) -> None:
        self.learnt = {
            name: value.to(self.device) if torch.is_tensor(value) else value for name, value in learnt.items()
        }


def maps_of(network: Network, paths: list[Path]) -> Iterator[tuple[np.ndarray, np.ndarray, Path]]:
    """Map of its own size, picture and path of each."""
    for inputs, pictures, found in load(paths):
        for small, picture, path in zip(network.maps(inputs).cpu().numpy(), pictures, found, strict=True):
            yield cv2.resize(small, (picture.shape[1], picture.shape[0])), picture.numpy(), path


@torch.inference_mode()
def fit(method: str, good: Path, model: Path, weights: Path, bank: Path | None) -> None:
    """Learns from four of five pictures; the others set the threshold."""
    paths = sorted(path for path in good.iterdir() if path.suffix in SUFFIXES)
    held_out, learnt_from = paths[::5], [path for number, path in enumerate(paths) if number % 5]
    state = torch.load(weights, weights_only=True)
    network = Network(method, state, "cpu", bf16=False)
    if method == "patchcore":
        learnt = {"bank": torch.from_numpy(np.load(bank))}
    else:
        channels = torch.randperm(CHANNELS, generator=torch.Generator().manual_seed(0))[:KEPT]
        network.take({"channels": channels})
        vectors = torch.cat([network.embed(inputs) for inputs, _, _ in load(learnt_from)]).transpose(0, 1)
        mean = vectors.mean(1, keepdim=True)
        apart = vectors - mean
        covariance = apart.mT @ apart / (len(learnt_from) - 1) + 0.01 * torch.eye(KEPT)
        learnt = {"channels": channels, "mean": mean[:, 0], "inverse": torch.linalg.inv(covariance)}
    network.take(learnt)
    threshold = max(float(score_map.max()) for score_map, _, _ in maps_of(network, held_out))
    torch.save({"method": method, "state": state, "learnt": learnt, "threshold": threshold}, model)
    print(json.dumps({"learnt": len(learnt_from), "held_out": len(held_out)}))


@torch.inference_mode()
def score(images: Path, out: Path, model: Path, device: str, bf16: bool) -> None:
    """A line for every picture, a mask and an overlay for those that are NG."""
    stored = torch.load(model, weights_only=True)
    network = Network(stored["method"], stored["state"], device, bf16)
    network.take(stored["learnt"])
    threshold = stored["threshold"]
    (out / "masks").mkdir(parents=True, exist_ok=True)
    (out / "overlays").mkdir(exist_ok=True)
    counts = {"ok": 0, "ng": 0}
    with (out / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "score", "verdict"])
        for score_map, picture, path in maps_of(network, sorted(p for p in images.rglob("*") if p.suffix in SUFFIXES)):
            highest = float(score_map.max())
            verdict = "NG" if highest > threshold else "OK"
            counts[verdict.lower()] += 1
            writer.writerow([path.relative_to(images), highest, verdict])
            if verdict == "NG":
                name = "_".join(path.relative_to(images).with_suffix("").parts)
                cv2.imwrite(str(out / "masks" / f"{name}.png"), (score_map > threshold).astype(np.uint8) * 255)
                heat = np.clip(score_map * (127 / threshold), 0, 255).astype(np.uint8)
                overlay = cv2.addWeighted(picture, 0.6, cv2.applyColorMap(heat, cv2.COLORMAP_JET), 0.4, 0)
                cv2.imwrite(str(out / "overlays" / f"{name}.jpg"), overlay)
    print(json.dumps(counts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("fit")
    one.add_argument("method", choices=LAYERS)
    one.add_argument("good", type=Path)
    one.add_argument("model", type=Path)
    one.add_argument("--weights", type=Path, required=True)
    one.add_argument("--bank", type=Path, help="PatchCore's bank, (M, D) float32")
    one = verbs.add_parser("score")
    one.add_argument("images", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("model", type=Path)
    one.add_argument("--device", default="cpu")
    one.add_argument("--bf16", action="store_true", help="autocast to bfloat16, channels last")
    arguments = vars(parser.parse_args())
    {"fit": fit, "score": score}[arguments.pop("verb")](**arguments)


if __name__ == "__main__":
    main()
