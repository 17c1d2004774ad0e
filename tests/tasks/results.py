"""Results of `score` and `eval` that are written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import Ran

RECORD = {"model": "m1", "detector_digest": "d", "sizes": ["25px"], "pixel_pitch_mm": None, "threshold": 2.0}
Image = tuple[str, str, Any, "str | None"]  # image, verdict, score, sha256


def run_of(folder: Path, images: list[Image], record: dict[str, Any] | None = RECORD, **more: Any) -> Path:
    """A folder of `score`; unfinished without a record."""
    folder.mkdir(parents=True)
    lines = [{"image": i, "verdict": v, "score": s, "sha256": d, "threshold": 2.0} for i, v, s, d in images]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if record is None:
        (folder / ".adcli-run.json").write_text(json.dumps({"configuration": {"model": "m1"}, "inputs": []}))
    else:
        (folder / "run.json").write_text(json.dumps(record | more))
    return folder


def eval_of(folder: Path, rows: list[dict[str, Any]], **more: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "eval.json").write_text(json.dumps({"rows": rows, "notes": [], "model": "m", "unreadable": []} | more))
    return folder


def told(ran: Ran, code: int = 0) -> dict[str, Any]:
    assert ran.code == code, ran.err
    return json.loads(ran.out)


BEFORE: list[Image] = [
    ("in/a/1.png", "OK", 1.0, "s1"),
    ("in/a/2.png", "OK", 1.5, "s2"),
    ("in/a/3.png", "NG", 3.0, "s3"),
    ("in/b/4.png", "CHECK", 1.9, "s4"),
    ("in/b/5.png", "OK", 0.5, "s5"),
    ("in/b/6.png", "ERROR", None, None),
    ("in/b/7.png", "OK", 0.7, "gone"),
    ("in/b/8.png", "OK", 0.9, "s8"),
]
AFTER: list[Image] = [
    ("new/x/1.png", "OK", 1.25, "s1"),
    ("new/x/2.png", "NG", 2.5, "s2"),
    ("new/x/3.png", "OK", 1.75, "s3"),
    ("new/x/4.png", "NG", 2.0625, "s4"),
    ("new/b/6.png", "OK", 0.25, "s6"),
    ("new/b/5.png", "OK", 0.25, "other"),
    ("new/b/9.png", "OK", 0.1, "s9"),
    ("new/b/8.png", "ERROR", None, None),
]

ROW = {"category": "lid", "kind": "all", "group": "all", "good": 9, "defective": 5, "threshold": 2.0}
ROW |= {"image_auroc": 0.995, "image_auroc_low": 0.9, "image_auroc_high": 1.0, "pixel_auroc": None, "tpr": 0.5}
