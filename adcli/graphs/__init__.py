"""Networks and methods as graphs of a few operations, which an engine compiles or a file carries elsewhere.

A graph is built by calling an `Operations`; what a node is, is the builder's business. `adcli.engines` has one that
compiles for this machine and one that writes ONNX; networks (`adcli.graphs.network`) and detectors call them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

MOST_BYTES = 1 << 30  # of constants that a graph may hold
Node = Any
"""What an operation gives: a tensor of the graph."""
Direct = Callable[[Sequence[np.ndarray]], tuple[np.ndarray, np.ndarray | None]]
"""The second half of a graph by numpy: queries (N, n, D) to patch scores (N, P) and image scores (N,)."""


class Operations(Protocol):
    """Builds a graph. Tensors are float32 but for indices and what is narrow; shapes and axes are those of numpy."""

    narrows: bool  # products are computed from bf16

    def constant(self, values: np.ndarray, narrow: bool = False) -> Node:
        """Numbers that are part of the graph; `narrow`: as `narrow` makes them."""
        ...

    def convolution(
        self,
        x: Node,
        weight: np.ndarray,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Node:
        """Cross-correlation of (N, C, H, W) with kernels (K, C / groups, h, w); zeros beyond the border."""
        ...

    def maximum_pool(
        self, x: Node, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool
    ) -> Node:
        """Maxima of windows of (N, C, H, W); `ceil`: also of those that begin within it and reach beyond."""
        ...

    def average_pool(
        self, x: Node, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil: bool, zeros: bool
    ) -> Node:
        """Means of windows of (N, C, H, W); `zeros`: those of the padding count."""
        ...

    def resize(self, x: Node, size: tuple[int, int], bilinear: bool) -> Node:
        """(N, C, h, w) to another size, with half-pixel centres: bilinear, or the nearest."""
        ...

    def add(self, a: Node, b: Node) -> Node:
        """a + b, broadcast."""
        ...

    def subtract(self, a: Node, b: Node) -> Node:
        """a - b, broadcast."""
        ...

    def multiply(self, a: Node, b: Node) -> Node:
        """a b, elementwise, broadcast."""
        ...

    def divide(self, a: Node, b: Node) -> Node:
        """a / b, elementwise, broadcast."""
        ...

    def matmul(self, a: Node, b: Node, turned: bool = False) -> Node:
        """The matrix product of the last two axes; `turned`: with b transposed."""
        ...

    def narrow(self, x: Node) -> Node:
        """In bf16, and so all that is made of it, where the builder `narrows`; itself elsewhere."""
        ...

    def widen(self, x: Node, count: int, value: float) -> Node:
        """Narrow rows (n, m) with so many columns more, all of the same value; of a builder that `narrows`."""
        ...

    def relu(self, x: Node) -> Node:
        """What is negative becomes 0."""
        ...

    def clip(self, x: Node, low: float, high: float) -> Node:
        """Held between two numbers."""
        ...

    def sigmoid(self, x: Node) -> Node:
        """1 / (1 + exp -x)."""
        ...

    def log(self, x: Node) -> Node:
        """The natural logarithm."""
        ...

    def softmax(self, x: Node, axis: int) -> Node:
        """exp x, divided by its sum along an axis."""
        ...

    def round(self, x: Node) -> Node:
        """The nearest whole number, of two the even one."""
        ...

    def root(self, x: Node) -> Node:
        """The square root."""
        ...

    def concatenate(self, xs: Sequence[Node], axis: int) -> Node:
        """One after another along an axis."""
        ...

    def take(self, x: Node, indices: Node, axis: int) -> Node:
        """Entries of an axis by number; `indices` of any shape take its place."""
        ...

    def pick(self, x: Node, indices: Node, axis: int) -> Node:
        """Entries of an axis by number, other ones for each row: numpy's take_along_axis."""
        ...

    def top(self, x: Node, count: int, axis: int) -> tuple[Node, Node]:
        """The largest of an axis, descending, and their numbers (int32)."""
        ...

    def sum(self, x: Node, axes: Sequence[int]) -> Node:
        """Sums over axes, which are gone then."""
        ...

    def mean(self, x: Node, axes: Sequence[int], keep: bool = False) -> Node:
        """Means over axes, which are gone then, or one long."""
        ...

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        """The same values in another shape; one length may be -1."""
        ...

    def transpose(self, x: Node, order: Sequence[int]) -> Node:
        """The axes in another order."""
        ...


Reduce = Callable[[Operations, Sequence[Node]], Node]
"""Features (1, C, h, w) of every layer to one array (1, n, D)."""


class Graph(Protocol):
    """A detector as a graph: what it scores images by, in two halves, as the first is done an image at a time."""

    grid: tuple[int, int]  # h, w of the patch scores, P = h w
    together: int  # images that the second half takes at once, its arrays being read once for all of them
    arrays: int  # that the first half gives the second

    def queries(self, ops: Operations, layers: Sequence[Node]) -> list[Node]:
        """Features (1, C, h, w) a layer to what is compared of them: arrays (1, n, D), such as one row a patch."""
        ...

    def scores(self, ops: Operations, queries: Sequence[Node]) -> tuple[Node, Node | None]:
        """Queries (N, n, D) of up to `together` images, or of any number without their image scores, to patch scores
        (N, P), and the method's own image scores (N,)."""
        ...


@runtime_checkable
class DirectGraph(Graph, Protocol):
    """A graph whose second half is quicker computed as it stands than compiled."""

    def direct(self) -> Direct:
        """That half. Safe to call from several threads."""
        ...
