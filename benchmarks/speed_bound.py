"""The stages of `adcli score` on one core, each by itself: what a command on all cores cannot be faster than.

    python benchmarks/speed_bound.py IMAGES MODEL [--engine torch] [--precision auto] [--core 0]

Of a few images at a time all are decoded, then all resized, and so on, by the same functions that `score` calls, so
each stage runs alone, has its own share of the caches, and the memory does not grow. Seconds are the processor's, which
other programs on the machine disturb least. BOUND names the stages that nothing can be done without; the others are
measured too, to tell where the rest goes. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

BOUND = ("decode", "network and detector", "map", "labelling", "mask encode", "overlay encode")
OTHERS = ("read and check", "resize", "guard", "draw")
_TOGETHER = 16  # images


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def each(self, stage: str, work: Callable[..., Any], items: Iterable[Sequence[Any]]) -> list[Any]:
        """work(*item) of every item."""
        items = list(items)
        began = time.process_time()
        done = [work(*item) for item in items]
        self.seconds[stage] += time.process_time() - began
        return done


def measure_stages(paths: list[Path], model_path: Path, engine: str, precision: str) -> dict[str, Any]:
    """Seconds of every stage over all images, and how many had pictures to draw."""
    import numpy as np

    from adcli.formats import read_header
    from adcli.geometry.views import Views
    from adcli.guard import examine
    from adcli.images import MAX_PIXELS, _decode, read_image
    from adcli.maps import lift
    from adcli.parallel import batches, keep_freed_memory
    from adcli.report.masks import encode_mask
    from adcli.report.overlays import encode_jpeg
    from adcli.store import load
    from adcli.tasks.engines import Machine
    from adcli.tasks.mapping import Mapped, Mapper
    from adcli.tasks.pictures import overlay
    from adcli.types import Verdict
    from adcli.verdicts import judge

    keep_freed_memory()
    model = load(model_path).model
    calibration, spec = model.require_calibration(), model.spec
    mapper = Mapper(model, Machine("cpu", engine, precision, workers=1))
    scorer = mapper._scorer
    views = Views(model.geometry, spec.image_size, spec.white_level, spec.sigma)
    clock, drawn = Clock(), 0
    warm = np.zeros((scorer.batch, *spec.image_size, 3), np.float32)
    scorer(warm)

    def scored(pixels: list[np.ndarray]) -> list[tuple[Any, ...]]:
        said = scorer(np.stack(pixels))
        own = [None] * len(pixels) if said.image is None else said.image.tolist()
        return list(zip(said.grid, own, said.pooled, strict=True))

    for chunk in batches(paths, -(-_TOGETHER // scorer.batch) * scorer.batch):
        images = clock.each("read and check", read_image, zip(chunk))
        files = [path.read_bytes() for path in chunk]
        clock.each("decode", _decode, [(data, read_header(data, MAX_PIXELS)) for data in files])
        inputs = clock.each("resize", lambda image: views.of(image.pixels).overview(), zip(images))
        found = clock.each("network and detector", scored, ((one,) for one in batches(inputs, scorer.batch)))
        found = [one for batch in found for one in batch]
        maps = clock.each(
            "map",
            lambda grid, image: lift(grid, spec.image_size, spec.sigma, (image.height, image.width)),
            ((grid, image) for (grid, _, _), image in zip(found, images, strict=True)),
        )
        looks = clock.each(
            "guard",
            lambda image, pixels, pooled: examine(image.pixels, pixels)(pooled),
            ((image, pixels, one[2]) for image, pixels, one in zip(images, inputs, found, strict=True)),
        )
        seen = [
            Mapped(image, score_map, partial(_same, look), one[1], 0.0)
            for image, score_map, look, one in zip(images, maps, looks, found, strict=True)
        ]
        judged = clock.each("labelling", partial(judge, model, calibration), zip(seen))
        telling = [
            (mapped, judgement)
            for mapped, judgement in zip(seen, judged, strict=True)
            if judgement.verdict in (Verdict.NG, Verdict.CHECK)
        ]
        clock.each(
            "mask encode",
            encode_mask,
            ((judgement.mask,) for _, judgement in telling),
        )
        pictures = clock.each("draw", lambda mapped, judgement: overlay(model, calibration, mapped, judgement), telling)
        clock.each("overlay encode", encode_jpeg, zip(pictures))
        drawn += len(telling)
    # Reading decodes as well: what is beside it is looking at the file, its digest, and the order of the channels.
    seconds = clock.seconds | {"read and check": clock.seconds["read and check"] - clock.seconds["decode"]}
    return {
        "images": len(paths),
        "drawn": drawn,
        "engine": mapper.engine,
        "precision": mapper.precision,
        "seconds": {stage: round(seconds[stage], 3) for stage in (*BOUND, *OTHERS)},
    }


def _same(look: Any) -> Any:
    return look


def main() -> None:
    """Measures on one core and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="a folder")
    parser.add_argument("model", type=Path)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--core", type=int, default=0, help="which of those that this process may use")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before any library counts the cores
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[arguments.core]})
    from adcli.images import find_images

    paths = [image.path for image in find_images([str(arguments.images)])]
    print(json.dumps(measure_stages(paths, arguments.model, arguments.engine, arguments.precision)))


if __name__ == "__main__":
    main()
