"""Values that are already what an option takes, handed on without typer's conversion.

That conversion begins by importing a validation library, which is a third of what `adcli info` takes. Whatever needs
it, or a refusal, still goes typer's way.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

_ASK: Any = object()  # ask typer


def spared(parameters: list[Any]) -> list[Any]:
    """The parameters of a command, each of which converts plain values by itself."""
    for parameter in parameters:
        kept = getattr(parameter, "type_descriptor", None)  # of those typers that convert so
        if kept is not None and "process_value" not in vars(parameter) and kept.parameter_info.parser is None:
            parameter.process_value = partial(_process, parameter, kept, parameter.process_value)
    return parameters


def _process(parameter: Any, kept: Any, usual: Any, context: Any, value: Any) -> Any:
    plain = _ASK if parameter.required and not value else _plain(parameter, kept, value)
    if plain is _ASK:
        return usual(context, value)
    return plain if parameter.callback is None else parameter.callback(context, parameter, plain)


def _plain(parameter: Any, kept: Any, value: Any) -> Any:
    """The value as it is to be, or _ASK."""
    if parameter.multiple or parameter.nargs == -1:
        if value is None:
            return ()
        texts = isinstance(value, (list, tuple)) and all(type(one) is str for one in value)
        return list(value) if texts and kept.annotation == list[str] else _ASK
    if value is None:
        return None
    return _single(kept.annotation, value, kept.parameter_info) if parameter.nargs == 1 else _ASK


def _single(kind: Any, value: Any, info: Any) -> Any:
    if kind in (str, bool) and type(value) is kind:
        return value
    if kind is Path:
        return _path(value, info)
    if kind is int and (type(value) is int or (type(value) is str and re.fullmatch("-?[0-9]{1,15}", value))):
        number = int(value)
        return number if (info.min is None or number >= info.min) and (info.max is None or number <= info.max) else _ASK
    if kind is float and type(value) is float and info.min is None and info.max is None:
        return value
    return _ASK


def _path(value: Any, info: Any) -> Any:
    asks = info.exists or info.resolve_path or info.allow_dash or info.path_type or info.writable
    asks = asks or not (info.file_okay and info.dir_okay)
    text = str(value) if isinstance(value, Path) else value
    if asks or type(text) is not str or not text or "\0" in text:
        return _ASK
    if os.path.lexists(text) and not os.access(text, os.R_OK):
        return _ASK
    return Path(value)
