"""The page of a run: the worst images are mapped and drawn once more, side by side, at the size of a page.

Drawn anew rather than kept while scoring: which images are the worst is known at the end only, and a run that was
stopped and resumed draws the same ones from the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adcli.errors import UnreadableImage
from adcli.finding import FoundImage
from adcli.model import Calibration, Model
from adcli.report.overlays import encode_jpeg
from adcli.report.page import ColourScale, Views, write_page
from adcli.report.results import PAGE, ResultsFolder
from adcli.tasks.mapping import Mapped, Mapper
from adcli.tasks.pictures import colour_scale, views
from adcli.types import Progress
from adcli.verdicts import judge

_LONGEST = 640  # pixels a side of an embedded picture
_QUALITY = 82  # of its JPEG


@dataclass(frozen=True)
class _Source:
    image: FoundImage
    sha256: str

    @property
    def path(self) -> Path:
        return self.image.path


def write_run_page(
    folder: ResultsFolder,
    images: Sequence[FoundImage],
    model: Model,
    mapper: Mapper,
    run: dict[str, Any],
    progress: Progress,
) -> None:
    """Writes report.html of a run whose record is `run`."""
    calibration = model.require_calibration()
    wanted = {
        "mask": run["outputs"]["masks"],
        "overlay": run["outputs"]["overlays"],
        "map": "all" if run["outputs"]["maps"] else "none",
    }

    def draw(worst: list[tuple[int, dict[str, Any]]]) -> Iterator[Views | None]:
        sources = [_Source(images[number], record["sha256"]) for number, record in worst]
        progress("drawing", 0, len(sources))
        for done, drawn in enumerate(mapper.stream(sources, _drawing(model, calibration)), 1):
            progress("drawing", done, len(sources))
            yield drawn

    write_page(
        folder.out / PAGE,
        run,
        folder.records,
        [stem for _, stem in folder.inputs],
        wanted,
        ColourScale(*colour_scale(model, calibration)),
        list(_facts(run, calibration)),
        draw,
    )


def _drawing(model: Model, calibration: Calibration) -> Callable[[_Source, Mapped | UnreadableImage], Views | None]:
    def finish(source: _Source, mapped: Mapped | UnreadableImage) -> Views | None:
        if isinstance(mapped, UnreadableImage) or mapped.image.sha256 != source.sha256:
            return None  # gone, or another image since it was scored
        judgement = judge(model, calibration, mapped)
        drawn = views(model, calibration, mapped, judgement, _LONGEST)
        image, overlay, score_map = (encode_jpeg(picture, _QUALITY) for picture in drawn)
        return image, overlay, score_map

    return finish


def _facts(run: dict[str, Any], calibration: Calibration) -> Iterator[tuple[str, str]]:
    """What the results come from, as names and values."""
    unit = "images" if run["group_by"] is None else "parts"
    above = int((calibration.scores > calibration.threshold).sum())
    yield "model, sha256", run["model"]
    yield "detector digest", run["detector_digest"]
    yield "method", f"{run['method']} on {run['backbone']}"
    yield "rule", run["rule"]
    yield "NG above", f"{run['threshold']:.7g}"
    if run["check_threshold"] is not None:
        yield "CHECK above", f"{run['check_threshold']:.7g}"
    if calibration.guard is not None:
        yield "input guard above", f"{calibration.guard.limit:.4g}"
    if calibration.image_stage is not None:
        yield f"image stage ({calibration.image_stage.score}) above", f"{calibration.image_stage.limit:.4g}"
    yield "promise asked for", _promise(calibration)
    yield "threshold stands on", f"{calibration.scores.size} {calibration.evidence} good {unit}, {above} above it"
    yield "a region counts from", " or ".join(run["sizes"])
    if run["pixel_pitch_mm"] is not None:
        yield "pixel pitch", f"{run['pixel_pitch_mm']:g} mm"
    if run["group_by"] is not None:
        yield "part", run["group_by"]
    if run["roi_digest"] is not None or run["protocol"] == "paper":
        share = run["uninspected_share"]
        told = "with what the aligned frame does not cover" if share is None else f"{100 * share:.3g} % of each image"
        yield "not inspected", told
    if run["tile_px"] is not None:
        yield "tiles", f"{run['tile_px']} px, sharing {run['overlap_px']} px"
    if run["golden_sha256"] is not None:
        yield "aligned to, sha256", run["golden_sha256"]
    yield "engine, precision", f"{run['engine']}, {run['precision']} (threshold: {run['stored_precision']})"
    yield "exit code", str(run["exit_code"])
    yield "versions", ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    for note in run["notes"]:
        yield "note", note


def _promise(calibration: Calibration) -> str:
    if calibration.max_false_reject is None:
        return "no rate of false rejects was asked for"
    said = f"at most {100 * calibration.max_false_reject:.4g} % of good ones NG"
    if calibration.check_false_reject is not None:
        said += f", {100 * calibration.check_false_reject:.4g} % CHECK or NG"
    if calibration.confidence is None:
        return f"{said}, on average"
    return f"{said}, with {100 * calibration.confidence:.4g} % confidence"
