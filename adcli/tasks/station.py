"""Where a watch's images pass: the model made ready, and all that is done with a result."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from adcli.errors import UnreadableImage, UsageError
from adcli.finding import FoundImage
from adcli.model import Model
from adcli.parts import Grouping
from adcli.report.ledger import Stamp
from adcli.report.results import HEALTH, is_taken
from adcli.report.watched import WatchedFolder
from adcli.store import load
from adcli.tasks.arrivals import Arrival, stamp_of
from adcli.tasks.engines import Machine
from adcli.tasks.health import Health
from adcli.tasks.hook import Hook
from adcli.tasks.mapping import Mapped, Mapper
from adcli.tasks.records import Job, Outputs, finish
from adcli.tasks.rows import about_run, open_database
from adcli.tasks.score import check_weights
from adcli.tasks.totals import host_record, scored_by
from adcli.versions import library_versions

MOST = 64  # images that are taken up together
_GROUP = 16  # images whose files go to the disk together
_LONGEST = 0.5  # seconds that a result waits for others of its group

Done = tuple[dict[str, Any], list[tuple[str, bytes]]]


@dataclass(frozen=True)
class Settings:
    """How to watch."""

    poll: float = 1.0  # seconds between two looks at the folder
    settle: float = 2.0  # seconds that a file must not have changed for
    once: bool = False  # score what is there and settled, then end
    health: Path | None = None  # default: health.json of the output folder
    command: str | None = None  # run for each result
    timeout: float = 10.0  # seconds a run of the command


@dataclass(frozen=True)
class Channel:
    """Whom a watch talks to while it runs."""

    tell: Callable[[dict[str, Any]], None]  # each record, once it is on the disk
    say: Callable[[str], None]  # a sentence for whoever looks after the watch
    stop: Callable[[], bool]  # asked often; True: what is under way is finished or dropped, and the watch ends


class Fate(Enum):
    """What becomes of an image that was taken up."""

    SCORED = "scored"
    CHANGED = "changed"  # since it settled, or it is gone: it has no record
    RETRY = "retry"  # it could not be read, for the first time: it has none yet


@dataclass(frozen=True)
class Waiting:
    """An image to score, and what it was when it settled: None for one that was named."""

    job: Job
    arrival: Arrival | None

    @property
    def path(self) -> Path:
        return self.job.path


class Station:
    """A model and all that takes its results. Use it as a context manager."""

    def __init__(
        self,
        model_path: Path,
        out: Path | None,
        source: str,
        relative: Callable[[str], PurePosixPath],
        settings: Settings,
        outputs: Outputs,
        machine: Machine,
        weights: Path | None,
        channel: Channel,
    ):
        """Args: `source` is the folder as given, or `-`; `relative` gives the path that names an image's pictures."""
        self.channel = channel
        self.folder: WatchedFolder | None = None
        self.state = "watching"
        self.more: Callable[[], dict[str, object]] = dict  # what the health file says beside
        started = time.time()
        self._model_file = _ModelFile(model_path, settings.settle)
        self._stored = load(model_path)
        self._model_file.sha256 = self._stored.sha256
        self._calibration = self._stored.model.require_calibration()
        if weights is not None:
            check_weights(self._stored.model, weights)
        self._grouping = _grouping(self._stored.model)
        self._outputs = outputs if out is not None else replace(outputs, masks="none", overlays="none")
        self._hook = None
        if settings.command is not None:
            self._hook = Hook(settings.command, settings.timeout, channel.say, channel.stop)
        self._mapper = Mapper(self._stored.model, machine, own=self._calibration.asks_own)
        for note in self._mapper.notes:
            channel.say(note)
        self._out = out
        self._flushed = time.monotonic()
        self._database: Any = None
        self._stack = contextlib.ExitStack()
        path = settings.health or (None if out is None else out / HEALTH)
        if out is not None and settings.health is not None and is_taken(out, settings.health):
            raise UsageError(f"--health {settings.health} is a name that adcli writes to itself: give it another")
        facts = {"folder": source, "out": None if out is None else str(out), "model": self._stored.sha256}
        self.health = Health(path, facts, self._now)
        if out is not None:
            is_relative = source != "-" and not Path(source).is_absolute()
            record: dict[str, Any] = {"folder": source, "working_directory": str(Path.cwd()) if is_relative else None}
            record |= scored_by(self._stored, self._calibration, self._mapper)
            record |= {"versions": library_versions(), "host": host_record(self._mapper, started)}
            self.folder = WatchedFolder(out, record, relative)

    def __enter__(self) -> Station:
        with contextlib.ExitStack() as stack:
            if self.folder is not None:
                self._database = stack.enter_context(open_database(self._outputs.sqlite, self.folder.out))
                stack.enter_context(self.folder)
                if self._database is not None:
                    about = about_run(self._stored, self._calibration, self.folder.out, 0)
                    self._database.begin(self.folder.lines, self.folder.key, about)
            self.health.begin()
            if self._hook is not None:
                stack.enter_context(self._hook)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state = "failed"
        try:
            try:
                if kind is not None:
                    if self._hook is not None:
                        self._hook.hurry()
                    self._keep()  # what was scored before the interruption
                elif self._database is not None:
                    self._database.finish(is_endless=True)
            finally:
                self._stack.__exit__(kind, error, trace)
            if kind is None or not issubclass(kind, Exception):  # a second signal stops it as the first would have
                state = "stopped"
        finally:
            self.health.write(state, at_once=True)

    def waiting(self, found: FoundImage, stem: str, arrival: Arrival | None) -> Waiting:
        """An image to score."""
        part = None if self._grouping is None else self._grouping.find(found)
        return Waiting(Job(found, stem, part), arrival)

    def score(self, images: list[Waiting], settle: Callable[[str, Fate], None]) -> None:
        """Scores images; `settle(image, fate)` hears what becomes of each.

        Ends early when the channel says stop: what is under way is finished, or dropped without a trace.
        """
        for waiting, result in self._mapper.stream(images, self._finish):
            image = waiting.job.image.given
            if isinstance(result, Fate):
                settle(image, result)
            else:
                self._take(waiting, result)
                settle(image, Fate.SCORED)
            self.breathe()
            if self.channel.stop():
                break
        self._flush()

    def breathe(self) -> None:
        """To be called often: writes the health file where it is time to."""
        before = self.health.fault
        self.health.write(self.state)
        if self.health.fault is not None and before is None:
            self.channel.say(f"the health file is not up to date: {self.health.fault}")

    def look_at_model(self) -> None:
        """Says when the model file is no longer the one that scores here."""
        sentence = self._model_file.look()
        if sentence is not None:
            self.channel.say(sentence)

    def _finish(self, waiting: Waiting, mapped: Mapped | UnreadableImage) -> tuple[Waiting, Done | Fate]:
        """On a worker thread. Pixels are of the settled file if that is still there now."""
        arrival = waiting.arrival
        if arrival is not None:
            if stamp_of(arrival.image) != arrival.stamp:
                return waiting, Fate.CHANGED
            if isinstance(mapped, UnreadableImage) and not arrival.is_retry:
                return waiting, Fate.RETRY
        model, calibration = self._stored.model, self._calibration
        return waiting, finish(waiting.job, mapped, model=model, calibration=calibration, outputs=self._outputs)

    def _take(self, waiting: Waiting, result: Done) -> None:
        record, pictures = result
        if self.folder is None:
            self._count(record)
            self.channel.tell(record)
            return
        stamp: Stamp = (0, 0) if waiting.arrival is None else waiting.arrival.stamp
        self.folder.add(record, pictures, waiting.job.stem, stamp)
        if self.folder.waiting >= _GROUP or time.monotonic() - self._flushed > _LONGEST:
            self._flush()

    def _flush(self) -> None:
        records = self._keep()
        self._flushed = time.monotonic()
        if self._database is not None:
            self._database.follow()
        for record in records:
            self.channel.tell(record)

    def _keep(self) -> list[dict[str, Any]]:
        """Brings to the disk what waits. No later watch takes it up, so this one runs the command for all of it."""
        records = [] if self.folder is None else self.folder.flush()
        for record in records:
            self._count(record)
        return records

    def _count(self, record: dict[str, Any]) -> None:
        self.health.count(record)
        if self._hook is not None:
            self._hook.run(record)

    def _now(self) -> dict[str, object]:
        commands = {} if self._hook is None else self._hook.counts()
        return {"model_changed": self._model_file.has_changed} | self.more() | commands


