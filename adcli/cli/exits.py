"""From whatever ends a command to one sentence and an exit code.

The process and tests that call the command in-process go through the same method, so they agree.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from adcli.cli.plain import spared
from adcli.errors import AdcliError, EnvironmentFault, UnfitDataset
from adcli.report.text import printable

PLAIN: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}  # of every typer.Typer
DEFECT, USAGE = 1, 2
INTERRUPTED, CLOSED_PIPE, TERMINATED = 130, 141, 143
_RANK = (2, 7, 8, 9, 1, 6, 5, 3, 4, 0)  # of several, the first that applies; docs/cli.md has what they mean
_NO = ("", "0", "f", "false", "n", "no", "off")  # what the parser takes for no


class Terminated(BaseException):
    """SIGTERM arrived; raised in the main thread, so that open folders are left whole."""


class Verbs(TyperGroup):
    """A command group; ends the process with the codes that docs/cli.md promises."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Runs a command line; with `standalone_mode` exits, else returns the exit code."""
        _prepare_streams()
        verbose = _wants_traceback(sys.argv[1:] if args is None else args)
        try:
            with _sigterm_heeded():
                code = super().main(args, *rest, standalone_mode=False, **extra) or 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else DEFECT
        except BaseException as error:
            code, sentence = explain(error, verbose)
            for line in error.sentences if isinstance(error, UnfitDataset) else filter(None, (sentence,)):
                complain(line)
            with contextlib.suppress(ValueError):
                try:
                    sys.stdout.flush()
                except OSError:
                    _give_stdout_to_nobody()
        if standalone_mode:
            sys.exit(code)
        return code

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Parses the command line, which prints --help and --version."""
        with _closed_pipe_noticed():
            return super().make_context(*args, **extra)

    def get_params(self, ctx: Any) -> list[Any]:
        """What may stand before the verb."""
        return spared(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments; without any, prints the help where an error would be."""
        if not args and not ctx.resilient_parsing:
            sys.stderr.write(ctx.get_help() + "\n")
            raise typer.Exit(USAGE)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the verb and flushes what it printed, so that a closed pipe shows here."""
        with _closed_pipe_noticed():
            code = super().invoke(ctx)
            sys.stdout.flush()
        return code


@contextlib.contextmanager
def _closed_pipe_noticed() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        _give_stdout_to_nobody()
        raise typer.Exit(CLOSED_PIPE) from error


def _give_stdout_to_nobody() -> None:
    """What is still buffered can go nowhere else: the interpreter would try at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(end: SystemExit) -> None:
    """Ends the process at once: to take the libraries down one by one costs up to a second after the last file is
    written. Where another thread runs, or output cannot be given away, Python ends in its own time."""
    if not isinstance(end.code, int) or threading.active_count() > 1:
        raise end
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        raise end from None
    os._exit(end.code)


def explain(error: BaseException, verbose: bool) -> tuple[int, str]:
    """The exit code, and in one sentence what went wrong; no sentence for what somebody did on purpose."""
    if isinstance(error, Terminated):
        return TERMINATED, ""
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return INTERRUPTED, ""
    if isinstance(error, typer.Exit):
        return error.exit_code, ""
    if isinstance(error, AdcliError):
        if verbose:
            traceback.print_exception(error)
        return error.exit_code, str(error)
    usage = getattr(error, "format_message", None)  # the parser's errors, whatever module they live in
    if usage is not None:
        context = getattr(error, "ctx", None)
        where = "adcli" if context is None else context.command_path
        return USAGE, f"{usage().rstrip('.')} ({where} --help shows what there is)"
    if isinstance(error, MemoryError):
        small = "the memory is too small for this: lower --workers, --batch-size or --image-size"
        return EnvironmentFault.exit_code, small
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return EnvironmentFault.exit_code, f"{named}{error.strerror or error}"
    if verbose:
        traceback.print_exception(error)
        return DEFECT, f"a defect of adcli: {type(error).__name__}: {error}"
    return DEFECT, f"a defect of adcli, {type(error).__name__}: {_log(error)} has the details; -v prints them"


def first_of(codes: Iterable[int]) -> int:
    """The exit code of several commands: the first that applies."""
    return next(iter(sorted(codes, key=_RANK.index)), 0)


def complain(sentence: str) -> None:
    """One line on stderr, also when nobody is there to read it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"adcli: {printable(sentence)}\n")
        sys.stderr.flush()


def _wants_traceback(args: Sequence[str]) -> bool:
    before = args[: list(args).index("--")] if "--" in args else args
    given = any(arg == "--verbose" or re.fullmatch("-q*v[qv]*", arg) for arg in before)
    return given or is_on("ADCLI_VERBOSE")


def is_on(variable: str) -> bool:
    """Whether the environment says yes to something."""
    return os.environ.get(variable, "").lower() not in _NO


def _log(error: BaseException) -> Path:
    """Writes the traceback to a file of its own."""
    handle, name = tempfile.mkstemp(prefix="adcli-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        traceback.print_exception(error, file=file)
    return Path(name)


def _prepare_streams() -> None:
    """Gives output that was closed (`>&-`) to nobody, and makes names that are not UTF-8 printable."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (for as long as the process lives)
        if isinstance(getattr(sys, name), io.TextIOWrapper):
            getattr(sys, name).reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _sigterm_heeded() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever called decides about signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
