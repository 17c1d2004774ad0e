"""What to expect of `fit` and `score`, as one table for people and as flat keys for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adcli.report.tables import rows_table

if TYPE_CHECKING:
    from rich.table import Table

    from adcli.tasks.forecast import Forecast
    from adcli.tasks.probing import Took


def forecast_table(told: Forecast, folders: str) -> Table:
    """Expectation by expectation: how much, what there is, and what it stands on."""
    measured = told.probe is not None
    formula = f"formulas of {told.method}"
    on = "measured here, and " + formula if measured else formula + ", libraries as measured elsewhere"
    time = on if measured else f"not predicted: {told.unmeasured}"
    memory = "-" if told.memory_bytes is None else f"{size(told.memory_bytes)} available"
    rows = [
        ["fit, seconds", _seconds(told.fit), "", "", time],
        ["fit, memory", size(told.fit_bytes), memory, _verdict(told.suffices(told.fit_bytes)), on],
        [
            "fit, temporary files",
            size(told.spool_bytes),
            *_free(told.temporary_bytes, told.temporary_suffices),
            formula,
        ],
        ["model file", size(told.model_bytes), *_free(told.disk_bytes, told.disk_suffices), formula],
        ["score, seconds to begin", _seconds(told.score_start), "", "", "measured here" if measured else time],
        ["score, seconds an image", _seconds(told.score), "", "", time],
        ["score, memory", size(told.score_bytes), memory, _verdict(told.suffices(told.score_bytes)), on],
    ]
    return rows_table(_title(told, folders), ["", "expected", "there is", "suffices", "stands on"], rows)


def forecast_notes(told: Forecast) -> list[str]:
    """What the table stands on, in sentences, and what is missing."""
    pixels = " to ".join(dict.fromkeys(_shape(one) for one in (told.smallest, told.largest)))
    looked = "all" if told.sampled == told.images else f"{told.sampled}"
    notes = [f"sizes: {pixels} pixels, by the headers of {looked} of the {told.images} images"]
    if told.probe is not None:
        notes.append(
            f"measured: {told.probe.images} images learnt from and scored in {told.probe.seconds:.1f} s on "
            f"{told.threads} threads of the CPU; a busy machine measures busy seconds"
        )
    if told.memory_suffices is False:
        notes.append("the memory does not suffice: lower --image-size, --workers or the method's own parameters")
    if not told.disk_suffices:
        notes.append("the disk does not suffice for the model file: write it elsewhere with fit --model")
    if not told.temporary_suffices:
        notes.append("temporary files do not fit: name another folder in the environment variable TMPDIR")
    return notes


def forecast_json(told: Forecast) -> dict[str, Any]:
    """`doctor FOLDER --json`, flat; bytes, seconds, and null for what is not predicted."""
    probe = told.probe
    return {
        "method": told.method,
        "backbone": told.backbone,
        "layers": list(told.layers),
        "image_size": list(told.image_size),
        "workers": told.threads,
        "images": told.images,
        "learnt": told.learnt,
        "held_out": told.held_out,
        "sizes_sampled": told.sampled,
        "smallest_size": list(told.smallest),
        "usual_size": list(told.usual),
        "largest_size": list(told.largest),
        "fit_seconds": told.fit and told.fit.wall,
        "fit_cpu_seconds": told.fit and told.fit.cpu,
        "fit_memory_bytes": told.fit_bytes,
        "fit_temporary_bytes": told.spool_bytes,
        "model_bytes": told.model_bytes,
        "score_start_seconds": told.score_start and told.score_start.wall,
        "score_start_cpu_seconds": told.score_start and told.score_start.cpu,
        "score_seconds_per_image": told.score and told.score.wall,
        "score_cpu_seconds_per_image": told.score and told.score.cpu,
        "score_memory_bytes": told.score_bytes,
        "memory_available_bytes": told.memory_bytes,
        "disk_free_bytes": told.disk_bytes,
        "temporary_free_bytes": told.temporary_bytes,
        "memory_suffices": told.memory_suffices,
        "disk_suffices": told.disk_suffices,
        "temporary_suffices": told.temporary_suffices,
        "probe_images": 0 if probe is None else probe.images,
        "probe_seconds": None if probe is None else probe.seconds,
        "not_measured": told.unmeasured,
    }


def size(count: float) -> str:
    """Bytes for people."""
    if count >= 1e9:
        return f"{count / 1e9:.3g} GB"
    return f"{count / 1e6:.3g} MB" if count >= 1e5 else f"{count / 1e3:.3g} kB"


def _title(told: Forecast, folders: str) -> str:
    height, width = told.image_size
    held = f", {told.held_out} of them held out" if told.held_out else ""
    return f"{told.method} on {told.backbone} at {height}x{width}: {told.images} images of {folders}{held}"


def _shape(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def _seconds(took: Took | None) -> str:
    """Of the wall, and of the processor."""
    return "-" if took is None else f"{_short(took.wall)} (CPU {_short(took.cpu)})"


def _short(seconds: float) -> str:
    return f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"


def _free(there: int, suffices: bool) -> tuple[str, str]:
    return f"{size(there)} free", _verdict(suffices)


def _verdict(suffices: bool | None) -> str:
    return {None: "-", True: "yes", False: "no"}[suffices]
