"""What each method keeps, holds in memory and computes, as formulas of the number of images and the shapes of layers.

Of the method alone: the network, the libraries and the images come to it (adcli.tasks.forecast). Arrays that are there
at the same time are added up; where something depends on the images themselves, the formula says what it assumes.
Letters: N images, P positions of the first layer's grid, C channels of all layers, D dimensions of a vector, M vectors
of a bank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adcli.errors import UsageError

if TYPE_CHECKING:
    from adcli.tasks.networks import Shape

LEARN_BATCH, SCORE_BATCH = 16, 4  # inputs at a time on a CPU, in learning and in scoring
_MIB = 1 << 20
_RESIDENT = 512 * _MIB  # a bank up to this size is held in memory, see adcli.gallery
_ROWS = 8192  # of a bank or a cloud, worked on at a time
_TOGETHER, _COMPARED_AT_ONCE = 48, 16  # images of padim, see its moments and its graph
_PAIRS = 32768  # distances taken directly at a time while a coreset is chosen


@dataclass(frozen=True)
class Given:
    """What a cost depends on beside the method's parameters."""

    images: int  # N, learnt from
    shapes: tuple[Shape, ...]  # (C, h, w) of the method's layers
    threads: int

    @property
    def channels(self) -> int:
        """C."""
        return sum(channels for channels, _, _ in self.shapes)

    @property
    def positions(self) -> int:
        """P."""
        return self.shapes[0][1] * self.shapes[0][2]


@dataclass(frozen=True)
class Cost:
    """Bytes, and multiply-adds as products of matrices in float32 would do them in the same time."""

    stored: int  # in the model file
    spooled: int  # in temporary files while learning
    learning: int  # in memory at most, while the network gives features
    finishing: int  # in memory at most, after the last image
    scoring: int  # in memory at most, of all threads
    passes: int  # over the images
    learn_work: float  # of an image, in all passes together
    finish_work: float  # after the last image, on one core
    score_work: float  # of an image

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))


def cost_of(method: str, params: Any, given: Given) -> Cost:
    """What a method costs with these parameters, fusion excepted: that is `fused` of its members.

    Raises:
        UsageError: for a method without a formula.
    """
    if method not in FORMULAS:
        raise UsageError(f"nothing is known of what {method} takes: known is that of {', '.join(FORMULAS)}")
    return FORMULAS[method](params, given)


def fused(members: list[Cost], threads: int) -> Cost:
    """What a fusion costs: its members learn one after another, and a last pass scores what was learnt from, by all."""
    total = sum(members[1:], members[0])
    before = [sum(one.stored for one in members[:n]) for n in range(len(members))]
    learning = max(held + one.learning for held, one in zip(before, members, strict=True))
    wider = max(1.0, LEARN_BATCH / SCORE_BATCH / threads)  # batches of learning, by one thread
    return replace(
        total,
        learning=max(learning, round(total.scoring * wider)),
        finishing=max(held + one.finishing for held, one in zip(before, members, strict=True)),
        passes=total.passes + 1,
        learn_work=total.learn_work + total.score_work,
    )


def _padim(params: Any, given: Given) -> Cost:
    p, c = given.positions, given.channels
    d = c if params.reduction == "none" else params.dims or (550 if c >= 1000 else min(100, c))
    packed, dense = 4 * p * d * (d + 1) // 2, 4 * p * d * d
    shrinks = params.shrinkage == "ledoit-wolf" or (params.shrinkage == "auto" and given.images < 3 * d)
    higher = (8 * p * d + 8 * p) if params.shrinkage != "none" else 0
    sums = (4 * p + packed + higher) if params.updatable else 0
    reduction = 8 * d if params.reduction in ("random", "none") else 4 * c * d
    vectors = 4 * p * d  # of an image
    waiting = (given.threads + 2) * LEARN_BATCH + _TOGETHER  # images whose vectors are there at the same time
    return Cost(
        stored=vectors + packed + (8 * p if shrinks else 0) + reduction + sums,
        spooled=0,
        learning=dense + 3 * vectors + higher + waiting * vectors,
        finishing=dense + packed + higher + sums + 64 * _MIB,
        scoring=dense * 3 // 4 + packed + 2 * vectors + sums + given.threads * (_COMPARED_AT_ONCE + 4) * vectors,
        passes=2 if params.reduction == "pca" else 1,
        learn_work=p * d * d + (p * c * c if params.reduction == "pca" else 0),
        finish_work=p * (d**3 + 1100 * d * d),  # small matrices in float64, and their triangles packed
        score_work=p * d * d,
    )


