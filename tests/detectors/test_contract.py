"""What every detector promises, asked of every line of DETECTORS."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from adcli.backbones import find_backbone
from adcli.backbones.extractor import build_extractor
from adcli.detectors import DETECTORS, Batch
from adcli.engines.torch import TorchEngine, TorchScorer, fast_bf16
from adcli.errors import AdcliError, UsageError
from adcli.gallery import Gallery
from adcli.geometry import Geometry
from adcli.model import Model, Provenance, Spec
from adcli.sizes import MinArea, MinSize
from adcli.store import load, save
from tests.detectors.features import ArrayFeatures, tensors
from tests.models import same

SIZE = (72, 56)  # grids of 18 x 14, 9 x 7 and 5 x 4 patches
FLAW = (slice(24, 40), slice(16, 32))
CPU = torch.device("cpu")
QUICK = {"texture": {"sample": 2000, "components": 4}}  # parameters where the method's own take many times as long
PRECISIONS = ["fp32", pytest.param("bf16", marks=pytest.mark.skipif(not fast_bf16(CPU), reason="no fast bf16 here"))]


def textures(count, seed):
    """Images (N, H, W, 3) in [0, 1] of one material: blurred noise about a fixed shade."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, SIZE[0] + 4, SIZE[1] + 4, 1))
    blurred = sum(noise[:, dy : dy + SIZE[0], dx : dx + SIZE[1]] for dy in range(5) for dx in range(5)) / 25
    return np.clip(0.5 + 0.2 * blurred + np.array([0.05, 0, -0.05]), 0, 1).astype(np.float32)


def flawed(images):
    """The same images with bright stripes in one place."""
    images = images.copy()
    images[:, FLAW[0], FLAW[1]] = 0.2
    images[:, FLAW[0].start : FLAW[0].stop : 4, FLAW[1]] = 1
    return images


class Bench:
    """A method with an untrained backbone, and the features of a few good images."""

    def __init__(self, name: str, precision: str = "fp32") -> None:
        self.method = DETECTORS[name]
        self.cls = self.method.detector()
        self.params = self.cls.Params(**QUICK.get(name, {}))
        self.backbone = find_backbone(self.method.backbone or "random-resnet18")
        self.extractor = build_extractor(self.backbone.name, self.cls.layers(self.backbone), None, seed=0)
        self.engine = TorchEngine(self.extractor, CPU, precision)
        self.good = self.features(textures(12, seed=1))

    def layers(self, images: np.ndarray) -> list[np.ndarray]:
        return [layer.numpy() for layer in self.engine.features_alone(images)]

    def features(self, images: np.ndarray) -> ArrayFeatures:
        return ArrayFeatures(self.layers(images))

    def fit(self, features: ArrayFeatures, seed: int = 0, **changes: object):
        params = dataclasses.replace(self.params, **changes)
        return self.cls.fit(features, params, np.random.default_rng(seed))

    def model(self, detector) -> Model:
        spec = Spec(
            method=self.method.name,
            backbone=self.backbone.name,
            layers=self.extractor.layers,
            image_size=SIZE,
            sigma=4.0,
            white_level=None,
            precision="fp32",
            seed=0,
        )
        return Model(
            geometry=Geometry(),
            spec=spec,
            weights={"conv1.weight": np.zeros(3, np.float32)},
            detector=detector,
            guard=None,
            footprint=0.01,
            sizes=(MinSize(MinArea(0.01, "share")),),
            scales=None,
            group_by=None,
            pixel_pitch=None,
            calibration=None,
            provenance=Provenance(np.zeros((0, 32), np.uint8), 0, "", {}),
        )


@pytest.fixture(scope="module", params=DETECTORS)
def bench(request):
    return Bench(request.param)


@pytest.fixture(scope="module")
def fitted(bench):
    return bench.fit(bench.good)


@pytest.fixture(scope="module")
def seen(bench):
    """One batch: two clean images and the same two with a flaw."""
    clean = textures(2, seed=2)
    return np.concatenate([clean, flawed(clean)])


@torch.inference_mode()
def scores(detector, layers):
    return detector.scorer()(tensors(layers))


def one_sentence(error: BaseException) -> bool:
    text = str(error)
    return bool(text) and "\n" not in text and ". " not in text.rstrip(".")


def test_there_is_one_finite_value_a_patch_and_an_image(bench, fitted, seen):
    for count in (1, 3, 4):
        layers = bench.layers(seen[:count])
        result = scores(fitted, layers)
        assert result.grid.shape == (count, *getattr(fitted, "grid", layers[0].shape[2:]))
        assert result.grid.dtype == torch.float32 and result.grid.isfinite().all()
        if result.image is not None:
            assert result.image.shape == (count,)
            assert result.image.dtype == torch.float32 and result.image.isfinite().all()
        # What `--image-stage own` goes by: a few words, of a method that has the score, and of no other.
        assert bool(getattr(fitted, "image_stage", None)) == (result.image is not None)


