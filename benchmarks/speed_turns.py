"""Commands that take turns, and what each run took."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import CORES, run

Record = dict[str, Any]
LONG, FEW = 60.0, 3  # what takes more seconds than LONG is run FEW times at most


def read_answer(text: str) -> Record:
    """The JSON on the last line that a command printed."""
    return json.loads(text.strip().rpartition("\n")[2])


def timed(command: Sequence[str], out: Path | None = None, says: Sequence[str] = ()) -> Record:
    """One run: what it took, those of the words it says that are asked for, and how many files it left in `out`."""
    if out is not None:
        shutil.rmtree(out, ignore_errors=True)
    os.sync()  # what the one before has written is not to be waited for by this one
    before = _stolen()
    text, took = run(command)
    record: Record = dict(took)
    if before is not None:
        record["stolen"] = round((_stolen() - before) / (CORES * took["wall_s"]), 4)
    if says:
        answer = read_answer(text)
        record |= {name: answer[name] for name in says if name in answer}
    if out is not None:
        record["files"] = sum(path.is_file() for path in out.rglob("*"))
    return record


def _stolen() -> float | None:
    """Seconds of all cores so far that other machines on the same host took from this one (Linux, proc_stat(5))."""
    try:
        ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]
        return int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return None


def in_turns(
    jobs: dict[str, Callable[[], Record]], runs: int, once: Sequence[str] = (), twice: Sequence[str] = ()
) -> dict[str, Any]:
    """The runs of every contender, in turns, of some only in the first or the first two. One that fails is left out
    from there on, with what it said."""
    most = dict.fromkeys(once, 1) | dict.fromkeys(twice, 2)
    found: dict[str, Any] = {name: {"runs": []} for name in jobs}
    for turn in range(runs):
        for name, job in jobs.items():
            kept = found[name]["runs"]
            is_long = bool(kept) and kept[0]["wall_s"] > LONG
            if "failed" in found[name] or turn >= most.get(name, runs) or (is_long and turn >= FEW):
                continue
            try:
                kept.append(job())
            except SystemExit as error:
                found[name]["failed"] = str(error)[-400:]
            print(f"  {name}: {kept[-1] if kept else found[name]}", file=sys.stderr, flush=True)
    for one in found.values():
        if one["runs"]:
            one["median"] = medians(one["runs"])
    return found


def medians(runs: Sequence[Record]) -> Record:
    """Of every figure."""
    return {
        name: round(statistics.median(run[name] for run in runs), 3)
        for name, value in runs[0].items()
        if isinstance(value, (int, float))
    }


def rounded(value: Any) -> Any:
    """Figures to four digits behind the point; what is undefined is null."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
