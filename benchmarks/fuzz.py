"""Damaged files and texts, for as long as is asked: nothing but the stated refusals, no crash, no hang, no lost memory.

    python benchmarks/fuzz.py [--minutes 10] [--seed 1] [--target images --target models ...] [--save FOLDER]

Targets are `images`, `models`, `results` and `texts` (tests/fuzzing/ says what must hold for each), and `forged`, which
is asked for by name: model files in which HDF5's own checksums were made right again after the damage. The HDF5 library
has no other defence and crashes on some of them; no adcli is to blame, and none can help.

Every case follows from the seed and its number, and runs in a forked process. Files of failed ones are saved. Results
are kept as results/fuzz.json, target by target, and the exit code is 1 where a case has failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
from measure import HERE, RESULTS, adcli, keep, machine, run, small_model

cv2.setNumThreads(1)  # before anything computes: threads do not survive a fork
sys.path.insert(0, str(HERE.parent))  # for tests.fuzzing

USUAL = ("images", "models", "results", "texts")
TARGETS = (*USUAL, "forged")
_MOST_OUTCOMES = 40  # that are kept


def make_target(name: str, folder: Path) -> Any:
    """A target and its seeds."""
    folder.mkdir()
    if name == "images":
        from tests.fuzzing.image_files import image_target

        return image_target()
    if name == "texts":
        from tests.fuzzing.texts import text_target

        return text_target()
    if name != "results":
        from tests.fuzzing import model_files

        return model_files.model_target(folder) if name == "models" else model_files.forged_target(folder)
    from tests.fuzzing.result_folders import result_target

    data, model = small_model(folder)
    return result_target(folder, data, model, lambda *words: run(adcli(*map(str, words))))


def main() -> None:
    """Fuzzes one target after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", choices=TARGETS, help="again for another; default: the first four")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--save", type=Path, help="folder for the files of failed cases; default: a temporary one")
    arguments = parser.parse_args()
    from tests.fuzzing.runner import CASE_SECONDS, GROWTH_MB, fuzz

    names = arguments.target or list(USUAL)
    save = arguments.save or Path(tempfile.mkdtemp(prefix="fuzz-failed-"))
    path = RESULTS / "fuzz.json"
    kept = json.loads(path.read_text()) if path.exists() else {"targets": {}}
    kept |= {"machine": machine(), "case_seconds": CASE_SECONDS, "growth_mb": GROWTH_MB}
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            target = make_target(name, Path(folder) / "seeds")
            report = fuzz(target, arguments.seed, 60 * arguments.minutes / len(names), arguments.workers, save)
        kept["targets"][name] = {
            "seed": arguments.seed,
            "cases": report.cases,
            "seconds": round(report.seconds, 1),
            "kinds_of_outcome": len(report.outcomes),
            "slowest_s": round(report.slowest_s, 3),
            "peak_growth_mb": round(report.peak_growth_mb, 1),
            "failed": dict(report.failed),
            "failures": report.failures,
            "outcomes": dict(report.outcomes.most_common(_MOST_OUTCOMES)),
        }
        keep("fuzz", kept)
        failed += sum(report.failed.values())
        print(
            f"{name}: {report.cases} cases in {report.seconds:.0f} s, {len(report.outcomes)} kinds of outcome, slowest "
            f"{report.slowest_s:.2f} s, memory +{report.peak_growth_mb:.0f} MB, failed {dict(report.failed) or 'none'}",
            flush=True,
        )
        for failure in report.failures:
            print(f"  case {failure['case']} from {failure['from']}, in {failure['at']}: {failure['what'][-400:]}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
