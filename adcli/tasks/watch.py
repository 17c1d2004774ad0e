"""Images scored as they arrive: the files that come into a folder, or the paths that come on a pipe."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from adcli.errors import EnvironmentFault, UsageError
from adcli.finding import FoundImage
from adcli.parallel import cores, stream
from adcli.report.results import WATCH
from adcli.tasks.arrivals import Arrival, Arrivals, stamp_of
from adcli.tasks.engines import Machine
from adcli.tasks.records import Outputs, still_same
from adcli.tasks.station import MOST, Channel, Fate, Settings, Station
from adcli.tasks.totals import check_fail_on, exit_code_of

_SHARE = 3  # a look at the folder is followed by three times its length without one: large folders take a while
_NAP = 0.1  # seconds; a signal is heeded after this
_LONGEST_QUEUE = 256  # paths read ahead

_LONGEST = 86400.0  # seconds of any wait


@dataclass(frozen=True)
class Watched:
    """What a watch came to."""

    counts: dict[str, int]  # by verdict, since it started
    left: int  # files that were still being written when a single look ended
    exit_code: int


def watch(
    folder: str,
    model_path: Path,
    out: Path,
    *,
    channel: Channel,
    settings: Settings | None = None,
    outputs: Outputs | None = None,
    machine: Machine | None = None,
    weights: Path | None = None,
    fail_on: str | None = None,
) -> Watched:
    """Scores the images that come into a folder or lie there, each once, into `out`, until `channel.stop()`.

    An earlier watch into `out`, however it ended, is continued. What is scored is told to the channel once it is on the
    disk. A file that changes is another image.

    Raises:
        ModelFileError: the model is damaged, has no threshold, or was made with other weights than those given.
        UsageError: there is no such folder, or `out` holds something else.
        EnvironmentFault: a device is missing, the disk is full, or the database cannot be written; what was scored so
            far is kept.
        Busy: another run writes into `out`.
    """
    settings, outputs = settings or Settings(), outputs or Outputs()
    _check(settings, outputs, fail_on)
    if fail_on is not None and not settings.once:
        raise UsageError("--fail-on judges a watch that ends: give --once with it")
    given = folder.replace(os.sep, "/").rstrip("/")
    _check_folders(given, out)
    prefix = len(given) + 1

    def relative(image: str) -> PurePosixPath:
        return PurePosixPath(image[prefix:])

    machine = machine or Machine()
    with Station(model_path, out, given, relative, settings, outputs, machine, weights, channel) as station:
        watching = _Watching(station, given, relative, settings, os.path.realpath(out))
        watching.run()
    counts = dict(station.health.counts)
    return Watched(counts, watching.left, exit_code_of(counts, fail_on) if settings.once else 0)


def answer(
    lines: Iterable[str],
    model_path: Path,
    out: Path | None,
    *,
    channel: Channel,
    settings: Settings | None = None,
    outputs: Outputs | None = None,
    machine: Machine | None = None,
    weights: Path | None = None,
    fail_on: str | None = None,
) -> Watched:
    """Scores the image that each line names, in order and at once, until the lines end. Raises like `watch`.

    A path that is named again is scored again. Without `out` no file is written.
    """
    settings, outputs = settings or Settings(), outputs or Outputs()
    _check(settings, outputs, fail_on)
    if settings.once:
        raise UsageError("watch - ends with its input: leave --once out")
    if out is None and (outputs.maps or outputs.sqlite is not None):
        raise UsageError(f"--{'maps' if outputs.maps else 'sqlite'} needs results on the disk: give --out too")
    machine = machine or Machine()
    with Station(model_path, out, "-", _below_root, settings, outputs, machine, weights, channel) as station:
        for paths in _as_they_come(lines, channel.stop, station.breathe):
            stems = [""] * len(paths) if station.folder is None else station.folder.stems(paths)
            found = [FoundImage(Path(path), path, PurePosixPath(PurePosixPath(path).name)) for path in paths]
            images = [station.waiting(image, stem, None) for image, stem in zip(found, stems, strict=True)]
            station.score(images, lambda image, fate: None)
            station.look_at_model()
    counts = dict(station.health.counts)
    return Watched(counts, 0, exit_code_of(counts, fail_on))


class _Watching:
    """The loop: look, score what has settled, wait."""

    def __init__(
        self,
        station: Station,
        folder: str,
        relative: Callable[[str], PurePosixPath],
        settings: Settings,
        forbidden: str,
    ):
        assert station.folder is not None
        self.left = 0
        self._station = station
        self._folder = folder
        self._relative = relative
        self._settings = settings
        self._ledger = station.folder.ledger
        self._stems = station.folder.stems
        self._arrivals = Arrivals(folder, settings.settle, self._ledger.known, forbidden)
        self._away: str | None = None  # why the folder cannot be looked at
        self._told: list[str] = []  # folders below that cannot be listed
        self._took = 0.0  # seconds of the last look
        station.more = self._facts

    def run(self) -> None:
        station, arrivals, stop = self._station, self._arrivals, self._station.channel.stop
        is_first = True
        while not stop():
            began = time.monotonic()
            is_there = self._look(add=not self._settings.once or is_first or arrivals.is_full)
            is_first = False
            self._took = time.monotonic() - began
            next_look = time.monotonic() + max(self._settings.poll, _SHARE * self._took)
            station.look_at_model()
            while is_there and not stop() and (settled := arrivals.settled(MOST)):
                self._score(settled)
                if time.monotonic() >= next_look:
                    break
            if self._settings.once and not len(arrivals) and not arrivals.is_full:
                break
            while not stop() and (left := next_look - time.monotonic()) > 0:
                station.breathe()
                time.sleep(min(_NAP, left))
        self.left = arrivals.left

    def _look(self, add: bool) -> bool:
        """Looks at the folder; whether it is there. Says when it goes and comes."""
        say = self._station.channel.say
        try:
            self._arrivals.scan(add)
        except OSError as error:
            reason = error.strerror or str(error)
            if self._settings.once:
                raise EnvironmentFault(f"{self._folder} cannot be looked at ({reason}): try again later") from error
            if self._away is None:
                say(f"{self._folder} cannot be looked at ({reason}): waiting until it can")
            self._away, self._station.state = reason, "away"
            self._station.breathe()
            return False
        if self._away is not None:
            say(f"{self._folder} is there again")
        self._away, self._station.state = None, "watching"
        for sentence in self._arrivals.unlisted:
            if sentence not in self._told:
                say(sentence)
        self._told = self._arrivals.unlisted
        return True

    def _score(self, settled: list[Arrival]) -> None:
        new = self._without_done(settled)
        stems = self._stems([arrival.image for arrival in new])
        images = []
        for arrival, stem in zip(new, stems, strict=True):
            found = FoundImage(Path(arrival.image), arrival.image, self._relative(arrival.image))
            images.append(self._station.waiting(found, stem, arrival))
        self._station.score(images, self._settle)

    def _settle(self, image: str, fate: Fate) -> None:
        if fate is Fate.RETRY:
            self._arrivals.retry(image)
            return
        self._arrivals.done(image)
        if fate is Fate.CHANGED and stamp_of(image) is not None:
            self._arrivals.left += 1

    def _without_done(self, settled: list[Arrival]) -> list[Arrival]:
        """Leaves out what a watch that was killed had scored, but not entered in the ledger."""
        unverified = {arrival: self._ledger.unverified(arrival.image) for arrival in settled}

        def same(arrival: Arrival) -> bool:
            line = unverified[arrival]
            return line is not None and still_same(Path(arrival.image), *line)

        unsure = [arrival for arrival in settled if unverified[arrival] is not None]
        for arrival, is_same in zip(unsure, stream(unsure, same, cores()), strict=True):
            if is_same and stamp_of(arrival.image) == arrival.stamp:
                self._ledger.verify(arrival.image, arrival.stamp)
                self._arrivals.done(arrival.image)
                settled = [one for one in settled if one is not arrival]
        return settled

    def _facts(self) -> dict[str, object]:
        return {"away": self._away, "in_sight": len(self._arrivals), "look_ms": round(1000 * self._took, 3)}


def _as_they_come(lines: Iterable[str], stop: Callable[[], bool], idle: Callable[[], None]) -> Iterator[list[str]]:
    """The paths in `lines`, as many at a time as are there: one that comes alone is not kept waiting."""
    coming: queue.Queue[str | BaseException | None] = queue.Queue(_LONGEST_QUEUE)

    def read() -> None:
        try:
            for line in lines:
                if path := line.rstrip("\r\n"):
                    coming.put(path.replace(os.sep, "/"))
            coming.put(None)
        except BaseException as error:  # raised where the lines are used
            coming.put(error)

    threading.Thread(target=read, name="adcli paths", daemon=True).start()
    while not stop():
        try:
            paths = [coming.get(timeout=_NAP)]
        except queue.Empty:
            idle()
            continue
        while isinstance(paths[-1], str) and len(paths) < MOST and not coming.empty():
            paths.append(coming.get())
        end = None if isinstance(paths[-1], str) else [paths.pop()]
        if paths:
            yield [path for path in paths if isinstance(path, str)]
        if end is not None:
            if isinstance(end[0], BaseException):
                raise end[0]
            return


def _below_root(image: str) -> PurePosixPath:
    """Paths may come from anywhere, so pictures lie under the whole of theirs."""
    whole = os.path.abspath(image.replace("\0", "\ufffd"))  # noqa: PTH100 (resolve would follow links)
    return PurePosixPath(*(PurePath(whole).parts[1:] or ("root",)))


def _check(settings: Settings, outputs: Outputs, fail_on: str | None) -> None:
    check_fail_on(fail_on)
    outputs.check()
    # Not NaN either, which no comparison holds for.
    for name, seconds in (("poll", settings.poll), ("settle", settings.settle), ("exec-timeout", settings.timeout)):
        if not 0 <= seconds <= _LONGEST or (seconds == 0 and name != "settle"):
            raise UsageError(f"--{name} {seconds:g} is no time to wait: give seconds, such as 2 or 0.5")


def _check_folders(given: str, out: Path) -> None:
    """Refuses a folder that is none, unless a watch was begun: a network share may come later than its watch."""
    folder = Path(given)
    if not given or (not folder.is_dir() and (folder.exists() or not (out / WATCH).exists())):
        kind = "is no folder" if folder.exists() else "does not exist"
        raise UsageError(f"{given or '/'} {kind}: give the folder that images come into, or - for paths on a pipe")
    real, real_out = os.path.realpath(given), os.path.realpath(out)
    if real == real_out or real.startswith(real_out.rstrip(os.sep) + os.sep):
        raise UsageError(f"{given} lies in the output folder {out}, which is not watched: name another --out")
