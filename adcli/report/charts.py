"""A run's scores as inline SVG: how they are spread, and how they move over the run.

Colours and fonts are the page's: shapes carry class names only. Neither chart grows with the run.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from adcli.report.histogram import round_step

RANKS = ("ERROR", "NG", "CHECK", "OK")  # worst first; a verdict's number is its place here
MOST_POINTS = 2000
_BINS = 50
_SQUARE_ROOT_ABOVE = 40  # images in one bar, from where single ones would be too low to see
_LINEAR_SHARE = 0.98  # of the scores that the axis must hold; the rest is drawn at its end, and counted
_WIDTH, _HEIGHT = 600, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 592, 22, 212
_STRETCHES = 40  # of which the drift's line shows the medians
_LEAST_STRETCH = 10  # images


@dataclass(frozen=True)
class Chart:
    """An SVG element and what must be said below it."""

    svg: str
    note: str


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    beyond: int  # scores above `high`

    def place(self, value: float, start: float, end: float) -> float:
        """Where a value lies between two ends of the axis; what is beyond lies at the end."""
        share = (min(value, self.high) - self.low) / (self.high - self.low)
        return round(start + share * (end - start), 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        step = round_step((self.high - self.low) / 5)
        digits = max(0, -math.floor(math.log10(step)))
        for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            value = float(number * step)
            yield value, f"{value:.{digits}f}" if digits < 6 else f"{value:.3g}"


def histogram_chart(scores: np.ndarray, ranks: np.ndarray, thresholds: Sequence[tuple[str, float]]) -> Chart:
    """Scores against thresholds. `scores` is (n,), NaN where there is none; `ranks` is (n,), places in RANKS.

    `thresholds` are names and values, NG first. No bar lies across the NG threshold: one ends with it, inclusive.
    """
    scored = np.isfinite(scores)
    if not scored.any():
        return Chart("", "No image has a score.")
    values, ranks = scores[scored], ranks[scored]
    axis = _axis(values, [value for _, value in thresholds])
    edge = thresholds[0][1]
    width = float(round_step((axis.high - axis.low) / _BINS))
    bins = np.ceil((np.minimum(values, axis.high) - edge) / width).astype(int)  # bin k ends at edge + k * width
    first, last = int(bins.min()), int(bins.max())
    counts = np.zeros((last - first + 1, len(RANKS)), int)
    np.add.at(counts, (bins - first, ranks), 1)
    # The axis is that of whole bins, and a bar of its own holds what is beyond.
    low, high = min(axis.low, edge + (first - 1) * width), max(axis.high, edge + last * width)
    axis = _Axis(low, high, axis.beyond)
    most = int(counts.sum(1).max())
    root = most > _SQUARE_ROOT_ABOVE

    def height(count: float) -> float:
        share = math.sqrt(count / most) if root else count / most
        return share * (_BOTTOM - _TOP - 8)

    parts = [_grid(_BOTTOM - height(tick), str(tick)) for tick in _counts(most, root)]
    for place, row in enumerate(counts):
        total, base = int(row.sum()), float(_BOTTOM)
        left = axis.place(edge + (first + place - 1) * width, _LEFT, _RIGHT)
        right = axis.place(edge + (first + place) * width, _LEFT, _RIGHT)
        for rank in reversed(range(len(RANKS))):
            if row[rank]:
                tall = height(total) * int(row[rank]) / total
                parts.append(
                    f'<rect class="fill-{RANKS[rank].lower()}" x="{left + 0.5:.1f}" y="{base - tall:.1f}" '
                    f'width="{max(1.0, right - left - 1):.1f}" height="{tall:.1f}"/>'
                )
                base -= tall
    parts.append(f'<path class="axis" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>')
    for value, label in axis.ticks():
        parts.append(_text(label, axis.place(value, _LEFT, _RIGHT), _BOTTOM + 17, "middle"))
    for number, (name, value) in enumerate(thresholds):
        x = axis.place(value, _LEFT, _RIGHT)
        parts.append(f'<path class="limit limit-{name.lower()}" d="M{x} {_TOP - 14}V{_BOTTOM}"/>')
        left_side = number > 0 or x > 0.8 * _RIGHT  # CHECK is below NG: their names do not meet
        parts.append(
            _text(f"{name} {value:.4g}", x + (-6 if left_side else 6), _TOP - 5, "end" if left_side else "start")
        )
    parts.append(_text("score", _RIGHT, _BOTTOM + 34, "end"))
    above = ", ".join(f"{int((values > value).sum()):,} above the {name} threshold" for name, value in thresholds)
    said = f"{values.size:,} scores from {values.min():.4g} to {values.max():.4g}, {above}"
    notes = ["Heights are square roots of the counts, so that single images can be seen." if root else ""]
    if axis.beyond:
        notes.append(f"The last bar holds the {_images(axis.beyond)} beyond the axis, up to {values.max():.4g}.")
    return Chart(_svg(f"Histogram: {said}", parts), " ".join([f"{said}.", *filter(None, notes)]))


def drift_chart(scores: np.ndarray, ranks: np.ndarray, thresholds: Sequence[tuple[str, float]]) -> Chart:
    """Scores over the number of the image, thresholds as lines; arguments as of `histogram_chart`."""
    scored = np.isfinite(scores)
    if not scored.any():
        return Chart("", "No image has a score.")
    values = scores[scored]
    axis, n = _axis(values, [value for _, value in thresholds]), scores.size
    shown, right = thinned(scores), _RIGHT - 86  # where the thresholds' names have their place

    def across(index: float) -> float:
        return round(_LEFT + (right - _LEFT) * (index + 0.5) / n, 1)

    parts = [_grid(axis.place(value, _BOTTOM, _TOP), label, right) for value, label in axis.ticks()]
    for rank in (3, 2, 1):
        dots, peaks = [], []
        for index in shown[ranks[shown] == rank].tolist():
            x, y = across(index), axis.place(scores[index], _BOTTOM, _TOP)
            if scores[index] > axis.high:
                peaks.append(f"M{x - 3:.1f} {y}l3 -6l3 6z")
            else:
                dots.append(f"M{x} {y}h0")
        name = RANKS[rank].lower()
        parts += [f'<path class="dots dots-{name}" d="{"".join(dots)}"/>'] if dots else []
        parts += [f'<path class="fill-{name}" d="{"".join(peaks)}"/>'] if peaks else []
    unread = np.flatnonzero(ranks == 0)
    columns = sorted({across(index) for index in unread.tolist()})
    if columns:
        parts.append(f'<path class="unread" d="{"".join(f"M{x} {_BOTTOM - 7}V{_BOTTOM}" for x in columns)}"/>')
    stretches = min(_STRETCHES, values.size // _LEAST_STRETCH)
    if stretches > 2:
        middles = []
        for stretch in np.array_split(np.flatnonzero(scored), stretches):
            y = axis.place(float(np.median(scores[stretch])), _BOTTOM, _TOP)
            middles.append(f"{across(float(stretch.mean()))} {y}")
        parts.append(f'<path class="median" d="M{"L".join(middles)}"/>')
    ys = [axis.place(value, _BOTTOM, _TOP) for _, value in thresholds]
    apart = max(0.0, 14 - (ys[-1] - ys[0])) / 2 if len(ys) > 1 else 0.0  # CHECK lies below NG
    for y, shift, (name, value) in zip(ys, (-apart, apart), thresholds, strict=False):
        parts.append(f'<path class="limit limit-{name.lower()}" d="M{_LEFT} {y}H{right}"/>')
        parts.append(_text(f"{name} {value:.4g}", right + 6, y + 4 + shift, "start"))
    step = max(1, int(round_step(n / 6)))
    for number in sorted({1, *range(step, n + 1, step)}):
        parts.append(_text(f"{number:,}", across(number - 1), _BOTTOM + 17, "middle"))
    parts.append(_text("image, in the order of the run", right, _BOTTOM + 34, "end"))
    notes = [f"All {values.size:,} scores in the order of the run."]
    if shown.size < values.size:
        notes = [
            f"{shown.size:,} of {values.size:,} scores in the order of the run: the lowest and the highest of each "
            f"stretch of some {math.ceil(2 * values.size / shown.size)}."
        ]
    if stretches > 2:
        notes.append(f"The thin line joins the medians of {stretches} stretches.")
    if axis.beyond:
        notes.append(f"Triangles at the top: scores beyond the axis, up to {values.max():.4g}.")
    if columns:
        notes.append("Ticks at the bottom: images that could not be read.")
    return Chart(_svg(f"Scores of {values.size} images in the order of the run", parts), " ".join(notes))


def thinned(scores: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Indices of at most `most` scores, ascending: the lowest and the highest of each stretch; none that is NaN."""
    scored = np.flatnonzero(np.isfinite(scores))
    if scored.size <= most:
        return scored
    stretches = np.array_split(scored, most // 2)
    kept = {int(one) for stretch in stretches for one in (stretch[scores[stretch].argmin()], _highest(scores, stretch))}
    return np.array(sorted(kept))


def _highest(scores: np.ndarray, stretch: np.ndarray) -> np.intp:
    return stretch[scores[stretch].argmax()]


def _axis(values: np.ndarray, thresholds: list[float]) -> _Axis:
    """From the lowest to the highest, but for a few that would press all others into a corner."""
    low, high = min(values.min(), *thresholds), max(values.max(), *thresholds)
    enough = max(float(np.quantile(values, _LINEAR_SHARE)), *thresholds)
    most = enough + 2 * (enough - low)
    if high > most > low:
        high = most
    margin = 0.04 * (high - low) or max(abs(high), 1.0) * 0.05
    return _Axis(float(low - margin), float(high + margin), int((values > high + margin).sum()))


def _counts(most: int, root: bool) -> list[int]:
    if not root:
        step = max(1, int(round_step(most / 4)))
        return list(range(step, most + 1, step))
    ticks = [digit * 10**power for power in range(9) for digit in (1, 3) if digit * 10**power <= most]
    return ticks[-4:]


def _grid(y: float, label: str, right: float = _RIGHT) -> str:
    return f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>' + _text(label, _LEFT - 7, y + 4, "end")


def _text(words: str, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _svg(label: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(label, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
