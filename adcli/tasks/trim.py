"""Suspicious images among those to learn from: what `fit --trim` leaves out.

Every image is scored as if it had not been learnt from; one far above the others is more likely a defective one among
the good. Where several images show one part, a part is judged by the highest score of its images, none of which was
learnt from, and left out whole: the other views show the same defect, or a part that nobody would call good. Nothing
here looks at images that are held out: a threshold from a trimmed hold-out would promise nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from adcli.detectors import leaves_out
from adcli.errors import UnreadableImage, UsageError
from adcli.model import Model
from adcli.parts import Grouping
from adcli.tasks.calibrate import Calibrated
from adcli.tasks.holdout import LEAST_LEARNT
from adcli.tasks.learning import Known, Plan, learn
from adcli.tasks.mapping import HasPath, Mapped, Mapper
from adcli.types import Progress
from adcli.verdicts import measure

AUTO: Literal["auto"] = "auto"
LIMIT = 3.5  # of the modified z-score: Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers", page 11
_NORMAL = 0.6745  # quartile of the normal distribution: what MAD is of a standard deviation
_MEAN_NORMAL = 1.253314  # standard deviation over mean absolute deviation, for when half of all scores are equal
_FOLDS = 5
_LEAST_SCORED = 3  # that a median and a spread say something of


@dataclass(frozen=True)
class TrimmedImage:
    """One image that was not learnt from."""

    image: str  # path as given
    sha256: str
    score: float  # as if left out, of the model's first minimum size
    deviation: float  # modified z-score of it, or of its part, the largest over the minimum sizes
    part: str | None  # that it shows; None: each image is one of its own

    def why(self) -> str:
        """The finding in words."""
        own = f"its score as if left out is {self.score:.4g}"
        if self.part is None:
            return f"{own}, {self.deviation:.1f} robust deviations above the median"
        return f"{own}, and its part {self.part} is {self.deviation:.1f} robust deviations above the median"


@dataclass(frozen=True)
class Trimmed:
    """What trimming found."""

    kept: list[Known]
    left_out: list[TrimmedImage]  # highest first
    scores: np.ndarray  # (n,) float64, as if left out, of the kept ones or their parts, of the first minimum size
    notes: list[str]


@dataclass(frozen=True)
class LearntImage:
    """An image that the model learnt from, and its place in the order of learning."""

    path: Path
    given: str
    relative: PurePosixPath
    place: int


def places(learnt: Sequence[Known]) -> list[LearntImage]:
    """Images as sources for a mapper that leaves each out."""
    return [LearntImage(image.path, image.given, image.relative, place) for place, (image, _) in enumerate(learnt)]


def trim(plan: Plan, images: Sequence[Known], asked: float | Literal["auto"], progress: Progress) -> Trimmed:
    """Leaves out the highest scores: all whose modified z-score is above 3.5, or at most a share of the images; with
    --group-by, of the parts.

    By the method's own leaving out where it is exact for single images; else by five fits, each to the images that are
    not of one fold, the folds being chosen by content, or by the names of parts.

    Raises:
        UsageError: there are too few images to judge any by the others.
    """
    # A twin that stays would give a score away.
    unique = list({digest: (image, digest) for image, digest in reversed(images)}.values())[::-1]
    units, parts = _units(images, plan.recipe.group_by)
    count, what = len(set(units.values())), "parts" if parts else "images"
    if count < _LEAST_SCORED:
        raise UsageError(f"--trim judges {what} by the others: {count} are too few, give at least {_LEAST_SCORED}")
    alone = count == len(unique)
    scored = dict((alone and _by_leaving_out(plan, unique, progress)) or _by_folds(plan, unique, units, progress))
    shown: dict[str, list[Known]] = {}
    for image, digest in unique:
        if digest in scored:
            shown.setdefault(units[digest], []).append((image, digest))
    ranked = list(shown)
    levels = np.stack([np.fmax.reduce([scored[digest] for _, digest in shown[unit]]) for unit in ranked])
    deviations = np.stack([modified_z(column) for column in levels.T], axis=1).max(axis=1)
    # Equal scores in the order of content, so that the order of the files does not matter.
    order = sorted(range(len(ranked)), key=lambda at: (-deviations[at], ranked[at]))
    most = int((deviations > LIMIT).sum()) if asked == AUTO else int(asked * len(ranked) + 1e-9)
    chosen = order[: max(0, min(most, len(ranked) - LEAST_LEARNT))]
    left_out = [
        TrimmedImage(image.given, digest, float(scored[digest][0]), float(deviations[at]), parts.get(ranked[at]))
        for at in chosen
        for image, digest in sorted(shown[ranked[at]], key=lambda known: (-scored[known[1]][0], known[1]))
    ]
    gone = {one.sha256 for one in left_out}
    kept = np.setdiff1d(np.arange(len(ranked)), chosen)
    notes = _notes(len(chosen), len(ranked), what, asked)
    return Trimmed([known for known in images if known[1] not in gone], left_out, levels[kept, 0], notes)


def _units(images: Sequence[Known], group_by: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """What is judged as one, by the digest of each image: itself, or the digest of its part's name; and the names of
    the parts by these. Copies under several names are of the part whose digest is lowest."""
    if not group_by:
        return {digest: digest for _, digest in images}, {}
    grouping = Grouping(group_by)
    units: dict[str, str] = {}
    parts: dict[str, str] = {}
    for image, digest in images:
        part = grouping.of(image)
        unit = hashlib.sha256(part.encode(errors="surrogateescape")).hexdigest()
        units[digest] = min(unit, units.get(digest, unit))
        parts[unit] = part
    return units, parts


def _notes(gone: int, judged: int, what: str, asked: float | str) -> list[str]:
    if not gone:
        why = (
            f"no modified z-score is above {LIMIT}" if asked == AUTO else f"the share is of less than one of the {what}"
        )
        return [f"--trim left none of the {judged} {what} to learn from out: {why}"]
    rule = f"their modified z-scores are above {LIMIT}" if asked == AUTO else "they score highest as if left out"
    return [
        f"--trim left out {gone} of the {judged} {what} to learn from, as {rule}: look at them, for the "
        "model knows nothing of what is good among them"
    ]


def modified_z(scores: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Modified z-scores (n,) of the logarithms, median and MAD in place of mean and standard deviation, of the scores
    themselves or of those that they are to be seen among.

    Scores are distances, whose spread grows with their size: their logarithms are nearer to symmetric, as the limit
    assumes, and fewer good images are beyond it. Where half of the scores are equal, the mean absolute deviation takes
    the place of MAD (Iglewicz and Hoaglin 1993); where all are, none is strange.
    """
    others = _logs(scores if among is None else among)
    others = others[~np.isnan(others)]
    if not others.size:
        return np.zeros(len(scores))
    centre = np.median(others)
    mad, mean = float(np.median(np.abs(others - centre))), float(np.abs(others - centre).mean())
    if not mean:
        return np.zeros(len(scores))
    return np.nan_to_num((_logs(scores) - centre) * (_NORMAL / mad if mad else 1 / (_MEAN_NORMAL * mean)))


