"""Results as tables for people and as JSON, CSV and Markdown for scripts."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adcli.files import write_whole
from adcli.report.text import plain, printable

if TYPE_CHECKING:
    from rich.table import Table

    from adcli.tasks.evaluate import Evaluated
    from adcli.tasks.fit import Fitted
    from adcli.tasks.totals import Scored

_APART = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro_0.3": "AUPRO @0.3",
    "aupro_0.05": "AUPRO @0.05",
}
_AT_THRESHOLD = {
    "tnr": "TNR",
    "tpr": "TPR",
    "check_rate": "CHECK",
    "region_overlap": "region overlap",
    "iou": "pixel IoU",
    "pixel_f1": "pixel F1",
}
_VERDICTS = ("OK", "CHECK", "NG", "ERROR")
_ORACLES = {"image_f1max": "image F1max", "pixel_f1max": "pixel F1max"}
METRIC_NAMES = _APART | _AT_THRESHOLD | _ORACLES
_WITH_INTERVAL = ("image_auroc", "tnr", "tpr")


def number(value: float | None, digits: int = 4) -> str:
    """A score or a rate for people; a dash where it is undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def rate(value: float | None) -> str:
    """A metric between 0 and 1 for people; a dash where it is undefined."""
    return "-" if _is_undefined(value) else f"{value:.3f}"


def fit_summary(fitted: Fitted, path: Path) -> str:
    """What was learnt, in one line."""
    spec = fitted.model.spec
    if fitted.calibrated is None:
        held = ", held out none: no threshold yet"
    elif fitted.model.require_calibration().evidence == "leave-one-out":
        held = ", calibrated on each of them as if left out"
    else:
        held = f", held out {fitted.calibrated.images}"
    height, width = spec.image_size
    geometry = fitted.model.geometry
    looked = ""
    if geometry.tiling is not None:
        looked += f", tiles of {geometry.tiling.tile} px sharing {geometry.tiling.overlap} px"
    if geometry.golden is not None:
        looked += ", aligned to the golden image"
    if geometry.roi is not None:
        looked += f", {1 - geometry.roi.share:.1%} of an image outside the region of interest"
    return (
        f"{printable(str(path))}: {spec.method} on {spec.backbone} ({', '.join(spec.layers)}) at {height}x{width}, "
        f"learnt from {fitted.learnt} images{held}{looked}"
    )


def fit_json(fitted: Fitted, path: Path) -> dict[str, Any]:
    """`fit --json`, flat."""
    spec = fitted.model.spec
    return {
        "model": str(path),
        "method": spec.method,
        "backbone": spec.backbone,
        "layers": list(spec.layers),
        "image_size": list(spec.image_size),
        "precision": spec.precision,
        "device": fitted.device,
        "seed": spec.seed,
        **fitted.model.geometry.facts(),
        "learnt": fitted.learnt,
        "unreadable": [{"image": given, "reason": reason} for given, reason in fitted.unreadable],
        "weights_digest": fitted.model.provenance.weights_digest,
        "calibrated": fitted.calibrated is not None,
    }


def score_table(scored: Scored) -> Table:
    """A run's totals; where several images show one part, those of the parts too."""
    title = f"{scored.images} image{'s' * (scored.images != 1)} in {scored.out}"
    if scored.uninspected_share:
        title += f", {scored.uninspected_share:.1%} of each outside the region of interest"
    seconds = "finished before" if scored.already_finished else f"{scored.seconds:.1f}"
    images = [str(scored.counts[verdict]) for verdict in _VERDICTS]
    if scored.parts is None:
        table = make_table(title, [*_VERDICTS, "seconds"])
        add_row(table, *images, seconds)
        return table
    table = make_table(title, ["", *_VERDICTS, "seconds"])
    add_row(table, "images", *images, seconds)
    add_row(table, "parts", *(str(scored.parts[verdict]) for verdict in _VERDICTS), "")
    return table


def score_json(scored: Scored) -> dict[str, Any]:
    """`score --json`: the run's totals."""
    return {
        "out": str(scored.out),
        "images": scored.images,
        "ok": scored.counts["OK"],
        "check": scored.counts["CHECK"],
        "ng": scored.counts["NG"],
        "error": scored.counts["ERROR"],
        "parts": scored.parts and {verdict.lower(): count for verdict, count in scored.parts.items()},
        "seconds": round(scored.seconds, 3),
        "model": scored.model_sha256,
        "uninspected_share": scored.uninspected_share,
        "already_finished": scored.already_finished,
        "notes": scored.notes,
    }


