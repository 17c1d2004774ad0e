"""The network that adcli brings along, and the file of its weights."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from adcli.backbones import EMBEDDED, embedded_file, find_backbone, weights
from adcli.backbones.embedded import Embedded, Shape
from adcli.backbones.extractor import Extractor, build_extractor, cut, layer_shapes
from adcli.backbones.tracing import network_of
from adcli.detectors import find_method
from adcli.errors import EnvironmentFault, UsageError
from adcli.report.backbones import MEASURED, beside
from adcli.tasks.networks import NETWORKS
from adcli.tasks.recipe import choose_backbone
from tests.conftest import ROOT, Adcli

LAYERS = ("layer1", "layer2", "layer3")
OTHERS = embedded_file.FILE, embedded_file.SHA256  # before any test puts another in their place


@pytest.fixture(scope="module")
def untrained() -> Extractor:
    return build_extractor("random-embedded", LAYERS, None, seed=0)


@pytest.fixture
def file(untrained: Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Untrained weights in the place of those of the package."""
    path = tmp_path / "embedded.npz"
    monkeypatch.setattr(embedded_file, "SHA256", embedded_file.write_arrays(path, untrained.state()))
    monkeypatch.setattr(embedded_file, "FILE", path)
    return path


def multiply_adds(extractor: Extractor, size: int) -> int:
    """Of every convolution, from the shapes it meets."""
    total = 0

    def count(module: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal total
        rows, columns = output.shape[2:]
        inputs = module.in_channels // module.groups
        total += rows * columns * module.out_channels * inputs * module.kernel_size[0] * module.kernel_size[1]

    hooks = [m.register_forward_hook(count) for m in extractor.modules() if isinstance(m, torch.nn.Conv2d)]
    extractor(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return total


def test_it_takes_at_most_a_third_of_resnet18s_multiply_adds(untrained: Extractor) -> None:
    resnet18 = multiply_adds(build_extractor("random-resnet18", LAYERS, None, 0), 256)
    assert round(resnet18 / 1e7) == 183  # by hand: 154 in the stem, 604, 537 and 537 in the layers, 10^6
    assert multiply_adds(untrained, 256) <= resnet18 / 3
    assert round(multiply_adds(untrained, 224) / 1e7) == 100 * NETWORKS[EMBEDDED].work


def test_its_weights_take_at_most_4_mb(file: Path) -> None:
    assert file.stat().st_size <= 4_000_000


def test_its_layers_are_called_as_resnet18s_and_have_the_same_grids(untrained: Extractor) -> None:
    resnet18 = find_backbone("resnet18")
    assert find_backbone(EMBEDDED).layers == resnet18.layers == LAYERS
    grids = [shape[1:] for shape in layer_shapes(build_extractor("random-resnet18", LAYERS, None, 0), (75, 301))]
    assert [shape[1:] for shape in layer_shapes(untrained, (75, 301))] == grids


def test_openvino_computes_what_torch_does(untrained: Extractor) -> None:
    pytest.importorskip("openvino")
    from adcli.engines.openvino import OpenVINONetwork

    pixels = np.random.default_rng(0).random((2, 64, 96, 3), np.float32)
    state = untrained.state()
    found = OpenVINONetwork(network_of(untrained), state, (64, 96), "fp32", 1)(pixels)
    for ours, layer in zip(found, untrained(torch.from_numpy(pixels).permute(0, 3, 1, 2)), strict=True):
        assert np.abs(ours - layer.numpy()).max() <= 1e-4 * np.abs(ours).max()


def test_weights_come_back_from_the_file_as_half_precision_has_them(file: Path, untrained: Extractor) -> None:
    read = weights.read_weights(EMBEDDED)
    state = untrained.state()
    assert read.keys() == state.keys()
    assert all(np.array_equal(read[name], state[name].astype(np.float16).astype(np.float32)) for name in state)
    build_extractor(EMBEDDED, LAYERS, read, seed=0)


def test_the_same_weights_are_the_same_bytes(file: Path, untrained: Extractor, tmp_path: Path) -> None:
    turned = dict(reversed(untrained.state().items()))
    assert embedded_file.write_arrays(tmp_path / "again.npz", turned) == embedded_file.SHA256
    assert (tmp_path / "again.npz").read_bytes() == file.read_bytes()


def test_a_weight_that_half_precision_cannot_hold_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bias has values"), np.errstate(over="ignore"):
        embedded_file.write_arrays(tmp_path / "out.npz", {"bias": np.array([1e6])})
    assert not (tmp_path / "out.npz").exists()


def test_the_packages_file_is_the_one_that_is_pinned() -> None:
    path, sha256 = OTHERS
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    entry = next(entry for entry in weights.entries() if entry.name == EMBEDDED)
    assert (entry.state, entry.origin, entry.sha256, entry.path) == ("cached", "adcli", sha256, path)
    assert weights.verify() == [weights.Checked(EMBEDDED, True, None)]


def test_a_file_with_one_bit_changed_is_refused(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for call in (weights.locate, weights.read_weights):
        with pytest.raises(EnvironmentFault, match=r"embedded\.npz is damaged .* install adcli again"):
            call(EMBEDDED)
    (checked,) = weights.verify()
    assert (checked.name, checked.ok) == (EMBEDDED, False)


def test_without_the_file_it_is_absent_and_asking_for_it_says_what_to_do(file: Path) -> None:
    file.unlink()
    assert weights.locate(EMBEDDED) is None
    with pytest.raises(EnvironmentFault, match=r"not in this installation .* or use --backbone resnet18"):
        weights.read_weights(EMBEDDED)


class _Trap:
    """Unpickling this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "trap.npz"
    np.savez(path, weight=np.array([_Trap(sprung)], object))
    np.load(path, allow_pickle=True)["weight"]
    sprung.rmdir()  # the trap works
    with pytest.raises(EnvironmentFault, match="not a file of embedded weights"):
        weights.read_weights(EMBEDDED, file=path)
    assert not sprung.exists()


def test_damaged_and_foreign_files_are_refused_in_a_sentence(file: Path, tmp_path: Path) -> None:
    whole, text = file.read_bytes(), io.BytesIO()
    np.savez(text, words=np.array(["weights"]))
    path = tmp_path / "given.npz"
    text_member, bomb = io.BytesIO(whole), io.BytesIO()
    with zipfile.ZipFile(text_member, "a") as archive:
        archive.writestr("README.txt", "weights")
    np.savez_compressed(bomb, weight=np.zeros(1 << 25, np.float32))
    pieces = (whole[:1000], whole[1000:], whole[:-30], text.getvalue(), text_member.getvalue(), bomb.getvalue())
    for content in (b"", b"hello", *pieces):
        path.write_bytes(content)
        with pytest.raises(EnvironmentFault, match=r"given\.npz (is not a file of embedded|holds more than) weights"):
            weights.read_weights(EMBEDDED, file=path)
    path.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        with pytest.raises(EnvironmentFault, match="not a file of embedded weights"):
            weights.read_weights(EMBEDDED, file=path)
        path.unlink()
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        weights.read_weights(EMBEDDED, file=path)


def test_another_file_of_the_same_network_may_be_given(file: Path, tmp_path: Path) -> None:
    given = build_extractor("random-embedded", LAYERS, None, seed=1).state()
    embedded_file.write_arrays(tmp_path / "own.npz", given)
    read = weights.read_weights(EMBEDDED, file=tmp_path / "own.npz")
    assert np.array_equal(read["conv1.weight"], given["conv1.weight"].astype(np.float16).astype(np.float32))


def test_a_folder_of_weights_is_asked_for_it_and_only_beside_others_may_it_be_missing(
    file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(EnvironmentFault, match=r"0 files of weights of embedded, .* call it embedded\.npz"):
        weights.read_weights(EMBEDDED, file=folder)
    torch.save({"weight": torch.zeros(1)}, folder / "resnet18.pth")
    own = weights.read_weights("embedded+resnet18", file=folder)
    given = build_extractor("random-embedded", LAYERS, None, seed=1).state()
    embedded_file.write_arrays(folder / "embedded.npz", given)
    read = weights.read_weights(EMBEDDED, file=folder)
    assert np.array_equal(read["conv1.weight"], given["conv1.weight"].astype(np.float16).astype(np.float32))
    joined = weights.read_weights("embedded+resnet18", file=folder)
    assert np.array_equal(joined["embedded.conv1.weight"], read["conv1.weight"])
    assert not np.array_equal(own["embedded.conv1.weight"], read["conv1.weight"])


def test_a_model_of_weights_of_another_shape_is_used_as_it_is(dataset: Path, tmp_path: Path, adcli: Adcli) -> None:
    shape = Shape(8, (16, 24, 40), (2, 1, 3))
    other = cut(Embedded(shape).eval(), "random-embedded", LAYERS)
    assert Shape.of(other.state()) == shape
    embedded_file.write_arrays(tmp_path / "own.npz", other.state())
    model, quick = tmp_path / "model.h5", ("--image-size", "64", "-p", "dims=30", "--weights", tmp_path / "own.npz")
    fitted = adcli("fit", dataset / "train", "-m", model, *quick)
    assert fitted.code == 0, fitted.err
    assert "measured" not in fitted.err  # nobody has measured it
    for engine in ("torch", "auto"):
        scored = adcli("score", dataset / "test", "-m", model, "--out", tmp_path / engine, "--engine", engine)
        assert scored.code == 0, scored.err


def test_the_figures_that_fit_quotes_are_of_the_file_in_the_package() -> None:
    kept = json.loads((ROOT / "benchmarks" / "results" / "backbones.json").read_text())
    assert kept["sha256"] == OTHERS[1]


def test_nothing_is_fetched_or_added(file: Path) -> None:
    for call in (weights.pull, lambda name: weights.add(file, name)):
        with pytest.raises(UsageError, match="embedded comes with adcli"):
            call(EMBEDDED)


def test_beside_another_backbone_it_takes_its_own_weights(file: Path) -> None:
    name = "embedded+random-resnet18"
    state = weights.read_weights(name)
    assert {key.partition(".")[0] for key in state} == {EMBEDDED}
    pixels = torch.rand(1, 3, 64, 64)
    alone = build_extractor(EMBEDDED, ("layer2",), weights.read_weights(EMBEDDED), 0)(pixels)
    state |= {f"random-resnet18.{k}": v for k, v in build_extractor("random-resnet18", LAYERS, None, 0).state().items()}
    joined = build_extractor(name, ("embedded.layer2", "random-resnet18.layer1"), state, 0)
    assert torch.equal(joined(pixels)[0], alone[0])


def test_without_a_name_fit_takes_it_and_says_what_the_other_found(
    dataset: Path, tmp_path: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    fitted = adcli("fit", dataset / "train", "-m", tmp_path / "model.h5", "--image-size", "64", "-p", "dims=30")
    assert fitted.code == 0, fitted.err
    assert "padim on embedded (layer1, layer2, layer3)" in fitted.out
    (said,) = (line for line in fitted.err.splitlines() if line.startswith("backbone "))
    measured = json.loads(MEASURED.read_text())
    for metric in ("image_auroc", "pixel_auroc", "aupro_0.3"):
        assert f"{measured['embedded'][metric]:.3f} / {measured['resnet18'][metric]:.3f}" in said
    assert said.startswith("backbone embedded; measured (")


def test_only_what_was_measured_is_said() -> None:
    assert "resnet18 / --backbone embedded: " in (beside("resnet18") or "")
    assert all(beside(name) is None for name in ("wide_resnet50_2", "random-resnet18", "embedded+resnet18", "pixels"))


def test_a_checkpoint_without_a_name_is_resnet18s_and_a_file_of_ours_is_not() -> None:
    padim = find_method("padim")
    assert choose_backbone(padim, "") == EMBEDDED
    assert choose_backbone(padim, "", Path("w.pth")) == "resnet18"
    assert choose_backbone(padim, "", Path("w.npz")) == EMBEDDED
    assert choose_backbone(padim, "resnet34", Path("w.pth")) == "resnet34"
    assert choose_backbone(find_method("texture"), "") == "pixels"


def test_fit_uses_it_and_a_model_scores_without_the_file(
    file: Path, dataset: Path, tmp_path: Path, adcli: Adcli
) -> None:
    model, quick = tmp_path / "model.h5", ("--image-size", "64", "-p", "dims=30", "--offline")
    fitted = adcli("fit", dataset / "train", "-m", model, "--backbone", EMBEDDED, *quick)
    assert fitted.code == 0, fitted.err
    file.unlink()
    assert adcli("score", dataset / "test", "-m", model, "--out", tmp_path / "out").code == 0
    refused = adcli("fit", dataset / "train", "-m", tmp_path / "other.h5", "--backbone", EMBEDDED, *quick)
    assert refused.code == 8
    assert refused.sentence.startswith("The weights of the embedded backbone are not in this installation")