def _logs(scores: np.ndarray) -> np.ndarray:
    """Logarithms of distances; NaN where the image is smaller than the minimum size."""
    return np.log(np.where(np.isfinite(scores), np.maximum(scores, np.finfo(np.float64).tiny), np.nan))


def suspicious_held_out(trimmed: Trimmed, calibrated: Calibrated) -> list[str]:
    """A warning where held-out images look as strange as what was left out: they set the threshold all the same."""
    if calibrated.model.scales is not None:  # scores on another scale
        return []
    held = {one.image: one.score for one in calibrated.suspects}
    deviations = modified_z(np.array(list(held.values())), among=trimmed.scores)
    strange = [name for name, deviation in zip(held, deviations, strict=True) if deviation > LIMIT]
    if not strange:
        return []
    return [
        f"of the highest held-out images {len(strange)} are as strange as what --trim leaves out "
        f"({', '.join(strange)}): they stay, as a threshold from chosen images promises nothing; look at them, "
        "and fit again without those that are not good"
    ]


Scores = list[tuple[str, np.ndarray]]
"""Digest and levels (k,) float64 of each image that can be read."""


def _by_leaving_out(plan: Plan, images: list[Known], progress: Progress) -> Scores | None:
    """None where the method cannot, or where it would leave out less than all of an image."""
    several = plan.geometry.roi is not None and len({plan.sizes[image] for image, _ in images}) > 1
    if (
        not leaves_out(plan.method, plan.params)
        or plan.geometry.tiling is not None
        or plan.recipe.augmentation
        or several
    ):
        return None
    learnt = learn(plan, images, progress)
    mapper = Mapper(learnt.model, plan.machine, plan.extractor, left_out=True)
    digests = [digest for _, digest in learnt.images]
    return _scores(learnt.model, mapper, places(learnt.images), digests, progress)


def _by_folds(plan: Plan, images: list[Known], units: dict[str, str], progress: Progress) -> Scores:
    scores: Scores = []
    for fold in range(_FOLDS):
        # The first digits say what is held out; the last are of no consequence to it.
        apart = [known for known in images if int(units[known[1]], 16) % _FOLDS == fold]
        others = [known for known in images if int(units[known[1]], 16) % _FOLDS != fold]
        if not apart:
            continue
        if len(others) < LEAST_LEARNT:
            count = len(set(units.values()))
            what = "images" if count == len(images) else "parts"
            raise UsageError(
                f"--trim learns from some {what} and judges the others: {count} are too few, give at least 10"
            )
        model = learn(plan, others, progress).model
        mapper = Mapper(model, plan.machine, plan.extractor)
        found = [image for image, _ in apart]
        scores += _scores(model, mapper, found, [digest for _, digest in apart], progress)
    return scores


def _scores(model: Model, mapper: Mapper, sources: Iterable[HasPath], digests: list[str], progress: Progress) -> Scores:
    def levels(source: HasPath, mapped: Mapped | UnreadableImage) -> np.ndarray | None:
        return None if isinstance(mapped, UnreadableImage) else measure(model, mapped.score_map).levels

    scores: Scores = []
    for number, (digest, found) in enumerate(zip(digests, mapper.stream(sources, levels), strict=True), 1):
        if found is not None:  # the fit says what cannot be read
            scores.append((digest, np.asarray(found, np.float64)))
        progress("scoring images as if left out", number, len(digests))
    return scores