def test_larger_means_stranger(bench, fitted, seen):
    result = scores(fitted, bench.layers(seen))
    clean, strange = result.grid[:2], result.grid[2:]
    assert strange.amax((1, 2)).min() > clean.max()
    for grid in strange:
        y, x = divmod(int(grid.argmax()), grid.shape[1])
        # Within one patch of the deepest layer, 16 pixels, of the flaw.
        assert FLAW[0].start - 16 <= (y + 0.5) * SIZE[0] / grid.shape[0] <= FLAW[0].stop + 16
        assert FLAW[1].start - 16 <= (x + 0.5) * SIZE[1] / grid.shape[1] <= FLAW[1].stop + 16
    if result.image is not None:
        assert result.image[2:].min() > result.image[:2].max()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", DETECTORS)
def test_an_image_scores_the_same_bits_alone_and_in_any_company(name, precision):
    bench = Bench(name, precision)
    scorer = TorchScorer(bench.engine, bench.fit(bench.good))
    clean = textures(3, seed=5)
    images = np.concatenate([clean, flawed(clean), textures(1, seed=6)])
    alone = [scorer(images[i : i + 1]) for i in range(len(images))]
    rng = np.random.default_rng(0)
    for count in range(1, scorer.batch + 1):
        for _ in range(2):
            company = rng.choice(len(images), count, replace=False)
            grids, own, pooled = scorer(images[company])
            for at, image in enumerate(company):
                assert np.array_equal(pooled[at], alone[image].pooled[0])
                assert np.array_equal(grids[at], alone[image].grid[0])
                assert own is None or own[at] == alone[image].image[0]


@pytest.mark.parametrize("name", ["padim", "texture", "variation", "lbp"])
def test_the_order_of_the_good_images_does_not_matter(name):
    bench = Bench(name)
    layers = bench.layers(flawed(textures(2, seed=2)))
    expected = scores(bench.fit(bench.good), layers).grid
    for seed in (1, 2):
        shuffled = bench.good.taken(np.random.default_rng(seed).permutation(12), batch=5)
        torch.testing.assert_close(scores(bench.fit(shuffled), layers).grid, expected, rtol=1e-4, atol=0)


def test_equal_seed_and_images_give_equal_bytes(bench, tmp_path):
    for name in ("first.h5", "second.h5"):
        save(bench.model(bench.fit(bench.good, seed=7)), tmp_path / name)
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()


def test_another_seed_gives_another_model_exactly_where_the_method_draws(bench, fitted):
    drawn = bench.fit(bench.good, seed=5)
    assert same(fitted, drawn) != bench.method.seeded


def test_it_survives_the_file_unchanged(bench, fitted, seen, tmp_path):
    save(bench.model(fitted), tmp_path / "model.h5")
    read = load(tmp_path / "model.h5").model.detector
    assert type(read) is type(fitted)
    layers = bench.layers(seen)
    before, after = scores(fitted, layers), scores(read, layers)
    assert torch.equal(before.grid, after.grid)
    assert before.image is None or torch.equal(before.image, after.image)
    save(bench.model(read), tmp_path / "again.h5")
    assert (tmp_path / "model.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()


def _arrays(learnt, prefix=""):
    """All arrays of a detector by their paths, also those in galleries, in records and in detectors within it."""
    found = {}
    for field in dataclasses.fields(learnt):
        value = getattr(learnt, field.name)
        for place, part in enumerate(value if isinstance(value, tuple) else [value]):
            name = f"{prefix}{field.name}.{place}"
            if dataclasses.is_dataclass(part):
                found |= _arrays(part, f"{name}.")
            elif isinstance(part, Gallery):
                found[name] = part.read()
            elif isinstance(part, np.ndarray):
                found[name] = part
    return found


def test_it_does_not_change_what_it_is_given(bench, seen):
    class Kept(ArrayFeatures):
        def __init__(self, layers):
            super().__init__(layers)
            self.batches = [tensors([layer[i : i + 4] for layer in layers]) for i in range(0, len(layers[0]), 4)]

        def __iter__(self):
            return map(Batch, self.batches)

    features = Kept(bench.good.layers)
    before = [[layer.clone() for layer in batch] for batch in features.batches]
    detector = bench.fit(features)
    batch = tensors(bench.layers(seen))
    copies = [layer.clone() for layer in batch]
    arrays = {name: np.copy(array) for name, array in _arrays(detector).items()}
    with torch.inference_mode():
        detector.scorer()(batch)
    assert all(torch.equal(a, b) for a, b in zip(batch, copies, strict=True))
    for batch, copy in zip(features.batches, before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, copy, strict=True))
    after = _arrays(detector)
    assert arrays and all(np.array_equal(array, after[name]) for name, array in arrays.items())


