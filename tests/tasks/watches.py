"""A watch on a thread of its own, and what it says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adcli.errors import AdcliError
from adcli.tasks.records import Outputs
from adcli.tasks.station import Channel, Settings
from adcli.tasks.watch import watch

QUICK = ("--poll", "0.02", "--settle", "0.05")


class Live:
    """A watch on a thread of its own."""

    def __init__(self, folder: Path, model: Path, out: Path, outputs: Outputs | None = None, **settings: Any):
        self.out = out
        self.told: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.error: AdcliError | None = None
        self._stop = False
        self._arguments = (str(folder), model, out)
        self._more = {
            "channel": Channel(self.told.append, self.said.append, lambda: self._stop),
            "settings": Settings(**{"poll": 0.02, "settle": 0.1} | settings),
            "outputs": outputs,
        }
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            watch(*self._arguments, **self._more)
        except AdcliError as error:
            self.error = error

    def __enter__(self) -> Live:
        self._thread.start()
        self.until(lambda: (self.out / "health.json").exists())
        return self

    def __exit__(self, *error: object) -> None:
        self._stop = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def until(self, true: Callable[[], object]) -> None:
        """Waits until something is so."""
        end = time.monotonic() + 60
        while not true():
            assert time.monotonic() < end, (self.told, self.said)
            assert self.error is None, self.error
            time.sleep(0.01)

    def images(self, folder: Path) -> list[str]:
        """What was told, by name."""
        return [record["image"].removeprefix(f"{folder}/") for record in self.told]

    def health(self) -> dict[str, Any]:
        """The health file, which is whole whenever it is read."""
        return json.loads((self.out / "health.json").read_bytes())
