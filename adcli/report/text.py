"""What must happen to names and numbers before a terminal or a JSON document can hold them."""

from __future__ import annotations

import math
from typing import Any


def printable(text: str) -> str:
    """One line for a terminal: line ends, escape codes and undecodable bytes of a file's name as backslash escapes."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def plain(value: Any) -> Any:
    """The value with NaN and infinities as None, as JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
