"""Whether an exported file says what adcli says: the same images through both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adcli.errors import GateFailed, UnreadableImage
from adcli.finding import FoundImage
from adcli.images import prepare
from adcli.maps import resize
from adcli.model import Model
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapped, Mapper
from adcli.types import Progress, Verdict
from adcli.verdicts import measure

MOST = 1e-3  # of an image's largest map value, that any of its values may differ by
_ROUNDING = 1e-5  # of a threshold: a score as near to it may fall on either side, as sums in float32 have other orders
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Compared:
    """One image through both."""

    given: str
    difference: float  # of a map value, the largest
    relative: float  # to the largest map value
    score_difference: float
    changed: bool  # the verdict
    near: bool  # the score is the threshold but for rounding


@dataclass(frozen=True)
class Proof:
    """What came of comparing an exported file with adcli in float32."""

    compared: tuple[Compared, ...]
    unreadable: tuple[tuple[str, str], ...]  # images as given, and the reasons
    calibrated: bool  # there are verdicts to compare
    engine: str  # of adcli
    notes: list[str]

    @property
    def changed(self) -> list[Compared]:
        """Images with another verdict, but for those whose score is the threshold itself."""
        return [one for one in self.compared if one.changed and not one.near]

    def facts(self) -> dict[str, Any]:
        """For tables and JSON."""
        return {
            "images": len(self.compared),
            "unreadable": len(self.unreadable),
            "largest_difference": max((one.difference for one in self.compared), default=math.nan),
            "largest_relative_difference": max((one.relative for one in self.compared), default=math.nan),
            "largest_score_difference": max((one.score_difference for one in self.compared), default=math.nan),
            "verdicts_changed": len(self.changed) if self.calibrated else None,
            "verdicts_at_threshold": sum(one.near for one in self.compared) if self.calibrated else None,
            "engine": self.engine,
        }

    def require(self, path: Path) -> None:
        """Raises GateFailed where the file is not equal, or nothing could be compared."""
        if not self.compared:
            raise GateFailed(f"none of the {len(self.unreadable)} images can be read, so {path} is not verified")
        found = self.facts()
        if self.changed or not found["largest_relative_difference"] <= MOST:
            raise GateFailed(
                f"{path} is not kept, it is not equal to the model: {len(self.changed)} of {len(self.compared)} "
                f"verdicts differ, map values by up to {found['largest_difference']:.3g} "
                f"({found['largest_relative_difference']:.2g} of the image's largest, at most {MOST:g} is fine), image "
                f"scores by up to {found['largest_score_difference']:.3g}"
            )


def prove(run: Run, model: Model, images: Sequence[FoundImage], machine: Machine, progress: Progress) -> Proof:
    """Scores images through an exported file, and by adcli in float32.

    `run` makes of pixels (H, W, 3) the map (H, W) of the network's input; what follows the map is the same for both.
    """
    mapper = Mapper(model, replace(machine, precision="fp32"), own=False)
    compared: list[Compared] = []
    unreadable: list[tuple[str, str]] = []
    progress("verifying", 0, len(images))
    outcomes = mapper.stream(images, partial(_compare, run=run, model=model))
    for done, (image, outcome) in enumerate(zip(images, outcomes, strict=True), 1):
        if isinstance(outcome, UnreadableImage):
            unreadable.append((image.given, str(outcome)))
        else:
            compared.append(outcome)
        progress("verifying", done, len(images))
    notes = [] if model.calibration is None or model.calibration.precision != "fp32" else list(mapper.notes)
    if ties := [one.given for one in compared if one.changed and one.near]:
        notes.append(
            f"the score of {ties[0]}{f' and {len(ties) - 1} more' if ties[1:] else ''} is the threshold but for "
            "rounding: the verdict may be either"
        )
    return Proof(tuple(compared), tuple(unreadable), model.calibration is not None, mapper.engine, notes)


def _compare(
    source: FoundImage, mapped: Mapped | UnreadableImage, *, run: Run, model: Model
) -> Compared | UnreadableImage:
    if isinstance(mapped, UnreadableImage):
        return mapped
    exported = run(prepare(mapped.image.pixels, model.spec.image_size, model.spec.white_level))
    exported = resize(np.ascontiguousarray(exported), mapped.score_map.shape)
    if not np.isfinite(exported).all():
        return Compared(source.given, math.inf, math.inf, math.inf, True, False)
    difference = float(np.abs(exported - mapped.score_map).max())
    largest = float(np.abs(mapped.score_map).max())
    expected, found = (measure(model, score_map).score for score_map in (mapped.score_map, exported))
    return Compared(
        given=source.given,
        difference=difference,
        relative=difference / largest if largest else math.inf if difference else 0.0,
        score_difference=0.0 if expected == found else abs(found - expected),  # of both it may be minus infinity
        changed=_verdict(model, expected) is not _verdict(model, found),
        near=any(abs(expected - one) <= _ROUNDING * abs(one) for one in _thresholds(model)),
    )


def _thresholds(model: Model) -> list[float]:
    calibration = model.calibration
    both = () if calibration is None else (calibration.threshold, calibration.check_threshold)
    return [one for one in both if one is not None]


def _verdict(model: Model, score: float) -> Verdict:
    """What the map alone says."""
    above = [score > threshold for threshold in _thresholds(model)]  # NG's first
    return Verdict.NG if above[:1] == [True] else Verdict.CHECK if any(above) else Verdict.OK
