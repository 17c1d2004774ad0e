"""The image score S_A, and the regions above a threshold that are large enough to count.

The rule is the one of Bergmann et al., "MVTec AD" (CVPR 2019), section 4.3: raise the threshold until the largest
region on the good validation images is just below the minimum defect area. In exact form, for a map s and a minimum
area A,

    S_A(s) = the highest level v at which {s >= v} has an 8-connected component of at least A pixels,

which is the maximum of the grayscale area opening of s with area A. A map has a region of at least A pixels strictly
above a threshold exactly when S_A is above it, so verdict, mask and score are one number.

Large enough may also mean long and wide enough. Distances are between the centres of a region's pixels, plus the one
pixel that the two halves at its ends make:

    length = the largest distance between two pixels of the region, plus one (its largest Feret diameter),
    width  = its smallest extent over all directions, plus one (its smallest Feret diameter: the narrowest slot that
             its convex hull passes through).

One pixel is 1 long and 1 wide, a horizontal run of k pixels is k long and 1 wide. As the level falls a component gains
pixels and loses none, and area, length and width of a set are at least those of any set within it. So once a component
is large enough it stays so at every lower level, there is one highest level at which one is, and all of the above
holds word for word. Elongation (length / width) or fill (area / area of the hull) fall as well as rise on the way: a
scratch that runs into a blob is no longer elongated. {s >= v} could then have such a component at one level and none at
a lower one, no single number would be the score, and neither is on offer.

Maps are float32 of the image's own size. Minus infinity marks pixels outside the region of interest: they are in no
region.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from adcli.regions.hulls import Runs, find_runs, long_and_wide, measure_hulls, places_of
from adcli.sizes import PixelSize
from adcli.types import Region

_WIDEN = 4  # factor from one trial level's pixel count to the next; 2 to 4 differ little on smooth maps
_STEP = 4  # pixels from one to the next that is looked at to begin with
_FEW = 1 << 14  # pixels of a map that is searched without that
_CROWD = 32  # times the area: with more pixels above the first level than that, the search from the top is shorter


def row_tops(score_map: np.ndarray) -> np.ndarray:
    """The highest score of every row of a map (H, W) float32, (H,); raises ValueError for what is no map.

    Both the score and the regions of a map begin with them. Who wants both hands them over, and they are found once.
    """
    if score_map.ndim != 2 or score_map.size == 0 or score_map.dtype != np.float32:
        raise ValueError(f"a map is (H, W) float32 with at least one pixel, not {score_map.shape} {score_map.dtype}")
    # At two thirds of the time of max(axis=1).
    tops = np.maximum.reduceat(score_map.ravel(), np.arange(0, score_map.size, score_map.shape[1]))
    if math.isnan(tops.max()):  # the maximum is NaN where any pixel is
        raise ValueError("the map holds NaN")
    return tops


def area_score(score_map: np.ndarray, size: int | PixelSize, tops: np.ndarray | None = None) -> float:
    """S_A of one map, (H, W) float32: the float64 of one of its values; minus infinity if no component is large enough.

    `size` is what a component must have, all of it; a number is an area. `tops` are `row_tops` of the map. Components
    only grow as the level falls, so the level is found by search: from a level at which a component is large enough,
    then by bisection over the values above it, looking only at the components that are still in play.
    """
    return _search(score_map, _check(size), row_tops(score_map) if tops is None else tops)


def _search(score_map: np.ndarray, size: PixelSize, tops: np.ndarray) -> float:
    if size == (1, 0, 0):
        return float(tops.max()) + 0.0  # + 0.0 turns a negative zero into zero, here and below
    if not _fits(size, score_map.shape):
        return -math.inf
    size = _with_implied_area(size)
    window, level = _begin_below(score_map, size, tops)
    if window is None:
        window, level, too_high = _begin_above(score_map, size)
        if window is None:
            return -math.inf
    else:
        inside = window.ravel().compress((window >= level).ravel())
        too_high = _nth_largest(inside, size.area)  # no higher level has so many pixels
        if too_high > level:
            smaller = _large_components(window, too_high, size)
            if smaller is not None:
                return float(too_high) + 0.0
    between = _between(window, level, too_high)
    while between.size:
        trial = _nth_largest(between, (between.size + 1) // 2)
        smaller = _large_components(window, trial, size)
        if smaller is None:
            too_high, between = trial, between.compress(between < trial)
        else:
            level, window = trial, smaller
            between = _between(window, level, too_high)
    return float(level) + 0.0


def _begin_below(score_map: np.ndarray, size: PixelSize, tops: np.ndarray) -> tuple[np.ndarray | None, np.float32]:
    """The large components at a level that is a little too low, and the level; None where that is no short cut.

    It is the score of every _STEP-th pixel of every _STEP-th row by themselves, for somewhat more of them than the size
    takes: a map is smooth, and what lies between them is alike. Where it is not, a level is too high or far too low.
    """
    if score_map.size <= _FEW or min(score_map.shape) <= _STEP:
        return None, np.float32(-np.inf)
    sample = np.ascontiguousarray(score_map[_STEP // 2 :: _STEP, _STEP // 2 :: _STEP])
    points = size.area / _STEP**2
    points += math.sqrt(points) + 1  # a figure of that area has so many of them, give or take a few at its edge
    length, width = (side and side / _STEP + 1 for side in (size.length, size.width))
    level = np.float32(_search(sample, PixelSize(math.ceil(points), length, width), row_tops(sample)))
    if level == -np.inf:
        return None, level
    return _large_components(_rows(score_map, tops >= level)[1], level, size, _CROWD * size.area), level


def _rows(score_map: np.ndarray, wanted: np.ndarray) -> tuple[int, np.ndarray]:
    """The first of the rows that are `wanted`, (H,) bool, and the map from there to the last of them."""
    places = np.flatnonzero(wanted)
    first, end = (int(places[0]), int(places[-1]) + 1) if places.size else (0, 0)
    return first, score_map[first:end]


def _begin_above(score_map: np.ndarray, size: PixelSize) -> tuple[np.ndarray | None, np.float32, np.float32]:
    """The large components at the first level that has some, the level, and one that is too high; None where no level
    has any. The levels are those of as many of the highest pixels as the size takes, and then of ever more."""
    inside = np.count_nonzero(score_map > -np.inf)
    if inside < size.area:
        return None, np.float32(-np.inf), np.float32(-np.inf)
    pixels, level = size.area, _nth_largest(score_map, size.area)
    window, too_high = _large_components(score_map, level, size), level  # no higher level has so many pixels
    while window is None and pixels < inside:
        pixels = min(_WIDEN * pixels, inside)
        too_high, level = level, _nth_largest(score_map, pixels)
        window = _large_components(score_map, level, size)
    return window, level, too_high


def _check(size: int | PixelSize) -> PixelSize:
    """The size, with 0 for a length or width of up to one pixel, which every region has."""
    area, length, width = size if isinstance(size, PixelSize) else PixelSize(size)
    if area < 1:
        raise ValueError(f"the minimum area is at least 1 pixel, not {area}")
    if not (length >= 0 and width >= 0):
        raise ValueError(f"a minimum length or width is not negative, as one of {length} and {width} is")
    return PixelSize(area, length if length > 1 else 0.0, width if width > 1 else 0.0)


def _fits(size: PixelSize, shape: tuple[int, ...]) -> bool:
    """Whether the whole of a map has the length and the width."""
    height, width = shape
    return size.length <= math.sqrt((height - 1) ** 2 + (width - 1) ** 2) + 1 and size.width <= min(height, width)


def _with_implied_area(size: PixelSize) -> PixelSize:
    """The same demand with an area that the others imply, so that fewer components are measured.

    From pixel to pixel within a component is at most sqrt(2), and no component is wider than long.
    """
    steps = (max(size.length, size.width, 1) - 1) / math.sqrt(2)
    return size._replace(area=max(size.area, math.ceil(steps * (1 - 1e-12)) + 1))


def _nth_largest(values: np.ndarray, n: int) -> np.float32:
    return np.partition(values, values.size - n, axis=None)[values.size - n]


def _large_components(
    window: np.ndarray, level: np.float32, size: PixelSize, most: int | None = None
) -> np.ndarray | None:
    """The components of {window >= level} that are large enough, cropped, all else -inf; or None: there is none, or
    there are more than `most` pixels to look at."""
    above = window >= level
    if most is not None and np.count_nonzero(above) > most:
        return None
    box = _box(above)
    above, window = above[box], window[box]
    if above.size < size.area:
        return None
    labels = _label(above)
    places = np.flatnonzero(above)
    component = labels.ravel().take(places)
    # Areas by counting the pixels above: cv2's own statistics walk the whole picture, at seven times the labelling.
    large = np.bincount(component) >= size.area
    if (size.length or size.width) and large.any():
        large = long_and_wide(measure_hulls(find_runs(above, labels), large), large, size)
    if not large.any():
        return None
    y, x = np.divmod(places.compress(large.take(component)), above.shape[1])
    top, left = y[0], x.min()
    kept = np.full((y[-1] + 1 - top, x.max() + 1 - left), -np.inf, np.float32)
    kept[y - top, x - left] = window[y, x]
    return kept


def _box(above: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold all pixels above; empty where there are none."""
    rows = np.flatnonzero(above.any(axis=1))
    if not rows.size:
        return slice(0), slice(0)
    rows = slice(rows[0], rows[-1] + 1)
    columns = np.flatnonzero(above[rows].any(axis=0))
    return rows, slice(columns[0], columns[-1] + 1)