def _patchcore(params: Any, given: Given) -> Cost:
    p, d = given.positions, min(params.dims, given.channels)
    n = given.images * p
    k = min(params.projection, d)
    kept = n * (1 - params.denoise)
    m = p * max(1, int(params.coreset * kept / p)) if params.positional >= 0 else max(1, int(params.coreset * kept))
    chooses = params.coreset < 1 or params.denoise > 0
    placed = 8 * (2 * p + 1) if params.positional >= 0 else 0
    bank, vectors = 4 * m * d, 4 * n * d
    batch = 5 * 4 * LEARN_BATCH * p * d
    choosing = 0
    if chooses:
        pairs = min(_PAIRS, n) * k * (2 * 4 + 3 * 8)  # two gathered, and their difference in float64
        choosing = 4 * n * k + 32 * n + given.threads * (pairs + 4 * _ROWS * (k + 512)) + 16 * min(_ROWS, n) * k
    seen, reach = m, 1.0
    if params.positional >= 0:
        reach = min(1.0, (2 * params.positional + 1) ** 2 / p)
        products = 2 * 32 * _MIB
    else:
        seen = min(m, _ROWS)
        products = (2 if m > _ROWS else 1) * 4 * SCORE_BATCH * p * seen  # of one block, while the next is made
    held = bank if bank <= _RESIDENT else given.threads * 4 * _ROWS * d
    return Cost(
        stored=bank + 4 * m + placed + (4 * d + 4 * d * d if params.whiten else 0) + (4 * m if params.denoise else 0),
        spooled=vectors * (2 if params.whiten else 1) + (bank if m < n else 0),
        learning=8 * n + batch,
        finishing=8 * n + choosing,
        scoring=held + given.threads * (products + 4 * 4 * SCORE_BATCH * p * d),
        passes=1,
        learn_work=20 * p * d,
        finish_work=(m * (n + _SCANNED * min(_ROWS, n)) * k + n * k * d) if chooses else 0,
        score_work=p * m * (d + _COMPARED) * reach,
    )


def _spade(params: Any, given: Given) -> Cost:
    grid = min(params.grid, len(given.shapes))
    first = (sum(channels for channels, _, _ in given.shapes[:grid]), *given.shapes[grid - 1][1:])
    levels = (first, *given.shapes[grid:])
    row = sum(map(math.prod, levels))
    width = 2 if params.storage == "float16" else 4
    neighbours = min(params.neighbours, given.images)
    deep = sum(channels * (h * w) ** 2 for channels, h, w in levels[1:])
    fine = first[0] * (first[1] * first[2]) ** 2
    pooled = min(reversed(given.shapes), key=lambda shape: shape[1] * shape[2])[0]
    return Cost(
        stored=given.images * (width * row + 4 * pooled),
        spooled=given.images * width * row,
        learning=4 * given.images * pooled + 5 * 4 * LEARN_BATCH * row,
        finishing=0,
        scoring=given.threads * (5 * 4 * row + 48 * _MIB),
        passes=1,
        learn_work=4 * row,
        finish_work=0,
        score_work=neighbours * (_DEEP * deep + _FINE * fine),
    )


def _mahalanobis(params: Any, given: Given) -> Cost:
    areas = [(c, h * w) for c, h, w in given.shapes]
    kept = sum(4 * given.images * c + (4 + 8 * c) * p + 8 * c * c for c, p in areas)
    batch = max(2 * 8 * LEARN_BATCH * c * p for c, p in areas)
    work = sum(c * c * p for c, p in areas)
    return Cost(
        stored=kept,
        spooled=0,
        learning=kept + sum(8 * c * p for c, p in areas) + batch,
        finishing=kept,
        scoring=kept
        + sum(12 * c * p + 24 * c * c for c, p in areas)
        + given.threads * max(12 * c * p for c, p in areas),
        passes=1,
        learn_work=2 * work,
        finish_work=0,
        score_work=work,
    )


