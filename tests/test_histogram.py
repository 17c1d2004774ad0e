"""The histogram of text counts every score once, keeps to its width, and puts thresholds where they belong."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from adcli.report.histogram import GLYPHS, histogram_text, round_step

ROW = re.compile(r" *(?P<label>[-+.e\d]+) +(?P<count>\d+) [│|](?P<bar>[▏▎▍▌▋▊▉█#]*) *(?P<marks>(<- .*)?)$")
RNG = np.random.default_rng(0)
SAMPLES = {
    "one": [12.3],
    "all equal": [12.3] * 50,
    "zeros": [0.0] * 3,
    "two": [1.0, 2.0],
    "normal": RNG.normal(10, 2, 33),
    "thousands": RNG.gamma(9, 1, 5000),
    "negative": -RNG.gamma(9, 1, 300),
    "around zero": RNG.normal(0, 1e-4, 200),
    "two clusters": np.r_[RNG.normal(5, 0.3, 40), RNG.normal(15, 0.5, 30)],
    "one a thousand times higher": np.r_[RNG.normal(10, 2, 33), 10_000],
    "heavy tails": RNG.standard_cauchy(400),
    "decimals on the edges": np.arange(30) / 10,
    "large": 1e6 + np.arange(20) / 16,
    "huge": RNG.normal(0, 1e20, 40),
}
MARKS = {
    "none": [],
    "two alike": [("NG", 13.9595), ("conformal 5 %", 13.9595)],
    "far above": [("by hand", 1e9), ("CHECK", 11.2)],
    "far below and above": [("a", -1e300), ("b", 1e300)],
    "many": [(f"estimator number {n}", 5 + 0.3 * n) for n in range(12)],
    "long names": [("x" * 300, 10.5)],
}


def parsed(lines: list[str]) -> list[tuple[str, int, str, str] | None]:
    """Label, count, bar and marks of the rows below the heading; None for dots; marks of added lines are joined."""
    rows: list[tuple[str, int, str, str] | None] = []
    for line in lines[1:]:
        if line.strip(" .┊:") == "":
            assert "..." in line
            rows.append(None)
        elif found := ROW.match(line):
            rows.append((found["label"], int(found["count"]), found["bar"], found["marks"]))
        else:
            label, count, bar, marks = rows[-1]
            assert line.strip(" │|").startswith("<- ")
            rows[-1] = (label, count, bar, marks + ", " + line.strip(" │|").removeprefix("<- "))
    return rows


def step_of(rows: list) -> Decimal | None:
    pairs = [(above, below) for above, below in pairwise(rows) if above and below]
    steps = {Decimal(above[0]) - Decimal(below[0]) for above, below in pairs}
    assert len(steps) <= 1
    return steps.pop() if steps else None


@pytest.mark.parametrize("width", [1, 40, 67, 100, 240])
@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("scores", SAMPLES.values(), ids=SAMPLES)
def test_every_score_is_counted_once_within_the_width_and_the_rows(scores, marks, width):
    for ascii in (False, True):
        lines = histogram_text(np.array(scores), marks, width=width, ascii=ascii)
        rows = parsed(lines)
        assert sum(row[1] for row in rows if row) == len(scores)
        assert max(map(len, lines)) <= max(width, 40)
        assert 1 <= len(rows) <= 12
        assert all(bool(row[1]) == bool(row[2]) for row in rows if row)
        assert not ascii or "".join(lines).isascii()


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"huge"}))
def test_the_count_of_a_row_is_that_of_the_scores_from_its_label_to_the_next(name):
    rows = parsed(histogram_text(np.array(SAMPLES[name]), []))
    step = step_of(rows) or 0
    exact = [Decimal(repr(float(score))) for score in SAMPLES[name]]
    above = Decimal("inf")
    for row in filter(None, rows):
        low = Decimal(row[0])
        assert row[1] == sum(low <= score < above for score in exact)
        assert not step or row[1] == sum(low <= score < low + step for score in exact)
        above = low


def test_by_hand():
    lines = histogram_text(np.array([1, 1, 1.5, 3, 4, 6]), [("NG area", 6), ("CHECK", 4.5)], width=60, rows=6)
    assert lines == [
        "score from  images",
        "         6       1 │████         <- NG area 6",
        "         5       0 │",
        "         4       1 │████         <- CHECK 4.5",
        "         3       1 │████",
        "         2       0 │",
        "         1       3 │████████████",
    ]
    broken = histogram_text(np.array([1, 1, 1.5, 2, 2.9, 5]), [("NG", 5)], width=60, rows=6, ascii=True)
    assert broken == [
        "score from  images",
        "       5.0       1 |####     <- NG 5",
        "       ...         :",
        "       2.5       1 |####",
        "       2.0       1 |####",
        "       1.5       1 |####",
        "       1.0       2 |########",
    ]


def test_a_threshold_far_above_costs_two_rows_and_no_resolution():
    scores = SAMPLES["normal"]
    alone = parsed(histogram_text(scores, [("NG", scores.max())]))
    far = parsed(histogram_text(scores, [("NG", scores.max()), ("by hand", 5000)]))
    assert far[0][1] == 0 and far[0][3] == "<- by hand 5000"
    assert far[1] is None
    assert [row[:2] for row in far[2:]] == [row[:2] for row in alone]


@pytest.mark.parametrize("sign", [1, -1])
def test_one_wild_score_is_broken_off(sign):
    rows = parsed(histogram_text(np.r_[SAMPLES["normal"], sign * 12_000], []))
    far, dots, *rest = rows if sign > 0 else rows[::-1]
    assert far[1] == 1 and dots is None and None not in rest
    assert len(rest) >= 5


def test_no_more_than_three_empty_rows_follow_each_other():
    for scores in SAMPLES.values():
        counts = [-1 if row is None else row[1] for row in parsed(histogram_text(np.array(scores), []))]
        assert not any(counts[n : n + 4] == [0] * 4 for n in range(len(counts)))


@pytest.mark.parametrize("seed", range(20))
def test_marks_stand_at_their_rows_highest_first(seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 5, rng.integers(1, 60))
    values = rng.normal(0, 8, 7).round(3)
    lines = histogram_text(scores, [(f"mark{n}", value) for n, value in enumerate(values)], width=90)
    rows = parsed(lines)
    step = step_of(rows)
    found = [
        (name, float(value), Decimal(row[0]))
        for row in rows
        if row
        for name, value in re.findall(r"(mark\d) ([-.\d]+)", row[3])
    ]
    assert [value for _, value, _ in found] == sorted(values, reverse=True)
    for name, value, label in found:
        assert value == values[int(name[4:])]
        assert label <= Decimal(repr(value)) < label + step


def test_a_decimal_on_an_edge_is_in_the_row_of_that_name():
    rows = parsed(histogram_text(np.arange(10) / 10, [("NG", 0.3)]))
    assert [(row[0], row[1]) for row in rows] == [(f"0.{n}", 1) for n in range(9, -1, -1)]
    assert [row[0] for row in rows if row[3]] == ["0.3"]  # whose float is below 3/10


def test_marks_without_a_finite_value_are_left_out():
    marks = [("guaranteed", math.nan), ("other", math.inf)]
    assert histogram_text(SAMPLES["normal"], marks) == histogram_text(SAMPLES["normal"], [])


def test_both_ends_of_a_mark_too_long_for_the_line_are_kept():
    text = "\n".join(histogram_text(SAMPLES["normal"], [("name" + "y" * 300, 10.125)], width=60))
    assert "<- namey" in text and "10.125" in text and "..." in text


def test_what_a_terminal_cannot_show_of_a_name_is_escaped():
    text = "".join(histogram_text(SAMPLES["normal"], [("a\x1b[2Jb", 10)]))
    assert text.isprintable() and r"a\x1b[2Jb" in text


def test_bars_are_proportional_to_counts():
    for scores in (SAMPLES["normal"], SAMPLES["thousands"]):
        rows = [row for row in parsed(histogram_text(scores, [], ascii=True, width=200)) if row]
        longest = max(len(row[2]) for row in rows) / max(row[1] for row in rows)
        assert all(abs(len(row[2]) - longest * row[1]) <= 1 for row in rows)
    eighths = {glyph: n for n, glyph in enumerate(GLYPHS[:8], 1)}
    rows = [row for row in parsed(histogram_text(SAMPLES["thousands"], [], width=60)) if row]
    lengths = [sum(eighths[glyph] for glyph in row[2]) for row in rows]
    unit = max(lengths) / max(row[1] for row in rows)
    assert all(abs(length - unit * row[1]) <= 1 for length, row in zip(lengths, rows, strict=True))


def test_the_order_of_scores_and_marks_does_not_matter():
    scores, marks = SAMPLES["normal"], MARKS["many"]
    shuffled = np.random.default_rng(1).permutation(scores)
    assert histogram_text(shuffled, marks[::-1]) == histogram_text(scores, marks)


def test_scores_ten_times_as_large_have_the_same_bars():
    scores = np.random.default_rng(2).integers(100, 200, 60).astype(float)
    small, large = (parsed(histogram_text(scores * factor, [])) for factor in (1, 10))
    assert [row[1:] for row in small] == [row[1:] for row in large]


def test_more_rows_may_be_asked_for():
    assert len(parsed(histogram_text(SAMPLES["thousands"], [], rows=40))) > 12


def test_the_glyphs_are_all_that_is_not_ascii():
    text = "".join(line for scores in SAMPLES.values() for line in histogram_text(np.array(scores), [("NG", 50)]))
    assert {letter for letter in text if not letter.isascii()} == set(GLYPHS)


@pytest.mark.parametrize("scores", [[], [math.nan], [1, math.inf], [[1.0, 2.0]]])
def test_no_scores_and_scores_that_are_no_numbers_are_refused(scores):
    with pytest.raises(ValueError, match="finite"):
        histogram_text(np.array(scores), [])


def test_a_round_step_is_the_next_of_one_two_and_five():
    for least, step in (
        (1, 1),
        (1.01, 2),
        (2, 2),
        (3, 5),
        (5, 5),
        (5.1, 10),
        (0.3, 0.5),
        (0.001, 0.001),
        (7e-9, 1e-8),
        (3e30, 5e30),
    ):
        assert float(round_step(least)) == pytest.approx(step, rel=1e-12)
