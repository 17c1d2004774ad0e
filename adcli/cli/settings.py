"""What is in force and where it comes from: the environment and the project file, for adcli doctor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from adcli.cli.project import key_of
from adcli.errors import AdcliError
from adcli.project.file import PARTS, Project, suggest

_BEGIN = "ADCLI_"
_OTHERS = ("ADCLI_WEIGHTS_DIR",)  # variables that are no option's twin


def settings(project: Project | AdcliError | None, app: Any) -> list[dict[str, Any]]:
    """Every option that is not its built-in default, as `option`, `value`, `of`, `from` and `overruled_by`."""
    listed = list(_from_environment(app))
    if isinstance(project, Project):
        listed += _from_file(project, app)
    return listed


def faults(project: Project | AdcliError | None, app: Any) -> list[str]:
    """What is wrong with the project file, and variables that look like options and are none."""
    told = [str(project)] if isinstance(project, AdcliError) else []
    known = {variable for variables in _twins(app).values() for variable in variables} | set(_OTHERS)
    for name in sorted(os.environ):
        if name.startswith(_BEGIN) and name not in known:
            near = suggest(name.removeprefix(_BEGIN), [one.removeprefix(_BEGIN) for one in sorted(known)])
            told.append(f"{name} is set and means nothing" + (f": did you mean {_BEGIN}{near}?" if near else ""))
    return told


def _from_environment(app: Any) -> Iterator[dict[str, Any]]:
    of: dict[tuple[str, str], list[str]] = {}
    for verb, variables in _twins(app).items():
        for variable, option in variables.items():
            if os.environ.get(variable):
                of.setdefault((variable, option), []).append(verb)
    for (variable, option), verbs in of.items():
        yield _row(option, os.environ[variable], ", ".join(verbs), variable, None)


def _from_file(project: Project, app: Any) -> Iterator[dict[str, Any]]:
    for setting, verbs in project.every():
        command = app.commands[verbs[0]]
        variable = next((p.envvar for p in command.params if key_of(command.name, p) == setting.key), None)
        overruled = variable if variable and os.environ.get(variable) else None
        of = f"{setting.path[1]}: " if setting.path[0] == PARTS else ""
        place = f"{setting.place}: {setting.table}.{setting.key}"
        yield _row(setting.option.called, setting.value, of + ", ".join(verbs), place, overruled)


def _row(option: str, value: Any, of: str, source: str, overruled_by: str | None) -> dict[str, Any]:
    return {"option": option, "value": value, "of": of, "from": source, "overruled_by": overruled_by}


def _twins(app: Any, path: str = "") -> dict[str, dict[str, str]]:
    """Every verb's variables and the options they set."""
    found: dict[str, dict[str, str]] = {}
    for name, command in app.commands.items():
        if hasattr(command, "commands"):
            found |= _twins(command, f"{path}{name} ")
            continue
        found[path + name] = {
            parameter.envvar: next(name for name in parameter.opts if name.startswith("--"))
            for parameter in command.params
            if parameter.envvar
        }
    return found
