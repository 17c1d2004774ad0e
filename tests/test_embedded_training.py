"""What the embedded backbone is taught with: images, losses, and the way from a trained network to a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adcli.backbones import embedded_file
from adcli.backbones.embedded import Shape
from adcli.backbones.embedded_file import read_arrays
from adcli.backbones.extractor import build_extractor

SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "embedded"
LAYERS = ("layer1", "layer2", "layer3")
SIZE = 64


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@pytest.fixture
def student() -> Any:
    """A network with batch norms that do something."""
    from student import new

    made, generator = new(Shape(), seed=0), torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
    return made.eval()


def extracted(arrays: dict[str, np.ndarray], pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return build_extractor("embedded", LAYERS, arrays, 0)(pixels)


def assert_same(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_the_kept_log_is_of_the_kept_configuration_and_of_the_file_in_the_package() -> None:
    log = [json.loads(line) for line in (SCRIPTS / "log.jsonl").read_text().splitlines()]
    config = json.loads((SCRIPTS / "config.json").read_text())
    assert [line["config"] for line in log if "config" in line][-1] == config
    assert [line["step"] for line in log if "loss" in line][-1] == sum(cycle["steps"] for cycle in config["cycles"])
    assert log[-1]["sha256"] == embedded_file.SHA256
    assert log[-1]["bytes"] == embedded_file.FILE.stat().st_size


def test_an_image_is_drawn_from_its_seed_and_number_alone() -> None:
    from textures import picture

    later = picture(3, 7, SIZE)
    [picture(3, number, SIZE) for number in range(3)]
    assert np.array_equal(picture(3, 7, SIZE), later)
    assert not np.array_equal(picture(4, 7, SIZE), later)
    assert not np.array_equal(picture(3, 8, SIZE), later)


def test_every_kind_gives_images_that_differ_from_each_other_and_are_mostly_not_flat() -> None:
    from textures import KINDS, picture

    for kind in KINDS:
        drawn = [picture(0, number, SIZE, kind) for number in range(4)]
        assert all(image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8 for image in drawn)
        assert sum(image.std() > 3 for image in drawn) >= 2, kind
        apart = [np.abs(a.astype(int) - b).mean() for a in drawn for b in drawn if a is not b]
        assert min(apart) > 2, kind


def test_a_set_is_the_same_on_any_number_of_cores(tmp_path: Path) -> None:
    from textures import make, picture

    made = make(tmp_path / "pool.npy", seed=5, count=6, size=48, workers=2)
    assert np.array_equal(made, np.stack([picture(5, number, 48) for number in range(6)]))


def test_folding_batch_norm_changes_nothing(student: Any) -> None:
    from lessons import normalised
    from student import folded

    pixels = torch.rand(2, 3, 64, 96)
    assert_same(extracted(folded(student), pixels), [layer.detach() for layer in student(normalised(pixels))])


def test_scaling_multiplies_each_channel_of_each_layer_and_nothing_else(student: Any) -> None:
    from student import folded, scaled

    shape, rng, pixels = Shape(), np.random.default_rng(0), torch.rand(1, 3, 64, 64)
    factors = [rng.uniform(0.2, 5, width) for width in shape.widths]
    plain = extracted(folded(student), pixels)
    wanted = [a * torch.from_numpy(by).float().view(1, -1, 1, 1) for a, by in zip(plain, factors, strict=True)]
    assert_same(extracted(scaled(folded(student), shape.blocks, factors), pixels), wanted)


def test_settled_batch_norms_hold_the_mean_statistics_of_the_batches() -> None:
    from student import new, settle

    made, batches = new(Shape(), 0), [torch.randn(3, 3, 32, 32) for _ in range(4)]
    settle(made, batches)
    first = [made.conv1.conv(batch) for batch in batches]
    assert torch.allclose(
        made.conv1.norm.running_mean, torch.stack([a.mean((0, 2, 3)) for a in first]).mean(0), atol=1e-5
    )
    assert torch.allclose(
        made.conv1.norm.running_var, torch.stack([a.var((0, 2, 3)) for a in first]).mean(0), atol=1e-4
    )
    assert not made.training


def test_statistics_of_batches_are_those_of_all_images_at_once() -> None:
    from lessons import statistics

    layers = [torch.randn(6, 5, 4, 4) * 3 + 1, torch.randn(6, 7, 2, 2)]
    found = statistics([[layer[:3] for layer in layers], [layer[3:] for layer in layers]])
    for level, layer in enumerate(layers):
        assert torch.allclose(found.mean[level], layer.mean((0, 2, 3)), atol=1e-5)
        assert torch.allclose(found.std[level], layer.std((0, 2, 3), correction=0), atol=1e-5)
        spread = (layer - layer.mean((0, 2, 3), keepdim=True)).square().sum(1).mean().sqrt()
        assert found.spread(level) == pytest.approx(float(spread), rel=1e-4)


def test_losses_vanish_for_a_student_like_its_teacher_at_any_scale_and_not_for_another() -> None:
    from lessons import losses, statistics

    taught = [torch.randn(2, 8, 6, 6) * 4 + 1, torch.randn(2, 16, 3, 3)]
    of = statistics([taught])
    told = [
        (layer - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
        for layer, mean, std in zip(taught, of.mean, of.std, strict=True)
    ]
    weights = {"layers": [1, 1], "mse": 1, "cosine": 1, "relation": 1, "patches": 9}
    total, _ = losses([3 * layer for layer in taught], told, taught, of, weights, np.random.default_rng(0))
    assert abs(float(total)) < 1e-4
    for own, wrong in ((taught, [-layer for layer in told]), ([layer.flip(0) for layer in taught], told)):
        total, _ = losses(own, wrong, taught, of, weights, np.random.default_rng(0))
        assert float(total) > 0.1


def test_the_relation_is_of_distances_between_patches() -> None:
    from lessons import _relation

    own, taught = torch.randn(2, 3, 3, 4), torch.randn(2, 5, 3, 4)
    places = np.random.default_rng(4).integers(0, 12, (2, 5))

    def apart(layer: torch.Tensor) -> np.ndarray:
        rows = [layer[image, :, place // 4, place % 4].numpy() for image in range(2) for place in places[image]]
        found = np.array([[np.square(a - b).sum() for b in rows] for a in rows])
        found = np.sqrt(found + 1e-4 * found.mean())
        return found / found.mean()

    wrong = np.square(apart(own) - apart(taught))
    within = (wrong[:5, :5].mean() + wrong[5:, 5:].mean()) / 2
    assert wrong.mean() > 0.01
    assert float(_relation(own, taught, 5, np.random.default_rng(4))) == pytest.approx(wrong.mean() + within, rel=1e-3)


def test_an_interrupted_training_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import train
    from textures import picture

    torch.save(
        {k: torch.from_numpy(v) for k, v in build_extractor("random-resnet18", LAYERS, None, 0).state().items()},
        tmp_path / "teacher.pth",
    )
    config = json.loads((SCRIPTS / "config.json").read_text())
    config |= {"images": {"count": 8, "size": 48, "held_out": 2}, "batch": 4, "crop": 32}
    config["cycles"] = [{"steps": 3, "rate": 0.003}, {"steps": 1, "rate": 0.002}]
    config["loss"]["patches"] = 4
    pool = np.stack([picture(0, number, 48) for number in range(8)])

    def taught(work: Path) -> Path:
        work.mkdir(exist_ok=True)
        np.save(work / "pool.npy", pool)
        train.teach(config, tmp_path / "teacher.pth", work, work / "out.npz", None)
        return work / "out.npz"

    class Stopped(Exception):
        pass

    whole = taught(tmp_path / "whole")
    monkeypatch.setattr(train, "KEPT_EVERY_S", 0)
    rate_at = train.rate_at

    def stopping(step: int, cycles: Sequence[dict[str, Any]], warm_up: float) -> float:
        if step == 2:
            raise Stopped
        return rate_at(step, cycles, warm_up)

    monkeypatch.setattr(train, "rate_at", stopping)
    with pytest.raises(Stopped):
        taught(tmp_path / "parts")
    monkeypatch.setattr(train, "rate_at", rate_at)
    assert taught(tmp_path / "parts").read_bytes() == whole.read_bytes()
    log = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [line["resumed"] for line in log if "resumed" in line] == [2]
    assert max(log[-1]["half_precision_error"]) < 0.02
    assert extracted(read_arrays(whole), torch.rand(1, 3, 32, 32))[2].shape == (1, 160, 2, 2)
