"""The folder that `score` writes: one line and some pictures an image, whole or not at all, and resumable.

Pictures are on the disk before the line that names them, so after any interruption the complete lines of
results.jsonl tell what is done. While a run is under way, `.adcli-run.json` names its configuration and inputs;
run.json takes its place at the end.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from adcli.errors import UsageError
from adcli.files import faults, hold, remove_leftovers, write_whole
from adcli.report.appending import Appending
from adcli.report.kept import check_begun, check_finished, check_same, is_record, stays_inside
from adcli.report.lines import encode_json, read_json, read_lines, read_sized

LINES = "results.jsonl"
TABLE = "results.csv"
JUNIT = "junit.xml"
RUN = "run.json"
PAGE = "report.html"
_LONGEST_STEM = 240  # bytes
PLACES = ("masks", "overlays", "maps")
PENDING = ".adcli-run.json"
WATCH = "watch.json"  # in place of run.json, where `watch` writes
HEALTH = "health.json"
LEDGER = ".adcli-watch.db"
LOCK = ".adcli.lock"
_GROUP = 16  # images whose files go to the disk together

COLUMNS = (
    "image",
    "verdict",
    "reason",
    "part",
    "score",
    "threshold",
    "check_threshold",
    "min_area_px",
    "p_value",
    "n_regions",
    "largest_area_px",
    "largest_bbox",
    "width",
    "height",
    "sha256",
    "ms",
)


class ResultsFolder:
    """An output folder that this run holds alone.

    Use it as a context manager: `done` says which leading inputs an interrupted run has finished, `add` takes the
    others in order, `finish` writes the table and the run's record.
    """

    def __init__(
        self,
        out: Path,
        configuration: dict[str, Any],
        inputs: list[tuple[str, str]],
        *,
        resume: bool,
        force: bool,
        further: Sequence[str] = (),
    ):
        """Args: `inputs` are the images in order, each as given and with the stem of its pictures.

        `further` names files that the caller writes between `flush` and `finish`; the next run removes them.
        """
        self.out = out
        self.lines = out / LINES
        self.inputs = inputs
        self.key = os.urandom(16).hex()  # names this run, also after it was resumed
        self.counts: Counter[str] = Counter()
        self.finished = False
        self._configuration = configuration
        self._resume = resume
        self._resumed = False  # an unfinished run was found, and is continued
        self._force = force
        self._further = list(further)
        self._appending = Appending(self.lines)
        self._files: list[str] = []  # pictures of this run, in the order of the images
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> ResultsFolder:
        self._stack.enter_context(held(self.out))
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None and self._appending.waiting:
                self.flush()  # what was scored before the interruption is kept
        finally:
            self._appending.discard()
            self._stack.close()

    def done(self) -> list[dict[str, Any]]:
        """Records of an interrupted run, in input order, up to the first line that is none: torn, or damaged."""
        return list(takewhile(is_record, read_lines(self.lines)))

    def keep(self, count: int) -> None:
        """Keeps the first `count` lines and drops what follows them, to be scored again."""
        kept = 0
        for record, size in islice(read_sized(self.lines), count):
            self.counts[record["verdict"]] += 1
            kept += size
        if self.lines.exists():
            with faults("write", self.lines), self.lines.open("r+b") as file:
                file.truncate(kept)
                os.fsync(file.fileno())
        if self._resumed:  # an image that has become good since must not keep its mask
            self._remove(self._pictures(self.inputs[count:]))
        self._files = self._pictures(self.inputs[:count])

    def add(self, record: dict[str, Any], pictures: Iterable[tuple[str, bytes]]) -> None:
        """Takes one image's record and its pictures, (relative path, bytes)."""
        self._files += self._appending.add(record, pictures)
        self.counts[record["verdict"]] += 1
        if self._appending.waiting >= _GROUP:
            self.flush()

    def flush(self) -> None:
        """Brings to the disk what waits: pictures, then the lines that name them."""
        self._appending.flush()

    def records(self) -> Iterator[dict[str, Any]]:
        """All records so far, in input order, read from the disk one at a time."""
        self.flush()
        return read_lines(self.lines)

    def finish(self, record: dict[str, Any]) -> None:
        """Writes results.csv and run.json, with the list of all pictures: the run is over."""
        self.flush()
        if not self.lines.exists():
            write_whole(self.lines, b"")
        write_whole(self.out / TABLE, _table(read_lines(self.lines)))
        write_whole(self.out / RUN, encode_json(record | {"files": self._files + self._further}, indent=2))
        self._remove([PENDING])

    def _begin(self) -> None:
        if (self.out / WATCH).exists():
            raise UsageError(f"{self.out} holds the results of adcli watch, which goes on there: name another folder")
        pending, over = self.out / PENDING, self.out / RUN
        if pending.exists():
            if self._resume:
                begun = read_json(pending)
                check_begun(begun, pending)
                self._check_same(begun)
                self.key = begun["key"]
                self._resumed = True
                return
            if not self._force:
                raise UsageError(
                    f"{self.out} holds an unfinished run: continue it with --resume, or start over with --force"
                )
        elif self._resume and over.exists() and self.lines.exists():
            self._check_finished(read_json(over))
            self.finished = True
            return
        self._clear()
        begun = {
            "key": self.key,
            "configuration": self._configuration,
            "inputs": self.inputs,
            "further": self._further,
        }
        write_whole(pending, encode_json(begun))

    def _check_same(self, begun: dict[str, Any]) -> None:
        check_same(self.out, begun["configuration"], self._configuration)
        if not {given for given, _ in begun["inputs"]} & {given for given, _ in self.inputs}:
            raise UsageError(
                f"{self.out} was begun with other images ({begun['inputs'][0][0]} for one): resume with the same, from "
                "the same folder, or start over with --force"
            )
        # The first run's list counts, also where files came since.
        self.inputs[:] = [(given, stem) for given, stem in begun["inputs"]]

    def _check_finished(self, record: dict[str, Any]) -> None:
        """Refuses to take a finished run of another model, or of other images, for this one."""
        lines = self.done()
        done = {record["image"] for record in lines}
        missing = [given for given, _ in self.inputs if given not in done]
        if record.get("model") != self._configuration["model"]:
            raise UsageError(f"{self.out} holds a finished run of another model: replace it by leaving --resume out")
        content = self.lines.read_bytes()
        if not len(done) == len(lines) == content.count(b"\n") or not content.endswith(b"\n"):
            raise UsageError(
                f"{self.lines} is damaged at line {len(lines) + 1} or before: replace the run by leaving --resume out"
            )
        if missing:
            raise UsageError(
                f"{self.out} holds a finished run without {len(missing)} of these images ({missing[0]} for one): name "
                "another folder, or replace it by leaving --resume out"
            )

    def _clear(self) -> None:
        """Removes what an earlier run listed as its own, and nothing else.

        The lines go first and the run's record last: killed in between, the folder neither counts as finished, nor
        are pictures that are gone taken for done.
        """
        listed: list[str] = []
        if (self.out / PENDING).exists():
            begun = read_json(self.out / PENDING)
            check_begun(begun, self.out / PENDING)
            listed = self._pictures(begun["inputs"]) + begun.get("further", [])
        elif (self.out / RUN).exists():
            finished = read_json(self.out / RUN)
            check_finished(finished, self.out / RUN)
            listed = finished.get("files", [])
        self._remove([LINES, *filter(_is_ours, listed), TABLE, RUN])

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with faults("remove", self.out / name):
                (self.out / name).unlink(missing_ok=True)

    def _pictures(self, inputs: Iterable[Sequence[str]]) -> list[str]:
        """The pictures that are there, of those these inputs can have."""
        names = (name for _, stem in inputs for name in picture_names(stem))
        return [name for name in names if (self.out / name).is_file()]


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """An output folder that is there, held alone, and without what killed runs left half-written."""
    with faults("create the folder", out):
        out.mkdir(parents=True, exist_ok=True)
    with hold(out / LOCK):
        remove_leftovers(out, below=False)  # another run may be writing into a folder of its own in here
        for place in PLACES:
            remove_leftovers(out / place)
        yield


