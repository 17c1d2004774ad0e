"""Whether bf16 will do: the same good images, and defects planted on them, scored in it and in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adcli.blemishes import KINDS, LEAST_SIZE, blemish, most_size
from adcli.errors import UnreadableImage
from adcli.finding import FoundImage
from adcli.images import Image, read_image
from adcli.metrics.images import auroc
from adcli.model import Model, PrecisionCheck
from adcli.parallel import batches, stream
from adcli.tasks.engines import TORCH, Machine
from adcli.tasks.mapping import Mapped, Mapper
from adcli.types import Progress
from adcli.verdicts import measure

_MOST = 40  # good images, and as many planted ones
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
            largest_difference=float(np.abs(self.tried - self.float32)[~self.planted].max()),
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


def settle_precision(
    model: Model, images: Sequence[FoundImage], machine: Machine, progress: Progress, extractor: Any = None
) -> tuple[Mapper, PrecisionTrial | None, list[str]]:
    """The mapper to calibrate these held-out images with, the trial of its precision where that is not float32, and
    what must be said: where nothing else is asked for, a precision that tells defects worse than float32 is not taken.

    A model that has a threshold keeps its engine and its precision where this machine has them.
    """
    before = model.calibration
    if before is not None:
        model = replace(model, calibration=None)
        if machine.engine == "auto" and before.engine == TORCH:
            machine = replace(machine, engine=TORCH)
        if machine.precision == "auto" and before.precision == "fp32":
            machine = replace(machine, precision="fp32")
    mapper = Mapper(model, machine, extractor)
    trial = try_precision(model, mapper, images, machine, progress)
    if trial is None or before is not None or machine.precision != "auto" or trial.fine():
        return mapper, trial, []
    check = trial.check(math.inf)
    note = (
        f"{mapper.precision} is not used for scores: the AUROC of planted defects is {check.auroc:.4f} in it, and "
        f"{check.auroc_fp32:.4f} in fp32"
    )
    return Mapper(model, replace(machine, precision="fp32"), extractor), None, [note]


def try_precision(
    model: Model, mapper: Mapper, images: Sequence[FoundImage], machine: Machine, progress: Progress
) -> PrecisionTrial | None:
    """Scores some of the images once more in float32; None where that is what the mapper computes in, or nothing could
    be planted."""
    if mapper.precision == "fp32":
        return None
    # Few at a time: both precisions lie in memory side by side.
    alone = replace(machine, engine=mapper.engine, device=mapper.device, precision="fp32", batch_size=4)
    reference = Mapper(model, alone, own=False)
    some = [images[len(images) * number // min(_MOST, len(images))] for number in range(min(_MOST, len(images)))]
    found: list[tuple[float, float]] = []
    for block in batches(some, _AT_ONCE):
        sources = [source for pair in stream(block, _pair, machine.threads) for source in pair]
        tried, float32 = (
            one.stream(sources, lambda source, mapped: _score(model, mapped), lambda source: source.image)
            for one in (mapper, reference)
        )
        found += zip(tried, float32, strict=True)
        progress(f"comparing {mapper.precision} with float32", len(found) // 2, len(some))
    scores = np.array(found, np.float64).reshape(-1, 2, 2)  # (image, as it is and planted, tried and float32)
    scores = scores[np.isfinite(scores).all((1, 2))]
    if len(scores) < 2:
        return None
    return PrecisionTrial(scores[..., 0].ravel(), scores[..., 1].ravel(), np.tile([False, True], len(scores)))


def _above(planted: np.ndarray, good: np.ndarray) -> np.ndarray:
    """1 where a planted image (m,) scores above a good one (n,), 1/2 where both are equal: (m, n)."""
    return (planted[:, np.newaxis] > good) + 0.5 * (planted[:, np.newaxis] == good)


@dataclass(frozen=True)
class _Source:
    """An image in memory."""

    path: Path
    image: Image


def _pair(found: FoundImage) -> list[_Source]:
    """An image as it is, and with a defect; none where it cannot be read, or has no room."""
    try:
        image = read_image(found.path)
    except UnreadableImage:
        return []  # calibration lists it
    largest = most_size(image.pixels.shape)
    if largest < LEAST_SIZE:
        return []
    rng = np.random.default_rng(int.from_bytes(bytes.fromhex(image.sha256), "big"))
    size = float(np.clip(_SIZE * min(image.pixels.shape[:2]), LEAST_SIZE, largest))
    kind = KINDS[int(rng.integers(len(KINDS)))]
    pixels, _ = blemish(image.pixels, image.pixels, kind, size, _STRENGTH, rng)
    return [_Source(found.path, image), _Source(found.path, replace(image, pixels=pixels))]


def _score(model: Model, mapped: Mapped | UnreadableImage) -> float:
    return math.nan if isinstance(mapped, UnreadableImage) else measure(model, mapped.score_map).score
