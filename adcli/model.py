"""What a model file holds: how to look, what was learnt, where the threshold lies, and from what.

Plain frozen dataclasses of numbers, text and numpy arrays. `adcli.store` writes their picture; nothing here knows of
files, torch or a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adcli.errors import ModelFileError
from adcli.regions import MinArea


@dataclass(frozen=True)
class Spec:
    """How an image becomes a map. Nothing of it changes after `fit`."""

    method: str
    backbone: str
    layers: tuple[str, ...]
    image_size: tuple[int, int]  # H, W that images are squashed to
    sigma: (
        float  # of the Gaussian that smooths the map, input pixels; PaDiM section 4.2 and PatchCore section 4.2 use 4
    )
    white_level: float | None  # of 16-bit images; None: 65535
    precision: str  # of the features that were learnt from: fp32 | bf16
    seed: int


@dataclass(frozen=True)
class Calibration:
    """The threshold in force, and the held-out good images that it stands on."""

    rule: str
    engine: str  # the engine and
    precision: str  # the precision that the threshold belongs to: fp32 | bf16
    threshold: float  # NG above it; float64 of a float32 score
    check_threshold: float | None  # CHECK above it, where a band was asked for
    max_false_reject: float | None  # the rate that was asked for
    check_false_reject: float | None
    confidence: float | None  # None: the rates hold on average over draws of the held-out images
    scores: np.ndarray  # (n,) float64, S_A of the held-out images, ascending
    digests: np.ndarray  # (n, 32) uint8, their sha256, ascending
    median_pixel: float  # of the held-out maps, every second row and column, each map counting alike
    low_pixel: float  # their 1 % quantile

    def __post_init__(self) -> None:
        for threshold in (self.threshold, self.check_threshold):
            if threshold is not None and not math.isfinite(threshold):  # nothing is above NaN: all would be OK
                raise ValueError(f"a threshold is a finite number, not {threshold}")

    @property
    def overlay_low(self) -> tuple[float, str]:
        """Where the overlay's colour scale begins, and its name: the median good pixel, unless the threshold is not
        above it."""
        if self.threshold > self.median_pixel:
            return self.median_pixel, "median good"
        return self.low_pixel, "1 % good"


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from. No time, host or absolute path: equal inputs give equal bytes."""

    learnt: np.ndarray  # (n, 32) uint8, sha256 of the images learnt from, ascending
    unreadable: int  # images left out of the fit
    weights_digest: str  # over the stored weights, see backbones.weights.state_digest
    versions: dict[str, str]  # of adcli and the libraries that computed the model


@dataclass(frozen=True)
class Model:
    """A fitted model, with or without its calibration."""

    spec: Spec
    weights: dict[str, np.ndarray]  # the backbone's, up to the last used layer, under torchvision's names
    detector: Any
    footprint: float  # pixels above half of one lifted patch, as a share of the image
    min_area: MinArea  # that a region must have to count; by default the footprint
    pixel_pitch: float | None  # mm per pixel of the original image
    calibration: Calibration | None
    provenance: Provenance

    def require_calibration(self) -> Calibration:
        """The calibration. Raises ModelFileError, naming the mending command, when there is none."""
        if self.calibration is None:
            raise ModelFileError(
                "the model has no threshold yet: set one from good images it has not seen with adcli calibrate HELD_OUT"
            )
        return self.calibration


def digest_rows(digests: Iterable[str]) -> np.ndarray:
    """Hexadecimal sha256 digests as rows (n, 32) uint8, ascending: how a model names images."""
    return np.frombuffer(bytes.fromhex("".join(sorted(digests))), np.uint8).reshape(-1, 32)