def picture_names(stem: str) -> tuple[str, str, str]:
    """Where an image's mask, overlay and map lie under the output folder."""
    masks, overlays, maps = PLACES
    return f"{masks}/{stem}.png", f"{overlays}/{stem}.jpg", f"{maps}/{stem}.tiff"


def picture_stems(relatives: Sequence[PurePosixPath]) -> list[str]:
    """A stem for each image: its relative path without the suffix, which is kept where two images would collide."""
    stems = [str(path.with_suffix("")) for path in relatives]
    while True:
        seen = Counter(map(os.path.normcase, stems))
        # Again where one that was kept is another's without its suffix: a.png and a.jpg beside a.png.bmp.
        kept = [
            stem if seen[os.path.normcase(stem)] == 1 else str(path)
            for stem, path in zip(stems, relatives, strict=True)
        ]
        if kept == stems:
            return [short_enough(stem) for stem in stems]
        stems = kept


def short_enough(stem: str) -> str:
    """The stem, or another whose name a file system takes with any picture's suffix: names end at 255 bytes."""
    folder, slash, name = stem.rpartition("/")
    if len(os.fsencode(name)) <= _LONGEST_STEM:
        return stem
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    while len(os.fsencode(name)) + len(digest) >= _LONGEST_STEM:
        name = name[:-1]
    return f"{folder}{slash}{name}-{digest}"


def is_taken(out: Path, path: Path) -> bool:
    """Whether a run into `out` may write to `path` itself, so that nothing else can lie there."""
    try:
        parts = Path(os.path.realpath(path)).relative_to(os.path.realpath(out)).parts
    except ValueError:
        return False
    own = (LINES, TABLE, JUNIT, PAGE, RUN, PENDING, LOCK, WATCH, LEDGER, *PLACES)
    return not parts or parts[0] in own or parts[0].startswith(LEDGER)


def _is_ours(name: str) -> bool:
    """Whether a listed name is one that a run writes: a list from elsewhere must not remove files elsewhere."""
    return name in (JUNIT, PAGE) or (stays_inside(name) and PurePosixPath(name).parts[0] in PLACES)


def _table(records: Iterable[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for record in records:
        regions = record["regions"]
        largest = regions[0] if regions else None
        writer.writerow(
            record
            | {
                "n_regions": len(regions),
                "largest_area_px": largest and largest["area_px"],
                "largest_bbox": largest and " ".join(str(number) for number in largest["bbox"]),
            }
        )
    return text.getvalue().encode(errors="backslashreplace")
