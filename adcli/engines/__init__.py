"""What computes: prepared pixels in, patch scores out. One file an engine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

PRECISIONS = ("fp32", "bf16")
INPUT, OUTPUT = "pixels", "map"  # of the graph in an exported file


class Scored(NamedTuple):
    """A batch of N images."""

    grid: np.ndarray  # (N, h, w) float32, one score a patch
    image: np.ndarray | None  # (N,) float32, the method's own image score
    pooled: np.ndarray  # (N, D) float32, the deepest layer's features averaged over its grid


class Scorer(Protocol):
    """A model on a device. An image's scores do not depend on its neighbours, to the bit."""

    batch: int  # images, or inputs of an image, that it takes at most
    device: str

    def __call__(self, pixels: np.ndarray, places: np.ndarray | None = None) -> Scored:
        """Up to `batch` inputs (N, H, W, 3) float32 RGB in [0, 1] to what is said of them."""
        ...


def fast_bf16_cpu() -> bool:
    """Whether bf16 is faster than float32 on this CPU: it has AMX tiles.

    AVX-512 BF16 alone does not count. Measured by OpenVINO on a Xeon with both, eight convolutions of 64 channels at
    56x56 on one core: 14 ms in float32, 2.5 ms in bf16, and 22 ms in bf16 with ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16.
    """
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return "amx_bf16" in line.split()
    except OSError:
        pass
    return False
