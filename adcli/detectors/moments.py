"""Mean and scatter of the vectors at every position, gathered batch by batch; kept, and joined to those of other
images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adcli.detectors import Batch, ReducedFeatures, check_finite
from adcli.detectors.padim_graph import reduce_layers
from adcli.detectors.shrinkage import moved
from adcli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from adcli.detectors import Features
    from adcli.detectors.reduction import Reduction
    from adcli.graphs import Node, Operations

_BLOCK_BYTES = 32 << 20  # of P matrices worked on at a time
_TOGETHER = 48  # images whose products are added at once: the scatter is read and written once for all of them


class Moments(NamedTuple):
    """Of N images: vectors y of D dimensions, about the mean of their position, of which there are P."""

    n_images: int
    count: torch.Tensor  # (P,) images that show the position, which are all but outside a region of interest
    mean: torch.Tensor  # (P, D) float32
    scatter: torch.Tensor  # (P, D, D) float32, sum of y y^T
    cubes: torch.Tensor | None  # (P, D) float64, sum of |y|^2 y; None where they are not wanted
    fourths: torch.Tensor | None  # (P,) float64, sum of |y|^4


@dataclass(frozen=True)
class Kept:
    """Moments as they lie in a model file, beside the mean."""

    count: np.ndarray  # (P,) float32
    scatter: np.ndarray  # (P, D (D + 1) / 2) float32: rows of the lower triangle
    cubes: np.ndarray | None  # (P, D) float64
    fourths: np.ndarray | None  # (P,) float64


def learn_moments(features: Features, reduction: Reduction, upsample: str, higher: bool) -> Moments:
    """Sums over one pass of the features; `higher`: those that Ledoit and Wolf's share takes, too.

    Residuals are taken from the first batch's mean, which lies close to the final one: sums of their products lose
    nothing to cancellation, and float32 suffices.

    Raises:
        UsageError: for no images.
    """
    import torch

    n_images, waiting = 0, 0  # `waiting` of the residuals held are not in the scatter yet
    count = shift = sums = scatter = cubes = fourths = held = None
    for batch, vectors in _vectors(features, reduction, upsample):
        if shift is None:
            shift = vectors.mean(0)
            positions, dims = shift.shape
            count = vectors.new_zeros(positions)
            sums = vectors.new_zeros(positions, dims)
            scatter = vectors.new_zeros(positions, dims, dims)
            cubes = vectors.new_zeros(positions, dims, dtype=torch.float64)
            fourths = vectors.new_zeros(positions, dtype=torch.float64)
            held = vectors.new_empty(_TOGETHER, positions, dims)
        for first in range(0, len(vectors), _TOGETHER):
            some = vectors[first : first + _TOGETHER]
            if waiting + len(some) > _TOGETHER:
                _add_products(scatter, held[:waiting])
                waiting = 0
            residuals = torch.sub(some, shift, out=held[waiting : waiting + len(some)])
            waiting += len(some)
            if batch.inside is None:
                count += len(some)
            else:
                seen = batch.inside[first : first + _TOGETHER].flatten(1)  # (N, P)
                residuals *= seen.unsqueeze(2)
                count += seen.sum(0)
            sums += residuals.sum(0)
            if higher:
                squares = residuals.square().sum(2)  # (N, P)
                cubes += (residuals * squares.unsqueeze(2)).sum(0)
                fourths += squares.double().square().sum(0)
        n_images += len(vectors)
    if count is None:
        raise UsageError("padim has no good images to learn from")
    _add_products(scatter, held[:waiting])
    del held, vectors, some, residuals
    offset = sums / count.clamp_min(1).unsqueeze(1)
    if higher:
        for start, stop in blocks(scatter, bytes_per_value=8):
            parts = (offset, count, sums, scatter, cubes, fourths)
            cubes[start:stop], fourths[start:stop] = moved(*(part[start:stop].double() for part in parts))
    _add_outer(scatter, offset, -count)
    mean = shift + offset
    check_finite(mean)
    check_finite(scatter.diagonal(dim1=1, dim2=2))
    return Moments(n_images, count, mean, scatter, cubes if higher else None, fourths if higher else None)


def _vectors(features: Features, reduction: Reduction, upsample: str) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Each batch with its vectors (N, P, D) float32.

    Where it can, the network hands over nothing else.
    """
    if upsample == "nearest" and isinstance(features, ReducedFeatures) and _only_copies(reduction, features.shapes):

        def reduce_inside(ops: Operations, layers: Sequence[Node]) -> Node:
            rows = reduce_layers(ops, reduction, features.shapes, False, layers)
            return ops.reshape(rows, (1, -1, reduction.dims))

        batches = features.reduced(reduce_inside)
        if batches is not None:
            yield from ((batch, batch.layers[0]) for batch in batches)
            return
    reduce = None
    for batch in features:
        reduce = reduce or reduction.on(features.shapes, upsample, batch.layers[0].device)
        yield batch, reduce(batch.layers).transpose(0, 1)


