"""The picture of one image with its map drawn over it, on a scale that is the same for every image of a model.

0 on the scale is an ordinary pixel of the held-out good maps, 1 is the threshold. Nothing depends on the extremes of
the image at hand, so the same score has the same colour everywhere and a good part stays bare. Blue is below the
threshold and grows stronger towards it; orange to yellow is above: colours that stay apart under the common colour
blindnesses. The image itself is muted, so that strong colour means score.
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from adcli.errors import UsageError
from adcli.report.lettering import INK, PAPER, shortened, text_width, write

_STEPS = 128  # colours from 0 to the threshold, and as many from there to 2
# Scale value, red, green, blue, opacity; linear in between. The jump at 1 is the threshold; below 0.3 all is bare.
_BELOW = ((0.3, 20, 40, 150, 0.0), (0.65, 20, 90, 230, 0.28), (1.0, 60, 175, 255, 0.5))
_ABOVE = ((1.0, 255, 80, 0, 0.62), (1.5, 255, 150, 0, 0.66), (2.0, 255, 235, 40, 0.7))
# The map by itself, without an image below: the same colours, opaque, and dark where the overlay is bare.
_MAP_BELOW = ((0.0, 14, 16, 28), (0.3, 20, 34, 92), (0.65, 20, 90, 230), (1.0, 60, 175, 255))
_COLOUR_KEPT = 0.4  # of the image's own colour
# Blue, green and red of a muted image from red, green and blue; gray is the luma of ITU-R BT.601.
_MUTING = _COLOUR_KEPT * np.eye(3)[::-1] + (1 - _COLOUR_KEPT) * np.array([0.299, 0.587, 0.114])
_DIMMED = 0.35  # what is left of the brightness outside the region of interest
_BAND = 1 << 20  # pixels that are drawn at a time: fewer stay in a core's cache, but threads would meet more often
_NARROWEST = 360  # pixels across which the legend can be read
LONGEST_JPEG = 65500  # pixels a side, libjpeg's limit


def draw_overlay(
    pixels: np.ndarray,
    score_map: np.ndarray,
    *,
    low: float,
    threshold: float,
    regions_mask: np.ndarray,
    title: str,
    low_name: str = "median good",
    threshold_name: str = "threshold",
    white_level: float | None = None,
) -> np.ndarray:
    """Title, image under its map, and legend, (H', W', 3) uint8 BGR.

    `pixels` is (H, W) or (H, W, 3) RGB, uint8 or uint16. `score_map` is (H, W) float32; where it is minus infinity,
    outside the region of interest, the image is dimmed. The regions of `regions_mask`, (H, W) bool, are outlined.
    `low` and `threshold` are the scores at 0 and 1 of the scale, `low_name` and `threshold_name` say in the legend what
    they are.

    16-bit pixels are divided by `white_level`; without one, by the full range of the least number of bits (8 or more)
    that holds the brightest pixel, so 12-bit images in 16-bit files are not black.

    The image keeps its size, except that one smaller than the legend is enlarged by a whole number.
    """
    if pixels.shape[:2] != score_map.shape or regions_mask.shape != score_map.shape:
        raise ValueError(f"pixels {pixels.shape}, map {score_map.shape} and mask {regions_mask.shape} differ in size")
    if not (math.isfinite(low) and math.isfinite(threshold)):
        raise ValueError(f"a colour scale needs two finite scores, not {low} and {threshold}")
    height, width = score_map.shape
    times = max(1, math.ceil(_NARROWEST / max(height, width)))
    margin = max(0, _NARROWEST - times * width)
    size = min(max(0.42, (times * width + margin) / 1900), 3)
    head, foot, left = round(44 * size) + 4, round(78 * size), margin // 2
    picture = np.empty((head + times * height + foot, margin + times * width, 3), np.uint8)
    for paper in (picture[:head], picture[:, :left], picture[:, left + times * width :]):
        paper[:] = PAPER
    shown = picture[head : head + times * height, left : left + times * width]
    pixels = _eight_bits(pixels, white_level)
    drawn = shown if times == 1 else np.empty((height, width, 3), np.uint8)
    band = max(1, _BAND // width)
    for top in range(0, height, band):
        rows = slice(top, top + band)
        _draw_band(drawn[rows], pixels[rows], score_map[rows], low, threshold)
    if times > 1:
        shown[:] = drawn.repeat(times, 0).repeat(times, 1)
    outline(shown, regions_mask if times == 1 else regions_mask.repeat(times, 0).repeat(times, 1))
    _write_title(picture[:head], title, size)
    # + 0.0: minus zero is the same key as zero, and would be written otherwise.
    picture[-foot:] = _legend(foot, picture.shape[1], low + 0.0, threshold + 0.0, (low_name, threshold_name), size)
    return picture


def draw_views(
    pixels: np.ndarray,
    score_map: np.ndarray,
    *,
    low: float,
    threshold: float,
    regions_mask: np.ndarray,
    longest: int,
    white_level: float | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image, the image under its map, and the map: three pictures of one size, (H', W', 3) uint8 BGR.

    They have neither title nor legend, so that one lies exactly on the other; the arguments are those of
    `draw_overlay`. The longer side has at most `longest` pixels; a small image is enlarged by a whole number.
    """
    outside = score_map == -np.inf
    shown = np.where(outside, np.float32(low), score_map)
    picture, shown = (fitted(array, longest) for array in (_eight_bits(pixels, white_level), shown))
    # Any pixel of a region keeps its place in the smaller mask: a thin region is outlined, too.
    mask, outside = (fitted(array.astype(np.uint8) * 255, longest) > 0 for array in (regions_mask, outside))
    levels = _levels(shown, low, threshold)
    image = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR)
    painted, map_alone = _paint(_muted(picture), levels), cv2.applyColorMap(levels, _map_colours())
    for drawn in (painted, map_alone):
        cv2.copyTo(cv2.convertScaleAbs(drawn, alpha=_DIMMED), outside.view(np.uint8), drawn)
        outline(drawn, mask)
    return image, painted, map_alone


