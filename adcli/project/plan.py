"""Which verbs to run on which parts, and what could not go well, before anything is done."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adcli.errors import UsageError
from adcli.project.file import PARTS, Project, Value, fill, suggest

_MODEL, _OUT = "model", "out"
_OWN = {_MODEL: "model", _OUT: "output folder"}  # what two parts cannot share


@dataclass(frozen=True)
class Step:
    """One verb on one part, and what the file says to it: paths are relative to the file's folder."""

    part: str
    verb: str
    values: dict[str, Value]


def plan(
    project: Project, parts: Sequence[str], verbs: Sequence[str], date: str, environment: Mapping[str, str]
) -> list[Step]:
    """All verbs on the first part, then on the next; of all parts, where none is named.

    `environment` has the options that are set there: it goes before the file, so they are not among the values, nor are
    those that they exclude.

    Raises:
        UsageError: there is no such part, one lacks what a verb needs, or two share a model or an output folder.
    """
    if not project.parts:
        raise UsageError(f"{project.path} has no parts: describe each in a table [{PARTS}.NAME]")
    wanted = list(dict.fromkeys(parts)) or project.parts
    for part in wanted:
        if part not in project.parts:
            near = suggest(part, project.parts)
            meant = f"did you mean {near!r}?" if near else f"it has {', '.join(project.parts)}"
            raise UsageError(f"{project.path} has no part {part!r}: {meant}")
    every = {(part, verb): _values(project, part, verb, date) for part in project.parts for verb in project.of_parts}
    for part in wanted:
        for verb in project.of_parts:
            for key in environment.keys() | project.excluded(verb, environment):
                every[part, verb].pop(key, None)
    steps = [Step(part, verb, every[part, verb]) for part in wanted for verb in verbs]
    for step in steps:
        _refuse_lacking(project, step, environment)
    for key in _OWN:
        _refuse_sharing(project, key, every, steps, environment)
    return steps


def _values(project: Project, part: str, verb: str, date: str) -> dict[str, Value]:
    names = {"part": part, "verb": verb, "date": date}
    return {key: fill(setting, names, None) for key, setting in project.settings(verb, part).items()}


def _refuse_lacking(project: Project, step: Step, environment: Mapping[str, str]) -> None:
    for key, option in project.verbs[step.verb].items():
        if (option.required or key == _MODEL) and key not in step.values.keys() | environment.keys():
            table = (PARTS, step.part)
            raise UsageError(
                f"{project.place(table)}: {step.part} has no {key}, which {step.verb} needs: write it in "
                f"[{'.'.join(table)}], or for all parts in [{step.verb}] with {{part}} in it"
            )


def _refuse_sharing(
    project: Project,
    key: str,
    every: Mapping[tuple[str, str], Mapping[str, Value]],
    steps: Sequence[Step],
    environment: Mapping[str, str],
) -> None:
    """Two parts in one place are a slip of copying: the second would overwrite the first, or be judged by its model."""
    wanted = {(step.part, step.verb) for step in steps}
    owners: dict[str, tuple[str, str]] = {}
    for (part, verb), values in every.items():
        value = environment.get(key) if (part, verb) in wanted and key in project.verbs[verb] else None
        value = value or values.get(key)
        if value is None:
            continue
        owner = owners.setdefault(os.path.normcase(os.path.realpath(project.folder / str(value))), (part, verb))
        if owner[0] != part:
            who, mark = f"{owner[0]} and {part}", "{part}"
        elif key == _OUT and owner[1] != verb and {owner, (part, verb)} <= wanted:
            who, mark = f"{owner[1]} and {verb} of {part}", "{verb}"
        else:
            continue
        remedy = (
            f"take it out of the environment, and give each its own in {project.path}"
            if key in environment
            else f"give each its own, as {mark} in it does"
        )
        place = project.place((PARTS, part, key))
        raise UsageError(f"{place}: {who} have the same {_OWN[key]} {value}: {remedy}")
