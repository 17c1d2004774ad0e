"""The OpenVINO engine: prepared pixels to patch scores on a CPU, without torch.

A backbone's steps and a detector's graph are compiled for this machine, in two halves: the network up to what is
compared of an image, an image at a time, and the comparison, of as many images at once as the detector asks for, unless
that is quicker as it stands. So an image's scores do not depend on its neighbours, to the bit: what is missing of a
batch is filled up. Each of the `threads` that call computes on one core.

Compiling takes about a tenth of a second, which is as long as reading a compiled graph back, so none is kept.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from adcli.engines import CPU_BATCH, Scored, place_of_deepest
from adcli.engines.openvino_library import openvino
from adcli.engines.openvino_operations import OpenVINOOperations
from adcli.errors import EnvironmentFault
from adcli.graphs import Direct, DirectGraph, Graph, Node, Reduce
from adcli.graphs.network import Network, build

Made = TypeVar("Made")

_COPIED_BYTES = 256 << 20  # that the compiled models of all threads may hold, of both halves together
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
        with _faults("cannot compile this model"):
            front = _front(network, weights, graph, image_size)
            self._shapes = [(batch, *list(output.shape)[1:]) for output in front.outputs[:-1]]
            room, taken = _COPIED_BYTES, threads * _held_bytes(front)
            left = room - taken if taken <= room else room
            # The other half is made ready beside what comes next, which is reading the first images.
            beside = ThreadPoolExecutor(1, thread_name_prefix="adcli")
            if isinstance(graph, DirectGraph):
                self._back: Future[Direct | _Compiled] = beside.submit(graph.direct)
            else:
                self._back = beside.submit(
                    lambda: _Compiled(_back(graph, self._shapes, precision), precision, threads, left)
                )
            beside.shutdown(wait=False)
            self._front = _Compiled(front, precision, threads, room)
        self._requests = _Pool(self._request)

    def __call__(self, pixels: np.ndarray, places: np.ndarray | None = None) -> Scored:
        """Up to `batch` images (N, H, W, 3) to what is said of them. `places` there are none: see TorchScorer."""
        with self._requests.one() as own:
            return self._score(own, pixels)

    def _score(self, own: _Requests, pixels: np.ndarray) -> Scored:
        pooled = []
        with _faults("failed"):
            for number, image in enumerate(pixels):
                for output, tensor in enumerate(own.places[number]):
                    own.front.set_output_tensor(output, tensor)
                found = own.front.infer([image[np.newaxis]], share_inputs=True, share_outputs=True)
                pooled.append(found[len(own.queries)][0].copy())
            for part in own.queries:
                part[len(pixels) :] = part[0]
            scores, image_scores = own.compare(own.queries)
        grid = scores[: len(pixels)].reshape(-1, *self._grid).copy()
        return Scored(grid, None if image_scores is None else image_scores[: len(pixels)].copy(), np.stack(pooled))

    def _request(self) -> _Requests:
        with _faults("cannot compile this model"):
            front = self._front.request()
            back = self._back.result()
            compare = _compare(back.request()) if isinstance(back, _Compiled) else back
        queries = [np.zeros(shape, np.float32) for shape in self._shapes]
        places = [[_shared(part[number : number + 1]) for part in queries] for number in range(self.batch)]
        return _Requests(front, compare, queries, places)


class _Requests(NamedTuple):
    """What one thread at a time computes with."""

    front: Any
    compare: Direct
    queries: list[np.ndarray]  # of a batch
    places: list[list[openvino.Tensor]]  # of each image: where in the queries its own go


def _compare(request: Any) -> Direct:
    def compare(queries: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        found = list(request.infer(list(queries), share_inputs=True, share_outputs=True).values())
        return found[0], found[1] if len(found) > 1 else None

    return compare


def _shared(values: np.ndarray) -> openvino.Tensor:
    return openvino.Tensor(values, shared_memory=True)


class OpenVINONetwork:
    """A backbone alone, for detectors to learn from (see LearningEngine): prepared pixels to features, an image at a
    time. Safe to call from `threads` threads.

    Compiled when it is first called: what learns may ask for `reduced` features instead.
    """

    device = "cpu"

    def __init__(
        self,
        network: Network,
        weights: Mapping[str, np.ndarray],
        image_size: tuple[int, int],
        precision: str,
        threads: int,
        batch: int = 0,
        reduce: Reduce | None = None,
    ):
        """`batch`: images that a torch detector is to compare at once; `reduce`: see `reduced`."""
        self.precision, self.batch = precision, batch or CPU_BATCH
        self._made_of = network, weights, image_size, precision, threads, batch
        self._reduced = reduce is not None
        ops = OpenVINOOperations()
        pixels = _pixels(image_size)
        with _faults("cannot compile this network"):
            layers = build(ops, network, weights, ops.transpose(pixels, (0, 3, 1, 2)))
            outputs = layers if reduce is None else [reduce(ops, layers), _deepest(layers)]
            self._model = openvino.Model(outputs, [pixels])
        self._shapes = [tuple(output.shape)[1:] for output in self._model.outputs]
        self._threads = threads
        self._compiled: _Compiled | None = None
        self._compiling = threading.Lock()
        self._requests = _Pool(self._request)

    def layer_shapes(self, size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """Of the one size that it is made for."""
        return list(self._shapes)

    def reduced(self, reduce: Reduce) -> OpenVINONetwork:
        """The network that gives two arrays, what `reduce` makes of all layers and the deepest layer as it is."""
        return OpenVINONetwork(*self._made_of, reduce)

    def learn(self, pixels: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """See LearningEngine."""
        layers = self(pixels)
        deepest = layers[-1] if self._reduced else layers[place_of_deepest([layer.shape for layer in layers])]
        pooled = np.stack([image.mean((1, 2)) for image in deepest])  # one by one: sums in one order
        return tuple(layers[:1] if self._reduced else layers), pooled

    def hand_over(
        self, layers: tuple[np.ndarray, ...], inside: np.ndarray | None, stacked: bool
    ) -> tuple[tuple[Any, ...], Any]:
        """See LearningEngine. Here torch is imported, while other threads go on."""
        import torch

        from adcli.engines.torch import on_top, use_one_core

        use_one_core()
        seen = None if inside is None else torch.from_numpy(inside)
        return on_top(tuple(map(torch.from_numpy, layers)), seen, stacked)

    def features_alone(self, pixels: np.ndarray) -> tuple[Any, ...]:
        """A tensor (N, C, h, w) for every layer; an image's is the same in any company."""
        import torch

        return tuple(map(torch.from_numpy, self(pixels)))

    def _request(self) -> Any:
        with _faults("cannot compile this network"):
            with self._compiling:
                if self._compiled is None:
                    self._compiled = _Compiled(self._model, self.precision, self._threads, _COPIED_BYTES)
            return self._compiled.request()

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Pixels (N, H, W, 3) to an array (N, C, h, w) float32 for every layer, or to the two of `reduced`."""
        layers = [np.empty((len(pixels), *shape), np.float32) for shape in self._shapes]
        with self._requests.one() as request, _faults("failed"):
            for number, image in enumerate(pixels):
                found = request.infer([image[np.newaxis]], share_inputs=True, share_outputs=True).values()
                for layer, values in zip(layers, found, strict=True):
                    layer[number] = values[0]
        return layers


@contextlib.contextmanager
def _faults(what: str) -> Iterator[None]:
    """OpenVINO's errors as one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]  # the first says where in OpenVINO it was
        said = lines[-1].strip() if lines else type(error).__name__
        raise EnvironmentFault(f"OpenVINO {what}: {said}; use --engine torch") from error


