"""adcli escapes"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json
from adcli.cli.inputs import tell_problems
from adcli.errors import UsageError

if TYPE_CHECKING:
    from adcli.layouts import Category
    from adcli.tasks.engines import Machine
    from adcli.tasks.escapes import Escapes
    from adcli.tasks.planted import Planted
    from adcli.types import Progress

_NAMED = 5  # missed images that are named on the terminal; --json has all


def escapes(
    dataset: Annotated[
        Path | None, typer.Argument(metavar="DATASET", help="Labelled folder, or a CSV list.", show_default=False)
    ] = None,
    bad: Annotated[list[str], o.option("--bad", help="Defective images instead of DATASET; repeat.")] = [],  # noqa: B006
    masks: Annotated[list[str], o.option("--masks", help="Masks of the defective images; repeat.")] = [],  # noqa: B006
    layout: o.Layout = "auto",
    on: Annotated[
        list[str], o.option("--plant", help="Good images to plant synthetic defects on, none of them learnt; repeat.")
    ] = [],  # noqa: B006
    sizes: Annotated[
        str | None,
        o.option("--sizes", help="Diameter of a spot, length of a scratch, as 10px,1mm,2x; x: of the minimum area."),
    ] = None,
    contrasts: Annotated[
        str | None, o.option("--contrasts", help="Change of gray as shares of the full range: 0.05,0.1,0.2,0.4.")
    ] = None,
    kinds: Annotated[str | None, o.option("--kinds", help="Defects to plant: spot,scratch.")] = None,
    per_image: Annotated[
        int, o.option("--per-image", min=1, help="Defects of each kind, size and contrast on an image.")
    ] = 1,
    seed: Annotated[int, o.option("--seed", min=0, max=2**63 - 1, help="Seed of what is planted.")] = 0,
    model: o.Model = Path("model.h5"),
    device: o.Device = "auto",
    engine: o.Engine = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = 0,
    workers: o.Workers = 0,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Count the defects that get past the threshold: labelled ones, or synthetic ones planted on good images.

    \b
    adcli escapes ./dataset
    adcli escapes --bad ./ng --masks ./ng-masks
    adcli escapes --plant ./good-of-today
    adcli escapes --plant ./good-of-today --sizes 0.5mm,1mm,2mm --contrasts 0.1,0.2 --kinds scratch
    """
    from adcli.tasks.engines import Machine

    terminal = Terminal(quiet)
    machine = Machine(device, engine, precision, batch_size, workers)
    lists = {"sizes": sizes, "contrasts": contrasts, "kinds": kinds}
    how = {name: _parts(name, text) for name, text in lists.items() if text is not None}
    if layout != "auto" and dataset is None:
        raise UsageError("--layout says how DATASET is laid out: give DATASET as well")
    if on and (dataset is not None or bad or masks):
        raise UsageError("--plant takes good images only: leave DATASET, --bad and --masks out")
    if how and not on:
        raise UsageError(f"--{next(iter(how))} says what to plant: give good images to --plant as well")
    with terminal.progress() as progress:
        if on:
            how |= {"per_image": per_image, "seed": seed}
            told = _planted(on, how, model, machine, progress)
        else:
            told = _labelled(_category(dataset, layout, bad, masks), model, machine, progress)
    for given, reason in told.unreadable:
        terminal.warn(f"left out {given}: {reason}")
    if json:
        show_json(_planted_json(told, seed) if on else _json(told))
    else:
        show(*(_planted_tables(told) if on else _tables(told)))
    for note in told.notes:
        terminal.say(f"note: {note}")
    if not on:
        tell_problems(told.problems, terminal)
    return 5 if told.unreadable else 0


def _category(dataset: Path | None, layout: str, bad: list[str], masks: list[str]) -> Category:
    from adcli import layouts
    from adcli.finding import find_images

    if dataset is not None:
        if bad or masks:
            raise UsageError("DATASET and --bad, --masks exclude each other: give one or the other")
        return layouts.read_category(dataset, layout)
    if bad:
        return layouts.read_folders([], find_images(bad), find_images(masks) if masks else None)
    raise UsageError("nothing to look at: give a labelled data set, --bad, or good images to --plant")