class _ModelFile:
    """The file that the model was read from, which may be replaced at any time."""

    def __init__(self, path: Path, settle: float):
        """Args: `settle`: seconds that it must have stood still for, as an image must."""
        self.sha256 = ""  # of the model that is used
        self.has_changed = False
        self._path, self._settle = path, settle
        self._known = self._stamp()  # before it is read: a change while it is read is then seen
        self._seen, self._since = self._known, 0.0  # at the last look, and when it was first seen like this

    def look(self) -> str | None:
        """The sentence to say when the file has become another, or its own again.

        Nothing is said of a file that is being written: only of one that two looks and the time between saw unchanged.
        """
        stamp, now = self._stamp(), time.monotonic()
        if stamp != self._seen:
            self._seen, self._since = stamp, now
            return None
        if stamp == self._known or now - self._since < self._settle:
            return None
        sha256 = _sha256(self._path)
        if self._stamp() != stamp:
            return None
        self._known = stamp
        before, self.has_changed = self.has_changed, sha256 != self.sha256
        if not self.has_changed:
            return f"the model file {self._path} is again the one that scores here" if before else None
        kept = f"this watch keeps the model it started with (sha256 {self.sha256[:12]})"
        if sha256 is None:
            return f"the model file {self._path} is gone, or cannot be read: {kept}"
        return (
            f"the model file {self._path} has changed (sha256 {sha256[:12]}): {kept}; stop it and start it with "
            "another --out to use the new one"
        )

    def _stamp(self) -> Stamp | None:
        return stamp_of(os.fspath(self._path))


def _sha256(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
    except OSError:
        return None
    return digest.hexdigest()


def _grouping(model: Model) -> Grouping | None:
    return None if model.group_by is None else Grouping(model.group_by)
