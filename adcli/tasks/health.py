"""How a watch is doing, in a small file that a monitoring program reads."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adcli.errors import EnvironmentFault
from adcli.files import remove_own_leftovers, write_whole
from adcli.report.lines import encode_json
from adcli.types import Verdict

WINDOW = 100  # images whose shares are told
_MINUTE = 60.0  # seconds over which images are counted
_FASTEST = 1.0  # seconds between two writes while images come
_SLOWEST = 5.0  # and while none do


class Health:
    """Counts since the start, and the file; without a path the counts only."""

    def __init__(self, path: Path | None, facts: dict[str, object], now: Callable[[], dict[str, object]]):
        """Args: `facts` never change; `now()` gives what the watch says of itself at each writing."""
        self.counts: Counter[str] = Counter({verdict.value: 0 for verdict in Verdict})
        self.fault: EnvironmentFault | None = None  # why the file could not be written the last time
        self._path = path
        self._facts = {"pid": os.getpid(), "host": socket.gethostname()} | facts | {"started": _utc(time.time())}
        self._now = now
        self._last: dict[str, object] = {"last_image": None, "last_verdict": None, "last_time": None}
        self._last_at: float | None = None
        self._recent: deque[str] = deque(maxlen=WINDOW)  # verdicts
        self._minute: deque[float] = deque()  # when each image of the last minute was scored
        self._written = -_SLOWEST
        self._is_new = True  # something was counted that is not in the file

    def begin(self) -> None:
        """Writes the file for the first time. Raises EnvironmentFault where it cannot be written."""
        if self._path is not None:
            remove_own_leftovers(self._path)
            write_whole(self._path, encode_json(self._document("starting"), indent=2))

    def count(self, record: dict[str, Any]) -> None:
        """One image was scored."""
        verdict = record["verdict"]
        self.counts[verdict] += 1
        self._recent.append(verdict)
        self._last_at = time.monotonic()
        self._minute.append(self._last_at)
        self._forget(self._last_at)
        self._last = {"last_image": record["image"], "last_verdict": verdict, "last_time": _utc(time.time())}
        self._is_new = True

    def write(self, state: str, at_once: bool = False) -> None:
        """Writes the file where it is time to. A file that cannot be written is no reason to stop: see `fault`."""
        since = time.monotonic() - self._written
        if self._path is None or not (at_once or since >= (_FASTEST if self._is_new else _SLOWEST)):
            return
        self._written, self._is_new = time.monotonic(), False
        try:
            write_whole(self._path, encode_json(self._document(state), indent=2))
            self.fault = None
        except EnvironmentFault as error:
            self.fault = error

    def _document(self, state: str) -> dict[str, object]:
        now = time.monotonic()
        self._forget(now)
        shares = {
            f"{verdict.lower()}_share": self._recent.count(verdict) / len(self._recent) if self._recent else None
            for verdict in ("NG", "CHECK", "ERROR")
        }
        return {
            "state": state,
            "written": _utc(time.time()),
            **self._facts,
            **self._last,
            "age_s": None if self._last_at is None else round(now - self._last_at, 3),
            "images": self.counts.total(),
            **{verdict.lower(): count for verdict, count in self.counts.items()},
            "images_per_min": len(self._minute),
            "window": len(self._recent),
            **shares,
            **self._now(),
        }

    def _forget(self, now: float) -> None:
        while self._minute and self._minute[0] < now - _MINUTE:
            self._minute.popleft()


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
