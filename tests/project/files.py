"""A small command line, and project files for it."""

from __future__ import annotations

from pathlib import Path

from adcli.project.file import Option, Project, read

MODEL = Option("--model", "text", is_path=True)
VERBS = {
    "fit": {
        "good": Option("GOOD", "text", many=True, is_path=True, is_input=True, required=True),
        "model": MODEL,
        "param": Option("--param", "text", many=True),
        "seed": Option("--seed", "whole"),
        "holdout": Option("--holdout", "number", excludes=frozenset({"leave-one-out"})),
        "leave-one-out": Option("--leave-one-out", "flag", excludes=frozenset({"holdout"})),
        "pictures": Option("--pictures", "flag"),
        "image-size": Option("--image-size", "text"),
    },
    "score": {
        "incoming": Option("IMAGES", "text", many=True, is_path=True, is_input=True, required=True),
        "out": Option("--out", "text", is_path=True, required=True),
        "model": MODEL,
        "masks": Option("--masks", "text"),
        "fail-on": Option("--fail-on", "text"),
    },
    "eval": {
        "out": Option("--out", "text", is_path=True),
        "good": Option("--good", "text", many=True, is_path=True),
        "masks": Option("--masks", "text", many=True, is_path=True),
        "model": MODEL,
    },
    "info": {"model": MODEL},
}
OF_PARTS = ("fit", "score", "eval")
LINE = """
[defaults]
model = "models/{part}.h5"
seed = 1

[score]
incoming = "incoming/{part}"
out = "results/{date}/{part}/{verb}"
fail-on = "ng"

[parts.lid]
good = ["good/lid", "good/lid-2"]

[parts.cap]
good = "good/cap"
seed = 2
fail-on = ""

[parts.cap.fit]
seed = 3
"""


def project(folder: Path, text: str) -> Project:
    path = folder / "adcli.toml"
    path.write_text(text, encoding="utf-8")
    return read(path, VERBS, OF_PARTS)


def values(read_project: Project, verb: str, part: str | None = None) -> dict[str, object]:
    return {key: setting.value for key, setting in read_project.settings(verb, part).items()}