def _label(above: np.ndarray) -> np.ndarray:
    """The number of each pixel's component, (H, W) int32; 0 is below."""
    return cv2.connectedComponents(above.view(np.uint8), connectivity=8)[1]


def _between(window: np.ndarray, low: np.float32, high: np.float32) -> np.ndarray:
    return window.ravel().compress(((window > low) & (window < high)).ravel())


def find_regions(
    score_map: np.ndarray,
    threshold: float,
    size: int | PixelSize,
    pixel_pitch: float | None = None,
    tops: np.ndarray | None = None,
) -> tuple[np.ndarray, list[Region]]:
    """The mask and the regions of one map: 8-connected, every pixel strictly above, as large as `size` or larger.

    The regions come largest first, ties by their first pixel from the top, then from the left. The mask, (H, W) bool,
    is those regions and nothing else. `pixel_pitch` is in mm per pixel; without it whatever is in mm is None. `tops`
    are `row_tops` of the map.
    """
    size = _check(size)
    tops = row_tops(score_map) if tops is None else tops
    level = largest_float32_up_to(threshold)
    mask = np.zeros(score_map.shape, bool)
    top, rows = _rows(score_map, tops > level)
    above = rows > level
    columns = np.flatnonzero(above.any(axis=0))
    left, right = (int(columns[0]), int(columns[-1]) + 1) if columns.size else (0, 0)
    above = np.ascontiguousarray(above[:, left:right])
    box = slice(top, top + len(rows)), slice(left, right)
    if above.size < size.area:
        return mask, []
    labels = _label(above)
    runs = find_runs(above, labels)
    large = np.bincount(runs.component, runs.last - runs.first + 1) >= size.area
    hulls = measure_hulls(runs, large)
    if size.length or size.width:
        large = long_and_wide(hulls, large, size)
    dropped = runs.of(~large)
    above.ravel()[places_of(dropped, above.shape[1])] = False
    mask[box] = above
    return mask, _measure(score_map[box], labels, runs.of(large), hulls, (top, left), pixel_pitch)


