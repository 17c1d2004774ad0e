"""What every method that new images can join refuses alike."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from adcli.detectors import DETECTORS, check_updates, find_method
from adcli.errors import UsageError
from tests.detectors.features import ArrayFeatures
from tests.detectors.test_contract import Bench, one_sentence

ABLE = [name for name, method in DETECTORS.items() if hasattr(method.detector(), "updated")]
MEMBERS = {"fusion": {"members": "padim(updatable=yes)+patchcore(coreset=0.01)"}}
RNG = np.random.default_rng(0)


def keeping(name: str) -> dict[str, object]:
    """Parameters with which a method keeps what new images are joined to."""
    fields = {field.name for field in dataclasses.fields(DETECTORS[name].detector().Params)}
    return MEMBERS.get(name, {"updatable": True} if "updatable" in fields else {})


@pytest.mark.parametrize("name", ABLE)
def test_one_image_joins_and_features_of_another_shape_are_refused_in_the_same_sentence(name: str) -> None:
    bench = Bench(name)
    detector = bench.fit(bench.good, **keeping(name))
    check_updates(bench.method, detector.params)
    one = ArrayFeatures([layer[:1] for layer in bench.good.layers])
    assert type(detector.updated(one, RNG)) is bench.cls
    coarser = ArrayFeatures([layer[:3, :, :-1] for layer in bench.good.layers])
    with pytest.raises(UsageError, match=r"^the new images have features of the shapes .* same image size") as refusal:
        detector.updated(coarser, RNG)
    assert one_sentence(refusal.value)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("padim", {}),
        ("variation", {}),
        ("fusion", {}),
        ("fusion", {"members": "patchcore+padim"}),
        ("fusion", {"members": "patchcore+dictionary"}),
        ("texture", {}),
    ],
)
def test_what_cannot_join_images_is_refused_by_its_parameters_alone(name: str, params: dict[str, str]) -> None:
    method = find_method(name)
    with pytest.raises(
        UsageError, match=r"^(dictionary, a member of the fusion, cannot join|texture cannot join|this )"
    ):
        check_updates(method, method.detector().Params(**params))


def test_the_early_refusal_is_the_late_one() -> None:
    bench = Bench("variation")
    with pytest.raises(UsageError) as early:
        check_updates(bench.method, bench.cls.Params())
    with pytest.raises(UsageError) as late:
        bench.fit(bench.good).updated(bench.good, RNG)
    assert str(early.value) == str(late.value)
