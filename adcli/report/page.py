"""One page a run, report.html: all there is to see of it in one file, which opens anywhere and asks for nothing.

The page is written piece by piece while the records are read, twice: memory holds one picture, and some bytes an image.
Whatever comes from outside, names and reasons first of all, enters either as escaped text or as JSON in which no markup
can occur; and the page's policy lets no script run but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np

from adcli.files import replacing
from adcli.report.charts import RANKS, drift_chart, histogram_chart
from adcli.report.results import picture_names
from adcli.report.text import printable

Views = tuple[bytes, bytes, bytes]  # JPEG: the image, its overlay, its map
Draw = Callable[[list[tuple[int, dict[str, Any]]]], Iterator["Views | None"]]

MOST_PICTURED = 200  # images whose pictures are in the page
# Together less than 40 MB, whatever the run:
MOST_PICTURE_BYTES = 24 * 2**20
MOST_ROW_BYTES = 12 * 2**20  # some 80,000 images
_MOST_REASONS = 100  # of images that could not be read, which are listed before all else; the table has every one
_MOST_REGIONS = 6  # of one image that are listed beside its picture
_KINDS = ("mask", "overlay", "map")


@dataclass(frozen=True)
class ColourScale:
    """The scores at 0 and 1 of the overlays' colours, and what the first is."""

    low: float
    threshold: float
    low_name: str


def write_page(
    path: Path,
    run: dict[str, Any],
    records: Callable[[], Iterable[dict[str, Any]]],
    stems: Sequence[str],
    wanted: dict[str, str],
    scale: ColourScale,
    facts: Sequence[tuple[str, str]],
    draw: Draw,
) -> None:
    """Writes the page, whole or not at all.

    `run` is the run's record. `records` gives those of its images in input order, every time it is called, and `stems`
    the stems of their pictures. `wanted` tells of masks, overlays and maps which were written: ng, all or none.
    `facts` are what is told of the model, names and values. `draw` takes numbers, from 0, and records of the worst
    images and gives their pictures in that order; None for an image that is no longer what was scored.
    """
    survey = _survey(records(), stems, wanted)
    rows = survey.rows_within(MOST_ROW_BYTES)
    worst = [int(number) for number in survey.worst if RANKS[survey.ranks[number]] in ("NG", "CHECK")][:MOST_PICTURED]
    pictured: dict[int, dict[str, Any]] = {number: {} for number in worst}
    head, middle, tail = re.split(r"<!--(?:rows|pictures)-->", _fill(run, survey, rows, scale, facts))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(head)
        places = [(kind, *_around(name)) for kind, name in zip(_KINDS, picture_names("*"), strict=True)]
        file.write(f'{{"prefix":{_json(survey.prefix)},"places":{_json(places)},"rows":[\n')
        separator = ""
        for number, record in enumerate(records()):
            if number in pictured:
                pictured[number] = record
            if rows[number]:
                row = _row(number, record, stems[number], wanted, len(survey.prefix))
                file.write(separator + _json(row))
                separator = ",\n"
        file.write("\n]}" + middle)
        left = MOST_PICTURE_BYTES
        with closing(draw(list(pictured.items()))) as drawn:
            for (number, record), views in zip(pictured.items(), drawn, strict=True):
                if views is not None:
                    block = _picture_block(number, record, views)
                    left -= len(block)
                    if left < 0:
                        break
                    file.write(block)
        file.write(tail)


@dataclass(frozen=True)
class _Survey:
    """What must be known of all images before the first is written."""

    scores: np.ndarray  # (n,) float64, NaN where there is none
    ranks: np.ndarray  # (n,) places in RANKS
    sizes: np.ndarray  # (n,) bytes of the rows
    worst: np.ndarray  # (n,) image numbers, worst first
    prefix: str  # the folder that all names begin with
    reasons: list[tuple[str, str]]  # of the first images that could not be read, name and reason

    def rows_within(self, most: int) -> np.ndarray:
        """(n,) bool: the worst images whose rows have at most so many bytes together."""
        kept = np.zeros(self.worst.size, bool)
        kept[self.worst[np.cumsum(self.sizes[self.worst]) <= most]] = True
        return kept


