"""The OpenVINO engine: prepared pixels to patch scores on a CPU, without torch.

A backbone's steps and a detector's graph are compiled for this machine, in two halves: the network up to what is
compared of an image, an image at a time, and the comparison, of as many images at once as the detector asks for. So an
image's scores do not depend on its neighbours, to the bit: what is missing of a batch is filled up. Each of the
`threads` that call computes on one core.

Compiling takes about a tenth of a second, which is as long as reading a compiled graph back, so none is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino

from adcli.engines import Scored
from adcli.engines.openvino_operations import OpenVINOOperations
from adcli.errors import EnvironmentFault
from adcli.graphs import Graph
from adcli.graphs.network import Network, build

_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOScorer:
    """A backbone and a detector: prepared pixels to patch scores. Safe to call from `threads` threads at once."""

    device = "cpu"

    def __init__(
        self,
        network: Network,
        weights: Mapping[str, np.ndarray],
        graph: Graph,
        image_size: tuple[int, int],
        precision: str,
        threads: int,
        batch: int,
    ):
        """`image_size` are H, W of the pixels; `batch` is at most the graph's `together`."""
        self.batch = batch
        self._grid = graph.grid
        core = openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # other programs run beside
        }
        try:
            front = core.compile_model(_front(network, weights, graph, image_size), "CPU", settings)
            patches, dims = front.output(0).shape
            back = core.compile_model(_back(graph, (self.batch, patches, dims)), "CPU", settings)
        except (MemoryError, RuntimeError) as error:
            raise EnvironmentFault(
                f"OpenVINO cannot compile this model: {_first_line(error)}; use --engine torch"
            ) from error
        self._compiled = front, back
        self._own = threading.local()  # each thread's requests, and where they put their queries

    def __call__(self, pixels: np.ndarray, places: np.ndarray | None = None) -> Scored:
        """Up to `batch` images (N, H, W, 3) to what is said of them. `places` there are none: see TorchScorer."""
        front, back, queries = self._requests()
        pooled = []
        try:
            for number, image in enumerate(pixels):
                vectors, features = front.infer([image[np.newaxis]], share_inputs=True, share_outputs=True).values()
                queries[number] = vectors
                pooled.append(features[0].copy())
            queries[len(pixels) :] = queries[0]
            found = list(back.infer([queries], share_inputs=True, share_outputs=True).values())
        except RuntimeError as error:
            raise EnvironmentFault(f"OpenVINO failed: {_first_line(error)}; use --engine torch") from error
        scores = found[0][: len(pixels)].reshape(-1, *self._grid).copy()
        own = found[1][: len(pixels)].copy() if len(found) > 1 else None
        return Scored(scores, own, np.stack(pooled))

    def _requests(self) -> tuple[Any, Any, np.ndarray]:
        if not hasattr(self._own, "requests"):
            front, back = self._compiled
            queries = np.zeros(tuple(back.input(0).shape), np.float32)
            self._own.requests = front.create_infer_request(), back.create_infer_request(), queries
        return self._own.requests


def _front(
    network: Network, weights: Mapping[str, np.ndarray], graph: Graph, image_size: tuple[int, int]
) -> openvino.Model:
    """An image (1, H, W, 3) to queries (P, D), and the deepest layer's features averaged over its grid (1, C)."""
    ops = OpenVINOOperations()
    pixels = openvino.opset14.parameter([1, *image_size, 3], np.float32)
    layers = build(ops, network, weights, ops.transpose(pixels, (0, 3, 1, 2)))
    areas = [layer.output(0).shape[2] * layer.output(0).shape[3] for layer in layers]
    deepest = max(number for number, area in enumerate(areas) if area == min(areas))
    return openvino.Model([graph.queries(ops, layers), ops.mean(layers[deepest], (2, 3))], [pixels])


def _back(graph: Graph, shape: tuple[int, ...]) -> openvino.Model:
    """Queries (N, P, D) to patch scores (N, P), and to image scores (N,) where the method has its own."""
    queries = openvino.opset14.parameter(list(shape), np.float32)
    found = graph.scores(OpenVINOOperations(), queries)
    return openvino.Model([node for node in found if node is not None], [queries])


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
