"""A pipeline as an ONNX file, and such a file run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper

from adcli import __version__
from adcli.engines import INPUT, OUTPUT
from adcli.engines.onnx_operations import IR_VERSION, OPSET, ONNXOperations
from adcli.errors import UsageError
from adcli.graphs.pipeline import Pipeline

_MOST_BYTES = 2**31 - 2**20  # protobuf holds less than 2 GiB in a message


def write(pipeline: Pipeline, path: Path) -> None:
    """Writes the graph, checked against ONNX's own rules."""
    ops = ONNXOperations()
    ops.rename(pipeline.build(ops, INPUT), OUTPUT)
    if (size := sum(len(constant.raw_data) for constant in ops.constants)) > _MOST_BYTES:
        raise UsageError(f"the graph takes {size / 2**30:.3g} GiB, and an ONNX file holds 2: use --format openvino")
    height, width = pipeline.image_size
    graph = helper.make_graph(
        ops.nodes,
        "adcli",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, height, width, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, height, width])],
        ops.constants,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="adcli",
        producer_version=__version__,
    )
    checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def read(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What the file makes of pixels (H, W, 3): the map (H, W). Safe to call from several threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # whole images run side by side
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run([OUTPUT], {INPUT: pixels[np.newaxis]})[0][0]