class _Pool(Generic[Made]):
    """Makes one for each of the threads that ask at the same time, and keeps it for those that ask later: threads come
    and go with every stream of images."""

    def __init__(self, make: Callable[[], Made]):
        self._make = make
        self._idle: list[Made] = []  # append and pop are whole steps to other threads

    @contextlib.contextmanager
    def one(self) -> Iterator[Made]:
        try:
            made = self._idle.pop()
        except IndexError:
            made = self._make()
        try:
            yield made
        finally:
            self._idle.append(made)


class _Compiled:
    """A model compiled for callers on several threads, which are to keep a core busy each.

    OpenVINO computes the requests of one compiled model on threads of its own, and now and then gives two of them to
    one while another has none: two callers kept 1.6 cores busy, and with a compiled model each 1.95. So each has its
    own, where that does not fill the memory.
    """

    def __init__(self, model: openvino.Model, precision: str, threads: int, room: int):
        """`room`: bytes that those of all threads may hold."""
        self._shared = threads * _held_bytes(model) > room
        self._model, self._precision, self._streams = model, precision, threads if self._shared else 1
        self._lock = threading.Lock()
        self._unused: openvino.CompiledModel | None = self._compile()

    def request(self) -> Any:
        """For the calling thread."""
        with self._lock:
            compiled = self._unused
            if not self._shared:
                self._unused = None
        return (compiled or self._compile()).create_infer_request()

    def _compile(self) -> openvino.CompiledModel:
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "NUM_STREAMS": self._streams,  # each computes on one core
            "INFERENCE_NUM_THREADS": self._streams,
            "ENABLE_CPU_PINNING": False,  # other programs run beside
        }
        return openvino.Core().compile_model(self._model, "CPU", settings)


def _held_bytes(model: openvino.Model) -> int:
    """Of the numbers that are part of it."""
    constants = (node.output(0) for node in model.get_ops() if node.get_type_name() == "Constant")
    return sum(one.get_element_type().size * math.prod(one.shape) for one in constants)


def _pixels(image_size: tuple[int, int]) -> Any:
    return openvino.opset14.parameter([1, *image_size, 3], np.float32)


def _front(
    network: Network, weights: Mapping[str, np.ndarray], graph: Graph, image_size: tuple[int, int]
) -> openvino.Model:
    """An image (1, H, W, 3) to queries (1, n, D), and the deepest layer's features averaged over its grid (1, C)."""
    ops = OpenVINOOperations()
    pixels = _pixels(image_size)
    layers = build(ops, network, weights, ops.transpose(pixels, (0, 3, 1, 2)))
    return openvino.Model([*graph.queries(ops, layers), ops.mean(_deepest(layers), (2, 3))], [pixels])


def _deepest(layers: Sequence[Node]) -> Node:
    return layers[place_of_deepest([tuple(layer.output(0).shape) for layer in layers])]


def _back(graph: Graph, shapes: Sequence[tuple[int, ...]], precision: str) -> openvino.Model:
    """Queries (N, n, D) to patch scores (N, P), and to image scores (N,) where the method has its own."""
    queries = [openvino.opset14.parameter(list(shape), np.float32) for shape in shapes]
    found = graph.scores(OpenVINOOperations(narrows=precision == "bf16"), queries)
    return openvino.Model([node for node in found if node is not None], queries)
