"""How a command starts: what it imports, which verbs it makes, how it takes plain values."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from adcli import __version__
from adcli.__main__ import main
from adcli.cli.app import app
from adcli.cli.plain import spared
from tests.conftest import ROOT

ENGINES = {"torch", "torchvision", "openvino"}
NEVER = {"scipy", "skimage", "sklearn", "matplotlib", "tifffile", "pydantic", "sqlite3", "ssl", "multiprocessing"}
ROOT_COMMAND = typer.main.get_command(app)

# Patch scores are made up: the modules of an engine are the engine's own affair.
STANDING_IN = """
import numpy as np
from adcli.guard import examine
from adcli.images import prepare
from adcli.tasks import mapping, score

class Standing:
    engine, precision, device, notes = "torch", "fp32", "cpu", []

    def __init__(self, model, machine, own=True):
        self.model = model

    def stream(self, jobs, finish):
        for job in jobs:
            image = mapping.read_source(job)
            look = examine(image.pixels, prepare(image.pixels, self.model.spec.image_size))
            values = np.full((image.height, image.width), 1e6, np.float32)
            mean = self.model.guard.gate.mean.astype(np.float32)
            yield finish(job, mapping.Mapped(image, values, lambda: look(mean), None, 1.0))

score.Mapper = Standing
"""


def imported(words: list[object], before: str = "") -> set[str]:
    """The modules that a process has imported when a command line has been run in it."""
    run = f"try: app({[str(word) for word in words]!r}, prog_name='adcli')\nexcept SystemExit as end: print(end.code)"
    code = f"import sys\n{before}\nfrom adcli.cli.app import app\n{run}\nprint('modules', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    *_, code, modules = done.stdout.splitlines()
    assert code == "0", done.stdout
    return set(modules.split()[1:])


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_the_list_of_verbs_takes_none_of_the_verbs_and_no_array(words: list[object]) -> None:
    modules = imported(words)
    assert not sorted(modules & (NEVER | ENGINES | {"numpy", "rich", "logging"}))
    assert not {f"adcli.cli.{verb}" for verb in ("fit", "score", "info", "weights")} & modules


def test_the_help_of_a_verb_takes_no_other_verb() -> None:
    modules = imported(["score", "--help"])
    assert "adcli.cli.score" in modules
    assert not {f"adcli.cli.{verb}" for verb in ("fit", "calibrate", "evaluate", "info", "weights")} & modules


def test_info_takes_no_engine_and_nothing_to_draw_or_compute_with(model: Path) -> None:
    modules = imported(["info", model])
    assert "h5py" in modules  # which takes logging itself
    assert not sorted(modules & (NEVER | ENGINES | {"cv2", "concurrent.futures", "socket"}))
    assert not {"adcli.images", "adcli.formats", "adcli.maps", "adcli.thresholds", "adcli.files"} & modules


def test_score_takes_nothing_beside_its_engine(model: Path, dataset: Path, tmp_path: Path) -> None:
    images = dataset / "test" / "scratch"
    modules = imported(["score", images, "-m", model, "-o", tmp_path / "out", "--engine", "torch"], STANDING_IN)
    assert len(list((tmp_path / "out" / "overlays").rglob("*.jpg"))) == 3  # it went all the way
    assert not sorted(modules & (NEVER | ENGINES))


@pytest.mark.parametrize("task", ["evaluate", "calibrate", "verify", "escapes", "compare", "watch"])
def test_no_task_takes_an_engine_before_it_needs_one(task: str) -> None:
    code = f"import sys, adcli.tasks.{task}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not sorted(set(done.stdout.split()) & (ENGINES | NEVER - {"sqlite3"}))  # watch keeps a ledger


def test_every_verb_is_told_in_the_list_as_it_tells_of_itself() -> None:
    context = typer.Context(ROOT_COMMAND)
    lines = ROOT_COMMAND.get_help(context).partition("Commands:\n")[2].splitlines()
    told = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines}
    assert told == {name: command.get_short_help_str(80) for name, command in ROOT_COMMAND.commands.items()}
    assert [ROOT_COMMAND.commands[name].name for name in told] == list(told) == ROOT_COMMAND.list_commands(context)


@pytest.mark.parametrize("given", [None, "26"])
def test_openblas_is_kept_from_spinning_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.setattr("adcli.cli.app.app", lambda: None)
    monkeypatch.setattr("os.environ", {} if given is None else {"OPENBLAS_THREAD_TIMEOUT": given})
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    main()
    assert os.environ["OPENBLAS_THREAD_TIMEOUT"] == (given or "16")


@pytest.mark.parametrize(("words", "code"), [("--version", 0), ("nonsense", 2)])
def test_a_process_that_ends_at_once_has_said_everything_and_ended_its_threads(words: str, code: int) -> None:
    thread = "threading.Thread(target=lambda: (time.sleep(0.3), print('late'))).start()"
    for before, late in (("", ""), (thread, "late\n")):
        run = f"import sys, threading, time\n{before}\nsys.argv = ['adcli', {words!r}]"
        run += "\nprint('early')\nfrom adcli.__main__ import main\nmain()"
        done = subprocess.run([sys.executable, "-c", run], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == code
        assert done.stdout == "early\n" + f"adcli {__version__}\n" * (code == 0) + late
        assert bool(done.stderr) == (code == 2)


# Plain values come out as typer would make them.

VALUES: list[Any] = [None, "", "abc", "-", "5", "-3", "007", "0", " 7", "1_000", "+4", "1.5", "1e3", "nan", "9" * 30]
VALUES += ["\u0663", "true", "no", True, False, 3, 0, -1, 10**12, 1.5, (), ("a",), ["a", "b"], ("a", 1), Path("x.h5")]
VALUES += [str(ROOT), str(ROOT / "none"), "a\0b", b"bytes"]


def outcome(make: Any, context: Any, value: Any) -> object:
    try:
        made = make(context, value)
    except Exception as error:
        return type(error), str(error)
    return type(made), repr(made)  # of NaN too


def parameters() -> list[Any]:
    found = {}
    for name, command in ROOT_COMMAND.commands.items():
        for parameter in getattr(command, "params", []):
            found.setdefault((parameter.name, repr(parameter.default), parameter.required), (name, parameter))
    return [pytest.param(*one, id=f"{one[0]} {one[1].name}") for one in found.values()]


@pytest.mark.parametrize(("verb", "parameter"), parameters())
def test_a_value_is_taken_as_typer_takes_it(verb: str, parameter: Any) -> None:
    context = typer.Context(ROOT_COMMAND.commands[verb], resilient_parsing=True)
    (one,) = spared([parameter])
    usual = type(parameter).process_value.__get__(parameter)
    for value in VALUES:
        assert outcome(one.process_value, context, value) == outcome(usual, context, value), value
