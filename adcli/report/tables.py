"""Results as tables for people and as JSON for scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adcli.report.text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from adcli.model import Model
    from adcli.tasks.fit import Fitted
    from adcli.tasks.totals import Scored

_VERDICTS = ("OK", "CHECK", "NG", "ERROR")


def number(value: float | None, digits: int = 4) -> str:
    """A score or a rate for people; a dash where it is undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def rate(value: float | None) -> str:
    """A metric between 0 and 1 for people; a dash where it is undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


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
    if geometry.crop is not None:
        looked += f", the middle of {geometry.crop.resized[0]}x{geometry.crop.resized[1]}"
    if outside := geometry.uninspected():
        looked += f", {outside:.1%} of an image not inspected"
    if spec.augmentation is not None:
        looked += f", each {len(spec.augmentation.copies())} times over"
    updates = fitted.model.provenance.updates
    joined = f", {updates[-1]} of them joined now" if updates else ""
    return (
        f"{printable(str(path))}: {spec.method} on {spec.backbone} ({', '.join(spec.layers)}) at {height}x{width}, "
        f"learnt from {fitted.learnt} images{joined}{held}{looked}"
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
        **training_facts(fitted.model),
        "learnt": fitted.learnt,
        "trimmed": [
            {
                "image": one.image,
                "sha256": one.sha256,
                "score": one.score,
                "deviation": one.deviation,
                "part": one.part,
            }
            for one in fitted.trimmed
        ],
        "unreadable": [{"image": given, "reason": reason} for given, reason in fitted.unreadable],
        "weights_digest": fitted.model.provenance.weights_digest,
        "calibrated": fitted.calibrated is not None,
    }


def training_facts(model: Model) -> dict[str, Any]:
    """What was learnt from beside the images themselves, and what joined later."""
    from adcli.geometry.augmentation import Augmentation

    return {
        **(model.spec.augmentation or Augmentation()).facts(),
        "updates": list(model.provenance.updates or ()),
    }


def score_table(scored: Scored) -> Table:
    """A run's totals; where several images show one part, those of the parts too."""
    title = f"{scored.images} image{'s' * (scored.images != 1)} in {scored.out}"
    if scored.uninspected_share:
        title += f", {scored.uninspected_share:.1%} of each not inspected"
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