def _only_copies(reduction: Reduction, shapes: Sequence[tuple[int, int, int]]) -> bool:
    """Whether a network that is to compute in bf16 can take the vectors to the bit: what is resampled or projected
    inside it is rounded, and so is a layer that nothing is taken of."""
    if reduction.channels is None:
        return False
    edges = np.cumsum([0, *(channels for channels, _, _ in shapes)])
    taken = np.histogram(reduction.channels, edges)[0]
    whole = all(shapes[0][axis] % shape[axis] == 0 for shape in shapes for axis in (1, 2))
    return bool(whole and taken.all())


def _add_products(scatter: torch.Tensor, residuals: torch.Tensor) -> None:
    """Adds y y^T of residuals y (N, P, D) to every position's scatter."""
    scatter.baddbmm_(residuals.permute(1, 2, 0), residuals.permute(1, 0, 2))


def kept(moments: Moments) -> Kept:
    """Moments for a model file."""
    import torch

    positions, dims, _ = moments.scatter.shape
    rows, columns = torch.tril_indices(dims, dims, device=moments.scatter.device)
    packed = np.empty((positions, dims * (dims + 1) // 2), np.float32)
    for start, stop in blocks(moments.scatter):
        packed[start:stop] = moments.scatter[start:stop, rows, columns].cpu().numpy()
    higher = (None if one is None else one.cpu().numpy() for one in (moments.cubes, moments.fourths))
    return Kept(moments.count.cpu().numpy(), packed, *higher)


def joined(old: Kept, old_mean: np.ndarray, old_images: int, new: Moments) -> Moments:
    """Moments of the old images and the new ones together (Chan, Golub and LeVeque 1979). Takes the new ones' scatter
    for its own."""
    import torch

    device, dims = new.mean.device, new.mean.shape[1]
    count, mean = torch.as_tensor(old.count, device=device), torch.as_tensor(old_mean, device=device)
    total = count + new.count
    share = (new.count / total.clamp_min(1)).unsqueeze(1)  # (P, 1)
    apart = new.mean - mean
    scatter, cubes, fourths = new.scatter, None, None
    if old.cubes is not None and old.fourths is not None:
        cubes, fourths = new.cubes, new.fourths
    for start, stop in blocks(scatter, bytes_per_value=8):
        part = slice(start, stop)
        before = unpack(old.scatter[part], dims, device)
        before += before.mT.triu(1)
        if cubes is not None:
            one = moved(
                (apart * share)[part].double(),
                count[part].double(),
                torch.zeros_like(mean[part], dtype=torch.float64),
                before.double(),
                torch.as_tensor(old.cubes[part], device=device),
                torch.as_tensor(old.fourths[part], device=device),
            )
            other = moved(
                (apart * (share - 1))[part].double(),
                new.count[part].double(),
                torch.zeros_like(mean[part], dtype=torch.float64),
                scatter[part].double(),
                cubes[part],
                fourths[part],
            )
            cubes[part], fourths[part] = one[0] + other[0], one[1] + other[1]
        scatter[part] += before
    _add_outer(scatter, apart, count * share.squeeze(1))
    return Moments(old_images + new.n_images, total, mean + apart * share, scatter, cubes, fourths)


def unpack(packed: np.ndarray, dims: int, device: torch.device | str, transposed: bool = False) -> torch.Tensor:
    """Packed lower triangles (P, D (D + 1) / 2) to dense ones (P, D, D), or to their transposes, with zeros beside."""
    import torch

    dense = torch.zeros(len(packed), dims, dims, device=device)
    rows, columns = torch.tril_indices(dims, dims, device=device)
    if transposed:
        rows, columns = columns, rows
    for start, stop in blocks(dense):
        dense[start:stop, rows, columns] = torch.as_tensor(packed[start:stop], device=device)
    return dense


def blocks(stack: torch.Tensor, bytes_per_value: int = 4) -> list[tuple[int, int]]:
    """Ranges of positions whose D x D matrices fill a bounded block of memory."""
    positions, dims, _ = stack.shape
    step = max(1, _BLOCK_BYTES // (dims * dims * bytes_per_value))
    return [(start, min(start + step, positions)) for start in range(0, positions, step)]


def _add_outer(scatter: torch.Tensor, vectors: torch.Tensor, factors: torch.Tensor) -> None:
    """Adds factor v v^T to every position's scatter, by blocks: those of all positions would double the memory."""
    for start, stop in blocks(scatter):
        part = vectors[start:stop]
        scatter[start:stop].baddbmm_((part * factors[start:stop, None]).unsqueeze(2), part.unsqueeze(1))
