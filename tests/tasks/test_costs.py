"""What costs say a method stores is what a detector has; what they say of networks is what networks are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from adcli.backbones import BACKBONES, EMBEDDED, PIXELS, find_backbone
from adcli.backbones.extractor import architecture_of, build_extractor, layer_shapes
from adcli.detectors import DETECTORS, choose_layers, find_method
from adcli.detectors.params import parse_params
from adcli.gallery import Gallery
from adcli.tasks.costs import FORMULAS, Given, cost_of, fused
from adcli.tasks.networks import NETWORKS, shapes_of, weights_of
from tests.detectors.features import ArrayFeatures, random_layers

LAYERS = ((6, 12, 10), (8, 6, 5), (12, 3, 3))
MANY = 9


def array_bytes(record: Any) -> int:
    """Of all arrays in a record, and in the records in it."""
    if isinstance(record, (np.ndarray, Gallery)):
        return record.nbytes
    if isinstance(record, tuple):
        return sum(map(array_bytes, record))
    if dataclasses.is_dataclass(record):
        return sum(array_bytes(getattr(record, field.name)) for field in dataclasses.fields(record))
    return 0


@pytest.mark.parametrize(
    "words",
    [
        "padim",
        "padim dims=7 updatable=yes",
        "padim dims=7 shrinkage=ledoit-wolf updatable=yes",
        "padim dims=20 shrinkage=auto",
        "padim reduction=ortho dims=9",
        "padim reduction=none",
        "patchcore coreset=0.01",
        "patchcore dims=11 whiten=yes",
        "patchcore coreset=1",
        "patchcore positional=1 coreset=0.34",
        "patchcore denoise=0.15",
        "spade",
        "spade grid=2 storage=float32",
        "mahalanobis",
        "texture levels=2 dims=5",
        "texture levels=1 colour=yes patch=3 dims=0",
        "variation",
        "variation colour=yes updatable=yes",
        "lbp stride=6",
    ],
)
def test_a_detector_stores_as_many_bytes_as_its_formula_says(words: str) -> None:
    name, *assignments = words.split()
    method = find_method(name)
    shapes = ((3, 26, 22),) if method.backbone == PIXELS else LAYERS
    features = ArrayFeatures([np.abs(layer) / 9 for layer in random_layers(MANY, 1, shapes)])
    params = parse_params(method.detector().Params, assignments)
    detector = method.detector().fit(features, params, np.random.default_rng(0))
    stored = cost_of(name, params, Given(MANY, features.shapes, 2)).stored
    # By position each of P groups rounds for itself, and of the suspicious equally suspicious ones stay.
    assert array_bytes(detector) == pytest.approx(stored, rel=0.01 if "denoise" in words else 1e-9)


def test_a_dictionary_stores_no_more_than_all_its_axes_would_take() -> None:
    features = ArrayFeatures(random_layers(MANY, 1, LAYERS))
    params = find_method("dictionary").detector().Params()
    detector = find_method("dictionary").detector().fit(features, params, np.random.default_rng(0))
    stored, axes = cost_of("dictionary", params, Given(MANY, LAYERS, 2)).stored, detector.axes.shape[1]
    assert array_bytes(detector) == 4 * (26 + 26 * axes + 10 * axes)
    assert stored == 4 * (26 + 26 * 13 + 10 * 13)  # half of the 26


def test_every_method_that_is_no_fusion_has_a_formula() -> None:
    assert {name for name, method in DETECTORS.items() if not hasattr(method.detector(), "made_of")} == set(FORMULAS)


def test_a_fusion_stores_and_scores_what_its_members_do_and_looks_once_more() -> None:
    given = Given(100, ((64, 16, 16), (128, 8, 8)), 2)
    one, other = (cost_of(name, find_method(name).detector().Params(), given) for name in ("padim", "mahalanobis"))
    both = fused([one, other], 2)
    assert both.stored == one.stored + other.stored
    assert both.passes == 3
    assert both.learning >= max(one.learning, one.stored + other.learning, one.scoring + other.scoring)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_more_images_and_larger_grids_never_cost_less(name: str) -> None:
    params = find_method(name).detector().Params()
    small = ((3, 64, 64),) if find_method(name).backbone == PIXELS else ((64, 16, 16), (128, 8, 8))
    large = tuple((channels, 2 * h, 2 * w) for channels, h, w in small)
    base = cost_of(name, params, Given(50, small, 2))
    for given in (Given(90, small, 2), Given(50, large, 2), Given(50, small, 4)):
        costs = dataclasses.astuple(cost_of(name, params, given))
        places = range(len(costs)) if given.threads == 2 else (4, 5)  # of threads, memory
        assert all(costs[place] >= dataclasses.astuple(base)[place] for place in places)


@pytest.mark.parametrize("name", ["embedded", "resnet18", "mobilenet_v3_large"])
@pytest.mark.parametrize("size", [(256, 256), (75, 301)])
def test_the_table_of_networks_is_what_networks_are(name: str, size: tuple[int, int]) -> None:
    backbone = find_backbone(f"random-{name}")
    extractor = build_extractor(backbone.name, backbone.layers, None, 0)
    assert shapes_of(backbone, backbone.layers, size) == tuple(layer_shapes(extractor, size))
    assert weights_of(backbone, backbone.layers) == sum(array.nbytes for array in extractor.state().values())


@pytest.mark.parametrize(
    "name", ["embedded", "resnet34", "resnet50", "wide_resnet50_2", "efficientnet_b4", "efficientnet_b5"]
)
def test_the_bytes_of_a_part_are_those_of_the_modules_up_to_it(name: str) -> None:
    model = architecture_of(name)  # without memory for its weights
    last = max(NETWORKS[name].stages, key=lambda layer: NETWORKS[name].stages[layer].weights)
    head, _, index = last.partition(".")
    counted = 0
    for child, module in model.named_children():
        parts = [module] if child != head or not index else list(module.children())[: int(index) + 1]
        state = [value for part in parts for key, value in part.state_dict().items()]
        counted += sum(4 * value.numel() for value in state if value.is_floating_point())
        if child == head:
            break
    assert NETWORKS[name].stages[last].weights == counted


def test_joined_networks_are_as_large_as_their_parts() -> None:
    backbone = find_backbone("resnet18+wide_resnet50_2")
    _, layers = choose_layers(find_method("padim"), None, backbone)
    shapes = shapes_of(backbone, layers, (64, 64))
    assert shapes == ((64, 16, 16), (128, 8, 8), (256, 4, 4), (256, 16, 16), (512, 8, 8), (1024, 4, 4))
    assert weights_of(backbone, layers) == 11_149_056 + 99_608_320


def test_what_the_table_lacks_is_not_guessed() -> None:
    assert shapes_of(find_backbone("resnet18", ["conv1"]), ["conv1"], (64, 64)) is None
    assert weights_of(find_backbone("resnet18", ["conv1"]), ["conv1"]) is None
    assert set(NETWORKS) <= {*BACKBONES, EMBEDDED}


def test_images_that_padim_holds_are_those_of_its_code() -> None:
    from adcli.detectors import moments
    from adcli.detectors.padim_graph import PaDiMGraph
    from adcli.tasks import costs

    assert (moments._TOGETHER, PaDiMGraph.together) == (costs._TOGETHER, costs._COMPARED_AT_ONCE)
