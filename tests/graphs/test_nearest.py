"""The nearest rows are those that comparing with every row finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adcli.graphs.nearest import Nearest
from tests.graphs.torch_operations import TorchOperations


def distances(queries, bank):
    """Of every query to every row, in float64."""
    return np.linalg.norm(queries[:, np.newaxis].astype(np.float64) - bank[np.newaxis], axis=2)


def made(rows, dims, narrow):
    """Queries (3, 5, D) and a bank (M, D): any numbers, or whole ones that bf16 holds."""
    rng = np.random.default_rng(rows)
    queries, bank = rng.standard_normal((3, 5, dims)), rng.standard_normal((rows, dims))
    if narrow:
        queries, bank = np.round(40 * queries).clip(-100, 100), np.round(40 * bank).clip(-100, 100)
    return queries.astype(np.float32), bank.astype(np.float32)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(("rows", "dims"), [(1, 3), (2, 29), (64, 30), (1024, 7), (1025, 32), (2500, 40)])
def test_the_nearest_are_those_of_all_rows(rows, dims, narrow):
    queries, bank = made(rows, dims, narrow)
    search = Nearest(TorchOperations(narrow), bank)
    expected = distances(queries.reshape(-1, dims), bank)
    found = search.one(torch.from_numpy(queries).double())
    assert np.array_equal(expected[range(15), found], expected.min(1))
    several = search.several(torch.from_numpy(queries).double(), min(rows, 4))
    assert several.shape == (15, min(rows, 4))
    np.testing.assert_allclose(
        np.take_along_axis(expected, several.numpy(), 1), np.sort(expected, 1)[:, : min(rows, 4)]
    )


def test_every_row_is_its_own_nearest():
    _, bank = made(2500, 40, False)
    assert np.array_equal(Nearest(TorchOperations(), bank).one(torch.from_numpy(bank).double()), range(2500))


def test_lengths_of_narrow_rows_are_as_exact_as_float32():
    """Rows whose squared lengths differ by less than a thousandth of what bf16 keeps of them."""
    bank = np.zeros((200, 4), np.float32)
    bank[:, 0], bank[:, 1] = 64, np.arange(200) / 16
    found = Nearest(TorchOperations(True), bank).one(torch.tensor([[64.0, 0, 0, 0], [64.0, 1, 0, 0], [9.0, 5, 0, 0]]))
    assert found.tolist() == [0, 16, 80]
