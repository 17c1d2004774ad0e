"""What `score` wrote, read back; and its contract, recounted by scipy from the maps."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

KEYS = [
    *("image", "verdict", "reason", "part", "score", "threshold", "check_threshold", "min_area_px", "p_value"),
    *("conditions", "regions", "width", "height", "sha256", "ms"),
]
LENGTH_KEYS = ["length_px", "length_mm", "width_px", "width_mm"]
REGION_KEYS = ["area_px", "area_mm2", *LENGTH_KEYS, "bbox", "centroid", "max", "mean"]
EIGHT = np.ones((3, 3), int)


def counted(found: list[dict[str, Any]]) -> str:
    """How a command counts these records in its last line."""
    verdicts = [record["verdict"] for record in found]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("OK", "CHECK", "NG", "ERROR"))


def records(out: Path) -> list[dict[str, Any]]:
    """The lines of results.jsonl, every one complete, NaN and infinities refused."""
    data = (out / "results.jsonl").read_bytes()
    assert data.endswith(b"\n")

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON number")

    return [json.loads(line, parse_constant=refuse) for line in data.splitlines()]


def timeless(out: Path) -> dict[str, bytes]:
    """Every file by name, without what may differ between two equal runs: ms, and the host in run.json."""
    files = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    for record in (lines := records(out)):
        del record["ms"]
    files["results.jsonl"] = "\n".join(map(json.dumps, lines)).encode()
    rows = list(csv.reader(io.StringIO(files["results.csv"].decode(), newline="")))
    assert rows[0][-1] == "ms"
    files["results.csv"] = repr([row[:-1] for row in rows]).encode()
    run = json.loads(files["run.json"])
    del run["host"]
    files["run.json"] = json.dumps(run).encode()
    return files


def large(above: np.ndarray, area: int) -> tuple[np.ndarray, list[int]]:
    """The pixels of 8-connected regions of at least `area` pixels, and their areas, largest first."""
    labels, count = ndimage.label(above, EIGHT)
    areas = ndimage.sum_labels(above, labels, range(1, count + 1)).astype(int) if count else np.zeros(0, int)
    kept = [number for number, size in enumerate(areas, 1) if size >= area]
    return np.isin(labels, kept), sorted((areas[number - 1] for number in kept), reverse=True)


def brute_score(score_map: np.ndarray, area: int) -> float:
    """S_A: the highest value at which {map >= value} has a large region, by bisection over the sorted values."""
    values = np.unique(score_map)
    low, high = 0, len(values)  # the region is there at values[low], and not at values[high]
    while high - low > 1:
        middle = (low + high) // 2
        if large(score_map >= values[middle], area)[1]:
            low = middle
        else:
            high = middle
    return float(values[low])


def stems(out: Path, kind: str, suffix: str) -> set[str]:
    """The pictures of one kind that are there."""
    folder = out / kind
    return {str(path.relative_to(folder)).removesuffix(suffix) for path in folder.rglob("*") if path.is_file()}


def check_image(record: dict[str, Any], score_map: np.ndarray, mask: np.ndarray | None) -> None:
    """One record and its mask against its map, by counting anew."""
    assert list(record) == KEYS
    assert score_map.dtype == np.float32
    assert score_map.shape == (record["height"], record["width"])
    area = record["min_area_px"]
    assert record["score"] == brute_score(score_map, area)
    ng = record["score"] > record["threshold"]
    check = record["check_threshold"] is not None and record["score"] > record["check_threshold"] and not ng
    guarded = record["reason"] is not None  # by the input guard, which can only turn OK into CHECK
    assert record["verdict"] == ("NG" if ng else "CHECK" if check or guarded else "OK")
    assert not guarded or not (ng or check)
    assert (record["regions"] != []) == (ng or check)
    expected, areas = np.zeros(score_map.shape, bool), []
    if ng or check:
        expected, areas = large(score_map > record["threshold" if ng else "check_threshold"], area)
    assert [region["area_px"] for region in record["regions"]] == areas
    if mask is not None:
        assert mask.dtype == np.uint8
        assert np.array_equal(mask, expected * np.uint8(255))
    for region in record["regions"]:
        assert list(region) == REGION_KEYS
        x, y, width, height = region["bbox"]
        inside = np.zeros(score_map.shape, bool)
        inside[y : y + height, x : x + width] = expected[y : y + height, x : x + width]
        labels, _ = ndimage.label(inside, EIGHT)
        own = [labels == n for n in range(1, labels.max() + 1) if (labels == n).sum() == region["area_px"]]
        assert any(abs(score_map[pixels].max() - region["max"]) == 0 for pixels in own)
        assert any(np.isclose(score_map[pixels].astype(float).mean(), region["mean"], rtol=1e-9) for pixels in own)
        centres = [ndimage.center_of_mass(pixels)[::-1] for pixels in own]
        assert any(np.allclose(centre, region["centroid"], atol=1e-9) for centre in centres)


def picture(path: Path) -> np.ndarray:
    """The pixels of a file as they are."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return pixels