def _labelled(category: Category, model: Path, machine: Machine, progress: Progress) -> Escapes:
    from adcli.tasks.escapes import escapes as task

    return task(category.images, model, problems=category.problems, machine=machine, progress=progress)


def _planted(on: list[str], how: dict[str, Any], model: Path, machine: Machine, progress: Progress) -> Planted:
    from adcli.finding import find_images
    from adcli.tasks.planted import planted as task

    if "contrasts" in how:
        how["contrasts"] = [_contrast(text) for text in how["contrasts"]]
    return task(find_images(on), model, **how, machine=machine, progress=progress)


def _parts(name: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"--{name} is empty: give at least one, or leave it out")
    return parts


def _contrast(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a contrast: write shares of the full range such as 0.1,0.2") from error


def _tables(told: Escapes) -> list[Any]:
    from adcli.report.tables import number
    from adcli.report.text import printable

    columns = ["group", "images", "missed", "CHECK", "NG", "miss rate", "95 % interval", "at most, one-sided"]
    counts = ("group", "images", "missed", "check", "ng")
    rows = [
        [*(row[key] for key in counts), *_rates(row, "miss_rate"), _percent(row["miss_rate_bound"])]
        for row in told.rows
    ]
    parts = [_table("Defective images that got past the threshold", columns, rows), told.sentence]
    if missed := [image["image"] for image in told.images if image["verdict"] == "OK"]:
        more = f" and {len(missed) - _NAMED} more: --json names all" if len(missed) > _NAMED else ""
        parts.append(printable(f"missed: {', '.join(missed[:_NAMED])}{more}"))
    if told.curves:
        columns = ["area, px (from, to below)", "defects", "found", "found rate", "95 % interval"]
        rows = [
            [f"{row['area_px_from']:g} to {row['area_px_below']:g}", row["n"], row["found"], *_rates(row, "rate")]
            for row in told.sizes
            if row["group"] == told.rows[-1]["group"]
        ]
        parts.append(_table("Defects found, by size", columns, rows))
        unit = "mm2" if any(row["sure_from_mm2"] is not None for row in told.curves) else "px"
        areas = ("a50", "a90", "a90_95", "sure_from")
        columns = ["group", "defects", "found", "50 %", "90 %", "90 % with 95 % confidence", "the same, by counting"]
        rows = [
            [row["group"], row["n"], row["found"], *(number(row[f"{key}_{unit}"], 3) for key in areas)]
            for row in told.curves
        ]
        parts.append(_table(f"Area from which on so many are found, {unit}", columns, rows))
    return parts


def _planted_tables(told: Planted) -> list[Any]:
    columns = ["kind", "size", "px", "contrast", "planted", "left out", "found", "by CHECK", "found rate"]
    counts = ("contrast", "planted", "excluded", "found", "check")
    rows = [
        [row["kind"], row["size"], _span(*row["size_px"]), *(row[key] for key in counts), *_rates(row, "found_rate")]
        for row in told.rows
    ]
    title = f"Synthetic defects found, planted on {told.images} good image{'s' * (told.images != 1)}"
    return [_table(title, [*columns, "95 % interval"], rows)]


def _table(title: str, columns: list[str], rows: list[list[Any]]) -> Any:
    from adcli.report.tables import rows_table

    table = rows_table(title, columns, [map(str, row) for row in rows])
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _json(told: Escapes) -> dict[str, Any]:
    document = {"synthetic": False, "rows": told.rows, "sentence": told.sentence, "sizes": told.sizes}
    document |= {"curves": told.curves, "defects": told.defects, "images": told.images}
    return document | {"problems": list(map(asdict, told.problems))} | _ends(told)


def _planted_json(told: Planted, seed: int) -> dict[str, Any]:
    return {"synthetic": True, "rows": told.rows, "images": told.images, "seed": seed} | _ends(told)


def _ends(told: Escapes | Planted) -> dict[str, Any]:
    unreadable = [{"image": given, "reason": reason} for given, reason in told.unreadable]
    return {"notes": told.notes, "model": told.model_sha256, "unreadable": unreadable}


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.1f} %"


def _rates(row: dict[str, Any], key: str) -> list[str]:
    """A rate and its interval."""
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return [_percent(row[key]), "-" if low != low else f"{100 * low:.1f} to {100 * high:.1f} %"]


def _span(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
