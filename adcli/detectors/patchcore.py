"""PatchCore: the distance of every patch to the nearest of a coreset of good patches.

Roth, Pemula, Zepeda, Schoelkopf, Brox, Gehler 2022, "Towards Total Recall in Industrial Anomaly Detection",
CVPR 2022, arXiv:2106.08265.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from adcli.detectors import LeftOutScorer, PatchScores, Scorer, check_finite, check_places, check_shapes
from adcli.detectors.coreset import greedy_coreset
from adcli.errors import UsageError
from adcli.types import Progress, no_progress

if TYPE_CHECKING:
    import torch

    from adcli.backbones import Backbone
    from adcli.detectors import Features

_BANK_ROWS = 8192  # bank rows compared at a time; the product of a batch with them stays in the cache's reach


@dataclass(frozen=True)
class PatchCoreParams:
    """What a user may set with -p."""

    coreset: float = 0.1  # share of the good patches kept; section 4.4.2 compares 0.25, 0.1 and 0.01
    dims: int = 1024  # wider features are pooled to this many, section 4.1
    projection: int = 128  # dimensions of the random projection that picks are made in, section 3.2
    neighbours: int = 9  # b of the re-weighted image score, eq. 7


@dataclass(frozen=True)
class PatchCore:
    """What PatchCore has learnt. M bank vectors of D dimensions."""

    Params: ClassVar[type] = PatchCoreParams

    params: PatchCoreParams
    shapes: tuple[tuple[int, int, int], ...]  # (C, h, w) of each layer
    bank: np.ndarray  # (M, D) float32
    owner: np.ndarray  # (M,) int32, place in the order of learning of the input that each bank vector is from
    patches_seen: int  # good patches that the bank stands for
    covering_radius: float  # of the coreset, in the projected space it was chosen in

    @staticmethod
    def layers(backbone: Backbone) -> tuple[str, ...]:
        """Layers 2 and 3 (section 3.1 of the paper)."""
        return backbone.layers[1:]

    @classmethod
    def fit(
        cls, features: Features, params: PatchCoreParams, rng: np.random.Generator, progress: Progress = no_progress
    ) -> PatchCore:
        """Collects every good patch and keeps a greedy coreset. Memory: N h w D float32, as the method demands.

        Raises:
            UsageError: for no images, or a share outside (0, 1].
        """
        import torch

        _check(params, features)
        height, width = features.shapes[0][1:]
        dims = min(params.dims, sum(channels for channels, _, _ in features.shapes))
        patches = None
        filled = n_images = 0
        owners = []
        for batch in features:
            check_shapes(batch.layers, features.shapes)
            embedded = embed(batch.layers, params.dims)
            if patches is None:
                patches = embedded.new_empty(features.n_images * height * width, dims)
            images = torch.arange(n_images, n_images + len(batch.layers[0])).repeat_interleave(height * width)
            n_images += len(batch.layers[0])
            embedded, images = batch.patches(embedded), batch.patches(images.to(embedded.device))
            owners.append(images.cpu())
            patches[filled : filled + len(embedded)] = embedded
            filled += len(embedded)
        if patches is None:
            raise UsageError("patchcore has no good images to learn from")
        owners = torch.cat(owners).numpy().astype(np.int32)
        patches = patches[:filled]  # images that turned out unreadable are missing
        check_finite(patches)
        size = max(1, int(params.coreset * len(patches)))
        first = int(rng.integers(len(patches)))
        if size == len(patches):
            return cls(params, features.shapes, patches.cpu().numpy(), owners, len(patches), 0.0)
        projected = patches
        if params.projection < dims:
            # Johnson-Lindenstrauss: distances keep their proportions; used for the choice only.
            matrix = rng.standard_normal((dims, params.projection)) / params.projection**0.5
            projected = patches @ torch.as_tensor(matrix, dtype=torch.float32, device=patches.device)
        coreset = greedy_coreset(projected, size, first, progress)
        bank = patches[torch.as_tensor(coreset.indices, device=patches.device)].cpu().numpy()
        return cls(params, features.shapes, bank, owners[coreset.indices], len(patches), coreset.radius)

    def scorer(self, device: torch.device | str = "cpu") -> Scorer:
        """Distance of every patch to its nearest bank vector (eq. 6), and the re-weighted image score (eq. 7)."""
        bank = self._bank_on(device)

        def score(features: tuple[torch.Tensor, ...]) -> PatchScores:
            return self._scores(features, *bank)

        return score

    def left_out_scorer(self, device: torch.device | str = "cpu") -> LeftOutScorer:
        """Distances to the nearest bank vector of another image, and the image score among those of others.

        Those of a fit without the image where the bank holds all patches (coreset=1). A coreset is not chosen anew:
        where one of the image's patches was kept in place of another image's, it leaves a gap that such a fit would
        fill. So the scores are on average a little too high, and a threshold made from them rejects rather too few good
        images than too many; of single patches the score may be lower than such a fit's, whose bank is another choice.

        Raises:
            UsageError: when the bank holds patches of one image only.
        """
        import torch

        if len(np.unique(self.owner)) < 2:
            raise UsageError(
                "all patches that patchcore has kept are of one image, so it cannot be left out: give more images or a "
                "larger coreset"
            )
        bank = self._bank_on(device)
        owner = torch.as_tensor(self.owner, device=device)

        def score(features: tuple[torch.Tensor, ...], places: np.ndarray | torch.Tensor) -> PatchScores:
            check_places(features, places)
            own = owner == torch.as_tensor(places, device=device).unsqueeze(1)  # (N, M)
            return self._scores(features, *bank, own)

        return score

    def _bank_on(self, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
        """The bank on a device, and half of each vector's squared length."""
        import torch

        bank = torch.as_tensor(self.bank, device=device)
        return bank, bank.square().sum(1) / 2

    def _scores(
        self,
        features: tuple[torch.Tensor, ...],
        bank: torch.Tensor,
        halves: torch.Tensor,
        own: torch.Tensor | None = None,
    ) -> PatchScores:
        """Scores of a batch. `own` (N, M) bool: bank vectors that are not there for an image."""
        import torch

        check_shapes(features, self.shapes)
        height, width = self.shapes[0][1:]
        queries = embed(features, self.params.dims)  # (N h w, D)
        nearest = _nearest(queries, bank, halves, own)
        # The product form picks the neighbour; the distance itself is taken directly, exact also where it is 0.
        distance = torch.linalg.vector_norm(queries - bank[nearest], dim=1).reshape(-1, height * width)
        worst = distance.argmax(1)
        rows = torch.arange(len(distance), device=distance.device) * (height * width) + worst
        neighbours = min(self.params.neighbours, len(bank))
        image = _reweighted(queries[rows], nearest[rows], distance.amax(1), bank, halves, neighbours, own)
        return PatchScores(distance.reshape(-1, height, width), image)