def test_scoring_leaves_no_trace_in_later_scores(bench, fitted, seen):
    layers, others = bench.layers(seen[:2]), bench.layers(seen[2:])
    with torch.inference_mode():
        scorer = fitted.scorer()
        first = scorer(tensors(layers)).grid.clone()
        scorer(tensors(others))
        assert torch.equal(scorer(tensors(layers)).grid, first)


def _coarser(layer):
    return layer[:, :, :-1, :]


def _fewer(layer):
    return layer[:, :-1]


def _more(layer):
    return np.concatenate([layer, layer[:, :1]], axis=1)


def _transposed(layer):
    return layer.transpose(0, 1, 3, 2)


@pytest.mark.parametrize("change", [_coarser, _fewer, _more, _transposed])
@pytest.mark.parametrize("which", [0, -1])
def test_features_of_another_shape_are_refused(bench, fitted, seen, change, which):
    layers = bench.layers(seen)
    layers[which] = change(layers[which])
    with pytest.raises((AdcliError, ValueError)) as refusal:
        scores(fitted, layers)
    assert one_sentence(refusal.value)
    good = ArrayFeatures(bench.good.layers)
    good.layers[which] = change(good.layers[which])  # other than `shapes` says
    with pytest.raises((AdcliError, ValueError)) as refusal:
        bench.fit(good)
    assert one_sentence(refusal.value)


def test_a_layer_too_few_or_too_many_is_refused(bench, fitted, seen):
    layers = bench.layers(seen)
    for wrong in (layers[:-1], [*layers, layers[-1]]):
        with pytest.raises((AdcliError, ValueError)) as refusal:
            scores(fitted, wrong)
        assert one_sentence(refusal.value)


@pytest.mark.parametrize("claims", [0, 12])
def test_nothing_to_learn_from_is_refused(bench, claims):
    nothing = ArrayFeatures([layer[:0] for layer in bench.good.layers], claims=claims)
    with pytest.raises(UsageError) as refusal:
        bench.fit(nothing)
    assert one_sentence(refusal.value)


def test_images_that_turn_out_unreadable_leave_no_trace(bench, tmp_path):
    """They are announced, and then missing."""
    fewer = [layer[:9] for layer in bench.good.layers]
    save(bench.model(bench.fit(ArrayFeatures(fewer))), tmp_path / "announced.h5")
    save(bench.model(bench.fit(ArrayFeatures(fewer, claims=12))), tmp_path / "missing.h5")
    assert (tmp_path / "announced.h5").read_bytes() == (tmp_path / "missing.h5").read_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("image", [0, 11])
def test_good_features_that_are_no_numbers_are_refused(bench, value, image):
    layers = [layer.copy() for layer in bench.good.layers]
    layers[0][image, :, 3, 2] = value
    with pytest.raises(UsageError) as refusal:
        bench.fit(ArrayFeatures(layers))
    assert one_sentence(refusal.value) and "NaN" in str(refusal.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_patch_that_is_no_number_never_gets_a_finite_score(bench, fitted, seen, value):
    layers = bench.layers(seen[:2])
    height, width = layers[0].shape[2:]
    layers[0][1, :, 3, 2] = value
    result = scores(fitted, layers)
    rows, columns = result.grid.shape[1:]
    assert not result.grid[1, 3 * rows // height, 2 * columns // width].isfinite()
    assert result.grid[0].isfinite().all()
    if result.image is not None:
        assert not result.image[1].isfinite() and result.image[0].isfinite()


def test_parameters_are_a_frozen_dataclass_with_typed_defaults(bench):
    fields = dataclasses.fields(bench.cls.Params)
    assert fields and all(type(field.default) in (bool, int, float, str) for field in fields)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(bench.cls.Params(), fields[0].name, fields[0].default)


def test_progress_is_reported_within_its_total(bench):
    calls = []
    bench.cls.fit(bench.good, bench.params, np.random.default_rng(0), lambda *call: calls.append(call))
    assert all(isinstance(stage, str) and done >= 0 and (done <= total or total == 0) for stage, done, total in calls)


def test_method_lines_name_themselves():
    for name, method in DETECTORS.items():
        assert method.name == name
        assert method.title and method.paper and method.stores and method.needs
