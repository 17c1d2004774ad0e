"""Scores as a histogram of text, with the thresholds written at their rows.

Highest score at the top, so that NG is up. A row holds the scores from its label, inclusive, to the label of the row
above, and the labels are the very numbers that are compared with. Empty stretches become one row of dots: a score or a
threshold far from the rest costs two rows, not the resolution of all others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from adcli.report.text import printable

GLYPHS = "▏▎▍▌▋▊▉█│┊"  # what is written unless `ascii`; an encoding without them needs it
_NARROWEST = 40
_EMPTY_ROWS = 3  # in a row that are still written out
_COLUMNS_PER_IMAGE = 4  # at most: a single image is no wall


def histogram_text(
    scores: np.ndarray,
    marks: Sequence[tuple[str, float]],
    *,
    width: int = 100,
    rows: int = 12,
    ascii: bool = False,
    unit: str = "images",
) -> list[str]:
    """Lines of at most `width` columns, which is taken as 40 where it is less.

    `scores` is (n,), finite, n >= 1; the printed counts add up to n. Each mark, a name and a value, stands right of the
    row its value falls into, highest first; one without a finite value is left out. There are at most `rows` rows (at
    least 5), a heading, and a line for each mark that finds no room on its row.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise ValueError("a histogram needs one finite number per image, and one image at least")
    marks = sorted((mark for mark in marks if math.isfinite(mark[1])), key=lambda mark: -mark[1])
    exact = [_as_written(score) for score in scores.tolist()]
    places = [_as_written(value) for _, value in marks]
    step = _step({*exact, *places}, max(rows, 5))
    counts = Counter(score // step for score in exact)
    names: dict[int, list[str]] = {}
    for (name, value), place in zip(marks, places, strict=True):
        names.setdefault(place // step, []).append(f"{printable(name)} {value:.6g}")
    shown = list(_rows({*counts, *names}))
    labels = _labels([row for row in shown if row is not None], step)
    return _lines(shown, labels, counts, names, max(width, _NARROWEST), ascii, unit)


def round_step(least: float) -> Fraction:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `least`, which is above 0."""
    power = Fraction(10) ** (math.floor(math.log10(least)) - 1)
    return next(power * factor for factor in (1, 2, 5, 10, 20, 50, 100, 200) if power * factor >= _as_written(least))


def _as_written(value: float) -> Fraction:
    """The decimal: 0.3 belongs to the row 0.3, though the float is a little below."""
    return Fraction(repr(float(value)))


def _step(points: set[Fraction], rows: int) -> Fraction:
    """The height of a row: what spreads the points without their wide gaps over the rows."""
    ordered = sorted(points)
    gaps = sorted((above - below for below, above in pairwise(ordered)), reverse=True)
    rest, left = sum(gaps), rows
    for gap in gaps:  # the widest first; one that is half of what is left is not drawn to scale
        if rest == gap or 2 * gap < rest or left < rows // 2:
            break
        rest, left = rest - gap, left - 2
    digits = 7 if rest else 3  # float32 has seven; one value alone needs no fine row
    least = max(rest / left, abs(ordered[len(ordered) // 2]) / 10**digits)
    step = round_step(float(least)) if least else Fraction(1)
    while sum(1 for _ in _rows({point // step for point in points})) > rows:
        step = round_step(float(step) * 1.5)
    return step


def _rows(filled: set[int]) -> Iterator[int | None]:
    """The numbers of the rows to write, downwards; None for a long empty stretch."""
    ordered = sorted(filled, reverse=True)
    for number, below in zip(ordered, [*ordered[1:], None], strict=True):
        yield number
        if below is not None and number - below - 1 > _EMPTY_ROWS:
            yield None
        elif below is not None:
            yield from range(number - 1, below, -1)


def _labels(shown: list[int], step: Fraction) -> dict[int, str]:
    """The lower ends of the rows in as many digits as the step needs."""
    digits = max(0, -math.floor(math.log10(step)))
    labels = {row: f"{float(row * step):.{digits}f}" for row in shown}
    if digits > 6 or max(map(len, labels.values())) > 12:
        labels = {row: f"{float(row * step):.6g}" for row in shown}
    return labels


def _lines(
    shown: list[int | None],
    labels: dict[int, str],
    counts: Counter[int],
    names: dict[int, list[str]],
    width: int,
    ascii: bool,
    counted: str,
) -> list[str]:
    axis, broken = ("|", ":") if ascii else ("│", "┊")
    left = max(len("score from"), *map(len, labels.values()))
    middle = max(len(counted), *(len(str(count)) for count in counts.values()))
    room = width - left - middle - 4  # for bars and marks
    longest = max((len(text) + 3 for texts in names.values() for text in texts), default=0)
    together = max((len(", ".join(texts)) + 3 for texts in names.values()), default=0)
    right = min(together, max(min(longest, room * 2 // 3), room // 2, min(16, room - 2)))
    most = max(counts.values())
    bars = min(room - right - 1, most * _COLUMNS_PER_IMAGE)
    right = room - bars - 1
    unit = Fraction(bars, most) if most > bars else Fraction(bars // most)
    lines = [f"{'score from':>{left}}  {counted:>{middle}}"]
    for row in shown:
        if row is None:
            lines.append(f"{'...':>{left}}  {'':{middle}} {broken}")
            continue
        bar = _bar(counts[row] * unit, ascii)
        beside = _joined(names.get(row, []), right)
        lines.append(f"{labels[row]:>{left}}  {counts[row]:>{middle}} {axis}{bar:{bars}} {beside[0]}")
        lines += [f"{'':{left}}  {'':{middle}} {axis}{'':{bars}} {text}" for text in beside[1:]]
    return [line.rstrip() for line in lines]


def _bar(length: Fraction, ascii: bool) -> str:
    """In eighths of a column, or in whole columns; never nothing for something."""
    if ascii:
        return "#" * max(round(length), int(length > 0))
    eighths = max(round(8 * length), int(length > 0))
    return "█" * (eighths // 8) + (" " + GLYPHS[:7])[eighths % 8].strip()


def _joined(texts: list[str], width: int) -> list[str]:
    """The marks of one row on as few lines as hold them."""
    lines: list[str] = []
    for text in texts:
        if lines and len(lines[-1]) + 2 + len(text) <= width:
            lines[-1] += ", " + text
        else:
            text = f"<- {text}"
            lines.append(text if len(text) <= width else f"{text[: width - 11]}...{text[-8:]}")
    return lines or [""]