def fitted(array: np.ndarray, longest: int) -> np.ndarray:
    """Averaged down to `longest` pixels a side, or each pixel repeated up to half of that."""
    most = max(array.shape[:2])
    if most > longest:
        size = [max(1, round(side * longest / most)) for side in array.shape[1::-1]]
        return cv2.resize(array, size, interpolation=cv2.INTER_AREA)
    times = math.ceil(longest / 2 / most)
    return array.repeat(times, 0).repeat(times, 1)


def encode_jpeg(picture: np.ndarray, quality: int = 90) -> bytes:
    """The file's bytes of a picture, (H, W, 3) uint8 BGR."""
    if max(picture.shape) > LONGEST_JPEG:
        height, width = picture.shape[:2]
        raise UsageError(
            f"An overlay of {width}x{height} pixels is larger than a JPEG can be ({LONGEST_JPEG} a side); "
            "use --overlays none."
        )
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _levels(score_map: np.ndarray, low: float, threshold: float) -> np.ndarray:
    """Scores as colour numbers 0 to 255, (H, W) uint8: up to 127 not above the threshold, 128 and more above."""
    span = threshold - low
    if span <= 0:  # a scale without length: bare up to the threshold, hottest above
        return np.where(score_map > threshold, np.uint8(2 * _STEPS - 1), np.uint8(0))
    distance = np.clip(score_map, threshold - span, threshold + span)
    distance -= np.float32(threshold)
    # 0.499 rather than 0.5: rounding takes a score equal to the threshold down to 127.
    return cv2.convertScaleAbs(distance, alpha=_STEPS / span, beta=_STEPS - 1 + 0.499)


@functools.cache
def _colours() -> tuple[np.ndarray, np.ndarray]:
    """Per colour number what is added to the picture (BGR, opacity applied), (256, 1, 3) uint8, and how much of it is
    left, of 255, (256,) uint8."""
    scale = (np.arange(2 * _STEPS) + 0.5) / _STEPS
    halves = [
        [np.interp(part, *np.array(anchors).T[[0, channel]]) for channel in (3, 2, 1, 4)]
        for part, anchors in ((scale[:_STEPS], _BELOW), (scale[_STEPS:], _ABOVE))
    ]
    table = np.hstack(halves).T[:, None]  # (256, 1, 4): blue, green, red, opacity
    opacity = table[..., 3:]
    return (table[..., :3] * opacity).round().astype(np.uint8), (255 * (1 - opacity)).ravel().round().astype(np.uint8)


@functools.cache
def _last_bare() -> int:
    """The highest colour number up to which all leave the picture as it is."""
    added, left = _colours()
    return int(np.flatnonzero((added > 0).any(axis=(1, 2)) | (left < 255))[0]) - 1


