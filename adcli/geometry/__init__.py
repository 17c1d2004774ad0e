"""Where on an image is looked, in what pieces, and how it lies: from a file's pixels to the network's inputs, and from
patch scores back to a map of the file's own size.

Without any of it an image is one input. An image is first aligned to a golden one, then cut into tiles; of each the
network sees only what lies in the region of interest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from adcli.geometry.alignment import Golden, Placement, place
from adcli.geometry.roi import RegionOfInterest
from adcli.geometry.tiles import Box, Tiling
from adcli.images import prepare
from adcli.maps import lift

# What the network sees where nothing is looked at: the mean that it takes off (torchvision's, of every network trained
# on ImageNet), so that a convolution finds there what it finds beyond the border of an image.
_BLANK = np.array([0.485, 0.456, 0.406], np.float32)


@dataclass(frozen=True)
class Geometry:
    """What of an image is looked at, and how. Fixed at `fit`; each part may be absent."""

    roi: RegionOfInterest | None = None
    tiling: Tiling | None = None
    golden: Golden | None = None

    def uninspected(self) -> float:
        """Share of an image outside the region of interest."""
        return 0.0 if self.roi is None else 1 - self.roi.share

    def facts(self) -> dict[str, float | int | str | None]:
        """What tables and JSON say of it."""
        return {
            "roi_digest": self.roi and self.roi.digest,
            "uninspected_share": self.uninspected(),
            "tile_px": self.tiling and self.tiling.tile,
            "overlap_px": self.tiling and self.tiling.overlap,
            "golden_sha256": self.golden and self.golden.digest,
        }


class Views:
    """A geometry, ready to take images."""

    def __init__(self, geometry: Geometry, image_size: tuple[int, int], white_level: float | None, sigma: float):
        self.image_size = image_size
        self.white_level = white_level
        self.sigma = sigma
        self.geometry = geometry
        self._looked_at = lru_cache(maxsize=4)(self._outline)  # most lines have images of one size

    def of(self, pixels: np.ndarray) -> View:
        """An image's pixels (H, W) or (H, W, 3), uint8 or uint16, to its view."""
        return View(self, pixels)

    def count(self, size: tuple[int, int]) -> int:
        """How many inputs an image of size (H, W) becomes."""
        return len(self.outline(size)[0])

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

    def outline(self, size: tuple[int, int]) -> tuple[list[Box], np.ndarray | None]:
        """The boxes that are looked at, and the region of interest (H, W) bool, of an image of size (H, W)."""
        return self._looked_at(tuple(size))

    def _outline(self, size: tuple[int, int]) -> tuple[list[Box], np.ndarray | None]:
        tiling, roi = self.geometry.tiling, self.geometry.roi
        boxes = [Box(0, size[0], 0, size[1])] if tiling is None else tiling.boxes(size)
        if roi is None:
            return boxes, None
        inside = roi.on(size)
        inside.setflags(write=False)
        return [box for box in boxes if box.of(inside).any()], inside


class View:
    """One image: its inputs for the network, one after another, and the map that their scores make."""

    def __init__(self, views: Views, pixels: np.ndarray):
        self._views = views
        self._size = pixels.shape[:2]
        self._boxes, self._inside = views.outline(self._size)
        golden = views.geometry.golden
        self.placement: Placement | None = None
        self._pixels = pixels
        if golden is not None:
            self.placement = place(golden, pixels, views.white_level)
            self._pixels = _warp(pixels, self.placement.to_image, cv2.WARP_INVERSE_MAP)
        self._map: np.ndarray | None = None
        self._overview: np.ndarray | None = None

    @property
    def correlation(self) -> float:
        """With the golden image; 1 where there is none."""
        return 1.0 if self.placement is None else self.placement.correlation

    def __len__(self) -> int:
        return len(self._boxes)

    def inputs(self) -> Iterator[np.ndarray]:
        """What the network sees, (H, W, 3) float32 RGB in [0, 1] each, made when asked for."""
        if self._views.geometry.tiling is None and self._boxes:
            yield self.overview()
            return
        for box in self._boxes:
            yield self._prepared(box)

    def overview(self) -> np.ndarray:
        """The whole image as the network would see it, (H, W, 3) float32."""
        if self._overview is None:
            self._overview = self._prepared(Box(0, self._size[0], 0, self._size[1]))
        return self._overview

    def _prepared(self, box: Box) -> np.ndarray:
        prepared = prepare(box.of(self._pixels), self._views.image_size, self._views.white_level)
        inside = self._input_inside(box)
        if inside is not None:
            prepared[~inside] = _BLANK
        return prepared

    def _input_inside(self, box: Box) -> np.ndarray | None:
        """Pixels (H, W) bool of what an input shows that are of the region of interest alone; None where all are."""
        if self._inside is None:
            return None
        inside = box.of(self._inside)
        if inside.all():
            return None
        # Through the same resampling as the image: a pixel with a part of 1 has nothing of what lies outside in it.
        part = prepare(inside.view(np.uint8) * np.uint8(255), self._views.image_size)[..., 0]
        pure = part >= 1 - 1e-5
        return pure if pure.any() else part > 0

    def patches_inside(self, number: int, grid: tuple[int, int]) -> np.ndarray | None:
        """Patches (h, w) bool of an input that see some of the region of interest; None where all do."""
        inside = self._input_inside(self._boxes[number])
        if inside is None:
            return None
        return cv2.resize(inside.astype(np.float32), (grid[1], grid[0]), interpolation=cv2.INTER_AREA) > 0

    def add(self, number: int, grid: np.ndarray) -> None:
        """Takes the patch scores (h, w) float32 of an input."""
        box, views = self._boxes[number], self._views
        inside = self.patches_inside(number, grid.shape)
        if inside is not None and not inside.all():
            grid = _spread(grid, inside)
        piece = lift(grid, views.image_size, views.sigma, box.size)
        if views.geometry.tiling is None:
            self._map = piece
            return
        if self._map is None:
            self._map = np.zeros(self._size, np.float32)
        rows, columns = (_share(views.geometry.tiling, length) for length in self._size)
        piece *= rows[box.top][:, np.newaxis]
        piece *= columns[box.left]
        canvas = box.of(self._map)
        np.add(canvas, piece, out=canvas)

    def score_map(self) -> np.ndarray:
        """The map (H, W) float32 of the file's size; minus infinity where nothing was looked at."""
        score_map = self._map
        if score_map is None:  # the region of interest lies between the pixels of an image so small
            return np.full(self._size, -np.inf, np.float32)
        inside = self._inside
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
