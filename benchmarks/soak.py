"""One `adcli score` process over 20,000 images: does its memory grow, do files stay open, do threads stay behind?

    python benchmarks/soak.py [--images 20000] [--size 128] [--bound-mb 1024]

The images are textures of 96 good and defective parts, linked to as many names as are asked for; one in five is NG, two
in five CHECK. Masks and overlays of all, a JUnit report and a database are written. Several times a second the
process's memory, open files and threads are read from /proc, with the number of lines that are on the disk. Growth is
the largest memory after the first thousand images, less what it was then. Results are kept as results/soak.json; the
exit code is 1 where the growth is above the bound, or where never again as few files are open, or as few threads run,
as at most there were in the first thousand images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import HERE, adcli, keep, machine, run

SETTLED = 1000  # images after which memory should not grow any more
TOLD = (1000, 2000, 5000, 10000, 20000)  # numbers of images at which the memory is told
_ROUNDS = 4  # of looking at files and threads within a second: a group of files is on its way for a few ms


def textures(folder: Path, size: int) -> Path:
    """A data set with 96 test images."""
    script = str(HERE.parent / "examples" / "make_textures.py")
    many = ["--size", str(size), "--good", "40", "--test-good", "48", "--defects", "16"]
    run([sys.executable, script, str(folder), *many])
    return folder


def linked(sources: list[Path], folder: Path, number: int) -> Path:
    """As many names, a thousand a folder."""
    for place in range(number):
        path = folder / f"{place // 1000:03}" / f"{place:06}{sources[0].suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(sources[place % len(sources)], path)
    return folder


def look(pid: int) -> dict[str, int] | None:
    """Memory, open files and threads of a process; None once it has ended."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return {"rss_kb": int(status["VmRSS"].split()[0]), "threads": int(status["Threads"]), "files": files}
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return None


class Lines:
    """Whole lines of a growing file."""

    def __init__(self, path: Path):
        self._path = path
        self._at = self.number = 0

    def count(self) -> int:
        """How many there are by now."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
            self._at += len(data)
            self.number += data.count(b"\n")
        return self.number


def watched(command: list[str], lines: Lines) -> tuple[list[dict[str, Any]], int, str]:
    """A look a second at a command until it ends; its exit code and what it complained of."""
    samples: list[dict[str, Any]] = []
    began = time.monotonic()
    with tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err)
        while process.poll() is None:
            looks = []
            for _ in range(_ROUNDS):
                looks.append(look(process.pid))
                time.sleep(1 / _ROUNDS)
            seen = [one for one in looks if one is not None]
            if seen:
                largest = {name: max(one[name] for one in seen) for name in seen[0]}
                least = {f"least_{name}": min(one[name] for one in seen) for name in ("threads", "files")}
                at = {"seconds": round(time.monotonic() - began, 1), "images": lines.count()}
                samples.append(at | largest | least)
        err.seek(0)
        return samples, process.returncode, err.read().decode(errors="replace")[-2000:]


def summary(samples: list[dict[str, Any]], number: int, bound_mb: float) -> dict[str, Any]:
    """What the looks come to."""
    settled = min(SETTLED, number // 2)
    before = [one for one in samples if one["images"] <= settled]
    after = [one for one in samples if one["images"] >= settled]
    scoring = [one for one in after if one["images"] < number]  # a process that is ending closes its files
    if not before or not scoring:
        sys.exit(f"{len(samples)} looks are too few: give more images")
    told = {}
    for count in TOLD:
        if count <= number:
            first = next((one for one in samples if one["images"] >= count), samples[-1])
            told[str(count)] = round(first["rss_kb"] / 1024, 1)
    growth = (max(one["rss_kb"] for one in after) - after[0]["rss_kb"]) / 1024
    span = {
        what: [max(one[what] for one in before), min(one[f"least_{what}"] for one in scoring)]
        for what in ("files", "threads")
    }
    return {
        "rss_mb": told,
        "peak_mb": round(max(one["rss_kb"] for one in samples) / 1024, 1),
        "growth_mb": round(growth, 1),
        "bound_mb": bound_mb,
        **{f"{what}_most_then_least": both for what, both in span.items()},
        "is_within": growth < bound_mb and all(least <= most for most, least in span.values()),
    }


def main() -> None:
    """Scores, looks and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--bound-mb", type=float, default=1024)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        data = textures(folder / "data", arguments.size)
        model, out = folder / "model.h5", folder / "out"
        quick = ["--backbone", "random-resnet18", "--image-size", "64", "-p", "dims=30", "--no-pictures"]
        run(adcli("fit", str(data / "train"), "-m", str(model), *quick))
        band = ["--max-false-reject", "0.2", "--check-false-reject", "0.6", "--min-area", "20px", "--no-pictures"]
        run(adcli("calibrate", str(data / "test"), "-m", str(model), *band))  # so that all three verdicts occur
        images = linked(sorted((data / "test").rglob("*.png")), folder / "images", arguments.images)
        pictures = ["--masks", "all", "--overlays", "all", "--junit", "--sqlite", str(folder / "runs.db"), "--quiet"]
        command = adcli("score", str(images), "--out", str(out), "-m", str(model), *pictures)
        samples, code, complaint = watched(command, Lines(out / "results.jsonl"))
        if code:
            sys.exit(f"{' '.join(command)} ended with {code}: {complaint}")
        counts = json.loads((out / "run.json").read_bytes())["counts"]
        pictures_written = sum(1 for kind in ("masks", "overlays") for _ in (out / kind).rglob("*.*"))
    if sum(counts.values()) != arguments.images or pictures_written != 2 * arguments.images:
        sys.exit(f"{counts} images were scored and {pictures_written} pictures written, of {arguments.images}")
    found = summary(samples, arguments.images, arguments.bound_mb)
    seconds = samples[-1]["seconds"]
    content = {
        "machine": machine(),
        "images": arguments.images,
        "size": arguments.size,
        "counts": counts,
        "seconds": seconds,
        "images_a_second": round(arguments.images / seconds, 1),
        **found,
        "samples": samples[:: max(1, len(samples) // 200)],
    }
    keep("soak", content)
    shown = {key: value for key, value in content.items() if key not in ("machine", "samples")}
    print(json.dumps(shown, indent=1))
    sys.exit(not found["is_within"])


if __name__ == "__main__":
    main()
