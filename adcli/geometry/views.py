"""From a file's pixels to the network's inputs, and from patch scores back to a map of the file's own size."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np

from adcli.geometry import Geometry
from adcli.geometry.alignment import Placement, place
from adcli.geometry.tiles import Box, Tiling
from adcli.geometry.turning import shown, turn
from adcli.images import prepare
from adcli.maps import lift, resize, smooth

# What the network sees where nothing is looked at: the mean that it takes off (torchvision's, of every network trained
# on ImageNet, and embedded's), so that a convolution finds there what it finds beyond the border of an image.
_BLANK = np.array([0.485, 0.456, 0.406], np.float32)


class Outline:
    """What of an image of one size is looked at."""

    def __init__(self, geometry: Geometry, size: tuple[int, int], image_size: tuple[int, int]):
        height, width = size
        self.whole = Box(0, height, 0, width)
        self.boxes = [self.whole] if geometry.tiling is None else geometry.tiling.boxes(size)
        self.inside: np.ndarray | None = None  # what is looked at (H, W) bool, read-only
        self._region: np.ndarray | None = None  # the region of interest alone, of which a crop may show a part
        self._crop, self._image_size = geometry.crop, image_size
        if geometry.roi is not None:
            self.inside = self._region = geometry.roi.on(size)
            self.boxes = [box for box in self.boxes if box.of(self._region).any()]
        if geometry.crop is not None:
            shown = geometry.crop.inside(size)
            self.inside = shown if self._region is None else shown & self._region
            self.boxes = self.boxes if self.inside.any() else []
        if self.inside is not None:
            self.inside.setflags(write=False)
        self._pure: dict[Box, np.ndarray | None] = {}

    def input_inside(self, box: Box) -> np.ndarray | None:
        """Pixels (H, W) bool of the network's input for a box that are of the region of interest alone; None where all
        are."""
        if self._region is None:
            return None
        if box not in self._pure:  # two threads may both make it, and it is the same
            self._pure[box] = self._pure_pixels(box.of(self._region))
        return self._pure[box]

    def prepared(self, pixels: np.ndarray, white_level: float | None = None) -> np.ndarray:
        """Pixels of a box as the network would see them, whatever the region, (H, W, 3) float32."""
        if self._crop is None:
            return prepare(pixels, self._image_size, white_level)
        return self._crop.cut(prepare(pixels, self._crop.resized, white_level))

    def lifted(self, grid: np.ndarray, sigma: float, size: tuple[int, int]) -> np.ndarray:
        """Patch scores (h, w) of a box to a map (H, W) float32 of its size."""
        if self._crop is None:
            return lift(grid, self._image_size, sigma, size)
        return resize(self._crop.spread(smooth(resize(grid, self._image_size), sigma)), size)

    def _pure_pixels(self, inside: np.ndarray) -> np.ndarray | None:
        if inside.all():
            return None
        # Through the same resampling as the image: a pixel with a part of 1 has nothing of what lies outside in it.
        part = self.prepared(inside.view(np.uint8) * np.uint8(255))[..., 0]
        pure = part >= 1 - 1e-5
        return pure if pure.any() else part > 0


class Views:
    """A geometry, ready to take images. Safe to use from several threads."""

    def __init__(self, geometry: Geometry, image_size: tuple[int, int], white_level: float | None, sigma: float):
        self.image_size = image_size
        self.white_level = white_level
        self.sigma = sigma
        self.geometry = geometry
        self._latest: tuple[tuple[int, int], Outline] | None = None  # most lines have images of one size

    def of(self, pixels: np.ndarray) -> View:
        """An image's pixels (H, W) or (H, W, 3), uint8 or uint16, to its view."""
        return View(self, pixels)

    def count(self, size: tuple[int, int]) -> int:
        """How many inputs an image of size (H, W) becomes."""
        return len(self.outline(size).boxes)

    @property
    def stacked(self) -> int:
        """How many inputs are learnt from and scored as one, which stand above each other; 1: each for itself."""
        tiling = self.geometry.tiling
        return 1 if tiling is None or tiling.own_statistics is None else self.count(tiling.own_statistics)

    def refusal(self, size: tuple[int, int]) -> str | None:
        """Why an image of size (H, W) cannot be looked at: the rest of a sentence that begins with its name."""
        tiling = self.geometry.tiling
        if tiling is None or tiling.own_statistics in (None, tuple(size)):
            return None
        height, width = tiling.own_statistics
        return f"is {size[1]} x {size[0]} pixels, and the model knows the tiles of images of {width} x {height}"

    def outline(self, size: tuple[int, int]) -> Outline:
        """What is looked at of an image of size (H, W)."""
        latest = self._latest
        if latest is None or latest[0] != tuple(size):
            latest = tuple(size), Outline(self.geometry, tuple(size), self.image_size)
            self._latest = latest
        return latest[1]


