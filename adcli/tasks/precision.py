"""Whether bf16 will do: the same good images, and defects planted on them, scored in it and in float32."""

from __future__ import annotations

import hashlib
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
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapped, Mapper
from adcli.types import Progress
from adcli.verdicts import measure

_MOST = 40  # good images, and as many planted ones
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
        """Whether the tried precision tells planted from good as well as float32 does."""
        return self._auroc(self.tried) >= self._auroc(self.float32) - _LOSS

    def _auroc(self, scores: np.ndarray) -> float:
        return auroc(scores, self.planted)


def settle_precision(
    model: Model, images: Sequence[FoundImage], machine: Machine, progress: Progress, extractor: Any = None
) -> tuple[Mapper, PrecisionTrial | None, list[str]]:
    """The mapper to calibrate these held-out images with, the trial of its precision where that is not float32, and
    what must be said: where nothing else is asked for, a precision that tells defects worse than float32 is not taken.
    """
    mapper = Mapper(model, machine, extractor)
    trial = try_precision(model, mapper, images, machine, progress)
    if trial is None or machine.precision != "auto" or trial.fine():
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
    some = list(images)[:: max(1, math.ceil(len(images) / _MOST))]
    sources = [source for image in some for source in (_Source(image, None), _Source(image, _other(image, some)))]
    reference = Mapper(model, replace(machine, engine=mapper.engine, device=mapper.device, precision="fp32"), own=False)
    found: list[dict[_Source, float]] = []
    for number, one in enumerate((mapper, reference)):
        scores = one.stream(sources, lambda source, mapped: (source, _score(model, mapped)), _read)
        found.append({})
        for done, (source, score) in enumerate(scores, number * len(sources)):
            progress("comparing bf16 with float32", done, 2 * len(sources))
            if math.isfinite(score):
                found[-1][source] = score
    both = [source for source in sources if source in found[0] and source in found[1]]
    planted = np.array([source.donor is not None for source in both], bool)
    if not planted.any() or planted.all():
        return None
    tried, float32 = (np.array([scores[source] for source in both]) for scores in found)
    return PrecisionTrial(tried, float32, planted)


@dataclass(frozen=True)
class _Source:
    """An image as it is, or with a defect whose pixels are partly those of another."""

    image: FoundImage
    donor: FoundImage | None

    @property
    def path(self) -> Path:
        return self.image.path


def _other(image: FoundImage, images: Sequence[FoundImage]) -> FoundImage:
    return images[(images.index(image) + 1) % len(images)]


def _read(source: _Source) -> Image:
    image = read_image(source.path)
    if source.donor is None:
        return image
    largest = most_size(image.pixels.shape)
    if largest < LEAST_SIZE:
        raise UnreadableImage(f"{source.path} is too small to plant a defect on.", image.sha256)
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(image.sha256.encode()).digest(), "big"))
    size = float(np.clip(_SIZE * min(image.pixels.shape[:2]), LEAST_SIZE, largest))
    kind = KINDS[int(rng.integers(len(KINDS)))]
    donor = read_image(source.donor.path).pixels
    pixels, _ = blemish(image.pixels, donor, kind, size, _STRENGTH, rng, None)
    return replace(image, pixels=pixels)


def _score(model: Model, mapped: Mapped | UnreadableImage) -> float:
    return math.nan if isinstance(mapped, UnreadableImage) else measure(model, mapped.score_map).score
