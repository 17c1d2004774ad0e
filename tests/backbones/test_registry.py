from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch
import torchvision

from adcli.backbones import BACKBONES, find_backbone
from adcli.errors import UsageError


def shapes_by_hooks(name: str, layers: tuple[str, ...], size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the named modules' outputs, of the untouched torchvision network, on tensors without memory."""
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None).eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        model.get_submodule(layer).register_forward_hook(
            lambda module, inputs, output, layer=layer: shapes.__setitem__(layer, tuple(output.shape))
        )
    model(torch.empty(1, 3, size, size, device="meta"))
    return shapes


@pytest.mark.parametrize("name", BACKBONES)
def test_the_default_layers_of_every_backbone_exist_and_have_strides_4_8_and_16(name: str) -> None:
    layers = BACKBONES[name].layers
    shapes = shapes_by_hooks(name, layers, 256)
    assert [shapes[layer][2:] for layer in layers] == [(64, 64), (32, 32), (16, 16)]


@pytest.mark.parametrize("name", BACKBONES)
def test_the_default_layers_are_the_deepest_of_their_stride_among_their_siblings(name: str) -> None:
    layers = BACKBONES[name].layers
    parent = layers[0].rpartition(".")[0]
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    # Pooling and norms behind a stage are not blocks; transitions of DenseNet halve the grid and do not compete.
    siblings = [
        f"{parent}.{child}".lstrip(".")
        for child, module in model.get_submodule(parent).named_children()
        if len(list(module.children()))
    ]
    shapes = shapes_by_hooks(name, tuple(siblings), 256)
    deepest = {shape[2]: sibling for sibling, shape in shapes.items() if len(shape) == 4}
    if name == "densenet201":
        deepest = {size: sibling for size, sibling in deepest.items() if "denseblock" in sibling}
    assert tuple(deepest[size] for size in (64, 32, 16)) == layers


@pytest.mark.parametrize("name", BACKBONES)
def test_urls_and_sizes_are_those_torchvision_gives_for_imagenet1k_v1(name: str) -> None:
    backbone, published = BACKBONES[name], torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    assert backbone.name == name
    assert backbone.weights_url == published.url
    assert abs(backbone.size_bytes - published.meta["_file_size"] * 2**20) < 1024  # torchvision's are MiB
    assert re.fullmatch("[0-9a-f]{8}", backbone.sha256_prefix)
    assert backbone.sha256 is None or backbone.sha256.startswith(backbone.sha256_prefix)


def test_a_digest_is_pinned_in_full_where_it_is_known_and_by_its_first_digits_elsewhere() -> None:
    full, prefix = BACKBONES["resnet18"], BACKBONES["resnet34"]
    assert full.pins(full.sha256)
    assert not full.pins(full.sha256_prefix + "0" * 56)
    assert prefix.pins(prefix.sha256_prefix + "0" * 56)
    assert not prefix.pins("0" * 64)


def test_given_layers_replace_all_default_ones() -> None:
    backbone = find_backbone("efficientnet_b5", ["features.3"])
    assert backbone.layers == ("features.3",)
    assert backbone.padim_layers is None
    assert backbone.weights_url == BACKBONES["efficientnet_b5"].weights_url


def test_a_torchvision_network_outside_the_registry_needs_layers_and_brings_its_url() -> None:
    with pytest.raises(UsageError, match=r"vgg11 has no layers by default.*--layers.*features\.0, features\.1"):
        find_backbone("vgg11")
    backbone = find_backbone("vgg11", ("features.10",))
    assert backbone.weights_url == torchvision.models.VGG11_Weights.IMAGENET1K_V1.url
    assert backbone.sha256_prefix == "8a719046"


def test_a_random_backbone_has_its_networks_layers_and_nothing_to_fetch() -> None:
    backbone = find_backbone("random-resnet18")
    assert (backbone.name, backbone.layers) == ("random-resnet18", BACKBONES["resnet18"].layers)
    assert (backbone.weights_url, backbone.file_name, backbone.sha256) == (None, None, None)
    assert not backbone.pins("f" * 64)
    assert find_backbone("random-vgg11", ["features.10"]).layers == ("features.10",)


@pytest.mark.parametrize("name", ["resnet81", "random-resnet81", "wide_resnet50", "fcn_resnet50"])
def test_an_unknown_name_is_refused_with_near_misses(name: str) -> None:
    with pytest.raises(UsageError, match=r"no backbone .*did you mean .*resnet"):
        find_backbone(name)


def test_a_network_without_v1_weights_is_refused() -> None:
    with pytest.raises(UsageError, match="no IMAGENET1K_V1 weights of regnet_y_128gf"):
        find_backbone("regnet_y_128gf", ["trunk_output.block2"])


@pytest.mark.parametrize("layers", [[], ["layer1", "layer1"]])
def test_no_layers_and_repeated_layers_are_refused(layers: list[str]) -> None:
    with pytest.raises(UsageError, match="one layer or more, each once"):
        find_backbone("resnet18", layers)


def test_names_and_the_list_of_weights_need_neither_torch_nor_torchvision() -> None:
    code = (
        "import sys, adcli.backbones, adcli.backbones.weights as weights\n"
        "adcli.backbones.find_backbone('random-resnet18')\n"
        "assert len(weights.entries()) == 1 + len(adcli.backbones.BACKBONES)\n"
        "print([name for name in ('torch', 'torchvision', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
