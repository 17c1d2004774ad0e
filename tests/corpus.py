"""A folder with everything an inspection line may hand over, and what must become of each of it.

docs/inputs.md shows this as tables (docs/generate.py); tests/test_corpus.py scores it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from adcli.report.text import printable
from tests.corpus_files import BOMBS, DAMAGED, READ, REFUSED
from tests.encoded import EXACT, WHOLE

SCORED, ERROR, NO_INPUT = "scored", "ERROR", "not an input"
GOOD = EXACT["png gray"][0]


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def _rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(0, 10**18))


# name: what it is, what happens to it, what the reason says
MOVING: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "grows.png": ("still being written", _append, "changed while it was being read"),
    "shrinks.png": ("cut meanwhile", lambda path: os.truncate(path, 100), "changed while it was being read"),
    "rewritten.png": ("replaced by bytes of the same number", _rewrite, "changed while it was being read"),
    "vanishes.png": ("gone between the search and its turn", Path.unlink, "could not be read (No such file"),
}


@dataclass(frozen=True)
class Case:
    """One path below the folder, or beside it where it is `named` on the command line."""

    name: str
    what: str
    verdict: str  # SCORED (OK, CHECK or NG), ERROR or NO_INPUT
    make: Callable[[Path], object]
    reason: str = ""  # what an ERROR's reason says
    named: bool = False


def corpus() -> dict[str, list[Case]]:
    """Every case, by heading."""
    return {
        "What is read": [_file(name, what, SCORED, data) for name, (what, data) in READ.items()],
        "What is damaged": [_file(name, what, ERROR, *rest) for name, (what, *rest) in DAMAGED.items()],
        "What would be guessed at": [_file(name, what, ERROR, *rest) for name, (what, *rest) in REFUSED.items()],
        "What is too large": [_file(name, what, ERROR, *rest) for name, (what, *rest) in BOMBS.items()],
        "What is no file": list(_places()),
        "Names": list(_names()),
    }


def make_corpus(root: Path) -> tuple[Path, list[str]]:
    """The folder of all cases, and the inputs to score it: itself and the files named beside it."""
    folder = root / "in"
    store = root / "store"
    (store / "folder").mkdir(parents=True)
    for name in ("part.png", "folder/part.png"):
        (store / name).write_bytes(GOOD)
    named = []
    for case in (case for cases in corpus().values() for case in cases):
        path = (root if case.named else folder) / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        case.make(path)
        named += [case.name] if case.named else []
    return folder, [folder.name, *named]


def tables() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Each heading, and its rows for a page: the name, what it is, and what becomes of it."""
    for heading, cases in corpus().items():
        yield heading, [(_shown(case.name), case.what, _outcome(case)) for case in cases]
    yield (
        "What moves while it is read",
        [(_shown(name), what, f"ERROR: … {reason} …") for name, (what, _, reason) in MOVING.items()],
    )


def _shown(name: str) -> str:
    """A name as a page can show it: what cannot be printed as escapes, and the middle of what is long left out."""
    text = printable(name)
    return f"`` {text} ``" if "`" in text else f"`{text}`" if len(text) < 60 else f"`{text[:10]}…{text[-10:]}`"


def _outcome(case: Case) -> str:
    return case.verdict if case.verdict != ERROR else f"ERROR: … {case.reason} …"


def _file(name: str, what: str, verdict: str, data: bytes, reason: str = "", named: bool = False) -> Case:
    return Case(name, what, verdict, lambda path: path.write_bytes(data), reason, named)


def _link(name: str, what: str, verdict: str, target: str, reason: str = "") -> Case:
    return Case(name, what, verdict, lambda path: path.symlink_to(target), reason)


def _places() -> Iterator[Case]:
    yield Case("folder.png", "an empty folder with the name of an image", NO_INPUT, Path.mkdir)
    yield _file("part.png.d/part.png", "an image in a folder: found, however deep", SCORED, GOOD)
    yield Case("pipe.png", "a named pipe: not opened, as that would wait", ERROR, os.mkfifo, "is not a regular file")
    yield Case("socket.png", "a socket", ERROR, _make_socket, "is not a regular file")
    yield _link("device.png", "a link to a device", ERROR, "/dev/zero", "is not a regular file")
    yield _link("link.png", "a link to an image outside the folder", SCORED, "../store/part.png")
    yield _link("linked", "a link to a folder: entered, its images found once", NO_INPUT, "../store/folder")
    yield _link("gone.png", "a link to nothing", ERROR, "nowhere.png", "could not be read")
    yield _link("loop.png", "a link to itself", ERROR, "loop.png", "could not be read")
    yield _link("cycle", "a link to a folder above: entered once", NO_INPUT, ".")
    yield _file("notes.txt", "another suffix: passed over, and counted on stderr", NO_INPUT, b"notes")
    yield _file("moving.gif", "a GIF by suffix: the same", NO_INPUT, READ["gray.png"][1])
    yield _file(".hidden.png", "a name that begins with a dot", NO_INPUT, GOOD)
    yield _file("frame.raw", "an image with another suffix, named on the command line", SCORED, GOOD, named=True)
    yield _file("list.txt", "a text, named on the command line", ERROR, b"a\n", "is not a PNG", named=True)


def _names() -> Iterator[Case]:
    yield _file("LARGE.PNG", "capitals", SCORED, GOOD)
    yield _file("with space.png", "a blank", SCORED, GOOD)
    yield _file("-o.png", "a dash first (behind `--` where it is named)", SCORED, GOOD)
    yield _file("..png", "two dots first: hidden", NO_INPUT, GOOD)
    yield _file("a..b.png", "two dots inside", SCORED, GOOD)
    yield _file("Prüfteil_部品_деталь_قطعة.png", "any script", SCORED, GOOD)
    yield _file("two\nlines.png", "a line's end", SCORED, GOOD)
    yield _file("quote'\"`$(id)*?[1].png", "what a shell would expand", SCORED, GOOD)
    yield _file("[red]\x1b[31m.png", "what a terminal would obey: printed as escapes", SCORED, GOOD)
    yield _file("broken\x1b[2J\n.png", "the same in an ERROR", ERROR, b"", "is empty")
    yield _file(os.fsdecode(b"caf\xe9.png"), "no UTF-8", SCORED, GOOD)
    yield _file("a" * 251 + ".png", "255 bytes", SCORED, GOOD)
    yield _file("same.png", "equal names but for the suffix: both keep it in their pictures", SCORED, GOOD)
    yield _file("same.jpg", "the same", SCORED, WHOLE["jpeg"])


def _make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)
