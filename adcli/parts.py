"""Which part an image shows, or which lot it comes from, by its name."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Protocol

from adcli.errors import UsageError


class Named(Protocol):
    """An image and its place below the folder that was given."""

    @property
    def given(self) -> str: ...
    @property
    def relative(self) -> PurePosixPath: ...


class Grouping:
    """A regular expression that is searched for in an image's relative path: its first group, or the whole match."""

    def __init__(self, pattern: str, option: str = "--group-by"):
        """Raises UsageError for what is no regular expression."""
        self.pattern = pattern
        self._option = option
        try:
            pattern.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{option} {pattern!r} cannot be kept in a model: write it in UTF-8") from error
        try:
            self._search = re.compile(pattern).search
        except (re.error, OverflowError, RecursionError) as error:  # {99999999999} and thousands of groups
            raise UsageError(f"{option} {pattern!r} is no regular expression: {error}") from error

    def of(self, image: Named) -> str:
        """The name of the image's group. Raises UsageError where the expression does not match, or matches nothing."""
        name = self.find(image)
        if not name:
            raise UsageError(
                f"{self._option} {self.pattern!r} finds no name in {image.relative}, so nobody knows what it belongs "
                "to: give an expression that matches every image's path, such as '(part[0-9]+)_'"
            )
        return name

    def find(self, image: Named) -> str | None:
        """The same, None where there is none."""
        found = self._search(str(image.relative))
        return (found[1] if found.re.groups else found[0]) if found else None
