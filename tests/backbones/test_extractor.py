from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision

from adcli.backbones import BACKBONES
from adcli.backbones.extractor import Extractor, build_extractor, check_weights, layer_shapes
from adcli.backbones.weights import state_digest
from adcli.errors import EnvironmentFault, UsageError

LAYERS = ("layer1", "layer2", "layer3")


@pytest.fixture(scope="module")
def resnet18_state() -> dict[str, np.ndarray]:
    """Random weights up to layer3, with batch norms that do something."""
    state = build_extractor("random-resnet18", LAYERS, None, seed=0).state()
    rng = np.random.default_rng(0)
    for name, value in state.items():
        if value.ndim == 1:
            state[name] = rng.uniform(0.5, 1.5, value.shape).astype(np.float32)
    return state


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def features_by_hooks(model: torch.nn.Module, layers: tuple[str, ...], pixels: torch.Tensor) -> list[torch.Tensor]:
    """What these modules return within the whole network, noted down before the next one can overwrite it."""
    noted: dict[str, torch.Tensor] = {}
    for layer in layers:
        model.get_submodule(layer).register_forward_hook(
            lambda module, inputs, output, layer=layer: noted.__setitem__(layer, output.clone())
        )
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # of ImageNet
    with torch.no_grad():
        model.eval()((pixels - mean[:, None, None]) / std[:, None, None])
    return [noted[layer] for layer in layers]


def whole_network(extractor: Extractor, **options: bool) -> torch.nn.Module:
    """torchvision's own network with the extractor's weights; what the extractor does not use stays random."""
    model = torchvision.models.get_model(extractor.name.removeprefix("random-"), weights=None, **options)
    state = {name: torch.tensor(value) for name, value in extractor.state().items()}
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    return model


def assert_same(features: tuple[torch.Tensor, ...], expected: list[torch.Tensor], tolerance: float = 0.0) -> None:
    assert len(features) == len(expected)
    for ours, theirs in zip(features, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large", "densenet201"])
def test_features_are_what_the_whole_networks_modules_return_on_normalised_pixels(
    name: str, pixels: torch.Tensor
) -> None:
    layers = BACKBONES[name].layers
    extractor = build_extractor(f"random-{name}", layers, None, seed=3)
    assert_same(extractor(pixels), features_by_hooks(whole_network(extractor), layers, pixels))


def test_padims_layers_of_efficientnet_b5_are_its_blocks_7_20_and_26_counted_from_0(pixels: torch.Tensor) -> None:
    extractor = build_extractor("random-efficientnet_b5", BACKBONES["efficientnet_b5"].padim_layers, None, seed=3)
    model = whole_network(extractor)
    blocks = [f"features.{stage}.{block}" for stage in range(1, 8) for block in range(len(model.features[stage]))]
    assert len(blocks) == 39
    assert_same(extractor(pixels), features_by_hooks(model, tuple(blocks[i] for i in (7, 20, 26)), pixels))
    assert layer_shapes(extractor, (256, 256)) == [(40, 64, 64), (176, 16, 16), (176, 16, 16)]


def test_features_come_in_the_order_of_the_layers_asked_for(resnet18_state: dict, pixels: torch.Tensor) -> None:
    forward = build_extractor("resnet18", LAYERS, resnet18_state, seed=0)(pixels)
    backward = build_extractor("resnet18", LAYERS[::-1], resnet18_state, seed=0)(pixels)
    assert_same(forward, list(reversed(backward)))


@pytest.mark.parametrize("layers", [("bn1", "layer1.0.bn1", "layer1.0.bn2"), ("layer1", "layer1.1", "conv1")])
def test_layers_followed_by_work_in_place_and_layers_within_layers_are_not_spoilt(
    layers: tuple[str, ...], resnet18_state: dict, pixels: torch.Tensor
) -> None:
    extractor = build_extractor("resnet18", layers, resnet18_state, seed=0)
    expected = features_by_hooks(whole_network(extractor), layers, pixels)
    assert_same(extractor(pixels), expected)
    assert_same(extractor.for_inference()(pixels), expected, tolerance=1e-5)


def test_googlenets_inputs_are_scaled_as_its_published_weights_expect_and_its_functional_relu_spoils_nothing(
    pixels: torch.Tensor,
) -> None:
    layers = ("conv1.bn", "inception3a")
    extractor = build_extractor("random-googlenet", layers, None, seed=0)
    model = whole_network(extractor, transform_input=True, init_weights=False)
    assert_same(extractor(pixels), features_by_hooks(model, layers, pixels))


def test_a_network_that_cannot_be_made_without_weights_takes_its_state_all_the_same(pixels: torch.Tensor) -> None:
    layers = ("trunk_output.block1", "trunk_output.block2")
    drawn = build_extractor("random-regnet_y_400mf", layers, None, seed=5)
    again = build_extractor("regnet_y_400mf", layers, drawn.state(), seed=0)
    assert_same(again(pixels), list(drawn(pixels)))


@pytest.mark.parametrize("name", ["resnet18", "densenet201", "mobilenet_v3_large"])
def test_the_network_for_inference_computes_the_same_features(name: str, pixels: torch.Tensor) -> None:
    extractor = build_extractor(f"random-{name}", BACKBONES[name].layers[:2], None, seed=2)
    generator = torch.Generator().manual_seed(0)
    for module in extractor.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    before = state_digest(extractor.state())
    fast = extractor.for_inference()
    expected = extractor(pixels)
    assert_same(fast(pixels), list(expected), tolerance=1e-5)
    assert_same(fast(pixels.contiguous(memory_format=torch.channels_last)), list(expected), tolerance=1e-5)
    assert state_digest(extractor.state()) == before
    norms = [sum(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()) for net in (extractor, fast)]
    assert norms[1] < norms[0]
    assert name == "densenet201" or norms[1] == 0


def test_a_seed_gives_the_same_weights_every_time_and_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second, other = (
        state_digest(build_extractor("random-resnet18", ("layer1",), None, seed=seed).state()) for seed in (7, 7, 8)
    )
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), before)


