"""Mean and scatter of the vectors at every position, gathered batch by batch; kept, and joined to those of other
images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adcli.detectors import ReducedFeatures, check_finite
from adcli.detectors.arrays import Values, array_if_on_cpu, as_array, double, like, zeros
from adcli.detectors.padim_graph import reduce_layers
from adcli.detectors.shrinkage import moved
from adcli.errors import UsageError

if TYPE_CHECKING:
    import torch

    from adcli.detectors import Features
    from adcli.detectors.reduction import Reduction
    from adcli.graphs import Node, Operations

_BLOCK_BYTES = 32 << 20  # of P matrices worked on at a time
_CACHED_BYTES = 1 << 20  # likewise, to stay in a core's own cache
_TOGETHER = 48  # images whose products are added at once: the scatter is read and written once for all of them


class Moments(NamedTuple):
    """Of N images: vectors y of D dimensions, about the mean of their position, of which there are P."""

    n_images: int
    count: Values  # (P,) float32: images that show the position, which are all but outside a region of interest
    mean: Values  # (P, D) float32
    scatter: Values  # (P, D, D) float32, sum of y y^T
    cubes: Values | None  # (P, D) float64, sum of |y|^2 y; None where they are not wanted
    fourths: Values | None  # (P,) float64, sum of |y|^4


@dataclass(frozen=True)
class Kept:
    """Moments as they lie in a model file, beside the mean."""

    count: np.ndarray  # (P,) float32
    scatter: np.ndarray  # (P, D (D + 1) / 2) float32: rows of the lower triangle
    cubes: np.ndarray | None  # (P, D) float64
    fourths: np.ndarray | None  # (P,) float64


@np.errstate(over="ignore", invalid="ignore")  # what is no number is refused in the end
def learn_moments(features: Features, reduction: Reduction, upsample: str, higher: bool) -> Moments:
    """Sums over one pass of the features; `higher`: those that Ledoit and Wolf's share takes, too.

    Residuals are taken from the first batch's mean, which lies close to the final one: sums of their products lose
    nothing to cancellation, and float32 suffices.

    Raises:
        UsageError: for no images.
    """
    n_images, waiting = 0, 0  # `waiting` of the residuals held are not in the scatter yet
    count = shift = sums = scatter = cubes = fourths = held = None
    for vectors, inside in _vectors(features, reduction, upsample):
        if shift is None:
            shift = vectors.mean(0)
            positions, dims = shift.shape
            count, sums = zeros(shift, (positions,)), zeros(shift, (positions, dims))
            scatter = zeros(shift, (positions, dims, dims))
            cubes, fourths = zeros(shift, (positions, dims), wide=True), zeros(shift, (positions,), wide=True)
            held = zeros(shift, (_TOGETHER, positions, dims))
        for first in range(0, len(vectors), _TOGETHER):
            some = vectors[first : first + _TOGETHER]
            if waiting + len(some) > _TOGETHER:
                _add_products(scatter, held[:waiting])
                waiting = 0
            residuals = held[waiting : waiting + len(some)]
            residuals[:] = some
            residuals -= shift
            waiting += len(some)
            if inside is None:
                count += len(some)
            else:
                seen = inside[first : first + _TOGETHER].reshape(len(some), -1)  # (N, P)
                residuals *= seen[:, :, None]
                count += seen.sum(0)
            sums += residuals.sum(0)
            if higher:
                squares = (residuals * residuals).sum(2)  # (N, P)
                cubes += (residuals * squares[:, :, None]).sum(0)
                fourths += (double(squares) ** 2).sum(0)
        n_images += len(vectors)
    if count is None:
        raise UsageError("padim has no good images to learn from")
    _add_products(scatter, held[:waiting])
    del held, vectors, some, residuals
    offset = sums / count.clip(1)[:, None]
    if higher:
        for start, stop in blocks(scatter, bytes_per_value=8):
            parts = (offset, count, sums, scatter, cubes, fourths)
            cubes[start:stop], fourths[start:stop] = moved(*(double(part[start:stop]) for part in parts))
    _add_outer(scatter, offset, -count)
    mean = shift + offset
    check_finite(mean)
    check_finite(scatter.diagonal(0, 1, 2))
    return Moments(n_images, count, mean, scatter, cubes if higher else None, fourths if higher else None)


def _vectors(features: Features, reduction: Reduction, upsample: str) -> Iterator[tuple[Values, Values | None]]:
    """Of each batch the vectors (N, P, D) float32, and which patches (N, h, w) to learn from, of a CPU as arrays.

    Where it can, the network hands over nothing else.
    """
    if upsample == "nearest" and isinstance(features, ReducedFeatures) and _only_copies(reduction, features.shapes):

        def reduce_inside(ops: Operations, layers: Sequence[Node]) -> Node:
            rows = reduce_layers(ops, reduction, features.shapes, False, layers)
            return ops.reshape(rows, (1, -1, reduction.dims))

        batches = features.reduced(reduce_inside)
        if batches is not None:
            yield from ((batch.layers[0], batch.inside) for batch in batches)
            return
    reduce = None
    for batch in features:
        reduce = reduce or reduction.on(features.shapes, upsample, batch.layers[0].device)
        vectors = array_if_on_cpu(reduce(batch.layers).transpose(0, 1))
        yield vectors, None if batch.inside is None else array_if_on_cpu(batch.inside)


def _only_copies(reduction: Reduction, shapes: Sequence[tuple[int, int, int]]) -> bool:
    """Whether a network that is to compute in bf16 can take the vectors to the bit: what is resampled or projected
    inside it is rounded, and so is a layer that nothing is taken of."""
    if reduction.channels is None:
        return False
    edges = np.cumsum([0, *(channels for channels, _, _ in shapes)])
    taken = np.histogram(reduction.channels, edges)[0]
    whole = all(shapes[0][axis] % shape[axis] == 0 for shape in shapes for axis in (1, 2))
    return bool(whole and taken.all())


def _add_products(scatter: Values, residuals: Values) -> None:
    """Adds y y^T of residuals y (N, P, D) to every position's scatter."""
    if not isinstance(scatter, np.ndarray):
        scatter.baddbmm_(residuals.permute(1, 2, 0), residuals.permute(1, 0, 2))
        return
    for start, stop in blocks(scatter, of=_CACHED_BYTES):
        some = residuals[:, start:stop]
        scatter[start:stop] += some.transpose(1, 2, 0) @ some.transpose(1, 0, 2)  # by half the work: both are one array


