"""Maps and masks of the MVTec AD 2 images whose truth is kept back, as the benchmark's server takes them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from adcli.errors import ModelFileError, UnreadableImage, UsageError, few
from adcli.files import Staging
from adcli.finding import walk_images
from adcli.model import Calibration, Model
from adcli.report.masks import encode_mask
from adcli.report.results import held
from adcli.report.submissions import (
    EXPECTED,
    PRIVATE,
    PUBLIC,
    archive_of,
    encode_map,
    expected_names,
    make_room,
    names_of,
    write_archive,
)
from adcli.store import load
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapped, Mapper
from adcli.types import Progress, Verdict, no_progress
from adcli.verdicts import judge, map_thresholds

_PLACE = "{category}"
_TRUTH = "ground_truth"
_GROUP = 16  # images whose files go to the disk together


@dataclass(frozen=True)
class Submitted:
    """What was written, and what is missing."""

    out: Path
    rows: list[dict[str, Any]]  # one an object and split
    unreadable: list[tuple[str, str]]
    notes: list[str]
    archive: Path | None

    @property
    def is_complete(self) -> bool:
        """Whether it has all that the server expects, and of the private splits nothing else."""
        private = {(row["object"], row["split"]) for row in self.rows if row["split"] in PRIVATE}
        whole = {(name, split) for name in EXPECTED for split in PRIVATE}
        return private == whole and not any(row["missing"] or row["unexpected"] for row in self.rows)


@dataclass(frozen=True)
class _Image:
    path: Path
    name: PurePosixPath  # object/split/.../id.png


@dataclass(frozen=True)
class _Made:
    """What is written of one image."""

    verdict: Verdict
    too_large: int  # pixels
    files: tuple[bytes, bytes]  # map and mask


@dataclass
class _Split:
    """The images of an object's split, and what became of them."""

    name: str
    split: str
    images: list[_Image]
    written: list[_Image] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    too_large: int = 0  # pixels

    def missing(self) -> list[str]:
        """Ids without a map: of images that are here, and of those that the server expects."""
        here = {str(self._id(image)) for image in self.images}
        return sorted((here | self._expected()) - {str(self._id(image)) for image in self.written})

    def unexpected(self) -> list[str]:
        """Ids that the server does not know."""
        if self.split == PUBLIC:
            return []
        return sorted({str(self._id(image)) for image in self.images} - self._expected())

    def _expected(self) -> set[str]:
        return set() if self.split == PUBLIC else expected_names(self.name, self.split)

    @staticmethod
    def _id(image: _Image) -> PurePosixPath:
        return image.name.relative_to(*image.name.parts[:2]).with_suffix("")


def submission(
    root: Path,
    models: str,
    out: Path,
    *,
    public: bool = False,
    archive: bool = False,
    machine: Machine | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Submitted:
    """Writes a float16 map and an NG mask of every image in `root`'s splits without truth into `out`.

    `models` is the path of an object's model, with {category} for its name. A map is the raw scores divided by the
    model's NG threshold of the map, so its scale is the model's, and 1 is where NG begins; a mask is what `score`
    writes of an NG image, and empty for others.

    Raises:
        UsageError: there are no such splits, models are missing, `out` is not empty, or `archive` is asked for and
            `root` lacks images that the server expects.
        ModelFileError: a model is damaged, or has no threshold.
        Busy: another run writes into `out`.
    """
    splits = _find(root, public)
    paths = _models_of(models, list(dict.fromkeys(split.name for split in splits)))
    notes = _against_server(splits)
    if archive:
        _refuse_archive(notes, archive_of(out), force)
    if public:
        notes.append(f"{PUBLIC} is for an evaluation of your own: the server refuses a folder that has it")
    for path in paths.values():
        _scale(path, load(path).model)
    models_used: dict[str, str] = {}
    unreadable: list[tuple[str, str]] = []
    done, total = 0, sum(len(split.images) for split in splits)
    with held(out):
        make_room(out, force=force)
        for name, path in paths.items():
            stored = load(path)
            models_used[name] = stored.sha256
            mapper = Mapper(stored.model, machine or Machine())
            notes += [note for note in mapper.notes if note not in notes]
            for split in (one for one in splits if one.name == name):
                for image, refusal in _write(split, path, stored.model, mapper, out):
                    done += 1
                    if refusal is not None:
                        unreadable.append((str(image.path), str(refusal)))
                    progress("scoring", done, total)
        packed = None
        if archive and not unreadable:
            private = [image for split in splits if split.split in PRIVATE for image in split.written]
            packed = write_archive(out, (name for image in private for name in names_of(image.name)), progress)
    rows = [_row(split, paths[split.name], models_used[split.name]) for split in splits]
    return Submitted(out, rows, unreadable, notes + _after(splits, unreadable, archive), packed)


def _find(root: Path, public: bool) -> list[_Split]:
    """The splits to write, by object; `root` is the folder of objects, or one object's."""
    wanted = [*PRIVATE, *([PUBLIC] if public else [])]
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}: give that of MVTec AD 2, or of one of its objects")
    folders = [root.resolve()] if any((root / split).is_dir() for split in wanted) else sorted(root.iterdir())
    splits = []
    for folder in folders:
        for split in wanted:
            if (folder / split).is_dir():
                below = [name for name in walk_images(folder / split) if not name.startswith(f"{_TRUTH}/")]
                base = PurePosixPath(folder.name, split)
                splits.append(
                    _Split(folder.name, split, [_Image(folder / split / name, base / name) for name in below])
                )
    if not any(split.images for split in splits):
        raise UsageError(f"no images in folders {' or '.join(wanted)} of {root}: give the folder of MVTec AD 2")
    for split in splits:
        _refuse_equal_names(split)
    return splits


