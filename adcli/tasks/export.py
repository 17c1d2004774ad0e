"""A model as one graph in a file that other programs run, and a page of JSON beside it with all that they need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from adcli.detectors import DETECTORS
from adcli.errors import EnvironmentFault, UsageError
from adcli.files import hold, remove_own_leftovers, replacing_together
from adcli.finding import FoundImage
from adcli.graphs.network import Network
from adcli.graphs.pipeline import Pipeline
from adcli.maps import lifting
from adcli.model import Model
from adcli.report.text import plain
from adcli.store import Stored, load
from adcli.tasks.engines import Machine
from adcli.tasks.export_facts import facts
from adcli.tasks.export_proof import Proof, prove
from adcli.types import Progress, no_progress


class _Format(NamedTuple):
    """A kind of file."""

    suffixes: tuple[str, ...]  # of the files that it is made of, the one that is named first
    extra: str  # of adcli, that has the packages
    writers: tuple[str, ...]  # packages that it takes to write it
    readers: tuple[str, ...]  # and to run it


FORMATS = {
    "openvino": _Format((".xml", ".bin"), "openvino", ("openvino",), ("openvino",)),
    "onnx": _Format((".onnx",), "onnx", ("onnx",), ("onnxruntime",)),
}
_NO_INPUT = {  # what of a geometry makes another input than the whole image, and the option that asked for it
    "tiling": ("tiles", "--tile"),
    "golden": ("alignment", "--align"),
    "roi": ("a region of interest", "--roi"),
    "crop": ("a crop", "--protocol paper"),
}


@dataclass(frozen=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    size_bytes: int  # of all of them
    facts: dict[str, Any]  # what the JSON file says
    proof: Proof | None  # None: not asked for
    notes: list[str]


def export(
    model_path: Path,
    out: Path,
    *,
    format: str = "auto",
    verify: Sequence[FoundImage] = (),
    machine: Machine | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Exported:
    """Writes a model as one graph, from prepared pixels to the map, and FILE.json beside it.

    Args:
        out: FILE.onnx; or FILE.xml, beside which FILE.bin comes to lie.
        format: auto (by the suffix of `out`), openvino or onnx.
        verify: images that are scored both by the written file and by adcli in float32; without any nothing is proven.
        machine: for adcli's side of the comparison.

    Raises:
        UsageError: this model has no graph, or a file is there already and not `force`.
        ModelFileError: the model is damaged.
        EnvironmentFault: a package is missing, or the disk is full.
        GateFailed: the written file does not say what adcli says; nothing is kept of it.
        Busy: another run writes the same file.
    """
    out = Path(out)
    kind = _kind(format, out)
    _check_packages(kind, bool(verify))
    files = tuple(out.with_suffix(suffix) for suffix in (*FORMATS[kind].suffixes, ".json"))
    stored = load(model_path)
    pipeline = _pipeline(stored.model, model_path)
    _check_free(files, model_path, force)
    engine = _engine(kind)
    with hold(out.with_name(out.name + ".lock")):
        remove_own_leftovers(out)
        with replacing_together(files) as folder:
            graph = folder / files[0].name
            engine.write(pipeline, graph)
            proof = None
            if verify:
                proof = prove(engine.read(graph), stored.model, verify, machine or Machine(), progress)
                proof.require(files[0])
            about = facts(stored, kind, _digests(folder), proof, FORMATS[kind].writers)
            (folder / files[-1].name).write_text(json.dumps(plain(about), indent=2) + "\n", "utf-8")
        size = sum(file.stat().st_size for file in files)
    return Exported(files, size, about, proof, [*_notes(stored), *(proof.notes if proof else [])])


def _kind(format: str, out: Path) -> str:
    if format not in ("auto", *FORMATS):
        raise UsageError(f"there is no format {format!r}: write auto, {' or '.join(FORMATS)}")
    for kind, one in FORMATS.items():
        if format in ("auto", kind) and out.suffix.lower() == one.suffixes[0]:
            return kind
    wanted = [FORMATS[kind].suffixes[0] for kind in FORMATS if format in ("auto", kind)]
    raise UsageError(f"{out} does not end as the format wants it: name it {' or '.join(f'FILE{s}' for s in wanted)}")


def _check_packages(kind: str, verify: bool) -> None:
    needed = {*FORMATS[kind].writers, *(FORMATS[kind].readers if verify else ())}
    if missing := sorted(name for name in needed if find_spec(name) is None):
        raise EnvironmentFault(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed, which exporting to {kind} "
            f'takes: pip install "adcli[{FORMATS[kind].extra}]"'
        )


def _check_free(files: Sequence[Path], model_path: Path, force: bool) -> None:
    there = [file for file in files if file.exists() or file.is_symlink()]
    if any(file.exists() and file.samefile(model_path) for file in there):
        raise UsageError(f"{model_path} is the model itself: give --out another name")
    if there and not force:
        raise UsageError(f"{there[0]} exists: give --out another name, or replace it with --force")


def _pipeline(model: Model, path: Path) -> Pipeline:
    """The model as a graph. Raises UsageError where it has none."""
    spec = model.spec
    if found := [words for name, words in _NO_INPUT.items() if getattr(model.geometry, name) is not None]:
        what, options = (" and ".join(one) for one in zip(*found, strict=True))
        raise UsageError(
            f"{path} looks at images with {what}, and a graph takes the whole image: export a model that was fit "
            f"without {options}"
        )
    if model.network is None:
        raise UsageError(
            f"{path} holds no steps of its backbone {spec.backbone} to make a graph of: fit it anew with this adcli, "
            "and with another --backbone if it is still refused"
        )
    graph = model.detector.graph(own=False) if hasattr(model.detector, "graph") else None
    if graph is None:
        able = [name for name, method in DETECTORS.items() if hasattr(method.detector(), "graph")]
        raise UsageError(
            f"{path} is of {spec.method}, which has no graph with these parameters: export one of {' or '.join(able)}"
        )
    rows, columns = (lifting(*lengths, spec.sigma) for lengths in zip(graph.grid, spec.image_size, strict=True))
    return Pipeline(Network.from_text(model.network), model.weights, graph, spec.image_size, rows, columns)


def _engine(kind: str) -> ModuleType:
    if kind == "onnx":
        from adcli.engines import onnx_file

        return onnx_file
    from adcli.engines import openvino_file

    return openvino_file


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of the files of a folder, by name."""
    digests = {}
    for file in sorted(folder.iterdir()):
        digest = hashlib.sha256()
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
        digests[file.name] = digest.hexdigest()
    return digests


def _notes(stored: Stored) -> list[str]:
    """What must be said of an exported model."""
    calibration = stored.model.calibration
    if calibration is None:
        return ["the model has no threshold, so the JSON file has none: set one with adcli calibrate, and export again"]
    notes = []
    if calibration.precision != "fp32":
        notes.append(
            f"the graph computes in float32, and the threshold was set in {calibration.precision}: adcli calibrate "
            "HELD_OUT --precision fp32 sets one that belongs to it"
        )
    if calibration.guard is not None or calibration.image_stage is not None:
        notes.append("what makes CHECK of an image without a region, input guard or image stage, is not in the graph")
    return notes
