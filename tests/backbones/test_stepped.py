"""Backbones made without torch, held to those made with it."""

import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from adcli.backbones import EMBEDDED, embedded_file
from adcli.backbones.checkpoint import read_plain
from adcli.backbones.extractor import build_extractor
from adcli.backbones.stepped import _RESNETS, stepped
from adcli.backbones.tracing import network_of

LAYERS = ("layer1", "layer2", "layer3")


@pytest.mark.parametrize(
    "name, layers",
    [
        *((name, LAYERS) for name in (EMBEDDED, *_RESNETS)),
        *(
            (name, layers)
            for name in (EMBEDDED, "resnet18", "resnet50")
            for layers in (("layer2",), ("layer3", "layer1"))
        ),
    ],
)
def test_steps_are_the_traced_ones(name, layers):
    extractor = build_extractor(f"random-{name}", layers, None, 0)
    state = extractor.state()
    found = stepped(name, layers, state)
    assert found.network.to_text() == network_of(extractor).to_text()
    assert list(found.state()) == list(state)
    assert all(np.array_equal(found.state()[key], value) for key, value in state.items())
    assert (found.name, found.layers) == (name, layers)


def test_other_shapes_of_our_own_network_are_read_from_the_weights():
    from adcli.backbones.embedded import Embedded, Shape
    from adcli.backbones.extractor import cut

    extractor = cut(Embedded(Shape(8, (16, 24, 16), (2, 1, 1))).eval(), EMBEDDED, LAYERS)
    found = stepped(EMBEDDED, LAYERS, extractor.state())
    assert found.network.to_text() == network_of(extractor).to_text()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("layer2.1.bn2.running_var"),
        lambda state: state.update({"layer1.2.conv1.weight": np.zeros((64, 64, 3, 3))}),  # a deeper network's
        lambda state: state.update({"conv1.weight": np.zeros((64, 3, 3, 3), np.float32)}),
        lambda state: state["bn1.bias"].fill(np.nan),
        lambda state: state["bn1.running_var"].fill(-1),
        lambda state: state.update({"bn1.bias": np.full(64, 1e300)}),
        lambda state: state.update({"bn1.bias": np.zeros(64, np.int64)}),
    ],
)
def test_what_does_not_fit_is_left_to_torch(spoil):
    state = {key: value.copy() for key, value in build_extractor("random-resnet18", LAYERS, None, 0).state().items()}
    assert stepped("resnet18", LAYERS, state) is not None
    spoil(state)
    assert stepped("resnet18", LAYERS, state) is None


def test_more_layers_and_counters_are_passed_over():
    state = build_extractor("random-resnet18", (*LAYERS, "layer4"), None, 0).state()
    state |= {"fc.weight": np.zeros((10, 512)), "bn1.num_batches_tracked": np.array(3)}
    assert set(stepped("resnet18", ("layer1",), state).state()) < set(state)


@pytest.mark.parametrize(
    "name, layers", [("resnet18", ("layer1.0",)), ("densenet201", ()), ("random-resnet18", LAYERS)]
)
def test_other_backbones_and_layers_are_left_to_torch(name, layers):
    assert stepped(name, layers, {}) is None