class View:
    """One image: its inputs for the network, and the map that their scores make."""

    def __init__(self, views: Views, pixels: np.ndarray):
        self._views = views
        self._size = pixels.shape[:2]
        self._outline = views.outline(self._size)
        golden = views.geometry.golden
        self.placement: Placement | None = None
        self._pixels = pixels
        self._covered: np.ndarray | None = None  # (H, W) bool: what of the golden image's frame the file shows
        if golden is not None:
            self.placement = place(golden, pixels, views.white_level)
            self._pixels = _warp(pixels, self.placement.to_image, cv2.WARP_INVERSE_MAP)
            seen = np.full(self._size, 255, np.uint8)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            self._covered = cv2.warpAffine(seen, self.placement.to_image, self._size[::-1], flags=flags) == 255
        self._map: np.ndarray | None = None
        self._overview: np.ndarray | None = None
        self._factor = 1.0  # of the light
        self._shown: np.ndarray | None = None  # (H, W) bool, of a turned copy: what comes from within the image

    def turned(self, angle: float, factor: float) -> View:
        """A copy to learn from, turned about the centre by degrees, its light multiplied: itself by 0 and 1.

        Regions of interest stay where they are; what was not in one, or not in the image, is not learnt from.
        """
        if angle == 0 and factor == 1:
            return self
        other = copy.copy(self)
        other._overview, other._factor = None, factor
        if angle:
            other._pixels = turn(self._pixels, angle)
            seen = np.ones(self._size, bool) if self._covered is None else self._covered
            inside = self._outline.inside
            other._shown = shown(seen if inside is None else seen & inside, angle)
        return other

    @property
    def pixels(self) -> np.ndarray:
        """The file's pixels (H, W) or (H, W, 3), aligned, or of a copy."""
        return self._pixels

    @property
    def correlation(self) -> float:
        """With the golden image; 1 where there is none."""
        return 1.0 if self.placement is None else self.placement.correlation

    def __len__(self) -> int:
        return len(self._outline.boxes)

    def inputs(self) -> Iterator[np.ndarray]:
        """What the network sees, (H, W, 3) float32 RGB in [0, 1] each, made when asked for."""
        return map(self.input, range(len(self)))

    def input(self, number: int) -> np.ndarray:
        """One of the inputs."""
        box = self._outline.boxes[number]
        return self.overview() if box == self._outline.whole else self._prepared(box, box.of(self._pixels))

    def overview(self) -> np.ndarray:
        """The whole image as the network would see it, (H, W, 3) float32."""
        if self._overview is None:
            pixels, (height, width) = self._pixels, self._views.image_size
            if self._views.geometry.tiling is not None and min(pixels.shape[0] / height, pixels.shape[1] / width) > 8:
                # Its copies would be the largest there are of a large image, of which the guard needs no more.
                pixels = cv2.resize(pixels, (4 * width, 4 * height), interpolation=cv2.INTER_AREA)
            self._overview = self._prepared(self._outline.whole, pixels)
        return self._overview

    def _prepared(self, box: Box, pixels: np.ndarray) -> np.ndarray:
        prepared = self._outline.prepared(pixels, self._views.white_level)
        if self._factor != 1:
            prepared = np.minimum(prepared * np.float32(self._factor), np.float32(1))
        inside = self._outline.input_inside(box)
        if inside is not None:
            prepared[~inside] = _BLANK
        return prepared

    def patches_inside(self, number: int, grid: tuple[int, int]) -> np.ndarray | None:
        """Patches (h, w) bool of an input that see some of the region of interest; None where all do."""
        inside = self._outline.input_inside(self._outline.boxes[number])
        if inside is None:
            return None
        return cv2.resize(inside.astype(np.float32), (grid[1], grid[0]), interpolation=cv2.INTER_AREA) > 0

    def patches_to_learn(self, number: int, grid: tuple[int, int]) -> np.ndarray | None:
        """Patches (h, w) bool of an input to learn from; None: all. Of a turned copy none that shows a mirrored
        corner."""
        inside = self.patches_inside(number, grid)
        if self._shown is None:
            return inside
        whole = _whole_patches(self._outline.boxes[number].of(self._shown), grid)
        return whole if inside is None else whole & inside

    def _patches_to_score(self, number: int, grid: tuple[int, int]) -> np.ndarray | None:
        """Patches (h, w) bool whose scores are of something that the file shows; None where all are."""
        inside = self.patches_inside(number, grid)
        if self._covered is None:
            return inside
        covered = self._outline.boxes[number].of(self._covered)
        if covered.all():
            return inside
        # Beyond the file's border pixels are repeated: a patch of streaks says nothing, and shall not reach in.
        whole = _whole_patches(covered, grid)
        return whole if inside is None else whole & inside

    def add(self, number: int, grid: np.ndarray) -> None:
        """Takes the patch scores (h, w) float32 of an input."""
        box, views = self._outline.boxes[number], self._views
        inside = self._patches_to_score(number, grid.shape)
        if inside is not None and not inside.all() and inside.any():
            grid = _spread(grid, inside)
        piece = self._outline.lifted(grid, views.sigma, box.size)
        if views.geometry.tiling is None:
            self._map = piece
            return
        if self._map is None:
            self._map = np.zeros(self._size, np.float32)
        rows, columns = (_share(views.geometry.tiling, length) for length in self._size)
        canvas = box.of(self._map)
        canvas += piece * rows[box.top][:, np.newaxis] * columns[box.left]

    def score_map(self) -> np.ndarray:
        """The map (H, W) float32 of the file's size; minus infinity where nothing was looked at."""
        score_map = self._map
        if score_map is None:  # the region of interest lies between the pixels of an image so small
            return np.full(self._size, -np.inf, np.float32)
        inside = self._outline.inside
        if self.placement is not None:
            back = self.placement.to_image
            seen = np.full(self._size, 255, np.uint8) if inside is None else inside.view(np.uint8) * np.uint8(255)
            # Wholly seen only: half of a pixel's neighbours outside is no score.
            inside = cv2.warpAffine(seen, back, self._size[::-1], flags=cv2.INTER_LINEAR) >= 255
            score_map = _warp(score_map, back, 0)
        if inside is not None:
            score_map[~inside] = -np.inf
        return score_map


@lru_cache(maxsize=16)
def _share(tiling: Tiling, length: int) -> dict[int, np.ndarray]:
    """What the pixels of each span of an axis count for, by the span's begin."""
    return {start: share for (start, _), share in zip(tiling.spans(length), tiling.shares(length), strict=True)}


def _whole_patches(seen: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Patches (h, w) bool all of whose pixels (H, W) bool are seen."""
    return cv2.resize(seen.astype(np.float32), (grid[1], grid[0]), interpolation=cv2.INTER_AREA) > 0.999


def _spread(grid: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Patch scores with those outside replaced by the nearest inside, as at the border of an image."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return np.ascontiguousarray(grid[rows, columns])


def _warp(pixels: np.ndarray, matrix: np.ndarray, inverse: int) -> np.ndarray:
    """Pixels moved by an affine (2, 3) matrix, of the same size; what comes from beyond the border repeats it."""
    height, width = pixels.shape[:2]
    return cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_LINEAR | inverse, borderMode=cv2.BORDER_REPLICATE
    )