def _survey(records: Iterable[dict[str, Any]], stems: Sequence[str], wanted: dict[str, str]) -> _Survey:
    scores, ranks, sizes = array("d"), array("b"), array("l")
    prefix: str | None = None
    reasons = []
    for number, record in enumerate(records):
        scores.append(float("nan") if record["score"] is None else record["score"])
        ranks.append(RANKS.index(record["verdict"]))
        sizes.append(len(_json(_row(number, record, stems[number], wanted, 0))) + 2)
        name = printable(record["image"])
        prefix = name[: name.rfind("/") + 1] if prefix is None else prefix
        while not name.startswith(prefix):
            prefix = prefix[: prefix.rfind("/", 0, -1) + 1]  # the folder above
        if record["verdict"] == "ERROR" and len(reasons) < _MOST_REASONS:
            reasons.append((name, printable(record["reason"].removeprefix(record["image"]).strip())))
    score, rank = np.array(scores, float), np.array(ranks, int)
    # Of one verdict the highest score first; one without a score, which nobody could judge, before all.
    order = np.lexsort((np.arange(score.size), -np.where(np.isnan(score), np.inf, score), rank))
    return _Survey(score, rank, np.array(sizes, int), order, prefix or "", reasons)


def _row(number: int, record: dict[str, Any], stem: str, wanted: dict[str, str], skipped: int) -> list[Any]:
    """One image for the table: number, name, verdict, score, p, largest area, regions, part, reason, pictures, stem."""
    regions = record["regions"]
    written = sum(1 << bit for bit, kind in enumerate(_KINDS) if _is_written(wanted[kind], record["verdict"]))
    part, reason = record["part"], record["reason"]
    row = [
        number + 1,
        printable(record["image"])[skipped:],
        RANKS.index(record["verdict"]),
        _short(record["score"]),
        _short(record["p_value"]),
        regions[0]["area_px"] if regions else 0,
        len(regions),
        None if part is None else printable(part),
        None if reason is None else printable(reason.removeprefix(record["image"]).strip()),
        written,
    ]
    return [*row, _address(stem)] if written else row


def _is_written(wanted: str, verdict: str) -> bool:
    return verdict != "ERROR" and (wanted == "all" or (wanted == "ng" and verdict in ("NG", "CHECK")))


def _picture_block(number: int, record: dict[str, Any], views: Views) -> str:
    keys = ("area_px", "area_mm2", "bbox", "max")
    about = {
        "views": [f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for data in views],
        "size": [record["width"], record["height"]],
        "min_area_px": record["min_area_px"],
        "regions": [[_short(region[key]) for key in keys] for region in record["regions"][:_MOST_REGIONS]],
    }
    return f'<script type="application/json" id="p{number + 1}">{_json(about)}</script>\n'


