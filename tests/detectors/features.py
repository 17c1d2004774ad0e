"""Features without images: arrays that a detector can learn from, handed out in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from adcli.detectors import Batch

SHAPES = ((6, 9, 7), (8, 5, 4), (10, 3, 2))  # (C, h, w); no grid divides another


class ArrayFeatures:
    """Layers (N, C, h, w) float32 as Features. `claims` is the number of images announced, where it differs; `inside`
    (N, h, w) bool are the patches to learn from."""

    def __init__(
        self,
        layers: Sequence[np.ndarray],
        batch: int = 4,
        claims: int | None = None,
        inside: np.ndarray | None = None,
    ) -> None:
        self.layers = [np.ascontiguousarray(layer, dtype=np.float32) for layer in layers]
        self.n_images = len(self.layers[0]) if claims is None else claims
        self.shapes = tuple(tuple(layer.shape[1:]) for layer in self.layers)
        self.batch = batch
        self.inside = inside

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.layers[0]), self.batch):
            taken = slice(start, start + self.batch)
            layers = tuple(torch.from_numpy(layer[taken].copy()) for layer in self.layers)
            yield Batch(layers, None if self.inside is None else torch.from_numpy(self.inside[taken]))

    def taken(self, order: Sequence[int], batch: int = 4) -> ArrayFeatures:
        """These images only, in this order."""
        return ArrayFeatures([layer[list(order)] for layer in self.layers], batch)


def random_layers(
    count: int, seed: int, shapes: Sequence[tuple[int, int, int]] = SHAPES, offset: float = 0.0
) -> list[np.ndarray]:
    """Correlated channels, another Gaussian at every position, as features of aligned parts have."""
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(12345)  # the part; `seed` draws its images
    layers = []
    for channels, height, width in shapes:
        mixing = fixed.standard_normal((channels, channels)) / channels**0.5
        mean = fixed.standard_normal((channels, height, width))
        noise = rng.standard_normal((count, channels, height, width))
        layers.append((np.einsum("cd,ndhw->nchw", mixing, noise) + mean + offset).astype(np.float32))
    return layers


def tensors(layers: Sequence[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """One batch of all images."""
    return tuple(torch.from_numpy(np.ascontiguousarray(layer)) for layer in layers)
