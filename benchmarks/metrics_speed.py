"""How fast and how large the pooled pixel metrics are, beside the sort that they replace. Prints JSON.

    python benchmarks/metrics_speed.py [--images 160] [--side 1024] [--law smooth|noise] [--no-sort]

Made maps: half the images good, half with one elliptic defect, of four types. `smooth` maps are coarse noise lifted
bilinearly, as a detector's are; `noise` has an independent score in every pixel, which spares no cache. Ours is the
whole way, spooling to disk and every table row; the sort is a stable argsort of all pixels with their labels carried
along and the two cumulative sums, which give the row of all only. Each runs in its own process. The CPU seconds are
those to compare on a machine that does other work beside.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import cv2
import numpy as np

from adcli.metrics.curves import pixel_curves
from adcli.metrics.spool import GOOD, MapSpool


def made_maps(images: int, side: int, law: str) -> Iterator[tuple[np.ndarray, np.ndarray | None, str]]:
    rng = np.random.default_rng(0)
    for i in range(images):
        if law == "noise":
            score_map = rng.standard_gamma(3, (side, side), dtype=np.float32)
        else:
            coarse = cv2.GaussianBlur(rng.standard_gamma(3, (64, 64), dtype=np.float32), (0, 0), 1)
            score_map = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR)
        if i % 2 == 0:
            yield score_map, None, GOOD
            continue
        mask = np.zeros((side, side), dtype=np.uint8)
        centre = rng.integers(side // 8, side - side // 8, 2).tolist()
        axes = rng.integers(side // 40, side // 8, 2).tolist()
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        heat = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), side / 64)
        yield score_map + heat * np.float32(rng.uniform(0, 6)), mask > 0, f"type {i % 8 // 2}"


def ours(images: int, side: int, law: str) -> dict:
    spool_s = spool_cpu_s = 0.0
    with MapSpool() as spool:
        for score_map, mask, group in made_maps(images, side, law):
            start, start_cpu = time.perf_counter(), time.process_time()
            spool.add(score_map, mask, group)
            spool_s += time.perf_counter() - start
            spool_cpu_s += time.process_time() - start_cpu
        stages: dict[str, None] = {}
        start, start_cpu = time.perf_counter(), time.process_time()
        row = pixel_curves(spool, progress=lambda stage, done, total: stages.setdefault(stage)).all
        curves_s, curves_cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    named = {"auroc": row.auroc, "ap": row.ap, "f1max": row.f1max.f1}
    named |= {f"aupro_{limit}": bracket for limit, bracket in row.aupro.items()}
    return {
        "spool_s": round(spool_s, 3),
        "curves_s": round(curves_s, 3),
        "whole_s": round(spool_s + curves_s, 3),
        "whole_cpu_s": round(spool_cpu_s + curves_cpu_s, 3),
        "passes_after_sample": len(stages) - 1,
        "values": {name: bracket.value for name, bracket in named.items()},
        "widest_bracket": max(bracket.width for bracket in named.values()),
    }


def by_sorting(images: int, side: int, law: str) -> dict:
    scores, labels = np.empty((images, side, side), np.float32), np.zeros((images, side, side), bool)
    for i, (score_map, mask, _) in enumerate(made_maps(images, side, law)):
        scores[i] = score_map
        if mask is not None:
            labels[i] = mask
    scores, labels = scores.ravel(), labels.ravel()
    start, start_cpu = time.perf_counter(), time.process_time()
    order = np.argsort(scores, kind="stable")
    ranked, carried = scores[order], labels[order]
    del order
    hits, false = np.cumsum(carried), np.cumsum(~carried)
    sort_s, sort_cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
    last = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)  # ties merged
    x, y = np.append(0, false[last] / false[-1]), np.append(0, hits[last] / hits[-1])
    auroc = 1 - float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))
    return {"whole_s": round(sort_s, 3), "whole_cpu_s": round(sort_cpu_s, 3), "values": {"auroc": auroc}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--law", choices=["smooth", "noise"], default="smooth")
    parser.add_argument("--no-sort", action="store_true", help="measure ours only; the sort needs 20 bytes a pixel")
    parser.add_argument("--part", choices=["ours", "sort"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        start = time.perf_counter()
        found = (ours if args.part == "ours" else by_sorting)(args.images, args.side, args.law)
        found["process_s"] = round(time.perf_counter() - start, 3)  # the made maps included
        found["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(json.dumps(found))
        return
    report: dict = {"images": args.images, "side": args.side, "pixels": args.images * args.side**2, "law": args.law}
    for part in ["ours"] if args.no_sort else ["ours", "sort"]:
        command = [sys.executable, __file__, "--part", part, "--law", args.law]
        command += ["--images", str(args.images), "--side", str(args.side)]
        report[part] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    if "sort" in report:
        for times, name in (("times_faster", "whole_s"), ("times_less_cpu", "whole_cpu_s")):
            report[times] = round(report["sort"][name] / report["ours"][name], 1)
        report["auroc_difference"] = abs(report["ours"]["values"]["auroc"] - report["sort"]["values"]["auroc"])
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