def test_a_state_comes_back_unchanged_and_holds_nothing_behind_the_last_layer(resnet18_state: dict) -> None:
    extractor = build_extractor("resnet18", ("layer1", "layer2"), resnet18_state, seed=0)
    state = extractor.state()
    assert set(state) == {name for name in resnet18_state if not name.startswith("layer3")}
    assert not any("num_batches_tracked" in name for name in state)
    assert all(np.array_equal(value, resnet18_state[name]) for name, value in state.items())
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}


def test_later_layers_and_a_classifier_of_any_shape_are_ignored(resnet18_state: dict) -> None:
    more = resnet18_state | {"fc.weight": np.zeros((7, 512)), "fc.0.bias": np.zeros(7), "epoch": np.array(3)}
    fewer = build_extractor("resnet18", ("layer2",), resnet18_state, seed=0)
    assert state_digest(build_extractor("resnet18", ("layer2",), more, seed=0).state()) == state_digest(fewer.state())


def test_half_precision_weights_become_single_precision(resnet18_state: dict) -> None:
    halves = {name: torch.tensor(value).half() for name, value in resnet18_state.items()}
    state = build_extractor("resnet18", LAYERS, halves, seed=0).state()
    assert all(np.array_equal(state[name], halves[name].float().numpy()) for name in state)
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}


def test_the_old_names_in_densenets_published_file_are_understood() -> None:
    new = build_extractor("random-densenet121", ("features.denseblock1",), None, seed=0).state()
    old = {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for name, value in new.items()}
    assert old.keys() != new.keys()
    again = build_extractor("densenet121", ("features.denseblock1",), old, seed=0)
    assert state_digest(again.state()) == state_digest(new)


def test_the_first_missing_weight_is_named(resnet18_state: dict) -> None:
    partial = {name: value for name, value in resnet18_state.items() if not name.startswith("layer3")}
    with pytest.raises(EnvironmentFault, match=r"layer3\.0\.conv1\.weight is missing"):
        build_extractor("resnet18", LAYERS, partial, seed=0)
    check_weights("resnet18", {name: torch.tensor(value) for name, value in partial.items()})


