"""Makes the images that speed.py scores and learns from: a data set of PNGs of 1024x1024, in the MVTec AD layout.

    python benchmarks/speed_images.py FOLDER

FOLDER/test has 160: the 83 test images of bottle450 enlarged by OpenCV (bicubic), defects included, then the first of
them mirrored left to right; a name begins with `good` or the type of defect. FOLDER/train/good has 320: the 209 good
ones and mirrored ones. FOLDER/ground_truth has the masks. Equal bytes every time with the same OpenCV.
FOLDER/images.json, written last, has the sizes of the files: an enlarged image is smooth, so its file is smaller than a
camera's of as many pixels.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIDE = 1024  # pixels
COUNTS = {"test": 160, "train": 320}
_FACTS = "images.json"


def make_images(folder: Path, source: Path) -> dict[str, Any]:
    """Makes what is not there yet of a data set in the MVTec AD layout; returns what images.json says."""
    from adcli.parallel import cores, stream

    facts = folder / _FACTS
    if facts.exists():
        return json.loads(facts.read_text())
    said: dict[str, Any] = {}
    for split, count in COUNTS.items():
        paths = sorted((source / split).glob("*/*.png"))
        jobs = [(path, folder, mirrored) for mirrored in (False, True) for path in paths][:count]
        if len(jobs) < count:
            sys.exit(f"{source / split} has {len(paths)} images where half of {count} are needed")
        said[split] = describe_files([*stream(jobs, _enlarge, cores())]) | {"side": SIDE, "channels": 3}
    facts.write_text(json.dumps(said, indent=1) + "\n")
    return said


def describe_files(paths: Sequence[Path]) -> dict[str, Any]:
    """How many files there are, and how large."""
    sizes = [path.stat().st_size for path in paths]
    return {"files": len(sizes), "bytes": sum(sizes), "median_bytes": round(statistics.median(sizes))}


def _enlarge(job: tuple[Path, Path, bool]) -> Path:
    """The image, and its mask where it has one."""
    import cv2

    path, folder, mirrored = job
    split, kind = path.parts[-3:-1]
    stem = f"{kind}_{path.stem}{'_mirrored' * mirrored}"
    image, mask = folder / split / kind / f"{stem}.png", folder / "ground_truth" / kind / f"{stem}_mask.png"
    found = path.parents[2] / "ground_truth" / kind / f"{path.stem}_mask.png"
    for source, made, how in ((path, image, cv2.INTER_CUBIC), (found, mask, cv2.INTER_NEAREST)):
        if source == found and (split == "train" or kind == "good"):
            continue
        pixels = cv2.resize(cv2.imread(str(source), cv2.IMREAD_UNCHANGED), (SIDE, SIDE), interpolation=how)
        made.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(made), cv2.flip(pixels, 1) if mirrored else pixels):
            sys.exit(f"{made} could not be written")
    return image


if __name__ == "__main__":
    from measure import SHARED

    if len(sys.argv) != 2:
        sys.exit("usage: speed_images.py FOLDER")
    print(json.dumps(make_images(Path(sys.argv[1]), SHARED / "data" / "bottle450"), indent=1))
