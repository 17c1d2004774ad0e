"""Regions as horizontal runs of pixels, and the length and width of their convex hulls."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from adcli.sizes import PixelSize


class Runs(NamedTuple):
    """The horizontal runs of a picture's pixels, in reading order; each array is (n,)."""

    row: np.ndarray
    first: np.ndarray  # columns
    last: np.ndarray
    component: np.ndarray

    def of(self, wanted: np.ndarray) -> Runs:
        """Those of the components that are `wanted`, an array of bool by label."""
        kept = wanted.take(self.component)
        return Runs(*(column.compress(kept) for column in self))


def find_runs(above: np.ndarray, labels: np.ndarray) -> Runs:
    begins, ends, ones = above.copy(), above.copy(), above.view(np.uint8)  # numpy compares bytes faster than bools
    np.greater(ones[:, 1:], ones[:, :-1], out=begins[:, 1:])
    np.greater(ones[:, :-1], ones[:, 1:], out=ends[:, :-1])
    places = np.flatnonzero(begins)
    row, first = np.divmod(places, above.shape[1])
    return Runs(row, first, np.flatnonzero(ends) - row * above.shape[1], labels.ravel().take(places))


def places_of(runs: Runs, width: int) -> np.ndarray:
    """Where the pixels of runs lie, flat and ascending, in a picture so wide."""
    lengths = runs.last - runs.first + 1
    before = np.cumsum(lengths) - lengths
    return np.repeat(runs.row * width + runs.first - before, lengths) + np.arange(lengths.sum())


def measure_hulls(runs: Runs, wanted: np.ndarray) -> dict[int, tuple[float, float]]:
    """Length and width of every component that is `wanted`, an array of bool by label."""
    # The ends of a component's horizontal runs have its convex hull, and are far fewer than its pixels.
    runs = runs.of(wanted)
    order = np.argsort(runs.component, kind="stable")
    row, component = runs.row.take(order), runs.component.take(order)
    points = np.stack([row, runs.first.take(order), row, runs.last.take(order)], axis=1).astype(np.int32)
    starts = np.flatnonzero(np.diff(component, prepend=-1))
    own = np.split(points, starts)[1:]
    return {name: _feret(one.reshape(-1, 2)) for name, one in zip(component.take(starts).tolist(), own, strict=True)}


def _feret(points: np.ndarray) -> tuple[float, float]:
    """Length and width of pixels (n, 2) int32.

    In whole numbers up to the squares. Quotients of Python's, roots and sums are rounded correctly, so they keep the
    order: of two regions, one within the other, the inner never measures more, not even by the last digit.
    """
    corners = cv2.convexHull(points)[:, 0].T.astype(np.int64)
    down, across = (one[:, None] - one for one in corners)
    length = math.sqrt(int((down**2 + across**2).max())) + 1
    edges = np.roll(corners, -1, axis=1) - corners
    # The narrowest slot lies along an edge. Cross product: the edge's length times a corner's distance from its line.
    reach = np.abs(edges[0] * across - edges[1] * down).max(axis=0).tolist()
    squares = (edges**2).sum(axis=0).tolist()
    narrowest = min((far * far / square for far, square in zip(reach, squares, strict=True) if square), default=0.0)
    return length, math.sqrt(narrowest) + 1


def long_and_wide(hulls: dict[int, tuple[float, float]], large: np.ndarray, size: PixelSize) -> np.ndarray:
    """Of the components that are `large`, an array of bool by label, those with the length and the width."""
    enough = np.zeros_like(large)
    enough[[name for name, (length, width) in hulls.items() if length >= size.length and width >= size.width]] = True
    return large & enough
