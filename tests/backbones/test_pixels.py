"""The backbone without a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adcli.backbones import find_backbone, weights
from adcli.backbones.extractor import build_extractor, layer_shapes
from adcli.backbones.weights import state_digest
from adcli.engines.torch import TorchEngine
from adcli.errors import EnvironmentFault, UsageError


def test_it_has_one_layer_no_weights_and_nothing_to_fetch() -> None:
    backbone = find_backbone("pixels")
    assert (backbone.name, backbone.layers, backbone.weights_url) == ("pixels", ("rgb",), None)
    extractor = build_extractor("pixels", ("rgb",), None, seed=3)
    assert extractor.state() == {} and (extractor.name, extractor.layers) == ("pixels", ("rgb",))
    assert layer_shapes(extractor, (48, 80)) == [(3, 48, 80)]
    assert "pixels" not in [entry.name for entry in weights.entries()]
    assert len(state_digest(build_extractor("pixels", ("rgb",), {}, seed=0).state())) == 64


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_its_features_are_the_pixels_to_the_bit_in_either_precision(precision: str) -> None:
    pixels = np.random.default_rng(0).random((3, 32, 40, 3), dtype=np.float32)
    engine = TorchEngine(build_extractor("pixels", ("rgb",), None, 0), torch.device("cpu"), precision)
    for (layer,) in (engine.features(pixels), engine.features_alone(pixels)):
        assert layer.dtype == torch.float32
        assert np.array_equal(layer.numpy(), pixels.transpose(0, 3, 1, 2))
    _, pooled = engine.learn(pixels)
    np.testing.assert_allclose(pooled, pixels.mean((1, 2)), rtol=1e-5)


def test_other_layers_weights_and_an_untrained_one_are_refused() -> None:
    with pytest.raises(UsageError, match="one layer"):
        find_backbone("pixels", ["layer1"])
    with pytest.raises(UsageError, match="no weights"):
        find_backbone("random-pixels")
    with pytest.raises(EnvironmentFault, match="no weights"):
        build_extractor("pixels", ("rgb",), {"conv1.weight": np.zeros(3, np.float32)}, 0)
    for wrong in (weights.pull, weights.locate):
        with pytest.raises(UsageError, match="no weights"):
            wrong("pixels")
