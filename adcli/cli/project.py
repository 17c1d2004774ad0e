"""The project file and the verbs: which file, what it says to a verb, and how that becomes words of a command."""

from __future__ import annotations

import functools
import inspect
import os
import typing
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from adcli.cli import options as o
from adcli.cli.exits import is_on
from adcli.cli.plain import spared
from adcli.errors import AdcliError, UsageError
from adcli.project.file import FILE, Option, Project, Setting, Value, fill, find, read

OF_PARTS = ("fit", "calibrate", "score", "eval", "verify")  # what a part can have settings of, and run does
_INPUTS = {  # what an argument is called in the file
    "fit": {"good": "good"},
    "calibrate": {"held_out": "held-out"},
    "score": {"images": "incoming"},
    "eval": {"dataset": "dataset"},
    "verify": {"samples": "samples"},
    "watch": {"folder": "incoming"},
    "escapes": {"dataset": "dataset"},
    "benchmark": {"root": "dataset"},
    "submission": {"root": "dataset"},
}
_KINDS = ((bool, "flag"), (int, "whole"), (float, "number"))
_DRAWN = {"roi": r"[\d.,;%\s]+"}  # a box or a polygon, where a mask image is a path
_FOLDERS = ("good", "bad", "masks", "plant", "verify")  # options that take inputs, several times
_BY_HAND = {"rule", "max-false-reject", "confidence", "check-false-reject", "quantile", "sigmas"}
_EITHER = {  # sides of which one may be given: what the file says of the others is then not meant
    "fit": [({"threshold"}, _BY_HAND), ({"leave-one-out"}, {"holdout"})],
    "calibrate": [({"threshold"}, _BY_HAND)],
    "eval": [({"dataset"}, {"good", "bad", "masks"}), ({"json"}, {"csv"}, {"markdown"})],
    "escapes": [({"dataset"}, {"bad", "masks"}, {"plant"})],
    "benchmark": [({"json"}, {"csv"}, {"markdown"})],
    "info": [({"path"}, {"model"})],
}


