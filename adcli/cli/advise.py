"""adcli advise"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from adcli.cli import options as o
from adcli.cli.console import show, show_json
from adcli.errors import GateFailed

if TYPE_CHECKING:
    from rich.table import Table

    from adcli.tasks.advise import Advice, Needed, Promised


def advise(
    max_false_reject: o.MaxFalseReject = None,
    max_escape: Annotated[
        float | None, o.option("--max-escape", help="Share of bad images that may pass, such as 0.1.")
    ] = None,
    confidence: Annotated[float, o.option("--confidence", help="Confidence of the bounds.")] = 0.95,
    good_images: Annotated[int | None, o.option("--good-images", help="Number of good images there are.")] = None,
    bad_images: Annotated[int | None, o.option("--bad-images", help="Number of labelled bad images there are.")] = None,
    holdout: Annotated[
        float, o.option("--holdout", help="Share of the good images that fit holds out; 1: all are for calibrate.")
    ] = 0.2,
    json: o.Json = False,
    verbose: o.Verbose = False,
) -> int:
    """Tell how many images a promise takes, and what so many can promise. A wish they cannot meet ends with 6.

    \b
    adcli advise
    adcli advise --max-false-reject 0.01 --max-escape 0.1
    adcli advise --good-images 300 --bad-images 29
    adcli advise --good-images 300 --holdout 1 --max-false-reject 0.01 --confidence 0.99
    """
    from adcli.tasks.advise import advise as task

    advice = task(
        max_false_reject=max_false_reject,
        max_escape=max_escape,
        confidence=confidence,
        good=good_images,
        bad=bad_images,
        holdout=holdout,
    )
    asked = {
        "max_false_reject": max_false_reject,
        "max_escape": max_escape,
        "good_images": good_images,
        "bad_images": bad_images,
    }
    if json:
        show_json(asked | asdict(advice))
    else:
        nothing_asked = all(value is None for value in asked.values())
        show(*([_overview(advice)] if nothing_asked else [*advice.sentences, *_tables(advice)]))
        if nothing_asked:
            show(*advice.sentences)
    if advice.unmet:
        raise GateFailed(" ".join(advice.unmet))
    return 0


def _tables(advice: Advice) -> Iterator[Table]:
    """What the wishes take, then what the images given promise."""
    for kind in ("good", "bad"):
        if needed := [row for row in advice.needed if row.kind == kind]:
            yield _needed_table(kind, needed, advice)
    for kind in ("good", "bad"):
        if promised := [row for row in advice.promised if row.kind == kind]:
            yield _promised_table(kind, promised, advice)


def _overview(advice: Advice) -> Table:
    """What is needed for common rates, in one table."""
    from adcli.report.tables import rows_table

    by_rate: dict[float, list[Needed]] = {}
    for row in advice.needed:
        if row.kind == "good":  # it takes as many bad ones
            by_rate.setdefault(row.rate, []).append(row)
    allowed = [str(row.allowed) for row in next(iter(by_rate.values()))]
    cells = (
        [_percent(rate), *(str(row.images) for row in rows), str(rows[0].total), str(rows[0].images_on_average)]
        for rate, rows in by_rate.items()
    )
    title = f"Images needed {_sure(advice)}, with so many on the wrong side"
    return rows_table(title, ["at most", *allowed, "0: in total", "0: on average"], cells)


def _needed_table(kind: str, needed: list[Needed], advice: Advice) -> Table:
    from adcli.report.tables import rows_table

    rate = _percent(needed[0].rate)
    if kind == "bad":
        rows = ([str(row.allowed), str(row.images)] for row in needed)
        return rows_table(f"Labelled bad images needed: at most {rate} passed", ["missed", _sure(advice)], rows)
    title = f"Good images to hold out for at most {rate} rejected"
    if advice.holdout == 1:
        rows = ([str(row.allowed), str(row.images), str(row.images_on_average)] for row in needed)
        return rows_table(title, ["above threshold", _sure(advice), "on average"], rows)
    columns = ["above threshold", _sure(advice), "in total", "on average", "in total"]
    cells = ([row.allowed, row.images, row.total, row.images_on_average, row.total_on_average] for row in needed)
    title += f", and in total where {_percent(advice.holdout)} is held out"
    return rows_table(title, columns, (map(str, row) for row in cells))


def _promised_table(kind: str, promised: list[Promised], advice: Advice) -> Table:
    from adcli.report.tables import rows_table
    from adcli.thresholds import at_most

    n = promised[0].images
    if kind == "bad":
        rows = ([str(row.allowed), at_most(row.rate)] for row in promised)
        return rows_table(f"With {n} labelled bad images at most so many are passed", ["missed", _sure(advice)], rows)
    rows = ([str(row.allowed), at_most(row.rate), at_most(row.rate_on_average)] for row in promised)
    columns = ["above threshold", _sure(advice), "on average"]
    return rows_table(f"With {n} held-out good images at most so many are rejected", columns, rows)


def _sure(advice: Advice) -> str:
    return f"with {_percent(advice.confidence)} confidence"


def _percent(rate: float) -> str:
    return f"{100 * rate:.12g} %"
