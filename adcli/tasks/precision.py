"""Whether bf16 will do: the same good images, and defects planted on them, scored in it and in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adcli.blemishes import KINDS, LEAST_SIZE, blemish, most_size
from adcli.errors import UnreadableImage
from adcli.finding import FoundImage
from adcli.images import Image, read_image
from adcli.metrics.images import auroc
from adcli.model import Model, PrecisionCheck
from adcli.parallel import batches, stream
from adcli.tasks.engines import TORCH, Machine
from adcli.tasks.evidence import Gathered, HeldOut, gather
from adcli.tasks.mapping import Mapped, Mapper
from adcli.thresholds.estimators import Rule
from adcli.types import Progress
from adcli.verdicts import measure, score_of

COMPARING = "comparing"  # the stage's name begins so
MOST = 40  # good images, and as many planted ones
_AT_ONCE = 16  # good images in memory
_LOSS = 0.001  # of the AUROC, beyond which float32 is taken
_SIZE, _STRENGTH = 0.1, 0.5  # of a planted defect: share of the shorter side; not so plain that all stand out


@dataclass(frozen=True)
class PrecisionTrial:
    """Image scores in the precision that was tried, and in float32, of good images and of those with a defect."""

    tried: np.ndarray  # (n,) float64
    float32: np.ndarray  # (n,)
    planted: np.ndarray  # (n,) bool

    def check(self, threshold: float) -> PrecisionCheck:
        """What came of it at a threshold."""
        return PrecisionCheck(
            images=int((~self.planted).sum()),
            planted=int(self.planted.sum()),
            largest_difference=float(np.abs(self.tried - self.float32).max()),
            verdicts_changed=int(((self.tried > threshold) != (self.float32 > threshold)).sum()),
            auroc=self._auroc(self.tried),
            auroc_fp32=self._auroc(self.float32),
        )

    def fine(self) -> bool:
        """Whether the tried precision tells planted from good images as well as float32 does.

        The AUROC is lower by at most 0.001, or by no more than twice the standard error of that difference (DeLong et
        al. 1988), as it is where a few pairs of images that lie side by side change places either way.
        """
        tried, exact = (_above(scores[self.planted], scores[~self.planted]) for scores in (self.tried, self.float32))
        difference = tried - exact  # (planted, good)
        error = sum(difference.mean(axis).var(ddof=1) / difference.shape[1 - axis] for axis in (0, 1))
        return -difference.mean() <= max(_LOSS, 2 * math.sqrt(error))

    def _auroc(self, scores: np.ndarray) -> float:
        return auroc(scores, self.planted)


@dataclass(frozen=True)
class Settled:
    """Held-out images scored, in the precision that will do."""

    mapper: Mapper
    gathered: Gathered
    trial: PrecisionTrial | None = None  # of the mapper's precision, where that is not float32
    notes: list[str] = field(default_factory=list)


def settle(
    model: Model,
    images: Sequence[FoundImage],
    rule: Rule,
    machine: Machine,
    progress: Progress,
    extractor: Any = None,
) -> Settled:
    """Scores held-out images. Where nothing else is asked for, a precision that tells defects worse than float32 is not
    taken.

    A model that has a threshold keeps its engine and its precision where this machine has them.

    Raises:
        UsageError: see `gather`.
    """
    before = model.calibration
    if before is not None:
        model = replace(model, calibration=None)
        if machine.engine == "auto" and before.engine == TORCH:
            machine = replace(machine, engine=TORCH)
        if machine.precision == "auto" and before.precision == "fp32":
            machine = replace(machine, precision="fp32")
    mapper = Mapper(model, machine, extractor)
    gathered = gather(model, mapper, images, rule, progress)
    trial = _try_precision(model, mapper, gathered, machine, progress)
    if trial is None or before is not None or machine.precision != "auto" or trial.fine():
        return Settled(mapper, gathered, trial)
    check = trial.check(math.inf)
    note = (
        f"{mapper.precision} is not used for scores: the AUROC of planted defects is {check.auroc:.4f} in it, and "
        f"{check.auroc_fp32:.4f} in fp32"
    )
    exact = Mapper(model, replace(machine, precision="fp32"), extractor)
    return Settled(exact, gather(model, exact, images, rule, progress), None, [note])


def _try_precision(
    model: Model, mapper: Mapper, gathered: Gathered, machine: Machine, progress: Progress
) -> PrecisionTrial | None:
    """Scores some of the images with a defect, and those and the images themselves in float32; None where that is what
    the mapper computes in, or nothing could be planted."""
    if mapper.precision == "fp32":
        return None
    model = replace(model, scales=gathered.scales)
    reference = Mapper(model, replace(machine, engine=mapper.engine, device=mapper.device, precision="fp32"), own=False)
    images, most = gathered.images, min(MOST, len(gathered.images))
    some = [images[len(images) * number // most] for number in range(most)]

    def score(_: _Source, mapped: Mapped | UnreadableImage) -> float:
        return math.nan if isinstance(mapped, UnreadableImage) else measure(model, mapped.score_map).score

    found: list[tuple[float, float, float, float]] = []
    progress(f"{COMPARING} {mapper.precision} with float32", 0, len(some))
    for block in batches(some, _AT_ONCE):
        pairs = [pair for pair in stream(block, _pair, machine.threads) if pair is not None]
        planted = mapper.stream([pair.planted for pair in pairs], score, _in_memory)
        both = reference.stream([one for pair in pairs for one in (pair.good, pair.planted)], score, _in_memory)
        for pair, score_planted in zip(pairs, planted, strict=True):
            found.append((score_of(pair.held.levels, gathered.scales), score_planted, next(both), next(both)))
        progress(f"{COMPARING} {mapper.precision} with float32", len(found), len(some))
    scores = np.array(found, np.float64).reshape(-1, 4)  # tried: good, planted; float32: good, planted
    scores = scores[np.isfinite(scores).all(1)]
    if len(scores) < 2:
        return None
    return PrecisionTrial(scores[:, :2].ravel(), scores[:, 2:].ravel(), np.tile([False, True], len(scores)))


def _above(planted: np.ndarray, good: np.ndarray) -> np.ndarray:
    """1 where a planted image (m,) scores above a good one (n,), 1/2 where both are equal: (m, n)."""
    return (planted[:, np.newaxis] > good) + 0.5 * (planted[:, np.newaxis] == good)


@dataclass(frozen=True)
class _Source:
    """An image in memory."""

    path: Path
    image: Image


def _in_memory(source: _Source) -> Image:
    return source.image


class _Pair(NamedTuple):
    """A held-out image as it is, and with a defect."""

    held: HeldOut
    good: _Source
    planted: _Source


def _pair(held: HeldOut) -> _Pair | None:
    """None where the image can no longer be read, or has no room."""
    path = held.image.path
    try:
        image = read_image(path)
    except UnreadableImage:
        return None
    largest = most_size(image.pixels.shape)
    if largest < LEAST_SIZE:
        return None
    rng = np.random.default_rng(int.from_bytes(bytes.fromhex(image.sha256), "big"))
    size = float(np.clip(_SIZE * min(image.pixels.shape[:2]), LEAST_SIZE, largest))
    kind = KINDS[int(rng.integers(len(KINDS)))]
    pixels, _ = blemish(image.pixels, image.pixels, kind, size, _STRENGTH, rng)
    return _Pair(held, _Source(path, image), _Source(path, replace(image, pixels=pixels)))