def _check(params: PatchCoreParams, features: Features) -> None:
    if features.n_images < 1:
        raise UsageError("patchcore has no good images to learn from")
    if not 0 < params.coreset <= 1:
        raise UsageError(f"coreset={params.coreset:g} is no share of the patches: give a number above 0 and at most 1")
    for name in ("dims", "projection", "neighbours"):
        if getattr(params, name) < 1:
            raise UsageError(f"{name}={getattr(params, name)} must be at least 1")


def embed(features: tuple[torch.Tensor, ...], dims: int) -> torch.Tensor:
    """Locally aware patch features (N h w, D), section 3.1, on the first layer's grid.

    Each layer is averaged over 3x3 neighbourhoods (zeros beyond the border, as in the authors' code), deeper layers are
    enlarged bilinearly, and channels beyond `dims` are pooled adaptively.
    """
    import torch
    import torch.nn.functional as functional

    grid = features[0].shape[-2:]
    parts = []
    for feature in features:
        pooled = functional.avg_pool2d(feature, kernel_size=3, stride=1, padding=1)
        if pooled.shape[-2:] != grid:
            pooled = functional.interpolate(pooled, size=grid, mode="bilinear", align_corners=False)
        parts.append(pooled)
    vectors = torch.cat(parts, dim=1).permute(0, 2, 3, 1).flatten(0, 2)
    if vectors.shape[1] > dims:
        vectors = functional.adaptive_avg_pool1d(vectors.unsqueeze(1), dims).squeeze(1)
    return vectors.contiguous()


def _nearest(
    queries: torch.Tensor, bank: torch.Tensor, halves: torch.Tensor, own: torch.Tensor | None = None
) -> torch.Tensor:
    """Index (Q,) of each query's nearest bank vector: the largest q.b - |b|^2 / 2, block by block of the bank.

    `own` (N, M) bool passes over bank vectors for each of N images with equally many queries.
    """
    import torch

    best = index = None
    for start in range(0, len(bank), _BANK_ROWS):
        closeness = torch.addmm(-halves[start : start + _BANK_ROWS], queries, bank[start : start + _BANK_ROWS].T)
        if own is not None:
            block = own[:, start : start + _BANK_ROWS].unsqueeze(1)
            closeness.view(len(own), -1, block.shape[2]).masked_fill_(block, -torch.inf)
        value, at = closeness.max(1)
        if best is None:
            best, index = value, at
        else:
            closer = value > best
            best = torch.where(closer, value, best)
            index = torch.where(closer, at + start, index)
    return index


def _reweighted(
    queries: torch.Tensor,
    nearest: torch.Tensor,
    distance: torch.Tensor,
    bank: torch.Tensor,
    halves: torch.Tensor,
    neighbours: int,
    own: torch.Tensor | None = None,
) -> torch.Tensor:
    """Image scores (N,), eq. 7: a patch far from its neighbour m* counts more when m* itself lies alone.

    s = (1 - exp d(q, m*) / sum over the b nearest m of m* of exp d(q, m)) s*, with m* among the b. A soft maximum
    computes the quotient without overflow.
    """
    import torch

    if neighbours < 2:
        return distance.clone()
    scores = []
    for image, (query, at, farthest) in enumerate(zip(queries, nearest, distance, strict=True)):
        centre = bank[at]
        closeness = bank @ centre - halves
        if own is not None:
            closeness.masked_fill_(own[image], -torch.inf)
        around = torch.topk(closeness, neighbours).indices
        if own is not None:
            around = around[~own[image][around]]  # there may be fewer than b
            if len(around) < 2:
                scores.append(farthest)
                continue
        others = around[around != at][: neighbours - 1]  # m* leads the list itself, also when it has duplicates
        logits = torch.cat([farthest.reshape(1), torch.linalg.vector_norm(query - bank[others], dim=1)])
        scores.append((1 - torch.softmax(logits, 0)[0]) * farthest)
    return torch.stack(scores)
