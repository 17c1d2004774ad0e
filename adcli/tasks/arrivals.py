"""Files that come into a folder, found by looking again and again: network shares tell nobody of a new file."""

# ruff: noqa: PTH116 (a Path for each file of a large folder would take longer than the question)
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from adcli.errors import EnvironmentFault
from adcli.finding import walk_entries
from adcli.report.ledger import MOST_NAMES, Stamp

_MOST = 10_000  # files in sight: of more, the others are taken up once these are done

Known = Callable[[str, Sequence[str]], "dict[str, Stamp | tuple[None, None]]"]


@dataclass(frozen=True)
class Arrival:
    """A file that has not changed for the settle time."""

    image: str  # its path as given
    stamp: Stamp
    is_retry: bool  # it was settled before, and could not be read


@dataclass
class _Seen:
    stamp: Stamp
    since: float  # when it was first seen like this
    last: float  # when it was last seen
    scan: int  # the number of that scan
    is_retry: bool = False


class Arrivals:
    """The files of a folder that are not known yet. Memory does not depend on how many are."""

    def __init__(
        self,
        folder: str,
        settle: float,
        known: Known,
        forbidden: str | None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Args: `settle` in seconds; `known(folder, names)` tells what was scored; `forbidden`: see `walk_entries`."""
        self._folder = folder
        self._settle = settle
        self._known = known
        self._forbidden = forbidden
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._scan = 0
        self.is_full = False  # the last scan met more files than it could keep in sight
        self.left = 0  # files that a scan with `add` False found changed, and let go
        self.unlisted: list[str] = []  # why folders could not be listed, at the last scan

    def __len__(self) -> int:
        """Files in sight: they are settling, or wait to be scored."""
        return len(self._seen)

    def scan(self, add: bool = True) -> None:
        """Looks at the folder once. Without `add`, no file comes into sight that was not, and one that changes leaves.

        Raises OSError while the folder itself is not there; what is in sight stays.
        """
        os.scandir(self._folder).close()
        self._scan += 1
        self.is_full = False
        self.unlisted = []
        for folder, names in self._chunks():
            stamps = {name: stamp for name in names if (stamp := stamp_of(folder + name)) is not None}
            known = self._known(folder, list(stamps))
            for name, stamp in stamps.items():
                if known.get(name) != stamp:
                    self._look(folder + name, stamp, add)
        for image in [image for image, seen in self._seen.items() if seen.scan != self._scan]:
            del self._seen[image]  # gone, or known by now

    def settled(self, most: int) -> list[Arrival]:
        """Up to `most` files that were the same for the settle time, the earliest changed first."""
        ready = (
            (seen.stamp[1], os.fsencode(image), image)
            for image, seen in self._seen.items()
            if seen.scan == self._scan and seen.last - seen.since >= self._settle
        )
        chosen = (image for _, _, image in nsmallest(most, ready))
        return [Arrival(image, self._seen[image].stamp, self._seen[image].is_retry) for image in chosen]

    def done(self, image: str) -> None:
        """Lets a file out of sight, which is known now or is to be looked at anew."""
        del self._seen[image]

    def retry(self, image: str) -> None:
        """Lets a file that cannot be read settle once more."""
        self._seen[image].since = self._clock()
        self._seen[image].is_retry = True

    def _chunks(self) -> Iterator[tuple[str, list[str]]]:
        """Names of files with their folder as it is spelt in `image`, not many at a time."""
        folder, names = "", []
        for relative, entry in walk_entries(self._folder, self._forbidden, self._unlistable):
            if names and (len(names) == MOST_NAMES or relative != folder):
                yield f"{self._folder}/{folder}", names
                names = []
            folder = relative
            names.append(entry.name)
        if names:
            yield f"{self._folder}/{folder}", names

    def _look(self, image: str, stamp: Stamp, add: bool) -> None:
        now, seen = self._clock(), self._seen.get(image)
        if seen is not None and seen.stamp == stamp:
            seen.last, seen.scan = now, self._scan
        elif seen is not None and not add:
            self.left += 1  # and out of sight after this scan
        elif seen is not None or (add and len(self._seen) < _MOST):
            self._seen[image] = _Seen(stamp, now, now, self._scan)
        elif add:
            self.is_full = True

    def _unlistable(self, error: EnvironmentFault) -> None:
        self.unlisted.append(str(error))


def stamp_of(path: str) -> Stamp | None:
    """What tells one content of a file from another without reading it; None when the file is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
