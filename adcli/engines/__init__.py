"""What computes: prepared pixels in, patch scores out. One file an engine."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from adcli.graphs import Reduce

PRECISIONS = ("fp32", "bf16")
CPU_BATCH = 4  # images whose patches a torch detector compares at once: its arrays are read once for all of them
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


class LearningEngine(Protocol):
    """A frozen backbone on a device, for detectors to learn from."""

    device: Any  # whose str is cpu, cuda or cuda:N
    precision: str
    batch: int  # images that a torch detector is to compare at once

    def layer_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """(C, h, w) of each layer for images of size (H, W)."""
        ...

    def reduced(self, reduce: Reduce) -> LearningEngine | None:
        """The engine whose `learn` gives what `reduce` makes of all layers, an array (N, n, D), as the only one; None
        where that cannot be computed along with the network."""
        ...

    def learn(self, pixels: np.ndarray) -> tuple[tuple[Any, ...], np.ndarray]:
        """Features (N, C, h, w) of prepared pixels (N, H, W, 3), and pooled ones (N, D). On any thread."""
        ...

    def features_alone(self, pixels: np.ndarray) -> tuple[Any, ...]:
        """Features of prepared pixels as tensors, an image's the same in any company."""
        ...

    def hand_over(
        self, layers: tuple[Any, ...], inside: np.ndarray | None, stacked: bool
    ) -> tuple[tuple[Any, ...], Any]:
        """What `learn` has given as tensors, and the patches (N, h, w) bool to learn from; `stacked` inputs become one
        image, above each other. On the thread that learns."""
        ...


def place_of_deepest(shapes: Sequence[Sequence[int]]) -> int:
    """The layer (N, C, h, w) of the smallest grid, of several the last."""
    return min(reversed(range(len(shapes))), key=lambda place: shapes[place][2] * shapes[place][3])


def may_have_gpu() -> bool:
    """Whether it makes sense to ask torch for a GPU: there is a driver. Torch takes a second or more to import."""
    if sys.platform == "darwin":
        return False
    if Path("/dev/kfd").exists():  # AMD's
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


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
