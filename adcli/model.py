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
from adcli.geometry import Geometry
from adcli.geometry.augmentation import Augmentation
from adcli.guard import Guard, GuardLimit
from adcli.image_scores import OWN, StageLimit, StructCore
from adcli.sizes import MinArea, MinSize


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
    augmentation: Augmentation | None = None  # copies that were learnt from beside each image


@dataclass(frozen=True)
class PrecisionCheck:
    """Held-out good images, and defects planted on them, scored in the calibration's precision and in float32."""

    images: int  # good ones
    planted: int  # with a defect
    largest_difference: float  # of a score, of either kind
    verdicts_changed: int  # of both kinds, at the threshold
    auroc: float  # of planted against good images, in the calibration's precision
    auroc_fp32: float

    def sentence(self, precision: str) -> str:
        """What it says, for people."""
        count, scored = self.verdicts_changed, self.images + self.planted
        changed = f"{count or 'none'} of {scored} verdicts change{'' if count > 1 else 's'}"
        return (
            f"{precision} against float32: scores of {self.images} held-out images, and of {self.planted} with a "
            f"planted defect, differ by up to {self.largest_difference:.3g}, {changed}, the AUROC of the planted is "
            f"{self.auroc:.4f} in place of {self.auroc_fp32:.4f}"
        )


@dataclass(frozen=True)
class Calibration:
    """The threshold in force, and the held-out good images that it stands on."""

    rule: str
    guarantee: str | None  # what was said of the threshold when it was set
    check_guarantee: str | None
    engine: str  # the engine and
    precision: str  # the precision that the threshold belongs to: fp32 | bf16
    threshold: float  # NG above it, in the units of the image score
    check_threshold: float | None  # CHECK above it, where a band was asked for
    max_false_reject: float | None  # the rate that was asked for
    check_false_reject: float | None
    confidence: float | None  # None: rates that are promised hold on average over draws of the held-out images
    evidence: str  # held-out | leave-one-out: what the scores are of
    scores: np.ndarray  # (n,) float64, of the held-out images, or parts where images are grouped; ascending
    digests: np.ndarray  # (images, 32) uint8, sha256 of the images behind the scores, ascending
    median_pixel: float  # of the held-out maps, rows and columns at even steps, each map counting alike
    low_pixel: float  # their 1 % quantile
    guard: GuardLimit | None  # None: the input guard is off
    structcore: StructCore | None  # of the held-out maps; None in files of an adcli that had none
    image_stage: StageLimit | None  # None: no image score but S_A says anything
    precision_check: PrecisionCheck | None = None  # None: float32, or not checked

    def __post_init__(self) -> None:
        for threshold in (self.threshold, self.check_threshold):
            if threshold is not None and not math.isfinite(threshold):  # nothing is above NaN: all would be OK
                raise ValueError(f"a threshold is a finite number, not {threshold}")

    @property
    def asks_own(self) -> bool:
        """Whether verdicts take the method's own image score."""
        return self.image_stage is not None and self.image_stage.score == OWN

    def overlay_low(self, threshold: float) -> tuple[float, str]:
        """Where the overlay's colour scale begins, and its name: the median good pixel, unless the threshold, in the
        units of a pixel, is not above it."""
        if threshold > self.median_pixel:
            return self.median_pixel, "median good"
        return self.low_pixel, "1 % good"


@dataclass(frozen=True)
class Scales:
    """What brings the levels of several sizes to one scale, see adcli.thresholds.joint."""

    centre: np.ndarray  # (k,) float64
    spread: np.ndarray  # (k,) float64, positive
    images: int  # good images that they are of
    evidence: str  # leave-one-out: of images learnt from; held-out: of images set apart from the calibration

    def __post_init__(self) -> None:
        if self.centre.shape != self.spread.shape or not np.isfinite(self.centre).all() or not (self.spread > 0).all():
            raise ValueError("scales are a finite centre and a positive spread for each size")


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from. No time, host or absolute path: equal inputs give equal bytes."""

    learnt: np.ndarray  # (n, 32) uint8, sha256 of the images learnt from, ascending
    unreadable: int  # images left out of the fit
    weights_digest: str  # over the stored weights, see backbones.weights.state_digest
    versions: dict[str, str]  # of adcli and the libraries that computed the model
    trimmed: np.ndarray | None = None  # (n, 32) uint8, sha256 of the images that `fit --trim` left out, ascending
    updates: tuple[int, ...] | None = None  # images that joined, each time
    chosen: str | None = None  # how --method auto came to this method; None: it was asked for

    def learnt_digests(self) -> set[str]:
        """sha256 of the images learnt from, hexadecimal."""
        return digests_of(self.learnt)


@dataclass(frozen=True)
class Model:
    """A fitted model, with or without its calibration."""

    spec: Spec
    geometry: Geometry  # what of an image is looked at, and in what pieces
    weights: dict[str, np.ndarray]  # the backbone's, up to the last used layer, under torchvision's names
    detector: Any
    guard: Guard | None  # what good images look like; None in files of an adcli that had none
    footprint: float  # pixels above half of one lifted patch, as a share of the image, or of a tile
    sizes: tuple[MinSize, ...]  # that a region must have to count, any of them; by default the footprint's area
    scales: Scales | None  # of several sizes
    pixel_pitch: float | None  # mm per pixel of the original image
    group_by: str | None  # expression that finds the part an image shows; None: each image is a part of its own
    calibration: Calibration | None
    provenance: Provenance
    network: str | None = None  # the backbone's steps, see adcli.graphs.network; None: it has others, or an older adcli

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("a model has a minimum size")
        if self.scales is not None and self.scales.centre.shape != (len(self.sizes),):
            raise ValueError(f"{len(self.sizes)} sizes have scales of the shape {self.scales.centre.shape}")

    def footprint_area(self) -> MinArea:
        """What one hot patch becomes in the map, as an area."""
        if self.geometry.tiling is None:
            return MinArea(self.footprint, "share")
        return MinArea(math.ceil(self.footprint * self.geometry.tiling.tile**2), "px")

    def require_calibration(self) -> Calibration:
        """The calibration. Raises ModelFileError, naming the mending command, when there is none."""
        if self.calibration is None:
            raise ModelFileError(
                "the model has no threshold yet: set one from good images it has not seen with adcli calibrate HELD_OUT"
            )
        return self.calibration


def digests_of(rows: np.ndarray) -> set[str]:
    """Rows (n, 32) uint8 as hexadecimal digests."""
    return {row.tobytes().hex() for row in rows}


def digest_rows(digests: Iterable[str]) -> np.ndarray:
    """Hexadecimal sha256 digests as rows (n, 32) uint8, ascending: how a model names images."""
    return np.frombuffer(bytes.fromhex("".join(sorted(digests))), np.uint8).reshape(-1, 32)