def tensors():
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(6, 5, generator=generator)
    return {
        "a.weight": torch.randn(4, 3, 2, 2, generator=generator),
        "a.half": torch.randn(7, generator=generator).half(),
        "a.double": torch.randn(2, 2, generator=generator).double(),
        "a.counter": torch.tensor(3),
        "a.part": whole[2:4],
        "a.same": whole,
        "a.empty": torch.zeros(0, 3),
    }


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_file_of_weights_is_what_torch_reads(kind, tmp_path):
    state = kind(tensors())
    if kind is OrderedDict:
        state._metadata = OrderedDict(version=2)  # as Module.state_dict has it
    torch.save(state, tmp_path / "w.pth")
    read = read_plain(tmp_path / "w.pth")
    assert list(read) == list(state)
    for key, value in torch.load(tmp_path / "w.pth", weights_only=True).items():
        assert read[key].dtype == value.numpy().dtype
        assert np.array_equal(read[key], value.numpy())
        assert read[key].flags.writeable


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.zeros(3).bfloat16()},
        {"a": torch.arange(6.0).reshape(2, 3).T},
        {"a": torch.nn.Parameter(torch.zeros(3))},
        {"state_dict": {"a": torch.zeros(3)}},
        {"a": 3},
        {},
        [torch.zeros(3)],
        {3: torch.zeros(3)},
    ],
)
def test_unusual_files_are_left_to_torch(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    assert read_plain(tmp_path / "w.pth") is None


class Evil:
    def __reduce__(self):
        return print, ("code of the file was run",)


def repacked(source, target, change):
    """The archive with some of its parts changed; None: left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for part in old.infolist():
            short = part.filename.partition("/")[2]
            content = old.read(part)
            if short in change:
                content = change[short](content)
            if content is not None:
                new.writestr(part.filename, content)


@pytest.mark.parametrize(
    "change",
    [
        {"data.pkl": lambda _: pickle.dumps(Evil(), 2)},
        {"data.pkl": lambda _: pickle.dumps({"a": Evil()}, 2)},
        {"data.pkl": lambda content: content[:-9]},
        {"data.pkl": lambda _: None},
        {"data/0": lambda _: None},
        {"data/0": lambda content: content[:-4]},
        {"byteorder": lambda _: b"big"},
    ],
)
def test_hostile_and_damaged_files_are_left_to_torch(change, tmp_path, capsys):
    torch.save({"a": torch.arange(6.0)}, tmp_path / "w.pth")
    repacked(tmp_path / "w.pth", tmp_path / "x.pth", {})
    assert np.array_equal(read_plain(tmp_path / "x.pth")["a"], np.arange(6, dtype=np.float32))
    repacked(tmp_path / "w.pth", tmp_path / "x.pth", change)
    assert read_plain(tmp_path / "x.pth") is None
    assert capsys.readouterr().out == ""


ENDLESS = {
    "the same tuple twice, as a key": b"}K\x01\x85" + 60 * b"q\x00h\x00\x86" + b"K\x00s.",
    "doubled": b"})" + 60 * b"2\x86" + b"K\x00s.",
    "deep": b"})" + 300_000 * b"\x85" + b"K\x00s.",
    "a place far away": b"}r\xf0\xff\xff\xff.",
    "long bytes": b"}\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "a long array of bytes": b"}\x96" + struct.pack("<Q", 1 << 62) + b".",
    "a list of itself": b"]q\x00h\x00a.",
    "nothing": b".",
    "no end": b"}",
}


@pytest.mark.parametrize("pickled", ENDLESS.values(), ids=ENDLESS)
def test_small_pickles_that_would_take_all_time_or_memory_do_not(pickled, tmp_path):
    torch.save({"a": torch.arange(6.0)}, tmp_path / "w.pth")
    repacked(tmp_path / "w.pth", tmp_path / "x.pth", {"data.pkl": lambda _: b"\x80\x02" + pickled})
    tracemalloc.start()
    try:
        assert read_plain(tmp_path / "x.pth") is None
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("change", [(b"K\x06t", b"K\x03t"), (b"FloatStorage", b"HalfStorage")])
def test_a_storage_of_another_size_than_is_told_is_left_to_torch(change, tmp_path):
    torch.save({"a": torch.arange(6.0)}, tmp_path / "w.pth")
    repacked(tmp_path / "w.pth", tmp_path / "x.pth", {"data.pkl": lambda content: content.replace(*change)})
    assert read_plain(tmp_path / "x.pth") is None


@pytest.mark.parametrize("kind", [torch.Tensor.bfloat16, torch.Tensor.half, torch.nn.Parameter])
def test_tensors_of_any_precision_and_parameters_are_taken(kind):
    state = build_extractor("random-resnet18", LAYERS, None, 0).state()
    found = stepped("resnet18", LAYERS, {key: kind(torch.from_numpy(value)) for key, value in state.items()})
    for key, value in state.items():
        np.testing.assert_allclose(found.state()[key], value, rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("name", ["layer1.300000.conv1.weight", f"layer1.{'9' * 5000}.conv1.weight", "layer1.x.y"])
def test_blocks_that_no_network_has_are_left_to_torch(name):
    state = build_extractor("random-embedded", LAYERS, None, 0).state()
    assert stepped(EMBEDDED, LAYERS, state | {name: np.zeros(1, np.float32)}) is None
    assert stepped(EMBEDDED, LAYERS, state | {"conv1.weight": np.array(1, np.float32)}) is None


@pytest.mark.parametrize("start, size, strides", [(-1, 2, 1), (5, 2, 1), (0, 7, 1), (0, 3, 2), (0, 3, 0), (0, -3, 1)])
def test_tensors_beyond_their_bytes_are_left_to_torch(start, size, strides, tmp_path):
    torch.save({"a": torch.arange(6.0)}, tmp_path / "w.pth")

    def alter(content):
        # K\x00 K\x06 \x85 q. K\x01 \x85: the start, the shape and the strides as torch writes them
        at = content.index(b"K\x00K\x06\x85")
        end = content.index(b"K\x01\x85", at) + 3
        parts = [pickle.dumps(one, 2)[2:-1] for one in (start, (size,), (strides,))]
        return content[:at] + b"".join(parts) + content[end:]

    repacked(tmp_path / "w.pth", tmp_path / "x.pth", {"data.pkl": alter})
    assert read_plain(tmp_path / "x.pth") is None


def test_what_is_no_file_is_left_to_torch(tmp_path):
    assert read_plain(tmp_path) is None
    assert read_plain(tmp_path / "none") is None
    (tmp_path / "text").write_text("weights")
    assert read_plain(tmp_path / "text") is None


def test_our_own_weights_need_no_torch():
    assert stepped(EMBEDDED, LAYERS, embedded_file.read_arrays(embedded_file.FILE)) is not None
