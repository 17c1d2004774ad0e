"""A method of your own, with the whole command line around it.

    python examples/new_method.py fit ./good --method channels
    python examples/new_method.py score ./incoming --out ./results

`channels` is a toy: one mean and one deviation for each channel of the shallowest layer, the same at every position. In
adcli itself a method is a file like this in adcli/detectors/ and its line in DETECTORS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from adcli.detectors import DETECTORS, Method, PatchScores, Scorer
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    from adcli.backbones import Backbone
    from adcli.detectors import Features


@dataclass(frozen=True)
class ChannelsParams:
    """What a user may set with -p; the default's type is the parameter's."""

    floor: float = 1e-3  # least deviation of a channel


@dataclass(frozen=True)
class Channels:
    """What the method has learnt: these fields are what the model file holds."""

    Params: ClassVar[type] = ChannelsParams

    params: ChannelsParams
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) of each layer
    mean: np.ndarray  # (C,) float32
    deviation: np.ndarray  # (C,) float32

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        return backbone.layers[:1]

    @classmethod
    def fit(
        cls, features: Features, params: ChannelsParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> Channels:
        count, sums, squares = 0, 0.0, 0.0
        for batch in features:
            vectors = batch.layers[0].double().permute(0, 2, 3, 1).flatten(0, 2)  # of (N, C, h, w)
            patches = batch.patches(vectors).cpu().numpy()  # those in the region of interest
            count, sums, squares = count + len(patches), sums + patches.sum(0), squares + (patches**2).sum(0)
        mean = sums / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, params.floor**2))
        return cls(params, features.shapes, mean.astype(np.float32), deviation.astype(np.float32))

    def scorer(self, device: object = "cpu") -> Scorer:
        import torch

        mean, deviation = (torch.as_tensor(a, device=device).view(1, -1, 1, 1) for a in (self.mean, self.deviation))

        def score(features: tuple[torch.Tensor, ...]) -> PatchScores:
            return PatchScores(((features[0] - mean) / deviation).square().mean(1).sqrt(), None)

        return score


DETECTORS["channels"] = Method(
    name="channels",
    location=f"{__name__}:Channels",
    title="Channels: one mean and deviation a channel",
    paper="none",
    stores="two numbers a channel",
    needs="textures; from 1 good image",
)

if __name__ == "__main__":
    from adcli.__main__ import main

    main()