def kept(moments: Moments) -> Kept:
    """Moments for a model file."""
    positions, dims, _ = moments.scatter.shape
    rows, columns = np.tril_indices(dims)
    packed = np.empty((positions, dims * (dims + 1) // 2), np.float32)
    for start, stop in blocks(moments.scatter):
        packed[start:stop] = as_array(moments.scatter[start:stop])[:, rows, columns]
    higher = (None if one is None else as_array(one) for one in (moments.cubes, moments.fourths))
    return Kept(as_array(moments.count), packed, *higher)


@np.errstate(over="ignore", invalid="ignore")
def joined(old: Kept, old_mean: np.ndarray, old_images: int, new: Moments) -> Moments:
    """Moments of the old images and the new ones together (Chan, Golub and LeVeque 1979). Writes over the new ones'
    scatter, cubes and fourths."""
    dims = new.mean.shape[1]
    count, mean = like(new.mean, old.count), like(new.mean, old_mean)
    total = count + new.count
    share = (new.count / total.clip(1))[:, None]  # (P, 1)
    apart = new.mean - mean
    scatter, cubes, fourths = new.scatter, None, None
    if old.cubes is not None and old.fourths is not None:
        cubes, fourths = new.cubes, new.fourths
    rows, columns = np.tril_indices(dims)
    for start, stop in blocks(scatter, bytes_per_value=8):
        part = slice(start, stop)
        dense = np.zeros((len(old.scatter[part]), dims, dims), np.float32)
        dense[:, rows, columns] = dense[:, columns, rows] = old.scatter[part]
        before = like(scatter, dense)
        if cubes is not None:
            one = moved(
                double((apart * share)[part]),
                double(count[part]),
                zeros(mean, mean[part].shape, wide=True),
                double(before),
                like(mean, old.cubes[part]),
                like(mean, old.fourths[part]),
            )
            other = moved(
                double((apart * (share - 1))[part]),
                double(new.count[part]),
                zeros(mean, mean[part].shape, wide=True),
                double(scatter[part]),
                cubes[part],
                fourths[part],
            )
            cubes[part], fourths[part] = one[0] + other[0], one[1] + other[1]
        scatter[part] += before
    _add_outer(scatter, apart, count * share[:, 0])
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


def blocks(stack: Values, bytes_per_value: int = 4, of: int = 0) -> list[tuple[int, int]]:
    """Ranges of positions whose D x D matrices fill a bounded block of memory."""
    positions, dims, _ = stack.shape
    step = max(1, (of or _BLOCK_BYTES) // (dims * dims * bytes_per_value))
    return [(start, min(start + step, positions)) for start in range(0, positions, step)]


def _add_outer(scatter: Values, vectors: Values, factors: Values) -> None:
    """Adds factor v v^T to every position's scatter, by blocks: those of all positions would double the memory."""
    for start, stop in blocks(scatter):
        part = vectors[start:stop]
        scatter[start:stop] += (part * factors[start:stop, None])[:, :, None] * part[:, None, :]
