"""adcli benchmark"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adcli.cli import options as o
from adcli.cli.console import Terminal, show, show_json, told_when_stopped
from adcli.errors import UsageError

if TYPE_CHECKING:
    from adcli.tasks.cells import Configuration

_MINE = ("model", "seed", "force", "json", "quiet", "verbose", "pictures", "weights", "offline", "device", "workers")
_MOST_SEEDS = 1000


def benchmark(
    context: typer.Context,
    root: Annotated[Path, typer.Argument(metavar="DATASET", help="Data set of one category or several.")],
    out: Annotated[Path, o.option("--out", "-o", help="Folder for the tables and the record of every cell.")],
    methods: Annotated[
        str, o.option("--methods", metavar="NAMES", help="Methods, separated by commas. Default: padim, or --config.")
    ] = "",
    config: Annotated[
        list[str],
        o.option(
            "--config",
            metavar="WORDS",
            help="A method and options of adcli fit for it, such as 'patchcore -p coreset=0.1'; repeat.",
        ),
    ] = [],  # noqa: B006 (typer copies it)
    backbones: Annotated[
        str,
        o.option(
            "--backbones",
            metavar="NAMES",
            help="Backbones for each of them that takes any, separated by commas; default: the method's, or embedded.",
        ),
    ] = "",
    seeds: Annotated[int, o.option("--seeds", min=1, max=_MOST_SEEDS, help="Seeds of each, from 0 on.")] = 1,
    image_size: o.ImageSize = "",
    holdout: Annotated[
        float, o.option("--holdout", help="Share of good images held out to set the threshold on; 0: none.")
    ] = 0.2,
    layout: o.Layout = "auto",
    score: Annotated[bool, o.option("--score/--no-score", help="Time adcli score too, with all its files.")] = True,
    keep_models: Annotated[
        bool,
        o.option("--keep-models", help="Keep the models, as OUT/models/CATEGORY/...; else one at a time is there."),
    ] = False,
    resume: Annotated[
        bool, o.option("--resume", help="Measure what is not there yet, and what failed.", twin=False)
    ] = False,
    force: Annotated[bool, o.option("--force", help="Start over.", twin=False)] = False,
    csv: Annotated[bool, o.option("--csv", help="Print the table as CSV.")] = False,
    markdown: Annotated[bool, o.option("--markdown", help="Print the tables as Markdown.")] = False,
    weights: o.Weights = None,
    offline: o.Offline = False,
    device: o.Device = "auto",
    workers: o.Workers = 0,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
) -> int:
    """Measure methods on every category of a data set: accuracy over seeds, time and memory of whole commands.

    \b
    adcli benchmark ./mvtec_ad --methods padim,patchcore --seeds 3 --out ./bench
    adcli benchmark ./mvtec_ad --config 'patchcore -p coreset=0.01' --config 'patchcore -p coreset=0.1' --out ./bench
    adcli benchmark ./bottle --methods padim --backbones resnet18,wide_resnet50_2 --out ./bench --no-score
    adcli benchmark ./mvtec_ad --methods padim,patchcore --seeds 5 --out ./bench --resume

    Each cell is a fit, an eval and a score of their own, as one would type them. Nothing is chosen by the figures.
    """
    from adcli.report import benchmark_tables as tables
    from adcli.tasks.benchmark import benchmark as task
    from adcli.tasks.cells import Common

    if sum((json, csv, markdown)) > 1:
        raise UsageError("--json, --csv and --markdown exclude each other: choose one")
    if resume and force:
        raise UsageError("--resume and --force exclude each other: continue what is there, or start over")
    if image_size:
        o.parse_size(image_size)
    terminal = Terminal(quiet)
    configurations = _configurations(context, _names(methods), config, _names(backbones), weights)
    if weights is not None and len({one.backbone for one in configurations}) > 1:
        raise UsageError("--weights is of one backbone: leave it out, or measure one backbone at a time")
    common = Common(
        image_size, holdout, layout, None if weights is None else str(weights), offline, device, workers, score
    )
    kept = "the cells that were measured are kept: go on with the same command and --resume"
    with told_when_stopped(terminal, kept), terminal.progress() as progress:
        benchmarked = task(
            root,
            out,
            configurations,
            seeds=seeds,
            common=common,
            keep_models=keep_models,
            resume=resume,
            force=force,
            progress=progress,
            told=lambda record: _tell(record, terminal),
        )
    if json:
        show_json(benchmarked.document())
    elif csv:
        show(tables.as_csv(benchmarked.rows).rstrip("\n"))
    elif markdown:
        show(tables.as_markdown(benchmarked.rows, benchmarked.notes).rstrip("\n"))
    else:
        show(*tables.terminal_tables(benchmarked.rows))
    for note in benchmarked.notes:
        terminal.say(f"note: {note}")
    if (earlier := len(benchmarked.runs) - benchmarked.measured) > 0:
        terminal.say(f"{earlier} of {len(benchmarked.runs)} cells were measured before, and are not again")
    if benchmarked.failed:
        terminal.warn(f"{benchmarked.failed} of {len(benchmarked.runs)} cells failed: --resume tries them again")
    return 5 if benchmarked.failed or benchmarked.unreadable else 0


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _configurations(
    context: typer.Context,
    methods: Sequence[str],
    config: Sequence[str],
    backbones: Sequence[str],
    weights: Path | None,
) -> list[Configuration]:
    """Each method and each --config on each backbone; what `fit` would refuse to read is refused here."""
    texts = [*methods, *config] or ["padim"]
    found = [one for text in texts for one in _configuration(context, text, backbones, weights)]
    return list(dict.fromkeys(found))


def _configuration(
    context: typer.Context, text: str, backbones: Sequence[str], weights: Path | None
) -> Iterator[Configuration]:
    from adcli.backbones import find_backbone
    from adcli.detectors import find_method
    from adcli.detectors.params import parse_params
    from adcli.tasks.cells import Configuration
    from adcli.tasks.recipe import choose_backbone

    try:
        method, *options = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--config {text!r} cannot be read: write a method and options of adcli fit") from error
    known = find_method(method)
    fit: Any = context.find_root().command.commands["fit"]
    words = ["--method", method, *options]
    with fit.make_context("fit", ["--no-project", *words, "-"], parent=context.parent) as parsed:
        given = {name for name in parsed.params if parsed.get_parameter_source(name).name == "COMMANDLINE"}
        values = parsed.params
    if mine := sorted(given & set(_MINE)):
        raise UsageError(
            f"--config {text!r} has --{mine[0].replace('_', '-')}, which is benchmark's to say: leave it out"
        )
    if values["method"] != method or values["good"] != ["-"]:
        raise UsageError(
            f"--config {text!r} is not a method and options of adcli fit: write 'patchcore -p coreset=0.1'"
        )
    parse_params(known.detector().Params, list(values["param"]))
    if values["image_size"]:
        o.parse_size(values["image_size"])
    layers = [name.strip() for name in values["layers"].split(",") if name.strip()]
    named = [values["backbone"]] if "backbone" in given else backbones if known.backbone is None else ()
    for backbone in (choose_backbone(known, one, weights) for one in named or [""]):
        find_backbone(backbone, layers or None)
        yield Configuration(" ".join([method, *options]), backbone, tuple(words))


def _tell(record: dict[str, Any], terminal: Terminal) -> None:
    """A line on a cell that is over."""
    from adcli.report.tables import rate

    where = f"{record['category']}, {record['configuration']}, {record['backbone']}, seed {record['seed']}"
    if record["failed"] is not None:
        terminal.warn(f"{where} failed in {record['failed']['stage']}: {record['failed']['sentence']}")
        return
    took = [f"{stage} {record[stage]['seconds']:.1f} s" for stage in ("fit", "eval", "score") if record[stage]]
    terminal.say(f"{where}: image AUROC {rate(record['metrics']['image_auroc'])}, {', '.join(took)}")
