"""What is evaluated: a model's maps and verdicts, those that `score` wrote, or the maps of another tool.

Each source tells the same of an image, `Observed`, so one ruler measures them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from adcli.errors import UnreadableImage, UsageError
from adcli.image_scores import StructCore
from adcli.layouts import LabelledImage
from adcli.model import Model
from adcli.store import Stored, load
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapped, Mapper
from adcli.tasks.pictures import colour_scale
from adcli.types import Verdict
from adcli.verdicts import judge, measure

Result = TypeVar("Result")


@dataclass(frozen=True)
class Observed:
    """What is known of one image before its truth is looked at."""

    sha256: str
    score: float  # raw
    verdict: Verdict | None  # None without a threshold
    size: tuple[int, int]  # H, W of the image
    score_map: np.ndarray | None  # (h, w) float32 of any size, minus infinity where nothing was looked at
    ng_mask: np.ndarray | None  # (H, W) bool, as `score` writes it, all False for OK and CHECK; None if not known
    method_score: float | None = None


@dataclass(frozen=True)
class Thresholds:
    """Those in force; None where there is none."""

    ng: float | None
    check: float | None = None
    of_scores: bool = True  # whether NG are the images whose score is above: not so where a table has the scores

    def on_scores(self) -> tuple[float | None, float | None]:
        """NG and CHECK as marks on the axis of the image scores."""
        return (self.ng, self.check) if self.of_scores else (None, None)


class Source(Protocol):
    """Where maps, scores and verdicts come from."""

    thresholds: Thresholds
    model_sha256: str | None
    seed: int  # of the bootstrap
    has_maps: bool
    notes: list[str]
    scale: tuple[float, float, str] | None  # scores at 0 and 1 of an overlay's colours, and what the first is
    white_level: float | None  # of 16-bit images, to draw them
    structcore: StructCore | None  # what is usual among good maps; None if not known

    def stream(
        self,
        images: Sequence[LabelledImage],
        finish: Callable[[LabelledImage, Observed | UnreadableImage], Result],
    ) -> Iterator[Result]:
        """finish(image, what is known or why not) for every image, in order; `finish` runs on worker threads."""

    def facts(self) -> dict[str, Any]:
        """What it is, for whoever must trace a number: `kind`, `path`, `model` (sha256), `sizes` that a region must
        have to count."""

    def seen(self) -> dict[str, frozenset[str]]:
        """Digests of images that it learnt from or was calibrated on, by what was done with them."""


class ModelSource:
    """A model file that maps and judges the images now."""

    has_maps = True

    def __init__(self, path: Path, machine: Machine, weights: Path | None = None):
        from adcli.tasks.score import check_weights

        stored: Stored = load(path)
        if weights is not None:
            check_weights(stored.model, weights)
        self._path = path
        self.model: Model = stored.model
        self._mapper = Mapper(stored.model, machine)
        self.model_sha256 = stored.sha256
        self.seed = stored.model.spec.seed
        calibration = stored.model.calibration
        self.thresholds = (
            Thresholds(None) if calibration is None else Thresholds(calibration.threshold, calibration.check_threshold)
        )
        self.scale = None if calibration is None else colour_scale(stored.model, calibration)
        self.white_level = stored.model.spec.white_level
        self.structcore = None if calibration is None else calibration.structcore
        self.notes = list(self._mapper.notes)
        if calibration is None:
            self.notes.append("the model has no threshold yet, so what needs one is undefined: adcli calibrate sets it")
        uninspected = stored.model.geometry.uninspected()
        if uninspected != 0:
            where = f"{uninspected:.1%} of an image" if uninspected else "what the aligned frame does not cover"
            self.notes.append(
                f"{where} is not inspected: its good pixels are not counted, and defects there count as missed"
            )

    def stream(self, images, finish):
        """As `Source` says."""

        def observe(image: LabelledImage, mapped: Mapped | UnreadableImage):
            return finish(image, mapped if isinstance(mapped, UnreadableImage) else self._observed(image, mapped))

        yield from self._mapper.stream(images, observe)

    def facts(self) -> dict[str, Any]:
        """As `Source` says."""
        sizes = [str(size) for size in self.model.sizes]
        return {"kind": "model", "path": str(self._path), "model": self.model_sha256, "sizes": sizes}

    def seen(self) -> dict[str, frozenset[str]]:
        """As `Source` says."""
        found = {"learnt": frozenset(self.model.provenance.learnt_digests())}
        if self.model.calibration is not None:
            chosen = frozenset(row.tobytes().hex() for row in self.model.calibration.digests)
            found["held out"] = chosen
        return found

    def _observed(self, image: LabelledImage, mapped: Mapped) -> Observed:
        calibration, verdict, ng_mask = self.model.calibration, None, None
        if calibration is None:
            score: float | None = measure(self.model, mapped.score_map).score
        else:
            judgement = judge(self.model, calibration, mapped)
            score, verdict = judgement.score, judgement.verdict
            ng_mask = judgement.mask if verdict is Verdict.NG else np.zeros_like(judgement.mask)
        if score is None or score == -np.inf:
            raise UsageError(
                f"the model's minimum size of {self.model.sizes[0]} is larger than {image.path}: calibrate it anew"
            )
        size = mapped.score_map.shape
        return Observed(mapped.image.sha256, score, verdict, size, mapped.score_map, ng_mask, mapped.method_score)
