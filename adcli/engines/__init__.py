"""What computes: prepared pixels in, patch scores out. One file an engine."""

from __future__ import annotations

import ctypes
import sys
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

    def layer_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """(C, h, w) of each layer for images of size (H, W)."""
        ...

    def begin(self) -> None:
        """To be called once before `learn`, on the thread that learns. Not needed of what is `reduced`."""
        ...

    def reduced(self, reduce: Reduce) -> LearningEngine | None:
        """The engine whose `learn` gives what `reduce` makes of all layers, an array (N, n, D), as the only one, and
        the patches to learn from as an array; None where that cannot be computed along with the network."""
        ...

    def learn(
        self, pixels: np.ndarray, inside: np.ndarray | None, stacked: bool
    ) -> tuple[tuple[Any, ...], Any, np.ndarray]:
        """Features of prepared pixels (N, H, W, 3), tensors (N, C, h, w), the patches (N, h, w) bool to learn from on
        the same device, and the pooled features (N, D); `stacked` inputs, which are not `reduced`, become one image,
        above each other."""
        ...


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
