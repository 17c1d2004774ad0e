"""Writes what the documentation takes from the code: tables in docs/*.md, and completions/*.

    python docs/generate.py

A page keeps its prose; only what stands between `<!-- generated:NAME -->` and `<!-- /generated:NAME -->` is replaced.
Run it after any change to a verb, an option or a method's parameters; tests/test_docs.py fails until it is.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer

from adcli import thresholds
from adcli.backbones import PIXELS, find_backbone
from adcli.cli.app import app
from adcli.detectors import DETECTORS, default_layers, made_of
from adcli.tasks.candidates import AUTO, CANDIDATES
from adcli.tasks.choosing import AutoParams
from adcli.tasks.costs import FORMULAS, Given, cost_of, fused
from adcli.tasks.networks import shapes_of

ROOT = Path(__file__).resolve().parents[1]
SHELLS = {"bash": "adcli.bash", "zsh": "_adcli", "fish": "adcli.fish"}
_BLOCK = re.compile(r"(<!-- generated:([\w-]+) -->\n).*?(<!-- /generated:\2 -->)", re.S)


def wanted() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    pages = {}
    for page in sorted((ROOT / "docs").glob("*.md")):
        pages[page] = _BLOCK.sub(lambda found: f"{found[1]}{_block(found[2])}\n{found[3]}", page.read_text("utf-8"))
    return pages | {ROOT / "completions" / file: completion(shell) for shell, file in SHELLS.items()}


def _block(name: str) -> str:
    subject, _, table = name.rpartition("-")
    if table == "parameters":
        return parameters_table(subject)
    tables = {
        "verbs": verbs_section,
        "images-needed": needed_table,
        "area-rule": area_rule_table,
        "padim-cost": padim_cost,
        "patchcore-cost": patchcore_cost,
        "texture-cost": texture_cost,
        "variation-cost": variation_cost,
        "lbp-cost": lbp_cost,
        "mahalanobis-cost": mahalanobis_cost,
        "dictionary-cost": dictionary_cost,
        "spade-cost": spade_cost,
        "corpus": corpus_tables,
        "auto-candidates": candidates_section,
        "memory-cost": memory_cost,
    }
    return tables[name]()


# Verbs


def verbs(group: Any = None, path: str = "adcli") -> Iterator[tuple[str, Any]]:
    """(`adcli weights pull`, its command) for every verb, in the order of the help page."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def verbs_section() -> str:
    """Every verb with its own options, and the options that several share in one table before them."""
    uses = Counter(_row(option) for _, command in verbs() for option in _options(command))
    shared = {row for row, count in uses.items() if count > 1}
    parts = [
        "## Options that several verbs have",
        _table(["option", "environment", "default", "meaning"], (row for row in uses if row in shared)),
    ]
    for path, command in verbs():
        arguments = [parameter for parameter in command.params if not parameter.opts[0].startswith("-")]
        summary, _, examples = command.help.partition("\b\n")
        title = " ".join([path, *(argument.metavar for argument in arguments)])
        parts += [f"## {title}", " ".join(summary.split()), f"```sh\n{textwrap.dedent(examples).strip()}\n```"]
        parts += [f"`{argument.metavar}`: {argument.help}" for argument in arguments]
        rows = [_row(option) for option in _options(command)]
        if own := [row for row in rows if row not in shared]:
            parts.append(_table(["option", "environment", "default", "meaning"], own))
        if common := [row[0].rpartition(", ")[2] for row in rows if row in shared]:
            parts.append(f"And of those above: {', '.join(common)}.")
    return "\n\n".join(parts)


def _options(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if parameter.opts[0].startswith("--")]


def _row(option: Any) -> tuple[str, str, str, str]:
    names = sorted(option.opts, key=len)  # the short name first
    silent = option.is_flag or option.default in (None, "", [])
    default = "required" if option.required else "" if silent else f"`{option.default}`"
    twin = f"`{option.envvar}`" if option.envvar else ""
    return ", ".join(f"`{name}`" for name in names), twin, default, option.help