@functools.cache
def _map_colours() -> np.ndarray:
    """The opaque colour of every colour number, (256, 1, 3) uint8 BGR."""
    scale = (np.arange(2 * _STEPS) + 0.5) / _STEPS
    halves = ((scale[:_STEPS], _MAP_BELOW), (scale[_STEPS:], _ABOVE))
    rows = [[np.interp(part, *np.array(anchors).T[[0, c]]) for c in (3, 2, 1)] for part, anchors in halves]
    return np.hstack(rows).T[:, None].round().astype(np.uint8)


def _draw_band(picture: np.ndarray, pixels: np.ndarray, score_map: np.ndarray, low: float, threshold: float) -> None:
    """Some rows of an image under its map, dimmed outside the region of interest, drawn on rows of a picture."""
    _muted(pixels, picture)
    levels = _levels(score_map, low, threshold)
    columns, rows = (np.flatnonzero(levels.max(axis=axis) > _last_bare()) for axis in (0, 1))
    if columns.size:  # mostly not all of them
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        _paint(picture[window], levels[window])
    if score_map.min() == -np.inf:
        outside = score_map == -np.inf
        cv2.copyTo(cv2.convertScaleAbs(picture, alpha=_DIMMED), outside.view(np.uint8), picture)


def _paint(picture: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The picture under the colours, written over it."""
    added, left = _colours()
    cv2.multiply(picture, cv2.cvtColor(cv2.LUT(levels, left), cv2.COLOR_GRAY2BGR), picture, scale=1 / 255)
    return cv2.add(picture, cv2.applyColorMap(levels, added), picture)


def _eight_bits(pixels: np.ndarray, white_level: float | None) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype != np.uint16:
        raise ValueError(f"pixels are uint8 or uint16, not {pixels.dtype}")
    if white_level is None:
        white_level = 2 ** max(8, int(pixels.max()).bit_length()) - 1
    return cv2.convertScaleAbs(pixels, alpha=255 / white_level)


def _muted(pixels: np.ndarray, picture: np.ndarray | None = None) -> np.ndarray:
    """The image with less of its colour, (H, W, 3) uint8 BGR; drawn on `picture` where one is given."""
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR, picture)
    return cv2.transform(pixels, _MUTING, picture)


def outline(
    picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = (255, 255, 255), thickness: int = 1
) -> None:
    """Light on black: one of the two stands out on any ground. `thickness` is that in a picture of 1000 pixels."""
    contours = cv2.findContours(np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    thin = thickness * max(1, round(max(mask.shape) / 1000))
    cv2.drawContours(picture, contours, -1, (0, 0, 0), 2 * thin + 1)
    cv2.drawContours(picture, contours, -1, colour, thin)


def _write_title(strip: np.ndarray, title: str, size: float) -> None:
    edge = round(16 * size)
    room = strip.shape[1] - 2 * edge
    write(strip, shortened(title, room, size), edge, round(31 * size) + 2, size)


@functools.lru_cache(maxsize=2)  # images of one size have one
def _legend(height: int, width: int, low: float, threshold: float, names: tuple[str, str], size: float) -> np.ndarray:
    """A strip with what `draw_legend` draws, read-only."""
    strip = np.full((height, width, 3), PAPER, np.uint8)
    draw_legend(strip, low, threshold, names, size)
    strip.setflags(write=False)
    return strip


def draw_legend(strip: np.ndarray, low: float, threshold: float, names: tuple[str, str], size: float) -> None:
    """The scale from 0 to 2 over middle gray, with the scores at its 0 and 1."""
    left, right, middle = round(16 * size), strip.shape[1] - round(16 * size), strip.shape[1] // 2
    top, bottom, tick = round(12 * size), round(36 * size), round(5 * size)
    levels = np.linspace(0, 255, right - left).round().astype(np.uint8)[None].repeat(bottom - top, axis=0)
    strip[top:bottom, left:right] = _paint(np.full((*levels.shape, 3), 128, np.uint8), levels)
    cv2.line(strip, (middle, top - tick), (middle, bottom + tick), INK, max(1, round(size)))
    zero, one, end = f"0 = {names[0]} {low:.4g}", f"1 = {names[1]} {threshold:.4g}", "2+"
    small, baseline = 0.85 * size, round(64 * size)
    # The first two meet first; fonts differ between versions of OpenCV by a third in width.
    small *= min(1.0, (middle - left - 3 * tick) / (text_width(zero, small) + text_width(one, small) / 2))
    write(strip, zero, left, baseline, small)
    write(strip, one, middle - text_width(one, small) // 2, baseline, small)
    write(strip, end, right - text_width(end, small), baseline, small)