def test_weights_of_another_network_are_refused(resnet18_state: dict) -> None:
    resnet34 = build_extractor("random-resnet34", LAYERS, None, seed=0).state()
    assert resnet34.keys() > resnet18_state.keys()
    assert all(resnet34[name].shape == value.shape for name, value in resnet18_state.items())
    mobilenet = build_extractor("random-mobilenet_v3_large", ("features.3",), None, seed=0).state()
    resnet50 = build_extractor("random-resnet50", LAYERS, None, seed=0).state()
    for state, words in [
        (resnet34, r"another network than resnet18, which has no layer1\.2"),
        (mobilenet, "not weights of resnet18"),
        (resnet50, "another network than resnet18"),
    ]:
        with pytest.raises(EnvironmentFault, match=words):
            build_extractor("resnet18", LAYERS, state, seed=0)
        with pytest.raises(EnvironmentFault, match=words):
            check_weights("resnet18", {name: torch.tensor(value) for name, value in state.items()})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.full(64, np.nan, np.float32), "bn1.bias holds NaN or infinity"),
        (np.full(64, 1e300), "bn1.bias holds NaN or infinity"),
        (np.ones(63, np.float32), r"bn1.bias has shape \(63,\) instead of \(64,\)"),
        (np.ones(64, np.int64), "bn1.bias holds torch.int64"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_weights_that_are_not_real_numbers_of_the_right_shape_are_refused(
    value: np.ndarray, words: str, resnet18_state: dict
) -> None:
    with pytest.raises(EnvironmentFault, match=words):
        build_extractor("resnet18", LAYERS, resnet18_state | {"bn1.bias": value}, seed=0)


def test_a_trained_backbone_without_weights_is_never_made_up() -> None:
    with pytest.raises(EnvironmentFault, match="adcli weights pull resnet18"):
        build_extractor("resnet18", LAYERS, None, seed=0)


def test_an_unknown_layer_is_refused_with_near_misses() -> None:
    with pytest.raises(UsageError, match=r"random-resnet18 has no layer 'layer5'; did you mean .*layer"):
        build_extractor("random-resnet18", ("layer1", "layer5"), None, seed=0)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "fc"),
        ("resnet18", "avgpool"),
        ("swin_t", "features.3"),
        ("vit_b_16", "encoder"),
        ("maxvit_t", "blocks.1"),
        ("googlenet", "aux1"),
    ],
)
def test_layers_without_a_grid_are_refused_in_one_sentence_and_nothing_is_printed(
    name: str, layer: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=rf"{layer} of random-{name} do not all give a grid"):
        build_extractor(f"random-{name}", (layer,), None, seed=0)
    assert capfd.readouterr() == ("", "")


def test_shapes_are_those_of_the_features(resnet18_state: dict, pixels: torch.Tensor) -> None:
    extractor = build_extractor("resnet18", LAYERS, resnet18_state, seed=0)
    assert layer_shapes(extractor, (64, 96)) == [tuple(features.shape[1:]) for features in extractor(pixels)]
    assert layer_shapes(extractor, (33, 47)) == [(64, 9, 12), (128, 5, 6), (256, 3, 3)]


def test_images_too_small_for_the_network_are_refused() -> None:
    extractor = build_extractor("random-squeezenet1_0", ("features.5",), None, seed=0)
    with pytest.raises(UsageError, match="8x8 pixels are too small"):
        layer_shapes(extractor, (8, 8))


def test_what_goes_wrong_within_the_network_is_raised_and_not_printed(
    resnet18_state: dict, capfd: pytest.CaptureFixture[str]
) -> None:
    extractor = build_extractor("resnet18", LAYERS, resnet18_state, seed=0)
    for network in (extractor, extractor.for_inference()):
        for wrong in (torch.zeros(1, 4, 64, 64), torch.zeros(1, 3, 64, 64, dtype=torch.float64)):
            with pytest.raises(RuntimeError):
                network(wrong)
    assert capfd.readouterr() == ("", "")


def test_an_extractor_cannot_be_put_into_training_mode(resnet18_state: dict, pixels: torch.Tensor) -> None:
    extractor = build_extractor("resnet18", LAYERS, resnet18_state, seed=0)
    before = extractor(pixels)
    extractor.train()
    after = extractor(pixels)
    assert_same(after, list(before))
    assert not any(features.requires_grad for features in after)
    assert state_digest(extractor.state()) == state_digest(resnet18_state)


def test_an_images_features_do_not_depend_on_the_others_of_its_batch(
    resnet18_state: dict, pixels: torch.Tensor
) -> None:
    extractor = build_extractor("resnet18", LAYERS, resnet18_state, seed=0)
    together, alone = extractor(pixels), extractor(pixels[1:])
    assert_same(alone, [features[1:] for features in together], tolerance=1e-5)