def completion(shell: str) -> str:
    """The script that `_ADCLI_COMPLETE=source_SHELL adcli` prints, `#compdef` on its first line as zsh wants it."""
    call = [sys.executable, "-c", "from adcli.cli.app import app; app(prog_name='adcli')"]
    environment = os.environ | {"_ADCLI_COMPLETE": f"source_{shell}"}
    done = subprocess.run(call, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip() + "\n"


# Methods


def parameters_table(name: str) -> str:
    """What -p sets, from the fields of the method's parameters and the comments behind them."""
    params = AutoParams if name == AUTO else DETECTORS[name].detector().Params
    comments = dict(re.findall(r"^    (\w+):.*?  # (.*)$", inspect.getsource(params), re.M))
    rows = [(f"`{f.name}`", f"`{f.default}`", comments[f.name]) for f in dataclasses.fields(params)]
    return _table(["parameter", "default", "meaning"], rows)


def candidates_section() -> str:
    """What --method auto tries, in its order."""
    return _table(["candidate", "fit with"], ((f"`{one.name}`", f"`{one.words()}`") for one in CANDIDATES))


def padim_bytes(patches: int, dims: int) -> int:
    """Mean and packed triangular whitener of every position, float32."""
    return 4 * patches * (dims + dims * (dims + 1) // 2)


def patchcore_bytes(rows: int, dims: int) -> int:
    """The bank, float32."""
    return 4 * rows * dims


def padim_cost() -> str:
    """What padim costs, by backbone and image size."""
    rows = []
    for backbone, size, dims in (
        ("embedded", 256, 100),
        ("resnet18", 256, 100),
        ("resnet18", 512, 100),
        ("wide_resnet50_2", 256, 550),
    ):
        patches = (size // 4) ** 2  # layer1's grid
        stored, dense = padim_bytes(patches, dims), 4 * patches * dims**2
        rows.append([backbone, f"{size}", f"{patches}", f"{dims}", _bytes(stored), _bytes(dense), f"{dense / 4e9:.3g}"])
    head = ["backbone", "image size", "P", "D", "in the file", "in memory", "10^9 multiply-adds an image"]
    return _table(head, rows)


def patchcore_cost() -> str:
    """What patchcore costs, by backbone, image size and share kept."""
    rows, images = [], 200
    for backbone, size, dims, share in (
        ("embedded", 256, 256, 0.1),
        ("resnet18", 256, 384, 0.1),
        ("resnet18", 256, 384, 0.01),
        ("resnet18", 512, 384, 0.1),
        ("wide_resnet50_2", 256, 1024, 0.1),
    ):
        patches = (size // 8) ** 2  # layer2's grid
        bank, everything = int(share * images * patches), patchcore_bytes(images * patches, dims)
        chosen_in = patchcore_bytes(images * patches, 128)  # the projection's default
        cost = [
            *map(_bytes, (patchcore_bytes(bank, dims), everything, chosen_in)),
            f"{patches * bank * dims / 1e9:.3g}",
        ]
        rows.append([backbone, f"{size}", f"{share:g}", f"{patches}", f"{bank}", f"{dims}", *cost])
    head = [
        "backbone",
        "image size",
        "coreset",
        "P",
        "M",
        "D",
        "in the file",
        "on disk while fitting",
        "in memory while fitting",
    ]
    return f"Learnt from {images} images:\n\n" + _table([*head, "10^9 multiply-adds an image"], rows)


def texture_bytes(levels: int, components: int, dims: int) -> int:
    """Weight, mean and whitener of every Gaussian, float32."""
    return 4 * levels * components * (1 + dims + dims**2)


def texture_cost() -> str:
    """What texture costs, by image size and dimensions of a patch."""
    rows = []
    for size, pixels, dims in ((256, 49, 16), (256, 49, 49), (512, 49, 16), (256, 147, 16)):
        patches = sum((size // 2**level) ** 2 for level in range(4))
        cost = patches * dims * (pixels + 10 * dims)
        rows.append([f"{size}", f"{pixels}", f"{dims}", _bytes(texture_bytes(4, 10, dims)), f"{cost / 1e9:.3g}"])
    return _table(["image size", "values of a patch", "D", "in the file", "10^9 multiply-adds an image"], rows)


def variation_bytes(size: int, channels: int, updatable: bool) -> int:
    """Count, mean and deviation of every pixel, four bytes each; the two sums, eight."""
    return size**2 * (4 + channels * (8 + (16 if updatable else 0)))


def variation_cost() -> str:
    """What variation costs, by image size and channels."""
    rows = []
    for size, channels in ((256, 1), (256, 3), (512, 1), (1024, 1)):
        rows.append(
            [f"{size}", f"{channels}", *(_bytes(variation_bytes(size, channels, kept)) for kept in (False, True))]
        )
    return _table(["image size", "channels", "in the file", "with the sums"], rows)


def lbp_bytes(size: int, stride: int) -> int:
    """The sums, float64, and how many images show each block."""
    dims = 54
    return 8 * (dims * dims + 2 * dims) + 4 * round(size / stride) ** 2


def lbp_cost() -> str:
    """What lbp costs, by image size."""
    rows = []
    for size in (256, 512, 1024):
        blocks = round(size / 8) ** 2
        cost = 4 * 48 * size**2 + blocks * 54**2  # four taps a neighbour; a distance a block
        rows.append([f"{size}", f"{blocks}", _bytes(lbp_bytes(size, 8)), f"{cost / 1e9:.3g}"])
    return _table(["image size", "blocks", "in the file", "10^9 multiply-adds an image"], rows)


def mahalanobis_bytes(shapes: Iterable[tuple[int, int, int]], images: int) -> int:
    """Averages of every image and counts, float32 and int32; means and one scatter a layer, float64."""
    return sum(4 * images * c + (4 + 8 * c) * h * w + 8 * c * c for c, h, w in shapes)


def dictionary_bytes(channels: int, axes: int, entries: int) -> int:
    """Mean, axes and entries, float32."""
    return 4 * (channels + channels * axes + entries * axes)


def _stages(channels: tuple[int, ...], size: int) -> list[tuple[int, int, int]]:
    """(C, h, w) of layers 1 to 3 of a ResNet."""
    return [(count, size // side, size // side) for count, side in zip(channels, (4, 8, 16), strict=True)]


_RESNETS = {"embedded": (32, 96, 160), "resnet18": (64, 128, 256), "wide_resnet50_2": (256, 512, 1024)}


def mahalanobis_cost() -> str:
    """What mahalanobis costs, by backbone and image size."""
    rows = []
    for backbone, size in (("embedded", 256), ("resnet18", 256), ("resnet18", 512), ("wide_resnet50_2", 256)):
        shapes = _stages(_RESNETS[backbone], size)
        work = sum(c * c * (h * w + 1) for c, h, w in shapes)
        stored = [_bytes(mahalanobis_bytes(shapes, images)) for images in (0, 1000)]
        rows.append([backbone, f"{size}", " + ".join(f"{c}" for c, _, _ in shapes), *stored, f"{work / 1e9:.3g}"])
    head = ["backbone", "image size", "C", "in the file", "with 1000 images", "10^9 multiply-adds an image"]
    return _table(head, rows)


def dictionary_cost() -> str:
    """What dictionary costs, by backbone, image size and number of axes."""
    rows = []
    for backbone, size, axes, entries in (
        ("resnet18", 256, 80, 10),
        ("resnet18", 256, 230, 10),
        ("resnet18", 256, 230, 1000),
        ("resnet18", 512, 230, 10),
        ("wide_resnet50_2", 256, 230, 10),
    ):
        shapes = _stages(_RESNETS[backbone], size)
        side, channels = size // 4, sum(c for c, _, _ in shapes)
        work = sum(c * side * w * (h + side) for c, h, w in shapes) + side**2 * axes * (channels + entries)
        stored = _bytes(dictionary_bytes(channels, axes, entries))
        rows.append([backbone, f"{size}", f"{channels}", f"{axes}", f"{entries}", stored, f"{work / 1e9:.3g}"])
    return _table(["backbone", "image size", "C", "D", "k", "in the file", "10^9 multiply-adds an image"], rows)


def spade_bytes(images: int, numbers: int) -> int:
    """The gallery, float16."""
    return 2 * images * numbers


def spade_cost() -> str:
    """What spade costs, by backbone, image size and scored grid."""
    rows, images, neighbours = [], 200, 50
    resnet18, wide = (64, 128, 256), (256, 512, 1024)  # channels of layers 1 to 3
    for backbone, channels, size, grid in (
        ("resnet18", resnet18, 256, 1),
        ("resnet18", resnet18, 256, 2),
        ("resnet18", resnet18, 512, 1),
        ("wide_resnet50_2", wide, 256, 1),
    ):
        sides = [size // 4, size // 8, size // 16][grid - 1 :]
        widths = [sum(channels[:grid]), *channels[grid:]]
        numbers = sum(width * side**2 for width, side in zip(widths, sides, strict=True))
        deep = neighbours * sum(width * side**4 for width, side in zip(widths[1:], sides[1:], strict=True))
        whole = deep + neighbours * widths[0] * sides[0] ** 4
        cost = [_bytes(spade_bytes(images, numbers)), _bytes(4 * numbers), f"{deep / 1e9:.3g} to {whole / 1e9:.3g}"]
        rows.append([backbone, f"{size}", f"{grid}", f"{sides[0] ** 2}", f"{numbers}", *cost])
    head = ["backbone", "image size", "grid", "P", "R", "in the file", "one image in memory"]
    told = f"Learnt from {images} images, each compared with {neighbours}:\n\n"
    return told + _table([*head, "10^9 multiply-adds an image"], rows)


def memory_cost() -> str:
    """What each method holds at the default size."""
    rows, images, threads = [], 200, 2
    backbone = find_backbone("resnet18")
    for name, method in DETECTORS.items():
        params = method.detector().Params()
        members = [name] if name in FORMULAS else [one.name for one, _ in made_of(method, params)]
        costs = []
        for member, (_, own) in zip(members, made_of(method, params), strict=True):
            found = DETECTORS[member]
            where = find_backbone(PIXELS) if found.backbone == PIXELS else backbone
            shapes = shapes_of(where, default_layers(found, where), (256, 256))
            costs.append(cost_of(member, own or params, Given(images, shapes, threads)))
        cost = costs[0] if name in FORMULAS else fused(costs, threads)
        rows.append([name, *map(_bytes, (cost.stored, cost.spooled, cost.learning, cost.finishing, cost.scoring))])
    head = [
        "method",
        "in the model file",
        "temporary files",
        "memory while learning",
        "after the last image",
        "memory of score",
    ]
    told = f"ResNet-18 at 256x256, {images} images learnt from, {threads} threads, the method's own alone:\n\n"
    return told + _table(head, rows)


# Thresholds


def needed_table() -> str:
    """Held-out good images that each promise takes."""
    rows = [
        [f"{100 * rate:g} %", *(f"{thresholds.images_needed(rate, confidence)}" for confidence in (None, 0.95, 0.99))]
        for rate in (0.1, 0.05, 0.02, 0.01, 0.001)
    ]
    return _table(["false rejects at most", "on average", "with 95 % confidence", "with 99 % confidence"], rows)


def area_rule_table() -> str:
    """What the area rule promises from n images."""
    rows = []
    for n in (5, 10, 20, 50, 100, 200, 500):
        bound = thresholds.area_rule(np.arange(float(n))).rate_high
        rows.append([f"{n}", f"{100 / (n + 1):.2g} %", f"{100 * bound:.2g} %"])
    return _table(["n", "on average", "with 95 % confidence at most"], rows)


# Inputs


def corpus_tables() -> str:
    """What becomes of each file of the corpus, which tests/test_corpus.py holds to a real run."""
    sys.path.insert(0, str(ROOT))
    from tests.corpus import tables

    parts = []
    for heading, rows in tables():
        parts += [f"### {heading}", _table(["file", "what it is", "what becomes of it"], rows)]
    return "\n\n".join(parts)


def _table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _bytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def main() -> None:
    for path, text in wanted().items():
        path.write_text(text, encoding="utf-8", newline="\n")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
