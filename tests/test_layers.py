"""The architecture, held: docs/design.md draws the rooms, and every import in adcli/ must fit that drawing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from adcli.cli.app import app

ROOT = Path(__file__).parents[1]
OWNERS = {  # foreign package: the rooms that may import it
    "torch": {"engines", "backbones", "detectors"},
    "torchvision": {"engines", "backbones", "detectors"},
    "openvino": {"engines"},
    "onnx": {"engines"},
    "onnxruntime": {"engines"},
    "h5py": {"store"},
    "typer": {"cli"},
    "rich": {"cli", "report"},
    "matplotlib": {"report"},
    "tifffile": {"metrics", "report"},
}
HEAVY = {"torch", "torchvision", "cv2", "scipy", "skimage", "h5py", "matplotlib", "tifffile"}
TALK = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "sys.stdout", "sys.stderr"}
SOURCES = {
    path: path.relative_to(ROOT / "adcli").parts[0].removesuffix(".py")
    for path in sorted((ROOT / "adcli").rglob("*.py"))
}
DRAWING = [
    line.split()
    for line in re.search(r"```text rooms\n(.*?)```", (ROOT / "docs/design.md").read_text(), re.S)[1].splitlines()
]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports when it runs, not for annotations only, and whether inside a function."""
    tree = ast.parse(path.read_text())
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unused = {id(node) for guard in guards for part in guard.body for node in ast.walk(part)}
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in unused:
            yield from ((alias.name, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and id(node) not in unused:
            yield from (("." * node.level + f"{node.module}.{alias.name}", id(node) in inside) for alias in node.names)


def test_the_drawing_shows_every_room_once_and_no_other() -> None:
    assert sorted(room for line in DRAWING for room in line) == sorted(set(SOURCES.values()) - {"__init__"})


def test_arrows_point_down() -> None:
    level = {room: depth for depth, line in enumerate(DRAWING) for room in line}
    level["__init__"] = level["api"] - 0.5  # the door, which offers what is in api
    level["__version__"] = len(DRAWING)
    upward = []
    for path, own in SOURCES.items():
        for module, _ in imports(path):
            room = module.split(".")[1] if module.startswith("adcli.") else own
            if room != own and level[room] <= level[own]:
                upward.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not upward


def test_foreign_libraries_stay_in_the_rooms_that_own_them() -> None:
    strays = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path, own in SOURCES.items()
        for module, inside in imports(path)
        if own not in OWNERS.get(module.partition(".")[0], {own})
        and not (own == "tasks" and module == "torch" and inside)  # for the class of one error
    ]
    assert not strays


def test_only_the_command_line_talks_and_exits() -> None:
    talk = [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(node)}"
        for path, own in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if own != "cli" and isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in TALK
    ]
    assert not talk


def verbs(group: object = None, *names: str) -> Iterator[list[str]]:
    """Every verb and every word below it."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        yield [*names, name]
        if hasattr(command, "commands"):
            yield from verbs(command, *names, name)


CALLS = [[], ["--version"], ["--help"], *([*verb, "--help"] for verb in verbs())]


@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    run = "from adcli.cli.app import app; app(standalone_mode=False)" if arguments else "import adcli"
    code = f"import sys; {run}; sys.stderr.write(str({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "set()"
