"""A verdict, a mask and an overlay for every image, into an output folder."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from adcli.errors import EnvironmentFault, ModelFileError, UnreadableImage, UsageError
from adcli.finding import FoundImage
from adcli.images import digest_image, read_image
from adcli.model import Calibration, Model
from adcli.parallel import cores, stream
from adcli.parts import Grouping
from adcli.report.junit import write_junit
from adcli.report.overlays import LONGEST_JPEG, encode_jpeg
from adcli.report.results import JUNIT, PAGE, ResultsFolder, is_taken, picture_names, picture_stems
from adcli.store import Stored, load
from adcli.tasks.mapping import Machine, Mapped, Mapper
from adcli.tasks.page import write_run_page
from adcli.tasks.pictures import overlay
from adcli.tasks.totals import Scored, add_part, run_record, total
from adcli.types import Progress, Verdict, no_progress
from adcli.verdicts import Judgement, judge

if TYPE_CHECKING:
    from adcli.report.database import Database

PICTURES = ("ng", "all", "none")
FAIL_ON = (None, "ng", "check")


@dataclass(frozen=True)
class Outputs:
    """What to write beside the results: of pictures, `ng` is NG and CHECK."""

    masks: str = "ng"
    overlays: str = "ng"
    maps: bool = False
    junit: bool = False
    sqlite: Path | str | None = None  # a database that takes the results of many runs
    html: bool = False  # report.html, the run on one page

    def in_folder(self) -> dict[str, object]:
        """Those that are files of the output folder."""
        return {name: value for name, value in asdict(self).items() if name != "sqlite"}


def score(
    images: Sequence[FoundImage],
    model_path: Path,
    out: Path,
    *,
    outputs: Outputs | None = None,
    machine: Machine | None = None,
    weights: Path | None = None,
    fail_on: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress = no_progress,
) -> Scored:
    """Scores images into `out`; an image that cannot be read is an ERROR, and the run goes on.

    Raises:
        ModelFileError: the model is damaged, has no threshold, or was made with other weights than those given.
        UsageError: `out` holds an unfinished run, and neither `resume` nor `force` is given.
        EnvironmentFault: a device is missing, the disk is full, or the database cannot be written; what was scored so
            far is kept.
        Busy: another run writes into `out`.
    """
    outputs, machine = outputs or Outputs(), machine or Machine()
    if fail_on not in FAIL_ON:
        raise UsageError(f"--fail-on {fail_on} is not known: write ng or check")
    for name in (outputs.masks, outputs.overlays):
        if name not in PICTURES:
            raise UsageError(f"{name!r} says not which pictures to write: give {', '.join(PICTURES)}")
    began, started = time.perf_counter(), time.time()
    stored = load(model_path)
    calibration = stored.model.require_calibration()
    if weights is not None:
        check_weights(stored.model, weights)
    grouping = None if stored.model.group_by is None else Grouping(stored.model.group_by)
    if grouping is not None:
        for image in images:
            grouping.of(image)  # refuses what shows no part, before a folder is made
    stems = picture_stems([image.relative for image in images])
    inputs = [(image.given, stem) for image, stem in zip(images, stems, strict=True)]
    by_name = {image.given: image for image in images}
    mapper = Mapper(stored.model, machine)  # before the folder: a device that is not there must not cost its results
    configuration = {
        "model": stored.sha256,
        "outputs": outputs.in_folder(),
        "engine": mapper.engine,
        "precision": mapper.precision,
        "sqlite": outputs.sqlite is not None,  # which one may change: a resumed run goes whole into the one it is given
    }
    further = [name for name, wanted in ((JUNIT, outputs.junit), (PAGE, outputs.html)) if wanted]
    with (
        _database(outputs.sqlite, out) as database,
        ResultsFolder(out, configuration, inputs, resume=resume, force=force, further=further) as folder,
    ):
        if folder.finished:
            finished = _finished(folder, stored, fail_on)
            if database is None:
                return finished
            return replace(finished, notes=[f"{out} was finished before, so nothing is added to {outputs.sqlite}"])
        known = [by_name.get(given) or FoundImage(Path(given), given, PurePosixPath(stem)) for given, stem in inputs]
        done = _unchanged(folder, known)
        folder.keep(done)
        unreadable = [(record["image"], record["reason"]) for record in folder.done() if record["verdict"] == "ERROR"]
        parts = [None if grouping is None else grouping.find(image) for image in known]
        jobs = [_Job(*job) for job in zip(known, (stem for _, stem in inputs), parts, strict=True)][done:]
        finish = partial(_finish, model=stored.model, calibration=calibration, outputs=outputs)
        parts_seen: dict[str, Verdict] = {}
        for record in folder.done():
            add_part(parts_seen, record)
        if database is not None:
            database.begin(folder.lines, folder.key, _about(stored, calibration, out, len(known)))
        progress("scoring", done, len(known))
        for number, (record, pictures) in enumerate(mapper.stream(jobs, finish), done + 1):
            folder.add(record, pictures)
            if database is not None:
                database.follow()
            add_part(parts_seen, record)
            if record["verdict"] == Verdict.ERROR.value:
                unreadable.append((record["image"], record["reason"]))
            progress("scoring", number, len(known))
        seconds = time.perf_counter() - began
        scored = total(folder, unreadable, mapper.notes, seconds, stored, fail_on, parts_seen)
        folder.flush()
        if database is not None:
            database.finish()
        if outputs.junit:
            write_junit(out / JUNIT, folder.lines, model_path.stem or "adcli", _properties(stored, calibration))
        sqlite = None if outputs.sqlite is None else str(outputs.sqlite)
        run = run_record(stored, calibration, outputs.in_folder(), sqlite, mapper, scored, started)
        if outputs.html:
            write_run_page(folder, known, stored.model, mapper, run, progress)
        folder.finish(run)
    return scored


def check_weights(model: Model, path: Path) -> None:
    """Raises ModelFileError unless a checkpoint holds the weights that are in the model."""
    from adcli.backbones.extractor import build_extractor
    from adcli.backbones.weights import read_checkpoint, state_digest

    spec, state = model.spec, read_checkpoint(path)
    try:
        given = state_digest(build_extractor(spec.backbone, spec.layers, state, spec.seed).state())
    except EnvironmentFault:  # another network's
        given = None
    if given != model.provenance.weights_digest:
        raise ModelFileError(
            f"the model was made with other weights than {path}: leave --weights out, the model carries its own"
        )


@contextlib.contextmanager
def _database(path: Path | str | None, out: Path) -> Iterator[Database | None]:
    """The database, open before the folder is touched: one that cannot be written must not cost its results."""
    if path is None:
        yield None
        return
    from adcli.report.database import Database  # here, as not every Python has sqlite3

    path = Path(path)
    if is_taken(out, path):
        raise UsageError(f"--sqlite {path} is a name that score writes to itself: give the database another")
    with Database(path) as database:
        yield database


def _about(stored: Stored, calibration: Calibration, out: Path, images: int) -> dict[str, object]:
    """The run, for the database."""
    return {
        "model_sha256": stored.sha256,
        "detector_digest": stored.detector_digest,
        "rule": calibration.rule,
        "out": str(out.absolute()),
        "host": socket.gethostname(),
        "images": images,
    }


def _properties(stored: Stored, calibration: Calibration) -> dict[str, object]:
    """What the JUnit report says of the model."""
    return {
        "model": stored.sha256,
        "detector_digest": stored.detector_digest,
        "threshold": calibration.threshold,
        "check_threshold": calibration.check_threshold,
        "rule": calibration.rule,
    }


@dataclass(frozen=True)
class _Job:
    """One image to score, the stem of its pictures, and the part it shows."""

    image: FoundImage
    stem: str
    part: str | None

    @property
    def path(self) -> Path:
        return self.image.path


def _finish(
    job: _Job, mapped: Mapped | UnreadableImage, *, model: Model, calibration: Calibration, outputs: Outputs
) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """The record of one image and its pictures, encoded; runs on a worker thread."""
    if isinstance(mapped, UnreadableImage):
        return _record(job, calibration, reason=str(mapped)), []
    began = time.perf_counter()
    judgement = judge(model, calibration, mapped.score_map, mapped.look)
    pictures = list(_pictures(job, mapped, judgement, model, calibration, outputs))
    ms = mapped.ms + 1000 * (time.perf_counter() - began)
    return _record(job, calibration, mapped, judgement, ms), pictures


def _record(
    job: _Job,
    calibration: Calibration,
    mapped: Mapped | None = None,
    judgement: Judgement | None = None,
    ms: float | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    return {
        "image": job.image.given,
        "verdict": (Verdict.ERROR if judgement is None else judgement.verdict).value,
        "reason": reason if judgement is None else judgement.reason,
        "part": job.part,
        "score": judgement and judgement.score,
        "threshold": calibration.threshold,
        "check_threshold": calibration.check_threshold,
        "min_area_px": judgement and judgement.min_area_px,
        "p_value": judgement and judgement.p_value,
        "conditions": [asdict(one) for one in judgement.conditions] if judgement and judgement.conditions else None,
        "regions": [asdict(region) for region in judgement.regions] if judgement else [],
        "width": mapped and mapped.image.width,
        "height": mapped and mapped.image.height,
        "sha256": mapped and mapped.image.sha256,
        "ms": None if ms is None else round(ms, 3),
    }


def _pictures(
    job: _Job, mapped: Mapped, judgement: Judgement, model: Model, calibration: Calibration, outputs: Outputs
) -> Iterator[tuple[str, bytes]]:
    mask_name, overlay_name, map_name = picture_names(job.stem)
    telling = judgement.verdict in (Verdict.NG, Verdict.CHECK)
    if outputs.masks == "all" or (outputs.masks == "ng" and telling):
        yield mask_name, _encode(".png", judgement.mask.view(np.uint8) * np.uint8(255))
    if outputs.overlays == "all" or (outputs.overlays == "ng" and telling):
        yield overlay_name, encode_jpeg(_within_jpeg(overlay(model, calibration, mapped, judgement)))
    if outputs.maps:
        yield map_name, _encode(".tiff", mapped.score_map)


def _within_jpeg(picture: np.ndarray) -> np.ndarray:
    """An overlay as large as a JPEG can be: a run does not end for a long web of material."""
    longest = max(picture.shape)
    if longest <= LONGEST_JPEG:
        return picture
    scale = LONGEST_JPEG / longest
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _encode(suffix: str, pixels: np.ndarray) -> bytes:
    fine, data = cv2.imencode(suffix, pixels)
    if not fine:
        raise ValueError(f"{suffix} cannot hold {pixels.dtype} of shape {pixels.shape}")
    return data.tobytes()


def _unchanged(folder: ResultsFolder, images: Sequence[FoundImage]) -> int:
    """How many leading images an interrupted run has scored, and are still what they were."""
    records = folder.done()

    def same(pair: tuple[dict[str, Any], FoundImage]) -> bool:
        record, image = pair
        if record["image"] != image.given:
            return False
        try:
            if record["sha256"] is None:  # what could not be decoded shows only by decoding it again
                read_image(image.path)
            return digest_image(image.path) == record["sha256"]
        except UnreadableImage as error:
            return record["reason"] == str(error)

    count = 0
    for is_same in stream(zip(records, images, strict=False), same, cores()):
        if not is_same:
            break
        count += 1
    return count


def _finished(folder: ResultsFolder, stored: Stored, fail_on: str | None) -> Scored:
    """The totals of a run that was over already."""
    parts: dict[str, Verdict] = {}
    for record in folder.done():
        folder.counts[record["verdict"]] += 1
        add_part(parts, record)
    unreadable = [(record["image"], record["reason"]) for record in folder.done() if record["verdict"] == "ERROR"]
    return replace(total(folder, unreadable, [], 0.0, stored, fail_on, parts), already_finished=True)
