"""A run as a JUnit report, which build servers and test dashboards read: an image is a test, NG a failure.

The elements and attributes are those that pytest and Ant write. There is no standard, and these are what readers share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from xml.sax.saxutils import quoteattr

from adcli.files import replacing
from adcli.report.lines import read_lines
from adcli.report.text import printable


def write_junit(path: Path, lines: Path, name: str, properties: Mapping[str, object]) -> None:
    """Writes the report of a results.jsonl, whole or not at all; a property that is None is left out.

    The lines are read twice and never held: once for the totals that come first, once for the images.
    """
    counts: Counter[str] = Counter()
    ms = 0.0
    for record in read_lines(lines):
        counts[record["verdict"]] += 1
        ms += record["ms"] or 0.0
    totals = {
        "name": name,
        "tests": counts.total(),
        "failures": counts["NG"],
        "errors": counts["ERROR"],
        "skipped": counts["CHECK"],
        "time": _seconds(ms),
    }
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<testsuites>\n')
        file.write(f"<testsuite{_attributes(totals)}>\n<properties>\n")
        for key, value in properties.items():
            if value is not None:
                file.write(f"<property{_attributes({'name': key, 'value': value})}/>\n")
        file.write("</properties>\n")
        for record in read_lines(lines):
            file.writelines(_testcase(record))
        file.write("</testsuite>\n</testsuites>\n")


def _testcase(record: Mapping[str, Any]) -> Iterator[str]:
    image = record["image"]
    case = {"classname": PurePosixPath(image).parent, "name": image, "time": _seconds(record["ms"] or 0.0)}
    outcome = {"NG": "failure", "ERROR": "error", "CHECK": "skipped"}.get(record["verdict"])
    if outcome is None:
        yield f"<testcase{_attributes(case)}/>\n"
        return
    yield f"<testcase{_attributes(case)}>"
    yield f"<{outcome}{_attributes({'type': record['verdict'], 'message': _message(record)})}/></testcase>\n"


def _message(record: Mapping[str, Any]) -> str:
    if record["reason"] is not None:
        return record["reason"]
    limit, name = (record["threshold"], "threshold")
    if record["verdict"] == "CHECK":
        limit, name = (record["check_threshold"], "check threshold")
    largest = record["regions"][0]
    area = f"{largest['area_px']} px"
    if largest["area_mm2"] is not None:
        area += f", {largest['area_mm2']:.6g} mm2"
    count = len(record["regions"])
    return f"score {record['score']} above the {name} {limit}; regions: {count}, the largest of {area}"


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.3f}"


def _attributes(values: Mapping[str, object]) -> str:
    """Attributes of an element. All that XML 1.0 cannot carry is unprintable, and so becomes an escape to be read."""
    return "".join(f" {name}={quoteattr(printable(str(value)))}" for name, value in values.items())