def _dictionary(params: Any, given: Given) -> Cost:
    """Assumes half as many axes as channels: how many there are, the images decide."""
    p, c = given.positions, given.channels
    d = -(-c // 2)
    sample = min(max(params.sample, given.images), given.images * p)
    batch = 22 * LEARN_BATCH * p * c  # with those of the batch before
    windows = sum(channels * rows * columns * given.shapes[0][1] for channels, rows, columns in given.shapes)
    windows += sum(channels * columns * p for channels, _, columns in given.shapes)
    return Cost(
        stored=4 * (c + c * d + params.entries * d),
        spooled=0,
        learning=batch + 4 * sample * d,
        finishing=4 * sample * (3 * d + 2 * params.entries),
        scoring=given.threads * 4 * p * (3 * c + 2 * d),
        passes=2,
        learn_work=2 * windows + p * c * (c + d),
        finish_work=sample * d * params.entries * params.restarts * 60 + 40 * c**3,
        score_work=windows + p * d * (c + params.entries),
    )


def _texture(params: Any, given: Given) -> Cost:
    _, height, width = given.shapes[0]
    pixels = (3 if params.colour else 1) * params.patch**2
    d, k, levels = min(params.dims or pixels, pixels), params.components, params.levels
    patches = sum(-(-height // 2**level) * -(-width // 2**level) for level in range(levels))
    sample = min(params.sample, given.images * height * width)
    return Cost(
        stored=4 * d * pixels + 4 * levels * k * (1 + d + d * d) + 8 * levels,
        spooled=0,
        learning=levels * sample * (4 * d + 8) + 4 * height * width * (3 * d + 4),
        finishing=levels * sample * (4 * d + 8) + sample * k * d * 8 * 6,
        scoring=given.threads * (4 * height * width * (2 * d + 2 * levels) + 2 * 4 * _ROWS * k * d),
        passes=1,
        learn_work=patches * d * pixels * 4,
        finish_work=levels * sample * k * d * (d + 8) * 200,
        score_work=patches * d * (pixels + 4 * k * d),
    )


def _variation(params: Any, given: Given) -> Cost:
    _, height, width = given.shapes[0]
    pixels, channels = height * width, 3 if params.colour else 1
    return Cost(
        stored=pixels * (4 + channels * (8 + (16 if params.updatable else 0))),
        spooled=0,
        learning=pixels * (4 + channels * (24 + 3 * 8 * LEARN_BATCH)),
        finishing=pixels * channels * 24,
        scoring=pixels * channels * (16 + given.threads * 12 * SCORE_BATCH),
        passes=1,
        learn_work=pixels * channels * 100,
        finish_work=0,
        score_work=pixels * channels * 50,
    )


def _lbp(params: Any, given: Given) -> Cost:
    _, height, width = given.shapes[0]
    blocks = round(height / params.stride) * round(width / params.stride)
    return Cost(
        stored=8 * (54 * 54 + 2 * 54) + 4 * blocks,
        spooled=0,
        learning=height * width * 8 * 24,
        finishing=0,
        scoring=given.threads * height * width * 8 * 24,
        passes=1,
        learn_work=height * width * 24 * 100,
        finish_work=0,
        score_work=height * width * 24 * 100,
    )


FORMULAS: dict[str, Callable[[Any, Given], Cost]] = {
    "padim": _padim,
    "patchcore": _patchcore,
    "spade": _spade,
    "mahalanobis": _mahalanobis,
    "dictionary": _dictionary,
    "texture": _texture,
    "variation": _variation,
    "lbp": _lbp,
}

# What is slower than a product of large matrices, in multiply-adds of one; measured, see benchmarks/forecasts.py.
_SCANNED = 50.0  # of each number that a pick of the coreset looks at in float64
_COMPARED = 170  # of finding the nearest in a product
_DEEP, _FINE = 2.0, 0.3  # of SPADE's pruned search: twice all of the deep layers, a third of the fine ones
