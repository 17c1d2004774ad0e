"""kill -9 at random instants of `adcli score`, then --resume until it is done: is the folder an undisturbed run's?

    python benchmarks/kills.py [--kills 200] [--seed 1] [--images 96]

The instants are drawn evenly over the time that an undisturbed run takes, from the start of its process to its end; a
resumed run is killed again with a chance of one in two, up to three times. After every kill the lines that were on the
disk must still be there, byte by byte with their `ms`, when the run has come to its end: no image is scored twice. At
the end every file is compared as docs/cli.md has it, and the rows of the database with the lines.

Processes are forked from one that has imported the libraries, so that 200 kills take minutes. Results are kept as
results/kills.json; the exit code is 1 where something was lost, doubled or other than it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from measure import HERE, keep, machine, small_model

sys.path.insert(0, str(HERE.parent))  # for the tests' processes and comparisons

AGAIN = 0.5  # chance that a resumed run is killed too
MOST_KILLS = 3  # of one run
LATEST = 1.05  # of an undisturbed run's time
OUTPUTS = ("--masks", "all", "--overlays", "all", "--maps", "--junit", "--html", "--sqlite", "runs.db")


class Trial:
    """One run in a folder of its own, killed and continued."""

    def __init__(self, folder: Path, images: Path, model: Path, number: int):
        folder.mkdir()
        self.folder, self.out = folder, folder / "out"
        self._words = ("score", images, "--out", "out", "-m", model, *OUTPUTS, "--workers", "1", "--resume", "--quiet")
        self._images = number
        self.failures: list[str] = []
        self.kept = 0  # lines that were on the disk at the last kill
        self._lines = b""

    def run(self, seconds: float | None) -> tuple[str | None, float]:
        """Runs, and kills after so many seconds: where that was, or None for a run that came to its end, and its time.

        The first lines of any earlier run must still be the first ones.
        """
        from tests.cli.processes import Process

        began = time.monotonic()
        process = Process(*self._words, cwd=self.folder)
        code = None
        if seconds is not None:
            with contextlib.suppress(TimeoutError):
                code = wait(process, seconds - (time.monotonic() - began))
        where = None
        if seconds is not None and code is None:
            where = self._where()
            process.send(signal.SIGKILL)
        code = process.wait(120)
        took = time.monotonic() - began
        if code not in (5, -signal.SIGKILL):  # some images are unreadable
            self.failures.append(f"ended with {code}: {process.err[-300:]}")
        self._check_lines()
        if code == -signal.SIGKILL:
            self.kept = self._lines.count(b"\n")
        return (where if code == -signal.SIGKILL else None), took

    def _where(self) -> str:
        if not (self.out / ".adcli-run.json").exists():
            return "finished" if (self.out / "run.json").exists() else "before the folder"
        lines = self._read().count(b"\n")
        if lines == self._images:
            return "while finishing"
        return "between lines" if lines else "before the first line"

    def _read(self) -> bytes:
        path = self.out / "results.jsonl"
        return path.read_bytes() if path.exists() else b""

    def _check_lines(self) -> None:
        now = self._read()
        if not now.startswith(self._lines):
            self.failures.append("lines that were on the disk are gone, or were scored again")
        self._lines = now[: now.rfind(b"\n") + 1]

    def check(self, undisturbed: dict[str, bytes]) -> None:
        """The finished folder and the database, against an undisturbed run's."""
        from tests.rows import check_rows
        from tests.tasks.folders import records

        lines = records(self.out)
        names = [line["image"] for line in lines]
        if len(names) != self._images or len(set(names)) != len(names):
            self.failures.append(f"{len(names)} lines of {len(set(names))} images, where there are {self._images}")
        found = comparable(self.out)
        if other := sorted(
            name for name in found.keys() | undisturbed.keys() if found.get(name) != undisturbed.get(name)
        ):
            self.failures.append(f"not as an undisturbed run has them: {', '.join(other[:5])}")
        try:
            check_rows(self.folder / "runs.db", lines)
        except AssertionError as error:
            self.failures.append(f"the database has other rows than the lines: {error}")


def wait(process: Any, seconds: float) -> int | None:
    """The exit code, if the process ends within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not process.is_alive():
            return process.wait()
        time.sleep(min(0.002, max(0.0, until - time.monotonic())))
    return None


def comparable(out: Path) -> dict[str, bytes]:
    """Every file by name without what docs/cli.md lets differ: `ms`, the host, the reports' times."""
    from tests.tasks.folders import timeless

    files = timeless(out)
    files["junit.xml"] = re.sub(rb' time="[^"]*"', b"", files["junit.xml"])
    files["report.html"] = re.sub(rb"(?m)^.*class=\"host\".*$", b"", files["report.html"])
    return files


def many_images(data: Path, folder: Path, number: int) -> Path:
    """Images in three folders, every tenth unreadable."""
    sources = sorted((data / "test").rglob("*.png"))
    for place in range(number):
        path = folder / str(place % 3) / f"{place:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image" if place % 10 == 7 else sources[place % len(sources)].read_bytes())
    return folder


def main() -> None:
    """Kills and resumes until so many kills have hit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--images", type=int, default=96)
    arguments = parser.parse_args()
    rng, began = random.Random(arguments.seed), time.monotonic()
    places: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    trials = resumed = kept = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        for variable in ("ADCLI_WEIGHTS_DIR", "TORCH_HOME"):
            os.environ[variable] = str(folder / "nowhere")
        data, model = small_model(folder)
        images = many_images(data, folder / "images", arguments.images)
        undisturbed, took = {}, 0.0
        for number in range(3):  # the first also waits for the libraries
            trial = Trial(folder / f"undisturbed{number}", images, model, arguments.images)
            _, took = trial.run(None)
            if undisturbed and comparable(trial.out) != undisturbed:
                sys.exit("two undisturbed runs differ: nothing can be compared with them")
            undisturbed = comparable(trial.out)
        while places.total() < arguments.kills:
            trial = Trial(folder / f"trial{trials}", images, model, arguments.images)
            for kill in range(MOST_KILLS + 1):
                again = kill == 0 or (kill < MOST_KILLS and rng.random() < AGAIN)
                where, _ = trial.run(rng.uniform(0, LATEST * took) if again else None)
                resumed += kill > 0
                if where is None:
                    break
                places[where] += 1
            trial.check(undisturbed)
            trials, kept = trials + 1, kept + trial.kept
            if trial.failures:
                failures.append({"trial": trials, "what": trial.failures})
                print(f"trial {trials}: {'; '.join(trial.failures)}", flush=True)
        content = {
            "machine": machine(),
            "seed": arguments.seed,
            "images": arguments.images,
            "undisturbed_s": round(took, 3),
            "runs": trials,
            "kills": places.total(),
            "kills_by_place": dict(places),
            "resumed": resumed,
            "lines_kept": kept,
            "failures": failures,
            "seconds": round(time.monotonic() - began, 1),
        }
    keep("kills", content)
    print(json.dumps({key: value for key, value in content.items() if key != "machine"}, indent=1))
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
