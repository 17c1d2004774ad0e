"""Where on an image is looked, in what pieces, and how it lies.

Without any of it an image is one input. An image is first aligned to a golden one, then cut into tiles; of each the
network sees only what lies in the region of interest. Here and in the modules imported here is what a model keeps of
that, which needs no OpenCV; `views` looks.
"""

from __future__ import annotations

from dataclasses import dataclass

from adcli.geometry.crop import CentreCrop
from adcli.geometry.golden import Golden
from adcli.geometry.roi import RegionOfInterest
from adcli.geometry.tiles import Tiling


@dataclass(frozen=True)
class Geometry:
    """What of an image is looked at, and how. Fixed at `fit`; each part may be absent."""

    roi: RegionOfInterest | None = None
    tiling: Tiling | None = None
    golden: Golden | None = None
    crop: CentreCrop | None = None

    @property
    def partial(self) -> bool:
        """Whether something of an image is not looked at."""
        return self.roi is not None or self.crop is not None

    def uninspected(self) -> float | None:
        """Share of an image outside the region of interest; None where each image is aligned, and has its own."""
        if self.golden is not None:
            return None
        if self.roi is None:
            return 0.0 if self.crop is None else 1 - self.crop.share
        inside = self.roi.mask()
        return float(1 - (inside if self.crop is None else inside & self.crop.inside(inside.shape)).mean())

    def facts(self) -> dict[str, float | int | str | None]:
        """What tables and JSON say of it."""
        return {
            "roi_digest": self.roi and self.roi.digest,
            "uninspected_share": self.uninspected(),
            "tile_px": self.tiling and self.tiling.tile,
            "overlap_px": self.tiling and self.tiling.overlap,
            "golden_sha256": self.golden and self.golden.digest,
            "protocol": "adcli" if self.crop is None else "paper",
        }
