"""What ONNX Runtime makes of every operation is what torch makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.engines.operations import OPERATIONS, W, X
from tests.graphs.torch_operations import TorchOperations

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from adcli.engines.onnx_operations import IR_VERSION, OPSET, ONNXOperations  # noqa: E402


def run(call, x, shape):
    ops = ONNXOperations()
    result = call(ops, "x")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        ops.nodes,
        "one",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info(result, kind, shape)],
        ops.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    assert len({node.name for node in ops.nodes} - {""}) == len(ops.nodes)
    return onnxruntime.InferenceSession(model.SerializeToString()).run([result], {"x": x})[0]


CASES = {
    **OPERATIONS,
    "matmul, turned, of a computed one": lambda ops, x: ops.matmul(x, ops.relu(x), turned=True),
    "average pool beyond": lambda ops, x: ops.average_pool(x, (2, 2), (2, 2), (0, 0), True, True),
    "convolution, padded unevenly": lambda ops, x: ops.convolution(x, W, (1, 1), (0, 3), (1, 1), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_what_torch_makes_of_it(name):
    expected = CASES[name](TorchOperations(), torch.from_numpy(X).double()).numpy()
    found = run(CASES[name], X, expected.shape)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_numbers_of_the_largest_are_int32():
    ops = ONNXOperations()
    ops.top("x", 2, 1)
    cast = ops.nodes[-1]
    assert (cast.op_type, cast.attribute[0].i) == ("Cast", onnx.TensorProto.INT32)
