"""A verdict, a mask and an overlay for every image, into an output folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from adcli.errors import EnvironmentFault, ModelFileError
from adcli.finding import FoundImage
from adcli.model import Calibration, Model
from adcli.parallel import cores, stream
from adcli.parts import Grouping
from adcli.report.results import JUNIT, PAGE, ResultsFolder, picture_stems
from adcli.store import Stored, load
from adcli.tasks.engines import Machine, foresee
from adcli.tasks.mapping import Mapper
from adcli.tasks.records import Job, Outputs, finish, still_same
from adcli.tasks.rows import about_run, open_database
from adcli.tasks.totals import Scored, add_part, check_fail_on, run_record, total
from adcli.types import Progress, Verdict, no_progress


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
    check_fail_on(fail_on)
    outputs.check()
    began, started = time.perf_counter(), time.time()
    foresee(machine)
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
    # Before the folder: a device that is not there must not cost its results.
    mapper = Mapper(stored.model, machine, own=calibration.asks_own)
    configuration = {
        "model": stored.sha256,
        "outputs": outputs.in_folder(),
        "engine": mapper.engine,
        "precision": mapper.precision,
        "sqlite": outputs.sqlite is not None,  # which one may change: a resumed run goes whole into the one it is given
    }
    further = [name for name, wanted in ((JUNIT, outputs.junit), (PAGE, outputs.html)) if wanted]
    with (
        open_database(outputs.sqlite, out) as database,
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
        jobs = [Job(*job) for job in zip(known, (stem for _, stem in inputs), parts, strict=True)][done:]
        finishing = partial(finish, model=stored.model, calibration=calibration, outputs=outputs)
        parts_seen: dict[str, Verdict] = {}
        for record in folder.done():
            add_part(parts_seen, record)
        if database is not None:
            database.begin(folder.lines, folder.key, about_run(stored, calibration, out, len(known)))
        progress("scoring", done, len(known))
        for number, (record, pictures) in enumerate(mapper.stream(jobs, finishing), done + 1):
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
            from adcli.report.junit import write_junit

            write_junit(out / JUNIT, folder.lines, model_path.stem or "adcli", _properties(stored, calibration))
        sqlite = None if outputs.sqlite is None else str(outputs.sqlite)
        run = run_record(stored, calibration, outputs.in_folder(), sqlite, mapper, scored, started)
        if outputs.html:
            from adcli.tasks.page import write_run_page

            write_run_page(folder, known, stored.model, mapper, run, progress)
        folder.finish(run)
    return scored


def check_weights(model: Model, path: Path) -> None:
    """Raises ModelFileError unless a checkpoint holds the weights that are in the model."""
    from adcli.backbones.extractor import build_extractor
    from adcli.backbones.weights import read_weights, state_digest

    spec = model.spec
    state = read_weights(spec.backbone, file=path)
    try:
        given = state_digest(build_extractor(spec.backbone, spec.layers, state, spec.seed).state())
    except EnvironmentFault:  # another network's
        given = None
    if given != model.provenance.weights_digest:
        raise ModelFileError(
            f"the model was made with other weights than {path}: leave --weights out, the model carries its own"
        )


def _properties(stored: Stored, calibration: Calibration) -> dict[str, object]:
    """What the JUnit report says of the model."""
    return {
        "model": stored.sha256,
        "detector_digest": stored.detector_digest,
        "threshold": calibration.threshold,
        "check_threshold": calibration.check_threshold,
        "rule": calibration.rule,
    }


def _unchanged(folder: ResultsFolder, images: Sequence[FoundImage]) -> int:
    """How many leading images an interrupted run has scored, and are still what they were."""
    records = folder.done()

    def same(pair: tuple[dict[str, Any], FoundImage]) -> bool:
        record, image = pair
        if record["image"] != image.given:
            return False
        return still_same(image.path, record["sha256"], record["reason"])

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