def _fill(
    run: dict[str, Any],
    survey: _Survey,
    rows: np.ndarray,
    scale: ColourScale,
    facts: Sequence[tuple[str, str]],
) -> str:
    """The page's template with all but the rows and the pictures."""
    style, script = (files("adcli.report").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    thresholds = [
        (name, run[key]) for name, key in (("NG", "threshold"), ("CHECK", "check_threshold")) if run[key] is not None
    ]
    histogram, drift = (chart(survey.scores, survey.ranks, thresholds) for chart in (histogram_chart, drift_chart))
    missing = int(rows.size - rows.sum())
    holes = {
        "policy": html.escape(
            f"default-src 'none'; img-src data: file: 'self'; style-src {_hash(style)}; script-src {_hash(script)}; "
            "base-uri 'none'; form-action 'none'"
        ),
        "style": style,
        "script": script,
        "headline": _headline(run),
        "method": html.escape(f"{run['method']} on {run['backbone']}, NG above {run['threshold']:.4g}"),
        "started": html.escape(run["host"]["started"].replace("T", " ").replace("Z", " UTC")),
        "counts": _counts(run),
        "unread": _unread(survey.reasons, run["counts"]["ERROR"]),
        "histogram": histogram.svg,
        "histogram_note": html.escape(histogram.note),
        "drift": drift.svg,
        "drift_note": html.escape(drift.note),
        "missing": html.escape(
            f"The table has the worst {rows.size - missing:,} of {rows.size:,} images; results.csv has all."
            if missing
            else ""
        ),
        "low": html.escape(f"{scale.low:.4g}, {scale.low_name}"),
        "two": html.escape(f"{2 * scale.threshold - scale.low:.4g} and above"),
        "one": html.escape(f"{scale.threshold:.4g}, threshold"),
        "facts": _facts(facts, ""),
        "host": _facts([(name, str(value)) for name, value in run["host"].items()], ' class="host"'),
    }
    template = files("adcli.report").joinpath("page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda hole: holes[hole[1]], template)


def _headline(run: dict[str, Any]) -> str:
    images, counts = run["images"], run["counts"]
    if counts["NG"]:
        said = f"{counts['NG']:,} of {images:,} images {'is' if counts['NG'] == 1 else 'are'} NG"
    elif counts["CHECK"]:
        said = f"{counts['CHECK']:,} of {images:,} images to check, none NG"
    else:
        said = f"{counts['OK']:,} of {images:,} images are OK" if counts["ERROR"] else f"All {images:,} images are OK"
    if counts["ERROR"]:
        said += f", {counts['ERROR']:,} could not be read"
    return said


def _counts(run: dict[str, Any]) -> str:
    """Rows of the table of counts: of images, and of parts where several images show one."""
    lines = []
    for name, counts in (("images", run["counts"]), ("parts", run["parts"])):
        if counts is not None:
            total = sum(counts.values())
            cells = (
                f'<td class="{rank.lower()}{" none" * (counts[rank] == 0)}"><b>{counts[rank]:,}</b> '
                f"<small>{counts[rank] / max(total, 1):.1%}</small></td>"
                for rank in RANKS
            )
            lines.append(f'<tr><th scope="row">{total:,} {name}</th>{"".join(cells)}</tr>')
    return "\n".join(lines)


def _unread(reasons: list[tuple[str, str]], total: int) -> str:
    """The images that nobody inspected, in a section of their own."""
    if not reasons:
        return ""
    items = "\n".join(f"<li><b>{html.escape(name)}</b> {html.escape(reason)}</li>" for name, reason in reasons)
    rest = f"<p>{total - len(reasons):,} more are in the table below.</p>" if total > len(reasons) else ""
    title = f"Not inspected: {total:,} image{'s' * (total != 1)}"
    return f'<section class="unread" aria-label="Not inspected"><h2>{title}</h2>\n<ul>\n{items}\n</ul>{rest}</section>'


def _facts(facts: Iterable[tuple[str, str]], attributes: str) -> str:
    return "\n".join(
        f"<div{attributes or _width(value)}><dt>{html.escape(name)}</dt><dd>{html.escape(printable(value))}</dd></div>"
        for name, value in facts
    )


def _width(value: str) -> str:
    return ' class="wide"' if len(value) > 36 else ""


def _json(value: Any) -> str:
    """JSON in ASCII in which no markup can begin; lone surrogates of file names are escaped like all else."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _short(value: Any) -> Any:
    """A number in seven digits, all that float32 has."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _address(name: str) -> str:
    """A relative path for a link: the bytes of the name, percent-encoded."""
    try:
        data = os.fsencode(name)
    except UnicodeEncodeError:  # half a character, of a file system that allows it
        data = name.encode("utf-8", "surrogatepass")
    return quote_from_bytes(data)


def _around(name: str) -> tuple[str, str]:
    before, _, after = name.partition("*")
    return before, after


def _hash(text: str) -> str:
    """A script or a style as the page's policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
