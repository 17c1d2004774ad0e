"""Alignment: images of a part that lies a little differently each time, brought to where a golden image has it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from adcli.errors import UnreadableImage, UsageError
from adcli.geometry.golden import Golden
from adcli.images import read_image

_LONGEST = 320  # pixels of the golden image's longer side: a twentieth of a pixel there is enough for any patch
_LEAST_SIDE = 16  # pixels, so reduced
_STEPS, _PRECISION = 60, 1e-5  # of the refinement
_BETTER = 0.02  # what a turned start must gain in correlation: a round part has no angle, and shall not get one
_DOUBTFUL = 0.9  # correlation below which all angles are tried
_STEP = 15.0  # degrees between them
_BEST_STARTS = 4  # of them that are refined
_LEAST_OVERLAP = 0.25  # of the golden image that the part must cover for its correlation to mean anything


@dataclass(frozen=True)
class Placement:
    """How an image lies against the golden one."""

    to_image: np.ndarray  # (2, 3) float64: golden pixel (x, y, 1), scaled to the image's size, to the image's pixel
    shift: tuple[float, float]  # x, y in pixels of the image, of the image's centre
    angle: float  # degrees, clockwise
    correlation: float  # of the aligned image with the golden one, -1 to 1


def read_golden(path: Path, white_level: float | None) -> Golden:
    """The golden image from its file. Raises UsageError for one that cannot be read, or shows nothing."""
    try:
        image = read_image(path)
    except UnreadableImage as error:
        raise UsageError(f"the golden image cannot be used: {error}") from error
    shrink = min(1.0, _LONGEST / max(image.width, image.height))
    size = max(1, round(image.height * shrink)), max(1, round(image.width * shrink))
    if min(size) < _LEAST_SIDE:
        raise UsageError(
            f"the golden image {path} is {image.width} x {image.height} pixels, too narrow to align to: leave out "
            "--align"
        )
    gray = _gray(image.pixels, size, white_level)
    if gray.std() < 0.5:
        raise UsageError(f"the golden image {path} is of one gray, and shows nothing to align to: give a good part's")
    return Golden(gray, image.width, image.height, image.sha256)


def _gray(pixels: np.ndarray, size: tuple[int, int], white_level: float | None) -> np.ndarray:
    """(h, w) uint8 gray of a size, from the pixels of a file."""
    small = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    if small.ndim == 3:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    if small.dtype == np.uint16:
        small = np.clip(small * (255 / (white_level or 65535)), 0, 255).round().astype(np.uint8)
    return small


def place(golden: Golden, pixels: np.ndarray, white_level: float | None = None) -> Placement:
    """Finds shift and rotation of an image (H, W) or (H, W, 3) against the golden one.

    A start is found by phase correlation (Kuglin and Hines 1975), with the rotation from the log-polar spectra (Reddy
    and Chatterji 1996), and refined by maximising the enhanced correlation coefficient (Evangelidis and Psarakis 2008).
    Nothing is assumed to be near: where that correlates little, starts all around are tried. An image on which no start
    leads anywhere stays as it is, with the correlation that it has.
    """
    height, width = pixels.shape[:2]
    target = golden.pixels
    source = _gray(pixels, target.shape, white_level)
    still = np.hstack([np.eye(2), np.zeros((2, 1))])
    best, best_correlation = still, _correlation(target, source, still)

    def refine(starts: list[tuple[float, np.ndarray]]) -> None:
        nonlocal best, best_correlation
        for angle, start in starts:
            found, before = _refined(target, source, start), _correlation(target, source, start)
            correlation = _correlation(target, source, found)
            if correlation < before - _BETTER:  # the refinement has led away from a start that was good already
                found, correlation = start, before
            if correlation > best_correlation + (_BETTER if angle else 0.0):
                best, best_correlation = found, correlation

    refine([(angle, _shifted(target, source, angle)) for angle in (0.0, *_angles(target, source))])
    if best_correlation < _DOUBTFUL:  # the spectra have misled, or it is another part
        starts = [(angle, _shifted(target, source, angle)) for angle in np.arange(_STEP, 360, _STEP).tolist()]
        starts.sort(key=lambda start: _correlation(target, source, start[1]), reverse=True)
        refine(starts[:_BEST_STARTS])
    # From the golden image's pixels to the file's: pixel centres lie at half numbers, so scales go about -0.5.
    by_x, by_y = width / target.shape[1], height / target.shape[0]
    to_file = np.array([[by_x, 0, (by_x - 1) / 2], [0, by_y, (by_y - 1) / 2], [0, 0, 1]])
    whole = to_file @ np.vstack([best, [0, 0, 1]]) @ np.linalg.inv(to_file)
    centre = np.array([(width - 1) / 2, (height - 1) / 2, 1])
    moved = whole @ centre - centre
    angle = math.degrees(math.atan2(best[1, 0], best[0, 0]))
    return Placement(whole[:2], (float(moved[0]), float(moved[1])), angle, float(best_correlation))


def _correlation(target: np.ndarray, source: np.ndarray, warp: np.ndarray) -> float:
    """Zero-mean normalised correlation where the two overlap; 0 where either is of one gray there."""
    moved, covered = _warped(source, warp, target.shape)
    if covered.mean() < _LEAST_OVERLAP:
        return 0.0
    a, b = target[covered].astype(np.float64), moved[covered].astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    power = math.sqrt((a @ a) * (b @ b))
    return float(a @ b) / power if power else 0.0


def _warped(source: np.ndarray, warp: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    size = (shape[1], shape[0])
    moved = cv2.warpAffine(source, warp, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    ones = np.full(source.shape, 255, np.uint8)
    covered = cv2.warpAffine(ones, warp, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) == 255
    return moved, covered


def _about_centre(angle: float, shape: tuple[int, int]) -> np.ndarray:
    """(2, 3): turns by `angle` degrees about the middle."""
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]])


def _shifted(target: np.ndarray, source: np.ndarray, angle: float) -> np.ndarray:
    """The start with this angle: turned, then shifted by phase correlation."""
    turned = _about_centre(angle, target.shape)
    moved, _ = _warped(source, turned, target.shape)
    window = cv2.createHanningWindow((target.shape[1], target.shape[0]), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(_centred(target), _centred(moved), window)
    warp = turned.copy()
    warp[:, 2] += turned[:, :2] @ (x, y)
    return warp


def _centred(gray: np.ndarray) -> np.ndarray:
    return gray.astype(np.float32) - np.float32(gray.mean())


def _angles(target: np.ndarray, source: np.ndarray) -> tuple[float, ...]:
    """Two angles, half a turn apart, by which the source may be turned: a spectrum does not tell which of them."""
    spectra = []
    side = max(target.shape)
    for gray in (target, source):
        window = cv2.createHanningWindow((gray.shape[1], gray.shape[0]), cv2.CV_32F)
        square = np.zeros((side, side), np.float32)
        square[: gray.shape[0], : gray.shape[1]] = _centred(gray) * window
        spectrum = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(square)))).astype(np.float32)
        middle = (side // 2, side // 2)
        spectra.append(cv2.warpPolar(spectrum, (side // 2, 720), middle, side / 2, cv2.WARP_POLAR_LINEAR)[:360, 4:])
    (_, rows), _ = cv2.phaseCorrelate(*(np.ascontiguousarray(s - s.mean()) for s in spectra))
    angle = rows / 2
    return angle, angle + 180


def _refined(target: np.ndarray, source: np.ndarray, start: np.ndarray) -> np.ndarray:
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, _PRECISION)
    warp = start.astype(np.float32)
    try:
        _, warp = cv2.findTransformECC(target, source, warp, cv2.MOTION_EUCLIDEAN, criteria, None, 5)
    except cv2.error:  # it does not converge, or there is no overlap
        return start
    return warp.astype(np.float64) if np.isfinite(warp).all() else start
