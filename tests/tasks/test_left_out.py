"""Maps of the images that a model learnt from, as if each had been left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from adcli.errors import UnreadableImage, UsageError
from adcli.finding import find_images
from adcli.model import Model
from adcli.tasks.engines import Machine
from adcli.tasks.fit import Recipe, fit
from adcli.tasks.mapping import Mapped, Mapper

MACHINE = Machine(device="cpu", workers=2, precision="fp32")


@dataclass(frozen=True)
class Learnt:
    path: Path
    place: int


def learn(images: list[Path], path: Path, method: str) -> Model:
    params = {"padim": ("dims=30",), "patchcore": ("coreset=1",)}[method]
    recipe = Recipe(method, "random-resnet18", image_size=(64, 64), params=params, holdout=0)
    return fit(find_images([str(image) for image in images]), path, recipe, machine=MACHINE).model


def maps(mapper: Mapper, sources: list[Learnt]) -> list[Mapped | UnreadableImage]:
    return list(mapper.stream(sources, lambda source, outcome: outcome))


@pytest.mark.parametrize("method", ["padim", "patchcore"])
def test_a_learnt_image_is_mapped_as_by_a_model_that_has_not_seen_it(
    method: str, dataset: Path, tmp_path: Path
) -> None:
    images = sorted((dataset / "train" / "good").iterdir())[:7]
    model = learn(images, tmp_path / "all.h5", method)
    order = [4, 0, 5, 2, 6, 1, 3]
    sources = [Learnt(images[place], place) for place in order]
    sources.insert(1, Learnt(tmp_path / "vanished.png", 7))  # in the midst of a batch
    outcomes = maps(Mapper(model, MACHINE, left_out=True), sources)
    assert isinstance(outcomes.pop(1), UnreadableImage)
    plain = maps(Mapper(model, MACHINE), [Learnt(images[place], place) for place in order])
    for at, place in enumerate(order[:3]):
        others = learn(images[:place] + images[place + 1 :], tmp_path / f"{place}.h5", method)
        (expected,) = maps(Mapper(others, MACHINE), [Learnt(images[place], place)])
        np.testing.assert_allclose(outcomes[at].score_map, expected.score_map, rtol=1e-3)
        if expected.method_score is not None:
            assert outcomes[at].method_score == pytest.approx(expected.method_score, rel=1e-3)
        assert outcomes[at].score_map.mean() > 1.05 * plain[at].score_map.mean()


def test_two_images_are_too_few_to_leave_one_out(dataset: Path, tmp_path: Path) -> None:
    model = learn(sorted((dataset / "train" / "good").iterdir())[:2], tmp_path / "model.h5", "padim")
    with pytest.raises(UsageError, match="at least 3"):
        Mapper(model, MACHINE, left_out=True)
