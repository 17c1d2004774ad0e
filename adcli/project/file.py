"""The project file, adcli.toml: parts, models, folders and options of all verbs, in TOML 1.0.

    [defaults]               options that several verbs have
    [score]                  options and inputs of one verb
    [parts.NAME]             one part's, for all verbs that have them
    [parts.NAME.score]       one part's, for one verb

What comes later in this list goes before what comes earlier. Which verbs and options there are is handed in: this room
knows no command line. Paths are relative to the file's folder, and {part}, {date} and {verb} in them are filled in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from adcli.errors import UsageError
from adcli.project import toml

FILE = "adcli.toml"
DEFAULTS, PARTS = "defaults", "parts"
PLACEHOLDERS = ("part", "date", "verb")
_OF_EVAL = "category"  # filled in by the verbs that know categories
_PLACEHOLDER = r"\{\{|\}\}|\{(\w*)\}"  # compiled where it is needed, as most calls find no file
_NAME = r"\w[\w.+ -]*"  # of a part: it becomes a folder's name
_KINDS = {  # what TOML's types must be, and what to call it; bool is an int to Python, and none to a reader
    "flag": (lambda value: isinstance(value, bool), "true or false"),
    "whole": (lambda value: type(value) is int, "a whole number"),
    "number": (lambda value: type(value) in (int, float), "a number"),
    "text": (lambda value: type(value) in (str, int, float), "a text"),
}

Value = bool | int | float | str | list[str]
TablePath = tuple[str, ...]


@dataclass(frozen=True)
class Option:
    """What a verb takes under one name."""

    called: str  # on the command line: --model, IMAGES
    kind: str  # a key of _KINDS; a text may be written as a number
    many: bool = False
    is_path: bool = False
    spelt_out: str = ""  # expression for values that are no path all the same
    is_input: bool = False  # an argument; as such it outranks an option of that name
    required: bool = False
    excludes: frozenset[str] = frozenset()  # options that it takes out of the file where it is given


Verbs = Mapping[str, Mapping[str, Option]]


@dataclass(frozen=True)
class Setting:
    """One line of the file."""

    key: str
    value: Value
    option: Option
    path: TablePath  # of its table
    project: Project

    @property
    def table(self) -> str:
        """As in `[parts.lid.score]`."""
        return ".".join(self.path)

    @property
    def place(self) -> str:
        """As in `adcli.toml:12`."""
        return self.project.place((*self.path, self.key))


def find(folder: Path) -> Path | None:
    """The project file in a folder, or in the nearest above it."""
    return next((above / FILE for above in (folder, *folder.parents) if os.path.isfile(above / FILE)), None)  # noqa: PTH113 (is_file raises where a folder above is closed)


def read(path: Path, verbs: Verbs, every_part: Iterable[str]) -> Project:
    """Reads and checks a project file; of `verbs`, a part can have settings of `every_part`.

    Raises:
        UsageError: there is no such file, it is not TOML, or has a table, key, value or placeholder that cannot be.
    """
    text = toml.read_text(path)
    try:
        tables = toml.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    project = Project(path, text, tables, verbs, tuple(every_part))
    for setting, _ in project.every():
        _check_placeholders(setting)
    return project


@dataclass(frozen=True)
class Project:
    """A project file that was read."""

    path: Path
    text: str
    tables: dict[str, Any]
    verbs: Verbs
    of_parts: tuple[str, ...]  # verbs that parts can have settings of

    @property
    def folder(self) -> Path:
        """What the paths in the file are relative to."""
        return self.path.parent

    @property
    def parts(self) -> list[str]:
        """The names of the parts, in the order of the file."""
        return list(self.tables.get(PARTS, ()))

    def settings(self, verb: str, part: str | None = None) -> dict[str, Setting]:
        """What the file says to a verb, of one part or of none. An empty text or list is as good as no line.

        A table takes out what the tables before it say of options that one of its own excludes.
        """
        merged: dict[str, Setting] = {}
        of_part = () if part is None else ((PARTS, part), (PARTS, part, verb))
        for path in ((DEFAULTS,), (verb,), *of_part):
            lines = {setting.key: setting for setting, verbs in self._lines_of(path) if verb in verbs}
            given = [key for key, one in lines.items() if one.value is not False and one.value not in ("", [])]
            for key in self.excluded(verb, given):
                merged.pop(key, None)
            merged |= lines
        return {key: setting for key, setting in merged.items() if setting.value not in ("", [])}

    def excluded(self, verb: str, given: Iterable[str]) -> set[str]:
        """The options of a verb that those given take out of what the file says."""
        of_verb = self.verbs[verb].keys() & set(given)
        return {other for key in of_verb for other in self.verbs[verb][key].excludes} - of_verb

    def every(self) -> Iterator[tuple[Setting, list[str]]]:
        """Every line, with the verbs it is for, what is shared first; UsageError at the first that cannot be."""
        known = [DEFAULTS, *self.verbs, PARTS]
        for name in self.tables:
            if name not in known:
                near = suggest(name, known)
                meant = f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"
                what = "table" if isinstance(self.tables[name], dict) else "key outside a table"
                raise UsageError(f"{self.place([name])}: there is no {what} {name!r}: {meant}")
        for name in (DEFAULTS, *self.verbs):
            yield from self._lines_of((name,))
        for part in self._table((PARTS,)):
            if not re.fullmatch(_NAME, part):
                raise UsageError(
                    f"{self.place([PARTS, part])}: {part!r} cannot be a part's name, which becomes a "
                    "folder's: begin with a letter or digit, and go on with those and . + - _ or spaces"
                )
            for path in ((PARTS, part), *((PARTS, part, verb) for verb in self.of_parts)):
                yield from self._lines_of(path)

    def place(self, path: Sequence[str]) -> str:
        """Where a table or a key is, as FILE:LINE."""
        path = tuple(path)
        while path:
            if path in self._numbers:
                return f"{self.path}:{self._numbers[path]}"
            if below := [number for key, number in self._numbers.items() if key[: len(path)] == path]:
                return f"{self.path}:{min(below)}"
            path = path[:-1]
        return str(self.path)

    @cached_property
    def _numbers(self) -> dict[TablePath, int]:
        return toml.line_numbers(self.text)

    def _table(self, path: TablePath) -> dict[str, Any]:
        table: Any = self.tables
        for name in path:
            table = table.get(name, {})
            if not isinstance(table, dict):
                raise UsageError(f"{self.place(path)}: {'.'.join(path)} must be a table, as in [{'.'.join(path)}]")
        return table

    def _meant(self, key: str, verbs: Sequence[str], tables: Sequence[str]) -> str:
        """What may be meant by a key that there is not."""
        known = {name: option for verb in verbs for name, option in self.verbs[verb].items()}
        inputs = [name for name, option in known.items() if option.is_input and option.called.lower() == key]
        if near := next(iter(inputs), suggest(key, [*known, *tables])):
            return f": did you mean {near!r}?"
        return (
            f": adcli {verbs[0] if len(verbs) == 1 else 'VERB'} --help shows the options, to be written without dashes"
        )

    def _lines_of(self, path: TablePath) -> Iterator[tuple[Setting, list[str]]]:
        """The lines of one table, and the verbs that each is for."""
        of_part = path[0] == PARTS and len(path) == 2
        verbs = list(self.of_parts) if of_part else list(self.verbs) if path == (DEFAULTS,) else [path[-1]]
        tables = self.of_parts if of_part else ()
        for key, value in self._table(path).items():
            if key in tables:
                continue
            place = (*path, key)
            meant = {verb: self.verbs[verb][key] for verb in verbs if key in self.verbs[verb]}
            if any(option.is_input for option in meant.values()):
                meant = {verb: option for verb, option in meant.items() if option.is_input}
            if not meant:
                raise UsageError(
                    f"{self.place(place)}: [{'.'.join(path)}] has no {key!r}{self._meant(key, verbs, tables)}"
                )
            if len({(option.kind, option.many, option.is_path) for option in meant.values()}) > 1:
                above = () if path == (DEFAULTS,) else path
                tables_of = " or ".join(f"[{'.'.join((*above, verb))}]" for verb in meant)
                raise UsageError(
                    f"{self.place(place)}: {key} is not the same to {' and '.join(meant)}: write it in {tables_of}"
                )
            option = next(iter(meant.values()))
            try:
                setting = Setting(key, _value(value, option), option, path, self)
            except ValueError as error:
                raise UsageError(f"{self.place(place)}: {key} takes {error}") from error
            yield setting, list(meant)


def fill(setting: Setting, names: Mapping[str, str], folder: Path | None) -> Value:
    """A setting's value, its placeholders filled in, and its paths in `folder` unless that is None.

    Raises:
        UsageError: `{part}` is to be filled in, and `names` has none.
    """
    if not setting.option.is_path:
        return setting.value

    def fill_one(text: str) -> str:
        def name_for(found: re.Match[str]) -> str:
            if found[1] is None:
                return found[0][0]
            if found[1] == _OF_EVAL:
                return found[0]
            if found[1] not in names:
                raise UsageError(
                    f"{setting.place}: {found[0]} in {setting.key} is filled in by adcli run: use that, or give "
                    f"{setting.option.called} on the command line"
                )
            return names[found[1]]

        if setting.option.spelt_out and re.fullmatch(setting.option.spelt_out, text):
            return text
        text = re.sub(_PLACEHOLDER, name_for, text)
        if text.startswith("~/"):
            return os.path.expanduser(text)  # noqa: PTH111 (a glob stays as it is spelt)
        return text if folder is None or text == "-" else os.path.join(folder, text)  # noqa: PTH118

    return (
        [fill_one(text) for text in setting.value] if isinstance(setting.value, list) else fill_one(str(setting.value))
    )


def suggest(name: str, known: Iterable[str]) -> str:
    """The known name that is nearest to one that is not, or nothing."""
    return next(iter(get_close_matches(name, list(known), 1)), "")


def _value(value: object, option: Option) -> Value:
    """A value as the option takes it; else ValueError says what it takes."""
    fits, called = _KINDS[option.kind]
    several = value if option.many and isinstance(value, list) else [value]
    if not all(map(fits, several)):
        raise ValueError(f"{called}{', or a list of them in [ ]' * option.many}, not {_spelt(value)}")
    if any("\0" in str(one) for one in several):
        raise ValueError("a text without NUL")
    if option.many:
        return [str(one) for one in several]
    return str(value) if option.kind == "text" else value  # type: ignore[return-value]


def _spelt(value: object) -> str:
    """A value as TOML spells it, so far as a sentence needs it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    return repr(value)[:40] if isinstance(value, (str, int, float)) else f"the date or time {value}"


def _check_placeholders(setting: Setting) -> None:
    if not setting.option.is_path:
        return
    for text in setting.value if isinstance(setting.value, list) else [str(setting.value)]:
        for found in re.finditer(_PLACEHOLDER, text):
            if found[1] not in (None, _OF_EVAL, *PLACEHOLDERS):
                near = suggest(found[1], PLACEHOLDERS)
                meant = f"did you mean {{{near}}}?" if near else "known are {part}, {date} and {verb}; {{ is a brace"
                raise UsageError(f"{setting.place}: nothing is filled in for {found[0]}: {meant}")
