"""The torch engine: prepared pixels to features, and to patch scores. CPU or CUDA.

An image's scores do not depend on its neighbours, to the bit: on a CPU every image passes the network alone, and the
detector's matrix products always have the same shape, short batches being filled up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adcli.engines import CPU_BATCH, PRECISIONS, LearningEngine, Scored, fast_bf16_cpu, place_of_deepest
from adcli.errors import EnvironmentFault, UsageError

if TYPE_CHECKING:
    from adcli.backbones.extractor import Extractor
    from adcli.graphs import Reduce

_CUDA_BATCH = 16


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` to a device that is there.

    Raises:
        UsageError: for any other word.
        EnvironmentFault: for a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise UsageError(f"there is no device {name!r}: write auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise EnvironmentFault(f"the device {name} is not there: torch sees {count} CUDA devices; use --device cpu")
    return torch.device(name)


def gpu_names() -> list[str]:
    """The CUDA devices that torch sees, in the order of their numbers."""
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than float32 here: AMX tiles on a CPU, any GPU that has it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return fast_bf16_cpu()


class TorchEngine:
    """A frozen backbone on a device."""

    def __init__(
        self,
        extractor: Extractor,
        device: torch.device,
        precision: str,
        batch: int = 0,
    ):
        if precision not in PRECISIONS:
            raise UsageError(f"there is no precision {precision!r}: write auto, {' or '.join(PRECISIONS)}")
        self.device = device
        self.precision = precision
        self.batch = batch or (_CUDA_BATCH if device.type == "cuda" else CPU_BATCH)
        if device.type == "cpu":
            use_one_core()
        self._extractor = extractor
        self._network = extractor.for_inference().to(device)

    def layer_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """See LearningEngine."""
        return self._extractor.layer_shapes(size)

    def reduced(self, reduce: Reduce) -> None:
        """Not by torch: see LearningEngine."""
        return None

    @torch.inference_mode()
    def features(self, pixels: np.ndarray) -> tuple[torch.Tensor, ...]:
        """Prepared pixels (N, H, W, 3) float32 in [0, 1] to a float32 tensor (N, C, h, w) for every layer."""
        batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)  # channels last in memory already
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return tuple(layer.float() for layer in self._network(batch))

    def learn(self, pixels: np.ndarray) -> tuple[tuple[torch.Tensor, ...], np.ndarray]:
        """See LearningEngine."""
        layers = self.features(pixels)
        return layers, pool(layers)

    def hand_over(
        self, layers: tuple[torch.Tensor, ...], inside: np.ndarray | None, stacked: bool
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
        """See LearningEngine."""
        return on_top(layers, None if inside is None else torch.from_numpy(inside).to(self.device), stacked)

    def features_alone(self, pixels: np.ndarray) -> tuple[torch.Tensor, ...]:
        """The same, each image on its own, so that its features are the same in any company."""
        if self.device.type == "cuda":
            return self.features(pixels)
        alone = [self.features(pixels[i : i + 1]) for i in range(len(pixels))]
        return tuple(torch.cat(layer) for layer in zip(*alone, strict=True))


def use_one_core() -> None:
    """Whole images run side by side (adcli.parallel); one operation of the calling thread uses one core."""
    torch.set_num_threads(1)


@torch.inference_mode()
def pool(features: tuple[torch.Tensor, ...]) -> np.ndarray:
    """Features (N, C, h, w) of several layers to those of the deepest, averaged over its grid: (N, C) float32."""
    deepest = features[place_of_deepest([layer.shape for layer in features])]
    return torch.stack([image.mean((1, 2)) for image in deepest]).cpu().numpy()  # one by one: sums in one order


class TorchScorer:
    """A backbone and a detector: prepared pixels to patch scores. Safe to call from several threads on a CPU."""

    def __init__(self, engine: LearningEngine, detector: Any, left_out: bool = False, stacked: int = 1):
        """`left_out`: ready for the images that the detector learnt from, each to be scored as if it had not been.

        `stacked` inputs are one image to the detector: its batches are of so many.
        """
        if str(engine.device) == "cpu":
            use_one_core()
        self.batch = engine.batch if stacked == 1 else stacked
        self._stacked = stacked
        self.device = str(engine.device)
        self._cuda = self.device != "cpu"
        self._engine = engine
        try:
            self._score = detector.left_out_scorer(engine.device) if left_out else detector.scorer(engine.device)
        except torch.OutOfMemoryError as error:
            raise EnvironmentFault(f"{engine.device} has too little memory for this model: use --device cpu") from error

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray, places: np.ndarray | None = None) -> Scored:
        """Up to `batch` images (N, H, W, 3) to what is said of them.

        `places` (N,) in the order of learning are given exactly with `left_out`.
        """
        count = len(pixels)
        missing = self.batch - count  # never of those that are stacked: their image is whole
        try:
            if self._cuda and missing:
                pixels = np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)])
            features = self._engine.features_alone(pixels)
            pooled = pool(features)
            if not self._cuda and missing:
                features = tuple(torch.cat([layer, layer[-1:].expand(missing, -1, -1, -1)]) for layer in features)
            if self._stacked > 1:
                features = stack(features)
            filled = () if places is None else (np.pad(places, (0, missing), mode="edge"),)
            scores = self._score(features, *filled)
        except torch.OutOfMemoryError as error:
            raise EnvironmentFault(f"{self.device} ran out of memory: use --device cpu") from error
        image = None if scores.image is None else scores.image[:count].float().cpu().numpy()
        grid = scores.grid.float().cpu().numpy()
        if self._stacked > 1:
            own = None if image is None else np.repeat(image, self._stacked)
            return Scored(grid.reshape(self._stacked, -1, grid.shape[2]), own, pooled)
        return Scored(grid[:count], image, pooled[:count])


def on_top(
    layers: tuple[torch.Tensor, ...], inside: torch.Tensor | None, stacked: bool
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor | None]:
    """Layers and patches to learn from, those of `stacked` inputs as those of one image."""
    if not stacked:
        return layers, inside
    return stack(layers), None if inside is None else inside.flatten(0, 1).unsqueeze(0)


def stack(features: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Features of inputs (N, C, h, w) as those of one image (1, C, N h, w), the inputs above each other."""
    return tuple(layer.transpose(0, 1).flatten(1, 2).unsqueeze(0) for layer in features)
