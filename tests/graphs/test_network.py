"""A network's steps give what the network gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from adcli.backbones import find_backbone
from adcli.backbones.extractor import build_extractor
from adcli.backbones.tracing import network_of
from adcli.graphs.network import Network, Step, build
from tests.graphs.torch_operations import TorchOperations

PIXELS = np.random.default_rng(0).random((2, 3, 72, 56)).astype(np.float32)


def extractor_of(name, layers=None):
    backbone = find_backbone(name, layers)
    return build_extractor(name, backbone.layers, None, seed=3)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("random-resnet18", None),
        ("random-resnext50_32x4d", ("layer1", "layer2")),
        ("random-densenet121", ("features.denseblock1", "features.transition2")),
        ("random-vgg11_bn", ("features.7", "features.14")),
        ("random-mobilenet_v2", ("features.3", "features.6")),
        ("random-mobilenet_v3_small", ("features.3", "features.8")),
        ("random-efficientnet_b0", ("features.2", "features.4")),
        ("random-regnet_y_400mf", ("trunk_output.block1", "trunk_output.block2")),
        ("random-squeezenet1_1", ("features.4", "features.7")),
        ("random-resnet18+random-resnet34", None),
        ("pixels", None),
    ],
)
def test_the_steps_give_what_the_extractor_gives(name, layers):
    extractor = extractor_of(name, layers)
    network = Network.from_text(network_of(extractor).to_text())
    expected = extractor.double()(torch.from_numpy(PIXELS).double())
    found = build(TorchOperations(), network, extractor_of(name, layers).state(), torch.from_numpy(PIXELS).double())
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        scale = float(other.abs().max())
        assert scale > 0
        assert float((one - other).abs().max()) < 1e-5 * scale  # the folded batch norm is float32


def test_a_network_that_does_something_else_has_no_steps():
    assert network_of(extractor_of("random-shufflenet_v2_x0_5", ("stage2", "stage3"))) is None


def test_a_network_survives_its_text():
    network = network_of(extractor_of("random-resnet18"))
    assert Network.from_text(network.to_text()) == network
    assert network.to_text() == network_of(extractor_of("random-resnet18")).to_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"steps": [["relu", [0]]], "outputs": [1]}),
        json.dumps({"steps": [["explode", [0], "", {}]], "outputs": [1]}),
        json.dumps({"steps": [["relu", [1], "", {}]], "outputs": [1]}),
        json.dumps({"steps": [["relu", [-1], "", {}]], "outputs": [1]}),
        json.dumps({"steps": [["relu", ["0"], "", {}]], "outputs": [1]}),
        json.dumps({"steps": [], "outputs": [1]}),
    ],
)
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError):
        Network.from_text(text)


def test_each_activation_is_torchs():
    x = torch.linspace(-8, 8, 33, dtype=torch.float64).reshape(1, 1, 3, 11)
    expected = {
        "relu": torch.nn.functional.relu,
        "relu6": torch.nn.functional.relu6,
        "sigmoid": torch.sigmoid,
        "silu": torch.nn.functional.silu,
        "hard_sigmoid": torch.nn.functional.hardsigmoid,
        "hard_swish": torch.nn.functional.hardswish,
    }
    for kind, function in expected.items():
        (found,) = build(TorchOperations(), Network((Step(kind, (0,)),), (1,)), {}, x)
        assert torch.allclose(found, function(x), atol=1e-6), kind