def largest_float32_up_to(threshold: float) -> np.float32:
    """For a float32 s, s > threshold exactly when s > this: between the two there is no float32."""
    threshold = float(threshold)
    if math.isnan(threshold):
        raise ValueError("the threshold is NaN")
    with np.errstate(over="ignore"):
        nearest = np.float32(threshold)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > threshold else nearest


def _measure(
    score_map: np.ndarray,
    labels: np.ndarray,
    runs: Runs,
    hulls: dict[int, tuple[float, float]],
    corner: tuple[int, int],
    pixel_pitch: float | None,
) -> list[Region]:
    """Regions of these runs of a part of a map that begins at `corner` (y, x), each named by its component."""
    order = np.argsort(runs.component, kind="stable")  # stable: within a component the runs stay in reading order
    row, first, last, component = (column.take(order) for column in runs)
    starts = np.flatnonzero(np.diff(component, prepend=-1))
    if not starts.size:
        return []
    lengths = last - first + 1
    areas = np.add.reduceat(lengths, starts)
    left, right = np.minimum.reduceat(first, starts), np.maximum.reduceat(last, starts)
    top, bottom = row.take(starts), np.maximum.reduceat(row, starts)
    # Twice the sum over a run of its columns is its length times the sum of its ends: whole numbers up to the quotient.
    centre_x = np.add.reduceat(lengths * (first + last + 2 * corner[1]), starts) // 2 / areas
    centre_y = np.add.reduceat(lengths * (row + corner[0]), starts) / areas
    regions = []
    for i in np.lexsort((top * score_map.shape[1] + first.take(starts), -areas)):
        name = int(component[starts[i]])
        part = slice(top[i], bottom[i] + 1), slice(left[i], right[i] + 1)
        scores = score_map[part][labels[part] == name]
        length, width = hulls[name]
        area = int(areas[i])
        regions.append(
            Region(
                area_px=area,
                area_mm2=None if pixel_pitch is None else area * pixel_pitch**2,
                length_px=length,
                length_mm=None if pixel_pitch is None else length * pixel_pitch,
                width_px=width,
                width_mm=None if pixel_pitch is None else width * pixel_pitch,
                bbox=(
                    int(left[i]) + corner[1],
                    int(top[i]) + corner[0],
                    int(right[i] - left[i] + 1),
                    int(bottom[i] - top[i] + 1),
                ),
                centroid=(float(centre_x[i]), float(centre_y[i])),
                max=float(scores.max()),
                mean=float(np.add.reduceat(scores.astype(np.float64), [0])[0] / area),
            )
        )
    return regions
