"""adcli weights: backbone weights by name and sha256, for machines with and without network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json
from adcli.cli.exits import PLAIN, Verbs
from adcli.errors import EnvironmentFault


def list_weights(json: o.Json = False, verbose: o.Verbose = False) -> int:
    """List the backbones, and whose weights are on this machine.

    \b
    adcli weights list
    """
    from adcli.backbones import weights
    from adcli.report.tables import rows_table

    entries = weights.entries()
    if json:
        keys = ("name", "state", "origin", "sha256", "pinned")
        show_json([{key: getattr(e, key) for key in keys} | {"path": e.path and str(e.path)} for e in entries])
        return 0
    rows = [
        [e.name, e.state, e.origin or "-", ("yes" if e.pinned else "no") if e.path else "-", (e.sha256 or "-")[:16]]
        for e in entries
    ]
    columns = ["backbone", "state", "origin", "published file", "sha256"]
    show(rows_table(f"Weights in {weights.cache_folder()}", columns, rows))
    return 0


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Backbone.")],
    offline: o.Offline = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Fetch the published weights of a backbone and check their digest.

    \b
    adcli weights pull resnet18
    """
    from adcli.backbones import weights

    terminal = Terminal(quiet)
    with terminal.progress() as progress:
        entry = weights.pull(name, offline=offline, progress=progress)
    show(f"{entry.name}  {entry.sha256}  {entry.path}")
    return 0


def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Checkpoint; it may hold only the layers needed.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Backbone.")],
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Keep a copy of a weights file that was brought here by hand.

    \b
    adcli weights add /media/usb/resnet18-f37072fd.pth resnet18
    """
    from adcli.backbones import weights

    entry = weights.add(file, name)
    show(f"{entry.name}  {entry.sha256}  {entry.path}")
    if not entry.pinned:
        Terminal(quiet).say(f"this is not the file torchvision publishes for {name}; models will carry its digest")
    return 0


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder, on a stick for instance.")],
    verbose: o.Verbose = False,
) -> int:
    """Copy every weights file there is to a folder, for `weights add` on another machine.

    \b
    adcli weights export /media/usb
    """
    from adcli.backbones import weights

    for path in weights.export(folder):
        show(str(path))
    return 0


def verify(json: o.Json = False, verbose: o.Verbose = False) -> int:
    """Read every kept file again, and adcli's own, and compare its digest with the one it came with.

    \b
    adcli weights verify
    """
    from adcli.backbones import weights

    checked = weights.verify()
    if json:
        show_json([{"name": c.name, "ok": c.ok, "reason": c.reason} for c in checked])
    else:
        for one in checked:
            show(f"{one.name}  {'whole' if one.ok else one.reason}")
    return 0 if all(one.ok for one in checked) else EnvironmentFault.exit_code


app = typer.Typer(
    cls=Verbs,
    help="Keep backbone weights on this machine: list, pull, add, export, verify.",
    add_completion=False,
    **PLAIN,
)
app.command("list")(list_weights)
app.command("pull")(pull)
app.command("add")(add)
app.command("export")(export)
app.command("verify")(verify)
