"""CNN feature dictionary: the distance of every patch to the nearest of a few typical good ones.

Napoletano, Piccoli, Schettini 2018, "Anomaly Detection in Nanofibrous Materials by CNN-Based Self-Similarity", Sensors
18(1):209.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from adcli.detectors import PatchScores, Scorer, check_finite, check_shapes
from adcli.detectors.clustering import k_means
from adcli.detectors.dictionary_graph import DictionaryGraph
from adcli.errors import UsageError
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features
    from adcli.graphs import Graph


_MOST = {"entries": 10_000, "sample": 1_000_000, "restarts": 100}  # beyond, k-means takes days or gigabytes


@dataclass(frozen=True)
class DictionaryParams:
    """What a user may set with -p."""

    patch: int = 4  # side of a patch in cells of the first layer: 16 pixels where those are 4 apart
    normalise: bool = False  # yes: every patch's vector to the L1 norm 1, as in section 6 of the paper
    variance: float = 0.95  # share of the variance that the principal axes keep, section 6 of the paper
    entries: int = 10  # of the dictionary; the paper compares 10, 100, 500 and 1000
    neighbours: int = 1  # nearest entries whose distances are averaged
    sample: int = 50000  # good patches that the entries are chosen among, equally many an image
    restarts: int = 5  # of k-means, of which the best is taken


@dataclass(frozen=True)
class Dictionary:
    """What the method has learnt. C channels of all layers, D principal axes, k entries."""

    Params: ClassVar[type] = DictionaryParams

    params: DictionaryParams
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) of each layer
    centre: np.ndarray  # (C,) float32, mean of the good patches
    axes: np.ndarray  # (C, D) float32
    entries: np.ndarray  # (k, D) float32
    usual: float  # mean score of the good patches in the sample
    spread: float  # standard deviation of these; for information, as the threshold that the paper takes from them

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """Layers 1 to 3: the first has the grid of 4 pixels, the last the averages nearest to the paper's."""
        return backbone.layers

    @classmethod
    def fit(
        cls, features: Features, params: DictionaryParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> Dictionary:
        """Learns the axes in one pass, and the entries from patches drawn in a second one. Memory is that of the
        sample, whatever the number of images.

        Raises:
            UsageError: for no images, or an impossible parameter.
        """
        import torch

        _check(params)
        mean, axes, n_images = _principal_axes(features, params)
        sample = _sample(features, params, mean, axes, n_images, rng)
        centres = k_means(sample, params.entries, params.restarts, rng, progress)
        entries = sample[torch.cdist(centres, sample).argmin(1)]
        scores = torch.cat([_distances(rows, entries, params.neighbours) for rows in sample.split(4096)]).double()
        spread = float(scores.std(unbiased=False))
        arrays = (one.float().cpu().numpy() for one in (mean, axes, entries))
        return cls(params, features.shapes, *arrays, float(scores.mean()), spread)

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Mean distance of every patch to the entries nearest to it."""
        import torch

        embed = embedder(self.shapes, self.params, device)
        mean, axes, entries = (torch.as_tensor(one, device=device) for one in (self.centre, self.axes, self.entries))
        grid = self.shapes[0][1:]

        def score(features: tuple[torch.Tensor, ...]) -> PatchScores:
            check_shapes(features, self.shapes)
            grids = []
            for number in range(len(features[0])):  # one by one: their products then have the same bits in any company
                reduced = (embed(tuple(layer[number] for layer in features)) - mean) @ axes
                grids.append(_distances(reduced, entries, self.params.neighbours).reshape(grid))
            return PatchScores(torch.stack(grids), None)

        return score

    def graph(self, own: bool) -> Graph | None:
        """The scorer as a graph."""
        return DictionaryGraph(self, _windows(self.shapes, self.params.patch))


def _check(params: DictionaryParams) -> None:
    for name in ("patch", "entries", "neighbours", "sample", "restarts"):
        if getattr(params, name) < 1:
            raise UsageError(f"{name}={getattr(params, name)} must be at least 1")
    for name, most in _MOST.items():
        if getattr(params, name) > most:
            raise UsageError(f"{name}={getattr(params, name)} is more than can be clustered: give at most {most:,}")
    if params.neighbours > params.entries:
        raise UsageError(f"neighbours={params.neighbours} are more than the {params.entries} entries of the dictionary")
    if not 0 < params.variance <= 1:
        raise UsageError(f"variance={params.variance:g} is no share of the variance: give a number above 0, at most 1")


def embedder(
    shapes: tuple[tuple[int, int, int], ...], params: DictionaryParams, device: torch.device | str
) -> Callable[[tuple[torch.Tensor, ...]], torch.Tensor]:
    """Features of one image (C_l, h_l, w_l) to the vectors (P, C) of the patches at every cell of the first grid.

    A layer is taken for constant in each of its cells and averaged over the patch, which is what pooling a window of
    cells is where the patch's border falls on those of cells. Patches are whole: one that would reach beyond the image
    is the nearest that does not. Sliding the window is two products with the shares (h, h_l) and (w, w_l) that cells
    have in patches.
    """
    import torch

    windows = [
        (torch.from_numpy(down).to(device), torch.from_numpy(across).T.contiguous().to(device))
        for down, across in _windows(shapes, params.patch)
    ]

    def embed(features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        pooled = [down @ layer.contiguous() @ across for layer, (down, across) in zip(features, windows, strict=True)]
        joined = torch.cat(pooled).flatten(1).T.contiguous()  # (P, C)
        if not params.normalise:
            return joined
        return joined / joined.abs().sum(1, keepdim=True).clamp_min(torch.finfo(joined.dtype).tiny)

    return embed


def _windows(shapes: tuple[tuple[int, int, int], ...], patch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each layer the shares (h, h_l) and (w, w_l)."""
    height, width = shapes[0][1:]
    return [(_shares(height, rows, patch), _shares(width, columns, patch)) for _, rows, columns in shapes]


def _shares(grid: int, cells: int, patch: int) -> np.ndarray:
    """(grid, cells) float32: the share that each cell of a layer has in the patch at each cell of the first grid, in
    one direction."""
    side = min(patch, grid)
    low = (np.arange(grid, dtype=np.float64)[:, np.newaxis] + (1 - side) / 2).clip(0, grid - side)
    edges = np.arange(cells + 1, dtype=np.float64) * grid / cells
    overlap = (np.minimum(low + side, edges[1:]) - np.maximum(low, edges[:-1])).clip(0)
    return (overlap / side).astype(np.float32)


def _distances(reduced: torch.Tensor, entries: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Mean distance (P,) of vectors (P, D) to the nearest entries (k, D): to all, where good patches were too
    few or too much alike for more."""
    import torch

    # The product form picks the entries; the distances themselves are taken directly, exact also where they are 0.
    closeness = torch.addmm(-entries.square().sum(1) / 2, reduced, entries.T)
    nearest = closeness.topk(min(neighbours, len(entries)), dim=1).indices.unbind(1)
    return sum(torch.linalg.vector_norm(reduced - entries[at], dim=1) for at in nearest) / len(nearest)


def _principal_axes(features: Features, params: DictionaryParams) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Mean (C,) and leading axes (C, D) of all good patches, which keep the share of the variance; and the number of
    images that could be read."""
    import torch

    embed = shift = None
    n_images = count = 0
    for batch in features:
        check_shapes(batch.layers, features.shapes)
        if embed is None:
            embed = embedder(features.shapes, params, batch.layers[0].device)
        vectors = batch.patches(_embed_all(embed, batch.layers))
        if shift is None:
            shift = vectors.mean(0) if len(vectors) else vectors.new_zeros(vectors.shape[1])
            sums = torch.zeros_like(shift, dtype=torch.float64)
            scatter = torch.zeros(len(shift), len(shift), dtype=torch.float64, device=shift.device)
        apart = vectors - shift
        sums += apart.sum(0)
        scatter += apart.T @ apart
        count += len(vectors)
        n_images += len(batch.layers[0])
    if not count:
        raise UsageError("dictionary has no good images to learn from")
    check_finite(scatter)
    offset = sums / count
    variances, axes = torch.linalg.eigh(scatter / count - torch.outer(offset, offset))
    variances, axes = variances.flip(0).clamp_min(0), axes.flip(1)
    explained = variances.cumsum(0) / variances.sum().clamp_min(torch.finfo(variances.dtype).tiny)
    kept = min(int((explained < params.variance).sum()) + 1, len(variances))
    axes = axes[:, :kept]
    # An eigenvector's sign is arbitrary: the largest entry is made positive, so that equal data give equal bytes.
    signs = axes[axes.abs().argmax(0), torch.arange(kept, device=axes.device)].sign()
    return (shift + offset).float(), (axes * signs).float(), n_images


def _embed_all(
    embed: Callable[[tuple[torch.Tensor, ...]], torch.Tensor], layers: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """Vectors (N P, C) of a batch, image after image."""
    import torch

    return torch.cat([embed(tuple(layer[number] for layer in layers)) for number in range(len(layers[0]))])


def _sample(
    features: Features,
    params: DictionaryParams,
    mean: torch.Tensor,
    axes: torch.Tensor,
    n_images: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Reduced good patches (n, D): of every image as many, drawn without replacement, or all where they are fewer."""
    import torch

    embed = embedder(features.shapes, params, mean.device)
    share = -(-params.sample // n_images)
    drawn = []
    for batch in features:
        for number in range(len(batch.layers[0])):
            reduced = (embed(tuple(layer[number] for layer in batch.layers)) - mean) @ axes
            if batch.inside is not None:
                reduced = reduced[batch.inside[number].flatten()]
            if len(reduced) > share:
                reduced = reduced[torch.as_tensor(rng.choice(len(reduced), share, replace=False), device=mean.device)]
            drawn.append(reduced)
    return torch.cat(drawn)