def eval_tables(evaluated: Evaluated) -> list[Table | str]:
    """What needs no threshold, what happens at the stored one, what an oracle would reach; then the intervals."""
    tables: list[Table | str] = []
    for title, columns in _eval_columns(evaluated):
        table = make_table(title, ["group", "good", "bad", *columns.values()])
        for column in table.columns[1:]:
            column.justify = "right"
        for row in evaluated.rows:
            counts = (str(row["good"]), str(row["defective"]))
            add_row(table, row["group"], *counts, *(rate(row[key]) for key in columns))
            if len(evaluated.rows) > 1 and row is evaluated.rows[-2]:
                table.add_section()
        tables.append(table)
    last = evaluated.rows[-1]
    intervals = [
        f"{(_APART | _AT_THRESHOLD)[key]} {_interval(last, key)}" for key in _WITH_INTERVAL if _interval(last, key)
    ]
    if last["threshold"] is not None:
        tables.append("TNR: good images accepted. TPR: defective images rejected; CHECK counts as not rejected.")
    if intervals:
        tables.append("95 % intervals of all: " + ", ".join(intervals))
    return tables


def _eval_columns(evaluated: Evaluated) -> list[tuple[str, dict[str, str]]]:
    """Titles and columns of the tables that this evaluation has something to say in."""
    last = evaluated.rows[-1]
    parts = [("Told apart, whatever the threshold", _APART)]
    if last["threshold"] is not None:
        at = f"At the stored threshold, NG above {number(last['threshold'], 6)}"
        columns = dict(_AT_THRESHOLD)
        if last["check_threshold"] is None and not any(row["check_rate"] for row in evaluated.rows):
            del columns["check_rate"]
        if last["check_threshold"] is not None:
            at += f", CHECK above {number(last['check_threshold'], 6)}"
        parts.append((at, columns))
    return [*parts, ("Oracle: the threshold chosen on these very images", _ORACLES)]


def eval_json(evaluated: Evaluated) -> dict[str, Any]:
    """`eval --json`."""
    return {
        "rows": evaluated.rows,
        "notes": evaluated.notes,
        "model": evaluated.model_sha256,
        "unreadable": [{"image": given, "reason": reason} for given, reason in evaluated.unreadable],
    }


def eval_csv(evaluated: Evaluated) -> str:
    """All columns, one row a group; empty where undefined."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(evaluated.rows[-1]), lineterminator="\n")
    writer.writeheader()
    for row in evaluated.rows:
        writer.writerow({key: "" if _is_undefined(value) else value for key, value in row.items()})
    return text.getvalue()


def eval_markdown(evaluated: Evaluated) -> str:
    """The tables as Markdown, with the notes below."""
    blocks = []
    for title, columns in _eval_columns(evaluated):
        head = ["group", "good", "bad", *columns.values()]
        lines = [f"**{title}**", "", _markdown_row(head), _markdown_row(["---"] + ["---:"] * (len(head) - 1))]
        for row in evaluated.rows:
            cells = (f"{rate(row[key])} {_interval(row, key)}".strip() for key in columns)
            lines.append(_markdown_row([row["group"], str(row["good"]), str(row["defective"]), *cells]))
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in evaluated.notes)])


def write_evaluation(evaluated: Evaluated, out: Path) -> None:
    """The table as JSON, CSV and Markdown, and the per-image scores, into a folder."""
    document = json.dumps(plain(eval_json(evaluated)), indent=2, ensure_ascii=False)
    write_whole(out / "eval.json", document.encode(errors="backslashreplace") + b"\n")
    write_whole(out / "eval.csv", eval_csv(evaluated).encode(errors="backslashreplace"))
    write_whole(out / "eval.md", eval_markdown(evaluated).encode(errors="backslashreplace") + b"\n")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["image", "group", "score", "verdict", "sha256"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(evaluated.images)
    write_whole(out / "scores.csv", text.getvalue().encode(errors="backslashreplace"))


def key_values(title: str, pairs: Iterable[tuple[str, str]]) -> Table:
    """Two columns, for `info` and `doctor`."""
    table = make_table(title, ["", ""])
    table.show_header = False
    for name, value in pairs:
        add_row(table, name, value)
    return table


def rows_table(title: str, columns: list[str], rows: Iterable[Iterable[str]]) -> Table:
    """Any rows of text."""
    table = make_table(title, columns)
    for row in rows:
        add_row(table, *row)
    return table


def make_table(title: str, columns: list[str]) -> Table:
    """An empty table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    name = Text(printable(title), style="bold", no_wrap=True, overflow="ignore")  # a path must stay in one piece
    table = Table(title=name, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in columns:
        table.add_column(Text(name), overflow="fold")
    return table


def add_row(table: Table, *cells: str) -> None:
    """One row, of any text."""
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells))


def _interval(row: dict[str, Any], key: str) -> str:
    """(low-high) of a metric that has an interval, else nothing."""
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    if key not in _WITH_INTERVAL or _is_undefined(low) or _is_undefined(high):
        return ""
    return f"({low:.3f}-{high:.3f})"


def _is_undefined(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(printable(cell).replace("|", "\\|") for cell in cells) + " |"
