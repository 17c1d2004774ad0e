"""adcli watch"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal
from adcli.cli.exits import Terminated
from adcli.errors import UsageError
from adcli.report.text import printable


def watch(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Folder that images come into, or - for paths on standard input.")
    ],
    out: Annotated[Path | None, o.option("--out", "-o", help="Folder for the results; optional with -.")] = None,
    model: o.Model = Path("model.h5"),
    poll: Annotated[float, o.option("--poll", metavar="SECONDS", help="Time between two looks at the folder.")] = 1.0,
    settle: Annotated[
        float, o.option("--settle", metavar="SECONDS", help="Time that a file must not have changed for.")
    ] = 2.0,
    once: Annotated[bool, o.option("--once", help="Score what is there and settled, then end: for cron.")] = False,
    masks: o.Masks = "ng",
    overlays: o.Overlays = "ng",
    maps: o.Maps = False,
    sqlite: o.Sqlite = None,
    exec_: Annotated[
        str | None,
        o.option("--exec", metavar="COMMAND", help="Run for each result, with its JSON on standard input; no shell."),
    ] = None,
    exec_timeout: Annotated[
        float, o.option("--exec-timeout", metavar="SECONDS", help="Time that a run of the command may take.")
    ] = 10.0,
    health: Annotated[
        Path | None,
        o.option("--health", metavar="FILE", help="File that says how the watch is doing. Default: OUT/health.json."),
    ] = None,
    fail_on: Annotated[
        str | None,
        o.option("--fail-on", help="With --once or -: ng ends with 3 if any image is NG, check also with 4 for CHECK."),
    ] = None,
    weights: o.Weights = None,
    device: o.Device = "auto",
    engine: o.Engine = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = 0,
    workers: o.Workers = 0,
    json: Annotated[bool, o.option("--json", help="Print each result as a line of JSON, as - always does.")] = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Score images as they arrive, each once, until stopped; the same command goes on where it ended.

    \b
    adcli watch /line/in --out ./results
    adcli watch /line/in --out ./results --json | ./sort-parts
    adcli watch /line/in --out ./results --exec './reject.sh'
    adcli watch /line/in --out ./results --once --fail-on ng
    camera --print-paths | adcli watch -
    """
    from adcli.tasks.engines import Machine
    from adcli.tasks.records import Outputs
    from adcli.tasks.station import Channel, Settings
    from adcli.tasks.watch import answer
    from adcli.tasks.watch import watch as task

    terminal = Terminal(quiet)
    if folder != "-" and out is None:
        raise UsageError("watch needs --out FOLDER for the results; only watch - goes without")
    with _asked_to_stop() as asked:
        tell = _tell_json if json or folder == "-" else partial(_tell, terminal)
        channel = Channel(tell, terminal.warn, lambda: bool(asked))
        shared: dict[str, Any] = {
            "channel": channel,
            "settings": Settings(poll, settle, once, health, exec_, exec_timeout),
            "outputs": Outputs(masks, overlays, maps, sqlite=sqlite),
            "machine": Machine(device, engine, precision, batch_size, workers),
            "weights": weights,
            "fail_on": fail_on,
        }
        if folder == "-":
            watched = answer(_lines(), model, out, **shared)
        else:
            assert out is not None
            watched = task(folder, model, out, **shared)
    if watched.left:
        terminal.say(f"still being written, so left for the next time: {watched.left}")
    counts = ", ".join(f"{count} {verdict}" for verdict, count in watched.counts.items())
    terminal.say(f"{'stopped; ' if asked else ''}{sum(watched.counts.values())} images scored: {counts}")
    for number in asked:
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
    return watched.exit_code


def _tell_json(record: dict[str, Any]) -> None:
    """One line at once. As bytes: JSON is UTF-8, whatever the terminal's encoding is."""
    from adcli.report.lines import encode_json

    sys.stdout.buffer.write(encode_json(record))
    sys.stdout.buffer.flush()


def _tell(terminal: Terminal, record: dict[str, Any]) -> None:
    score = "" if record["score"] is None else f"{record['score']:.6g}"
    sys.stdout.write(f"{record['verdict']:<5}  {score:>9}  {printable(record['image'])}\n")
    sys.stdout.flush()
    if record["verdict"] == "ERROR":  # its reason begins with the path
        terminal.warn(f"ERROR: {record['reason']}")
    elif record["reason"] is not None:
        terminal.warn(f"{record['verdict']}: {record['image']}: {record['reason']}")


def _lines() -> Iterator[str]:
    """Paths on standard input, each as soon as it is there. Names need not be UTF-8.

    Not through sys.stdin: a thread that waits in there would keep the process from ending.
    """
    if sys.stdin is None:  # closed, as by <&-
        raise UsageError("watch - reads paths from standard input, and there is none; name a folder instead")
    try:
        number = sys.stdin.fileno()
    except (OSError, io.UnsupportedOperation):
        return map(os.fsdecode, sys.stdin.buffer)
    return map(os.fsdecode, os.fdopen(number, "rb", buffering=0, closefd=False))


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that holds SIGINT or SIGTERM once it has come, so that nothing is broken off; a second one does."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        asked.append(number)

    before: dict[int, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    except ValueError:  # not the main thread: whoever called decides about signals
        pass
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