def _refuse_equal_names(split: _Split) -> None:
    owners = defaultdict(list)
    for image in split.images:
        owners[image.name.with_suffix("")].append(str(image.path))
    if twice := next((paths for paths in owners.values() if len(paths) > 1), None):
        raise UsageError(f"{' and '.join(twice)} would have one map: keep one of them")


def _models_of(models: str, names: Sequence[str]) -> dict[str, Path]:
    """The model of each object. Raises UsageError naming all that are missing."""
    if _PLACE not in models and len(names) > 1:
        raise UsageError(
            f"--models {models} is one model for {len(names)} objects: write {_PLACE} where the object's name belongs, "
            "such as models/{category}.h5"
        )
    paths = {name: Path(models.replace(_PLACE, name)) for name in names}
    if missing := [str(path) for path in paths.values() if not path.is_file()]:
        raise UsageError(f"models are missing: {', '.join(missing)}; adcli fit writes them")
    return paths


def _scale(path: Path, model: Model) -> tuple[Calibration, float]:
    """The calibration, and what scores are divided by: the NG threshold of the map, the lowest where it has several."""
    try:
        calibration = model.require_calibration()
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    scale = float(map_thresholds(model, calibration.threshold).min())
    if not scale > 0:
        raise UsageError(f"the threshold of {path} is {scale:g}, and scores are divided by it: set one above 0")
    return calibration, scale


def _write(
    split: _Split, path: Path, model: Model, mapper: Mapper, out: Path
) -> Iterator[tuple[_Image, UnreadableImage | None]]:
    """Writes a split; yields each image with why it could not be read, or None."""
    calibration, scale = _scale(path, model)

    def finish(image: _Image, mapped: Mapped | UnreadableImage) -> tuple[_Image, UnreadableImage | _Made]:
        if isinstance(mapped, UnreadableImage):
            return image, mapped
        judgement = judge(model, calibration, mapped)
        mask = judgement.mask if judgement.verdict is Verdict.NG else np.zeros_like(judgement.mask)
        tiff, too_large = encode_map(mapped.score_map, scale)
        png = encode_mask(mask)
        return image, _Made(judgement.verdict, too_large, (tiff, png))

    staging = Staging()
    try:
        waiting = 0
        for image, made in mapper.stream(split.images, finish):
            if isinstance(made, UnreadableImage):
                yield image, made
                continue
            for name, data in zip(names_of(image.name), made.files, strict=True):
                staging.stage(out / name, data)
            split.written.append(image)
            split.verdicts[made.verdict.value] += 1
            split.too_large += made.too_large
            waiting += 1
            if waiting == _GROUP:
                staging.commit()
                waiting = 0
            yield image, None
        staging.commit()
    finally:
        staging.discard()


def _against_server(splits: Sequence[_Split]) -> list[str]:
    """What the server would refuse, as far as it shows before anything is scored."""
    notes = []
    private = {(split.name, split.split): split for split in splits if split.split in PRIVATE}
    absent = [f"{name}/{split}" for name in EXPECTED for split in PRIVATE if (name, split) not in private]
    if absent:
        notes.append(f"the server refuses a submission without {few(absent)}: they are not here")
    for (name, split), one in private.items():
        lacking = sorted(expected_names(name, split) - {image.name.stem for image in one.images})
        if lacking:
            notes.append(
                f"{name}/{split} has {len(one.images)} images, and the server expects {EXPECTED[name]}: "
                f"{few(lacking)} are not here"
            )
        if unexpected := one.unexpected():
            notes.append(f"{name}/{split} has what the server does not know, and refuses: {few(unexpected)}")
    return notes


def _refuse_archive(gaps: Sequence[str], target: Path, force: bool) -> None:
    if gaps:
        raise UsageError(f"--archive is for what the server takes: {gaps[0]}; complete the images, or leave it out")
    if target.exists() and not force:
        raise UsageError(f"{target} exists: move it away, or overwrite it with --force")


def _after(splits: Sequence[_Split], unreadable: Sequence[tuple[str, str]], archive: bool) -> list[str]:
    notes = []
    for split in splits:
        if split.too_large:
            notes.append(
                f"{split.name}/{split.split}: {split.too_large} pixels are above what float16 holds, and became its "
                "largest value: the threshold is very low for these scores"
            )
    if unreadable:
        lost = "; no archive was written" if archive else ""
        notes.append(f"the submission is incomplete: {len(unreadable)} images could not be read{lost}")
    return notes


def _row(split: _Split, path: Path, sha256: str) -> dict[str, Any]:
    return {
        "object": split.name,
        "split": split.split,
        "images": len(split.images),
        "written": len(split.written),
        "ok": split.verdicts[Verdict.OK.value],
        "check": split.verdicts[Verdict.CHECK.value],
        "ng": split.verdicts[Verdict.NG.value],
        "missing": split.missing(),
        "unexpected": split.unexpected(),
        "too_large_pixels": split.too_large,
        "model_file": str(path),
        "model": sha256,
    }