class Verb(TyperCommand):
    """A verb; what neither the command line nor the environment gives comes from the project file.

    `ctx.obj` is that file, or None; where `bears_faults`, it may be the AdcliError that tells what is wrong with it.
    """

    bears_faults = False

    def __init__(self, name: str | None, *, params: list[Any] | None = None, **more: Any):
        super().__init__(name, params=[*(params or []), *_which_project()], **more)

    def get_params(self, ctx: Any) -> list[Any]:
        """What it takes."""
        return spared(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the command line, with the project file's settings as defaults; --help needs no file."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        if given.get("help"):
            return super().parse_args(ctx, args)
        try:
            path = locate(given)
            ctx.obj = None if path is None else load(path, ctx.find_root().command)
        except AdcliError as error:
            if not self.bears_faults:
                raise
            ctx.obj = error
        meant = self._meant(ctx.obj, given) if isinstance(ctx.obj, Project) else {}
        ctx.default_map = {}
        for parameter in self.params:
            key = key_of(self.name, parameter)
            if key not in meant:
                continue
            if parameter.param_type_name == "argument":
                args = [*args, *([] if "--" in args else ["--"]), *_several(_fill_in(meant[key], self.name))]
            else:
                ctx.default_map[parameter.name] = lambda key=key: _fill_in(meant[key], self.name)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            name = getattr(error.param, "name", None)
            if name not in ctx.default_map or ctx.get_parameter_source(name).name != "DEFAULT_MAP":
                raise
            raise UsageError(f"{meant[key_of(self.name, error.param)].place}: {error.format_message()}") from error

    def _meant(self, project: Project, given: Mapping[str, Any]) -> dict[str, Setting]:
        """What the file says that is not said otherwise."""
        settings = project.settings(self.name)
        said = set()
        for parameter in self.params:
            if given.get(parameter.name) not in (None, ()) or os.environ.get(str(parameter.envvar)):
                said.add(key_of(self.name, parameter) or parameter.name)
        unmeant = said | _excluded(self.name, said)
        return {key: setting for key, setting in settings.items() if key not in unmeant}


class CandidVerb(Verb):
    """A verb that runs without the project file, and with one that is wrong."""

    bears_faults = True


@functools.cache
def _which_project() -> list[Any]:
    """The options that every Verb has, and its function need not know."""

    def takes(project: o.ProjectFile = None, no_project: o.NoProject = False) -> None: ...

    app = typer.Typer(add_completion=False)
    app.command()(takes)
    own = typer.main.get_command(app).params
    for parameter in own:
        parameter.expose_value = False
    return own


def locate(given: Mapping[str, Any]) -> Path | None:
    """The project file: named on the command line, in the environment, or in this folder or the nearest above."""
    if given.get("project") is not None and given.get("no_project"):
        raise UsageError("--project and --no-project exclude each other: give one or none")
    named = given.get("project")
    if named is None:
        named = os.environ.get("ADCLI_PROJECT")
        if given.get("no_project") or is_on("ADCLI_NO_PROJECT") or named == "":
            return None
    if named is not None:
        path = Path(named)
        return path / FILE if path.is_dir() else path
    try:
        here = Path.cwd()
    except OSError:  # it was deleted, and nothing is in it
        return None
    found = find(here)
    return Path(FILE) if found == here / FILE else found


def load(path: Path, app: Any) -> Project:
    """Reads a project file, for the verbs of a command line."""
    verbs = {name: _options(command) for name, command in app.commands.items() if isinstance(command, Verb)}
    return read(path, verbs, OF_PARTS)


def parameters(command: Verb) -> dict[str, Any]:
    """What a verb takes, by its name in the project file."""
    named = {key_of(command.name, parameter): parameter for parameter in command.params}
    return {key: parameter for key, parameter in named.items() if key}


def key_of(verb: str | None, parameter: Any) -> str:
    """A parameter's name in the project file; nothing where it has no place there."""
    if parameter.param_type_name == "argument":
        return _INPUTS.get(verb, {}).get(parameter.name, "")
    if parameter.envvar is None or not parameter.expose_value:  # --force, --resume; --project
        return ""
    return next(name for name in parameter.opts if name.startswith("--")).strip("-")


def words(command: Verb, values: Mapping[str, Value]) -> list[str]:
    """The words of the command line that say the same as the project file."""
    options: list[str] = []
    inputs: list[str] = []
    for key, parameter in parameters(command).items():
        value = values.get(key)
        if value is None:
            continue
        if parameter.param_type_name == "argument":
            inputs += _several(value)
        elif isinstance(value, bool):
            options += (parameter.opts if value else parameter.secondary_opts)[:1]
        else:
            for one in _several(value):
                options += [f"--{key}={one}"] if one.startswith("-") else [f"--{key}", one]
    if any(text.startswith("-") for text in inputs):
        options.append("--")
    return [*options, *inputs]


def today() -> str:
    """What {date} is, unless it is given."""
    return date.today().isoformat()


def _options(command: Verb) -> dict[str, Option]:
    takes = inspect.signature(inspect.unwrap(command.callback), eval_str=True).parameters
    return {
        key: _option(key, one, takes[one.name].annotation, _excluded(command.name, {key}))
        for key, one in parameters(command).items()
    }


def _excluded(verb: str | None, said: set[str]) -> frozenset[str]:
    """The other sides of what is said."""
    meant = [sides for sides in _EITHER.get(verb, ()) if any(said & side for side in sides)]
    return frozenset(key for sides in meant for side in sides if not said & side for key in side)


def _option(key: str, parameter: Any, annotation: Any, excludes: frozenset[str]) -> Option:
    """What the project file must hold for a parameter, from the annotation of the verb's function."""
    base, info = typing.get_args(annotation)[:2]
    types = {base, *typing.get_args(base)}
    kinds = [] if info.parser else [kind for type_, kind in _KINDS if type_ in types]
    many = parameter.nargs == -1 or getattr(parameter, "multiple", False)
    is_input = parameter.param_type_name == "argument"
    is_path = is_input or Path in types or (many and key in _FOLDERS) or key in _DRAWN
    called = parameter.metavar if is_input else f"--{key}"
    kind = [*kinds, "text"][0]
    return Option(called, kind, many, is_path, _DRAWN.get(key, ""), is_input, parameter.required, excludes)


def _fill_in(setting: Setting, verb: str | None) -> Value:
    """A value for a verb that runs by itself: paths as seen from this folder, and no part."""
    folder = setting.project.folder
    return fill(setting, {"verb": verb or "", "date": today()}, None if is_here(folder) else folder)


def is_here(folder: Path) -> bool:
    """Whether a folder is the current one."""
    return os.path.abspath(folder) == os.path.abspath("")  # noqa: PTH100 (as spelt: links stay)


def _several(value: Value) -> list[str]:
    return list(value) if isinstance(value, list) else [str(value)]
