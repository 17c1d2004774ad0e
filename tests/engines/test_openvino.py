"""The OpenVINO engine says what torch says."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from adcli.backbones.extractor import build_extractor, layer_shapes
from adcli.backbones.tracing import network_of
from adcli.detectors.padim_graph import reduce_layers
from adcli.detectors.reduction import Reduction
from adcli.engines import fast_bf16_cpu
from adcli.engines.torch import TorchEngine, TorchScorer
from adcli.errors import EnvironmentFault
from adcli.graphs.nearest import Nearest
from tests.detectors.test_contract import SIZE, Bench, flawed, textures
from tests.engines.operations import NARROW, OPERATIONS, X
from tests.graphs.torch_operations import TorchOperations

openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

from adcli.engines import openvino as openvino_engine  # noqa: E402
from adcli.engines.openvino import OpenVINOScorer  # noqa: E402
from adcli.engines.openvino_operations import OpenVINOOperations  # noqa: E402

BF16 = pytest.mark.skipif(not fast_bf16_cpu(), reason="no fast bf16 here")


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_what_torch_makes_of_it(name):
    parameter = openvino.opset14.parameter(list(X.shape), np.float32)
    model = openvino.Model([OPERATIONS[name](OpenVINOOperations(), parameter)], [parameter])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = OPERATIONS[name](TorchOperations(), torch.from_numpy(X).double()).numpy()
    found = compiled([X])[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not fast_bf16_cpu(), reason="no fast bf16 here")
@pytest.mark.parametrize("name", NARROW)
def test_what_is_narrow_is_what_torch_makes_of_it(name):
    parameter = openvino.opset14.parameter(list(X.shape), np.float32)
    narrow = NARROW[name](OpenVINOOperations(narrows=True), parameter)
    assert narrow.get_element_type() == openvino.Type.bf16
    model = openvino.Model([openvino.opset14.convert(narrow, np.float32)], [parameter])
    found = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})([X])[0]
    expected = NARROW[name](TorchOperations(narrows=True), torch.from_numpy(X).double()).numpy()
    assert found.shape == expected.shape
    assert not (found.view(np.uint32) & 0xFFFF).any()
    np.testing.assert_allclose(found, expected, rtol=2**-7)  # the next bf16: OpenVINO's rounding is no better


def test_narrow_constants_are_rounded_as_torch_rounds():
    values = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)
    values[0, :3] = 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8  # halfway
    found = OpenVINOOperations(narrows=True).constant(values, narrow=True)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    assert np.array_equal(found.get_data(dtype=np.float32), expected)
    assert np.array_equal(OpenVINOOperations().constant(values, narrow=True).get_data(), values)


@BF16
def test_narrow_products_choose_neighbours_that_are_hardly_farther():
    """Rows of great and nearly equal lengths, of which bf16 alone would tell few apart."""
    rng = np.random.default_rng(0)
    bank, queries = (rng.standard_normal((count, 40)).astype(np.float32) for count in (2500, 200))
    bank[:, 0], queries[:, 0] = 64, 32  # products as great as half the squared lengths
    parameter = openvino.opset14.parameter(list(queries.shape), np.float32)
    model = openvino.Model([Nearest(OpenVINOOperations(narrows=True), bank).one(parameter)], [parameter])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    apart = np.linalg.norm((queries[:, np.newaxis] - bank)[..., 1:], axis=2)
    assert (apart[range(200), compiled([queries])[0]] <= 1.02 * apart.min(1)).all()


@pytest.fixture(
    scope="module", params=["padim", "patchcore", "fusion", "mahalanobis", "variation", "lbp", "dictionary", "texture"]
)
def bench(request):
    return Bench(request.param)


@pytest.fixture(scope="module")
def detector(bench):
    return bench.fit(bench.good)


def scorer_of(bench, detector, precision="fp32", threads=1, batch=0, own=True):
    graph = detector.graph(own)
    network, weights = network_of(bench.extractor), bench.extractor.state()
    return OpenVINOScorer(network, weights, graph, SIZE, precision, threads, batch or graph.together)


IMAGES = np.concatenate([textures(3, seed=5), flawed(textures(2, seed=6))])


def one_by_one(scorer):
    return [scorer(image[np.newaxis]) for image in IMAGES]


def test_it_says_what_torch_says(bench, detector):
    torchs = TorchScorer(bench.engine, detector)
    for found, image in zip(one_by_one(scorer_of(bench, detector)), IMAGES, strict=True):
        expected = torchs(image[np.newaxis])
        np.testing.assert_allclose(found.grid, expected.grid, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(found.pooled, expected.pooled, rtol=1e-4, atol=1e-5)
        assert (found.image is None) == (expected.image is None)
        if found.image is not None:
            np.testing.assert_allclose(found.image, expected.image, rtol=2e-3)


@pytest.mark.parametrize("most", [0, 1 << 40])
def test_threads_that_share_a_compiled_model_and_those_with_their_own_say_the_same(bench, detector, monkeypatch, most):
    expected = one_by_one(scorer_of(bench, detector))
    monkeypatch.setattr("adcli.engines.openvino._COPIED_BYTES", most)
    scorer = scorer_of(bench, detector, threads=3)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda image: scorer(image[np.newaxis]), np.concatenate([IMAGES, IMAGES])))
    for one, other in zip(found, expected + expected, strict=True):
        np.testing.assert_array_equal(one.grid, other.grid)


@pytest.mark.parametrize(("front", "back", "spare"), [(True, True, 0), (True, False, -1), (False, True, None)])
def test_copies_of_both_halves_share_one_budget(front, back, spare, monkeypatch):
    patchcore = Bench("patchcore")
    detector = patchcore.fit(patchcore.good)
    held = [openvino_engine._held_bytes(half._model) for half in halves(scorer_of(patchcore, detector))]
    room = 2 * held[0] - 1 if spare is None else 2 * sum(held) + spare
    assert held[1] < held[0]  # so that the last has room for the comparison alone
    monkeypatch.setattr("adcli.engines.openvino._COPIED_BYTES", room)
    assert [not half._shared for half in halves(scorer_of(patchcore, detector, threads=2))] == [front, back]


def halves(scorer):
    return scorer._front, scorer._back.result()


def test_threads_that_come_later_compile_nothing(bench, detector, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        "adcli.engines.openvino._Compiled._compile",
        lambda self, compile=openvino_engine._Compiled._compile: compiled.append(self) or compile(self),
    )
    scorer = scorer_of(bench, detector, threads=2)
    network = openvino_engine.OpenVINONetwork(
        network_of(bench.extractor), bench.extractor.state(), SIZE, "fp32", threads=2
    )
    for score in (scorer, network):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(score, IMAGES[:1]).result()
    before = len(compiled)
    for score in (scorer, network):
        for _ in range(3):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(score, IMAGES[:1]).result()
    assert len(compiled) == before


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=BF16)])
@pytest.mark.parametrize("dims", [30, 100])
def test_channels_taken_inside_the_network_are_those_taken_of_its_layers_to_the_bit(precision, dims):
    extractor = build_extractor("random-resnet18", ("layer1", "layer2", "layer3"), None, 0)
    size = (96, 64)  # grids of 24 x 16, 12 x 8 and 6 x 4 patches
    images = np.random.default_rng(1).random((2, *size, 3)).astype(np.float32)
    shapes = tuple(layer_shapes(extractor, size))
    reduction = Reduction(np.sort(np.random.default_rng(0).choice(448, dims, replace=False)), None)
    whole = openvino_engine.OpenVINONetwork(network_of(extractor), extractor.state(), size, precision, threads=1)
    reduced = whole.reduced(
        lambda ops, layers: ops.reshape(reduce_layers(ops, reduction, shapes, False, layers), (1, -1, dims))
    )
    layers, expected_pooled = whole.learn(images)
    (vectors,), pooled = reduced.learn(images)
    layers = tuple(map(torch.from_numpy, layers))
    assert np.array_equal(vectors, reduction.on(shapes, "nearest", "cpu")(layers).transpose(0, 1))
    assert np.array_equal(pooled, expected_pooled)


def test_what_torch_computes_is_not_reduced():
    extractor = build_extractor("random-resnet18", ("layer1",), None, 0)
    assert TorchEngine(extractor, torch.device("cpu"), "fp32").reduced(lambda ops, layers: layers[0]) is None


@BF16
def test_bf16_is_near(bench, detector):
    if not network_of(bench.extractor).steps:
        pytest.skip("pixels are what they are in any precision")
    for found, exact in zip(
        one_by_one(scorer_of(bench, detector, "bf16")), one_by_one(scorer_of(bench, detector)), strict=True
    ):
        assert not np.array_equal(found.grid, exact.grid)
        np.testing.assert_allclose(found.grid.max(), exact.grid.max(), rtol=0.05, atol=0.02)


def test_neighbours_change_nothing_to_the_bit(bench, detector):
    scorer = scorer_of(bench, detector)
    alone = one_by_one(scorer)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0], [3, 3]):
        for start in range(0, len(order), scorer.batch):
            numbers = order[start : start + scorer.batch]
            together = scorer(IMAGES[numbers])
            for place, number in enumerate(numbers):
                assert np.array_equal(together.grid[place], alone[number].grid[0])
                assert np.array_equal(together.pooled[place], alone[number].pooled[0])
                if together.image is not None:
                    assert together.image[place] == alone[number].image[0]


def test_several_threads_disturb_nothing(bench, detector):
    scorer = scorer_of(bench, detector, threads=2)
    alone = one_by_one(scorer)
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda image: scorer(image[np.newaxis]), [*IMAGES, *IMAGES, *IMAGES]))
    for number, found in enumerate(again):
        assert np.array_equal(found.grid, alone[number % len(IMAGES)].grid)


def test_a_smaller_batch_says_the_same(bench, detector):
    whole, single = scorer_of(bench, detector), scorer_of(bench, detector, batch=1)
    assert single.batch == 1
    for one, other in zip(one_by_one(whole), one_by_one(single), strict=True):
        np.testing.assert_allclose(one.grid, other.grid, rtol=1e-4, atol=1e-5)


def test_an_own_score_that_nobody_asks_for_is_not_there(bench, detector):
    assert scorer_of(bench, detector, own=False)(IMAGES[:1]).image is None


def test_what_cannot_be_compiled_is_one_sentence(bench, detector):
    weights = dict(bench.extractor.state())
    if not weights:
        pytest.skip("nothing to compile")
    weights["conv1.weight"] = weights["conv1.weight"][:, :2]
    graph = detector.graph(True)
    with pytest.raises(EnvironmentFault, match="use --engine torch"):
        OpenVINOScorer(network_of(bench.extractor), weights, graph, SIZE, "fp32", 1, graph.together)


def test_openvino_is_taken_without_what_tells_a_server_of_it():
    """In a process of its own: whoever imports the converter afterwards has it."""
    code = (
        "import sys; import adcli.engines.openvino; "
        "print(any(name.startswith(('openvino_telemetry', 'openvino.tools')) for name in sys.modules)); "
        "from openvino.tools.ovc import convert_model; print(callable(convert_model))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
