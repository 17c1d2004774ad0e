"""A detector's graph says what its scorer says, for every way in which it may be set."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from adcli.detectors import DETECTORS
from tests.detectors.test_contract import Bench, flawed, textures
from tests.graphs.torch_operations import TorchOperations

IMAGES = np.concatenate([textures(2, seed=5), flawed(textures(3, seed=6))])


@pytest.fixture(scope="module", params=[name for name in DETECTORS if hasattr(DETECTORS[name].detector(), "graph")])
def bench(request):
    return Bench(request.param)


def by_graph(detector, layers, own=True):
    """Patch scores (N, h, w) and image scores (N,) or None, `together` images at a time."""
    graph = detector.graph(own)
    ops = TorchOperations()
    exact = [torch.from_numpy(layer).double() for layer in layers]
    each = [graph.queries(ops, [layer[i : i + 1] for layer in exact]) for i in range(len(exact[0]))]
    queries = [torch.cat(parts) for parts in zip(*each, strict=True)]
    grids, images = [], []
    for start in range(0, len(each), graph.together):
        grid, image = graph.scores(ops, [part[start : start + graph.together] for part in queries])
        grids.append(grid.reshape(-1, *graph.grid))
        images.append(image)
    return torch.cat(grids).numpy(), None if images[0] is None else torch.cat(images).numpy()


def agree(bench, detector):
    layers = bench.layers(IMAGES)
    scorer = detector.scorer("cpu")
    grids, images = by_graph(detector, layers)
    for i in range(len(IMAGES)):
        said = scorer(tuple(torch.from_numpy(layer[i : i + 1]) for layer in layers))
        np.testing.assert_allclose(grids[i], said.grid[0].numpy(), rtol=2e-4, atol=3e-5)
        if said.image is None:
            assert images is None
        else:
            np.testing.assert_allclose(images[i], said.image[0].numpy(), rtol=2e-4, atol=1e-5)
    assert by_graph(detector, layers, own=False)[1] is None


VARIANTS = {
    "padim": [
        {},
        {"reduction": "ortho", "dims": 30},
        {"reduction": "pca", "dims": 7},
        {"reduction": "none"},
        {"dims": 1},
        {"dims": 31, "upsample": "bilinear"},
        {"shrinkage": "ledoit-wolf"},
    ],
    "patchcore": [
        {"coreset": 0.1},
        {"coreset": 0.7},  # more rows than one product takes
        {"coreset": 0.05, "neighbours": 1},
        {"coreset": 0.05, "neighbours": 4000},  # more than there are
        {"coreset": 0.05, "dims": 100},
        {"coreset": 0.05, "denoise": 0.15},
    ],
    "variation": [
        {},
        {"colour": True},
        {"absolute": 1.0, "relative": 3.0},
    ],
    "dictionary": [
        {},
        {"normalise": True},
        {"neighbours": 3, "patch": 5},
        {"variance": 1.0, "entries": 40, "patch": 30},  # patches wider than the image
    ],
    "texture": [
        {"sample": 2000},
        {"combine": "mean", "levels": 3, "dims": 0, "components": 3, "sample": 2000},
        {"colour": True, "levels": 1, "patch": 5, "sample": 2000},
    ],
    "lbp": [
        {},
        {"stride": 5},  # cells of unequal size
        {"stride": 10, "block": 1},
    ],
    "mahalanobis": [
        {},
        {"reduction": "pca"},
        {"reduction": "npca", "variance": 0.9},
        {"shrinkage": "0.2"},
    ],
    "fusion": [
        {},
        {"fuse": "max"},
        {"members": "padim(dims=20)+padim(dims=7,reduction=ortho)"},  # several images together
        {"members": "mahalanobis+padim(dims=20)"},  # of several arrays
        {"members": "patchcore(coreset=0.05)+padim(dims=20)+patchcore(coreset=0.02)"},  # the finest grid comes second
    ],
}


def test_every_graph_is_tried_in_several_ways():
    assert set(VARIANTS) == {name for name in DETECTORS if hasattr(DETECTORS[name].detector(), "graph")}


@pytest.mark.parametrize("number", range(max(map(len, VARIANTS.values()))))
def test_the_graph_agrees_with_the_scorer(bench, number):
    variants = VARIANTS[bench.method.name]
    if number < len(variants):
        agree(bench, bench.fit(bench.good, **variants[number]))


def test_a_patch_that_lies_in_the_bank_is_at_no_distance():
    bench = Bench("patchcore")
    detector = bench.fit(bench.good, coreset=1.0)
    grids, _ = by_graph(detector, bench.layers(textures(12, seed=1))[:3])
    assert grids.max() < 1e-4


@pytest.mark.parametrize("changes", [{"whiten": True}, {"positional": 1}])
def test_patchcore_has_no_graph_of_what_it_cannot_say(changes):
    bench = Bench("patchcore")
    assert bench.fit(bench.good, coreset=0.3, **changes).graph(True) is None


def test_a_bank_on_disk_has_no_graph(monkeypatch):
    bench = Bench("patchcore")
    detector = bench.fit(bench.good, coreset=0.1)
    monkeypatch.setattr("adcli.detectors.patchcore.RESIDENT_BYTES", detector.bank.nbytes - 1)
    assert detector.graph(True) is None


def test_a_fusion_has_no_graph_where_a_member_has_none():
    bench = Bench("fusion")
    for members in ("padim(dims=20)+patchcore(coreset=0.05,whiten=yes)", "padim(dims=20)+spade"):
        assert bench.fit(bench.good, members=members).graph(True) is None


def test_padim_has_no_graph_where_the_whiteners_are_too_large(monkeypatch):
    bench = Bench("padim")
    detector = bench.fit(bench.good, dims=20)
    monkeypatch.setattr("adcli.detectors.padim.MOST_BYTES", 4 * 18 * 14 * 20 * 20 - 1)
    assert detector.graph(True) is None
    assert dataclasses.replace(detector).graph is not None
