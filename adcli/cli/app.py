"""The command line: every verb and where its function lies, which is imported when the verb is run or explained."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand

from adcli import __version__
from adcli.cli.exits import PLAIN, Verbs
from adcli.cli.project import CandidVerb, Verb


class _Entry(NamedTuple):
    location: str  # module:function below adcli.cli; of a group module:app
    cls: type[TyperCommand] | None  # None: typer's own, or a group
    told: str  # in the list of verbs


_VERBS = {
    "fit": _Entry("fit:fit", Verb, "Learn a model from good images."),
    "calibrate": _Entry("calibrate:calibrate", Verb, "Set the threshold on other good images."),
    "score": _Entry("score:score", Verb, "Write verdicts, masks and overlays."),
    "watch": _Entry("watch:watch", Verb, "Score images as they arrive."),
    "eval": _Entry("evaluate:evaluate", Verb, "Print metric tables."),
    "verify": _Entry("verify:verify", Verb, "Check limit samples before a shift."),
    "compare": _Entry("compare:compare", Verb, "Tell what changed between two results."),
    "advise": _Entry("advise:advise", Verb, "Tell how many images a promise takes."),
    "escapes": _Entry("escapes:escapes", Verb, "Count the defects that get past."),
    "benchmark": _Entry("benchmark:benchmark", Verb, "Measure methods on whole data sets."),
    "submission": _Entry("submission:submission", Verb, "Write what the MVTec AD 2 server takes."),
    "export": _Entry("export:export", Verb, "Write a model as OpenVINO or ONNX."),
    "run": _Entry("run:run", CandidVerb, "Run verbs on all parts of a project file."),
    "info": _Entry("info:info", Verb, "Tell what a model file knows."),
    "methods": _Entry("info:methods", None, "List the methods."),
    "doctor": _Entry("doctor:doctor", CandidVerb, "Tell what this machine has, and what a fit takes."),
    "weights": _Entry("weights:app", None, "Keep backbone weights on this machine."),
}


class Program(Verbs):
    """The group of all verbs. A verb is made when it is asked for; a list of them takes no more than their names."""

    def __init__(self, **attributes: Any):
        super().__init__(**attributes)
        self.commands = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs, in the order of the help."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes a line for each verb."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.told) for name, entry in _VERBS.items()])


class _Commands(Mapping[str, Any]):
    """Commands by name, each made once. Typer takes 3 ms for a verb, beside what it takes to import its file."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _make(name, _VERBS[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_VERBS)

    def __len__(self) -> int:
        return len(_VERBS)


def _make(name: str, entry: _Entry) -> Any:
    module, _, function = entry.location.partition(":")
    found = getattr(importlib.import_module(f"adcli.cli.{module}"), function)
    if isinstance(found, typer.Typer):
        group = typer.main.get_command(found)
        group.name, group.short_help = name, entry.told
        return group
    alone = typer.Typer(add_completion=False, **PLAIN)
    alone.command(name, cls=entry.cls, short_help=entry.told)(found)
    return typer.main.get_command(alone)


app = typer.Typer(name="adcli", cls=Program, context_settings={"help_option_names": ["-h", "--help"]}, **PLAIN)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adcli {__version__}")
        raise typer.Exit


@app.callback()
def adcli(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find what does not belong in an image, having shown good parts only.

    \b
    adcli fit ./good --method padim              learn, and set the threshold on held-out good images
    adcli score ./incoming --out ./results       a verdict, a mask and an overlay for every image
    adcli eval ./labelled                        metric tables
    adcli calibrate ./held-out --min-area 25px   set the threshold anew
    """
