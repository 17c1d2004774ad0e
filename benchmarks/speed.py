"""How long whole commands take, from the start of the process to the last file in place, beside others.

    python benchmarks/speed.py [--peer-python PYTHON] [--engines openvino,torch] [--only score/160] [--runs 5]

Parts, in the order they are measured; `--only` takes the beginning of a name, or several with commas:

    start                    --help, info, one image scored, each in a new process
    score/SET/METHOD         `adcli score` with each engine, the plain torch script (fp32 and bf16), anomalib's predict
    bound/SET/METHOD/ENGINE  the stages of `score` alone on one core, and the command: its share of what is possible
    verdicts/SET/METHOD      verdicts and scores of every engine and precision against torch in fp32
    fit/METHOD               `adcli fit` on 320 images; anomalib's once, where it takes no more than minutes
    cuda/SET/METHOD          as score/, on a GPU, where torch finds one

SET is 160 (PNGs of 1024x1024, see speed_images.py) or mtd (579 magnetic tiles). Contenders take turns (A B C A B C),
so that whatever else the machine does meets all of them; files are in the system's cache. Images and models are made
once and kept in `--cache`: empty it after a change to what models hold. Every part is kept in results/speed.json when
it is done, and passed over by the next call unless `--again`; `--limit` tries everything on a few images and keeps the
figures in the cache folder instead.
"""

from __future__ import annotations

import argparse
import compileall
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from measure import RESULTS, machine
from speed_models import METHODS, SCORED, SETS, Bench
from speed_parts import bound_part, fit_part, score_part, start_part, verdicts_part
from speed_turns import Record

import adcli


def list_parts(bench: Bench, engines: Sequence[str], runs: int, cold_runs: int) -> dict[str, Callable[[], Record]]:
    """Every part by its name."""
    parts: dict[str, Callable[[], Record]] = {"start": partial(start_part, bench, engines, cold_runs)}
    each = [(name, method) for name in SETS for method in SCORED]
    for name, method in each:
        parts[f"score/{name}/{method}"] = partial(score_part, bench, engines, name, method, runs, "cpu")
    for engine in engines:
        for name, method in each:
            parts[f"bound/{name}/{method}/{engine}"] = partial(bound_part, bench, engine, name, method, runs)
    for name, method in each:
        parts[f"verdicts/{name}/{method}"] = partial(verdicts_part, bench, engines, name, method)
    for method in METHODS:
        parts[f"fit/{method}"] = partial(fit_part, bench, engines, method, runs)
    for name, method in each:
        parts[f"cuda/{name}/{method}"] = partial(score_part, bench, ["torch"], name, method, runs, "cuda")
    return parts


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def main() -> None:
    """Measures what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="an interpreter that has anomalib; without, its rows are left out")
    parser.add_argument(
        "--engines", default="openvino,torch", help="of adcli, separated by commas; tables use the first"
    )
    parser.add_argument("--only", default="", help="beginnings of parts' names, separated by commas")
    parser.add_argument("--again", action="store_true", help="measure what is kept as well")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cold-runs", type=int, default=7, help="of the part start")
    parser.add_argument("--limit", type=int, default=0, help="a try: so many images, kept apart")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "adcli-speed")
    arguments = parser.parse_args()
    # As pip does when it installs: a checkout may have to compile every module at every start.
    compileall.compile_dir(Path(adcli.__file__).parent, quiet=1)
    bench = Bench(arguments.cache.absolute(), arguments.peer_python, arguments.limit)
    bench.folder.mkdir(parents=True, exist_ok=True)
    path = bench.folder / f"tried-{arguments.limit}.json" if arguments.limit else RESULTS / "speed.json"
    kept = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    parts = list_parts(bench, arguments.engines.split(","), arguments.runs, arguments.cold_runs)
    for name, measure in parts.items():
        if not name.startswith(tuple(arguments.only.split(","))) or (name in kept["parts"] and not arguments.again):
            continue
        if name.startswith("cuda/") and not has_gpu():
            continue
        print(name, file=sys.stderr, flush=True)
        kept["parts"][name] = measure()
        kept["machine"] = machine()
        path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
