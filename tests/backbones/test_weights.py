from __future__ import annotations

import hashlib
import io
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from adcli.backbones import BACKBONES, EMBEDDED, weights
from adcli.backbones.extractor import build_extractor
from adcli.errors import EnvironmentFault, UsageError

NAME = "resnet18"


@pytest.fixture(scope="module")
def partial() -> bytes:
    """A checkpoint of conv1 to layer1 only."""
    state = build_extractor("random-resnet18", ("layer1",), None, seed=0).state()
    file = io.BytesIO()
    torch.save({name: torch.tensor(value) for name, value in state.items()}, file)
    return file.getvalue()


@pytest.fixture
def partial_file(tmp_path: Path, partial: bytes) -> Path:
    file = tmp_path / "from-a-usb-stick.pth"
    file.write_bytes(partial)
    return file


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """serve(content, ...) answers every request on 127.0.0.1 alike, and gives the address."""
    servers = []

    def start(content: bytes, status: int = 200, announced: int | None = None, delay_s: float = 0.0) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                time.sleep(delay_s)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content) if announced is None else announced))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/{NAME}.pth"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pinned(partial: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes the partial checkpoint the published file, so that no test needs the real one; gives its digest."""
    sha256 = hashlib.sha256(partial).hexdigest()
    url = f"http://127.0.0.1:1/{NAME}-{sha256[:8]}.pth"
    monkeypatch.setitem(BACKBONES, NAME, replace(BACKBONES[NAME], weights_url=url, sha256=sha256))
    return sha256


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def entry(name: str) -> weights.Entry:
    return next(entry for entry in weights.entries() if entry.name == name)


def test_a_good_file_is_fetched_kept_and_found_again_without_network(
    serve: Callable[..., str], pinned: str, partial: bytes, weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = serve(partial), []
    pulled = weights.pull(NAME, url=url, progress=lambda *report: seen.append(report))
    assert pulled == weights.Entry(NAME, "cached", "pulled", pinned, True, len(partial), pulled.path)
    assert pulled.path.read_bytes() == partial
    assert list(weights_folder.iterdir()) == [pulled.path]
    assert seen[-1] == (f"pull {NAME}", len(partial), len(partial))
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    monkeypatch.setattr(socket, "create_connection", None)
    assert weights.resolve(NAME) == weights.locate(NAME) == weights.pull(NAME).path == pulled.path
    assert entry(NAME) == pulled


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"status": 404}, "HTTP status 404"),
        ({"announced": 10**9}, r"broke off after \d+ of 1000000000 bytes"),
        ({"delay_s": 0.5}, "could not be fetched .*timed out"),
    ],
)
def test_a_transfer_that_fails_leaves_nothing_and_names_the_way_out(
    options: dict,
    words: str,
    serve: Callable[..., str],
    pinned: str,
    partial: bytes,
    weights_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weights, "TIMEOUT_S", 0.2)
    with pytest.raises(EnvironmentFault, match=words) as refusal:
        weights.pull(NAME, url=serve(partial, **options))
    assert refusal.value.exit_code == 8
    assert f"adcli weights add FILE {NAME}" in str(refusal.value)
    assert list(weights_folder.iterdir()) == []
    assert weights.locate(NAME) is None


def test_a_file_of_another_digest_is_not_kept(
    serve: Callable[..., str], pinned: str, partial: bytes, weights_folder: Path
) -> None:
    with pytest.raises(EnvironmentFault, match=f"not the published file of resnet18: .* not {pinned}"):
        weights.pull(NAME, url=serve(partial[:-1] + b"?"))
    assert list(weights_folder.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.pth", "not an address", "http://[bad/x.pth"])
def test_an_address_where_nobody_answers_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(EnvironmentFault, match=r"could not be fetched .*adcli weights add FILE resnet18"):
        weights.pull(NAME, url=url)


def test_offline_no_socket_is_opened(no_socket: None, partial_file: Path) -> None:
    with pytest.raises(EnvironmentFault, match="offline nothing is fetched: run `adcli weights pull resnet18`"):
        weights.resolve(NAME, offline=True)
    assert weights.resolve(NAME, file=partial_file, offline=True) == partial_file
    added = weights.add(partial_file, NAME)
    assert weights.resolve(NAME, offline=True) == added.path


def test_online_a_missing_file_is_fetched_from_where_it_is_published(
    serve: Callable[..., str], pinned: str, partial: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKBONES, NAME, replace(BACKBONES[NAME], weights_url=serve(partial)))
    assert weights.resolve(NAME).read_bytes() == partial


def test_an_added_part_of_the_published_file_is_kept_and_said_not_to_be_pinned(
    partial: bytes, partial_file: Path
) -> None:
    added = weights.add(partial_file, NAME)
    sha256 = hashlib.sha256(partial).hexdigest()
    assert added == weights.Entry(NAME, "cached", "added", sha256, False, len(partial), added.path)
    assert partial_file.exists()
    build_extractor(NAME, ("layer1",), weights.read_checkpoint(weights.locate(NAME)), seed=0)


def test_adding_the_published_file_by_hand_is_as_good_as_pulling_it(
    pinned: str, partial_file: Path, no_socket: None
) -> None:
    added = weights.add(partial_file, NAME)
    assert (added.origin, added.pinned) == ("added", True)
    assert weights.pull(NAME) == added


def test_the_latest_file_of_a_name_replaces_the_one_before(
    serve: Callable[..., str], pinned: str, partial: bytes, tmp_path: Path, weights_folder: Path
) -> None:
    other = tmp_path / "other.pth"
    state = torch.load(io.BytesIO(partial), weights_only=True)
    torch.save({name: value + 1 for name, value in state.items()}, other)
    assert not weights.add(other, NAME).pinned
    pulled = weights.pull(NAME, url=serve(partial))
    assert list(weights_folder.iterdir()) == [pulled.path]
    added = weights.add(other, NAME)
    assert list(weights_folder.iterdir()) == [added.path]


def test_of_two_files_of_a_name_the_latest_counts(weights_folder: Path) -> None:
    weights_folder.mkdir()
    for sha256, mtime in [("a" * 64, 2), ("b" * 64, 3), ("c" * 64, 1)]:
        file = weights_folder / f"{NAME}.added.{sha256}.pth"
        file.touch()
        os.utime(file, (mtime, mtime))
    assert entry(NAME).sha256 == "b" * 64


def test_a_file_of_another_network_is_not_added(tmp_path: Path, weights_folder: Path) -> None:
    file = tmp_path / "resnet34.pth"
    state = build_extractor("random-resnet34", ("layer1",), None, seed=0).state()
    torch.save({name: torch.tensor(value) for name, value in state.items()}, file)
    with pytest.raises(EnvironmentFault, match="another network than resnet18"):
        weights.add(file, NAME)
    assert not weights_folder.exists()


def test_weights_of_a_network_outside_the_registry_are_kept_under_its_name(tmp_path: Path) -> None:
    file = tmp_path / "vgg.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, file)
    added = weights.add(file, "vgg11")
    assert entry("vgg11") == added
    assert weights.locate("vgg11") == added.path


def test_random_and_unknown_backbones_have_no_weights(partial_file: Path) -> None:
    for name, words in [("random-resnet18", "is untrained"), ("resnet81", "no backbone")]:
        for call in (weights.locate, weights.pull, weights.resolve, lambda name: weights.add(partial_file, name)):
            with pytest.raises(UsageError, match=words):
                call(name)


def test_the_list_shows_every_known_backbone_absent_ones_with_their_size() -> None:
    listed = weights.entries()
    assert [entry.name for entry in listed] == sorted([*BACKBONES, EMBEDDED])
    assert [entry.name for entry in listed if entry.state == "cached"] == [EMBEDDED]
    assert entry("resnet34") == weights.Entry("resnet34", "absent", None, None, False, 87_320_000, None)


def test_what_torchvision_downloaded_is_used_where_it_lies_when_its_digest_is_right(
    pinned: str, partial: bytes, tmp_path: Path, weights_folder: Path, no_socket: None
) -> None:
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    file = checkpoints / BACKBONES[NAME].file_name
    file.write_bytes(b"something else")
    assert weights.locate(NAME) is None
    file.write_bytes(partial)
    assert weights.resolve(NAME) == file
    assert entry(NAME) == weights.Entry(NAME, "cached", "found", pinned, True, len(partial), file)
    assert not weights_folder.exists()


def test_a_published_file_put_into_the_cache_folder_by_hand_is_found(
    pinned: str, partial: bytes, weights_folder: Path
) -> None:
    weights_folder.mkdir()
    file = weights_folder / BACKBONES[NAME].file_name
    file.write_bytes(partial)
    assert weights.locate(NAME) == file


def test_an_exported_folder_can_be_checked_by_hand_and_added_elsewhere(
    partial: bytes, partial_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights.add(partial_file, NAME)
    stick = tmp_path / "stick"
    (copy,) = weights.export(stick)
    assert copy.read_bytes() == partial
    assert (stick / "SHA256SUMS").read_text() == f"{before.sha256}  {copy.name}\n"
    assert sorted(stick.iterdir()) == sorted([copy, stick / "SHA256SUMS"])
    monkeypatch.setenv("ADCLI_WEIGHTS_DIR", str(tmp_path / "elsewhere"))
    assert weights.locate(NAME) is None
    assert weights.add(copy, NAME).sha256 == before.sha256


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="holds no weights to export"):
        weights.export(tmp_path / "stick")


def test_a_file_that_changed_in_the_cache_is_noticed_everywhere_and_fetched_anew(
    serve: Callable[..., str], pinned: str, partial: bytes, tmp_path: Path
) -> None:
    url = serve(partial)
    kept = weights.pull(NAME, url=url).path
    whole = [weights.Checked(name, True, None) for name in (EMBEDDED, NAME)]
    assert weights.verify() == whole
    kept.write_bytes(partial[:-1] + b"?")
    _, checked = weights.verify()
    assert (checked.name, checked.ok) == (NAME, False)
    assert "has changed since it was pulled: run `adcli weights pull resnet18`" in checked.reason
    for call in (lambda: weights.locate(NAME), lambda: weights.export(tmp_path / "stick")):
        with pytest.raises(EnvironmentFault, match="is damaged"):
            call()
    assert list((tmp_path / "stick").iterdir()) == []
    weights.pull(NAME, url=url)
    assert weights.verify() == whole


def test_a_folder_that_cannot_be_written_to_is_refused_in_a_sentence(
    partial_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-file").touch()
    monkeypatch.setenv("ADCLI_WEIGHTS_DIR", str(tmp_path / "a-file" / "cache"))
    with pytest.raises(EnvironmentFault, match="a-file/cache cannot be written to"):
        weights.add(partial_file, NAME)


def test_without_the_variable_the_cache_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADCLI_WEIGHTS_DIR")
    folder = weights.cache_folder()
    assert folder.name == "weights"
    assert "adcli" in folder.parts
    assert folder.is_relative_to(Path.home())


class _Trap:
    """Unpickling this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("modern", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run_it(
    modern: bool, tmp_path: Path, weights_folder: Path
) -> None:
    file, sprung = tmp_path / "trap.pth", tmp_path / "sprung"
    torch.save({"conv1.weight": _Trap(sprung)}, file, _use_new_zipfile_serialization=modern)
    torch.load(file, weights_only=False)
    sprung.rmdir()  # the trap works
    for call in (lambda: weights.read_checkpoint(file), lambda: weights.add(file, NAME)):
        with pytest.raises(EnvironmentFault, match=r"trap\.pth is not a file of weights"):
            call()
    assert not sprung.exists()
    assert not weights_folder.exists()


def test_a_plain_pickle_that_would_run_code_is_refused_and_does_not_run_it(tmp_path: Path) -> None:
    file, sprung = tmp_path / "trap.pkl", tmp_path / "sprung"
    file.write_bytes(pickle.dumps(_Trap(sprung)))
    with pytest.raises(EnvironmentFault, match="is not a file of weights"):
        weights.read_checkpoint(file)
    assert not sprung.exists()


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapped_and_prefixed_checkpoints_are_read_as_their_tensors(
    wrap: Callable[[dict], dict], prefix: str, tmp_path: Path
) -> None:
    file = tmp_path / "checkpoint.pth"
    torch.save(wrap({f"{prefix}conv1.weight": torch.arange(3.0)}), file)
    for state in (weights.read_checkpoint(file), weights.read_weights("resnet18", file=file)):
        assert list(state) == ["conv1.weight"]
        assert state["conv1.weight"].tolist() == [0.0, 1.0, 2.0]


def test_damaged_and_foreign_files_are_refused_in_a_sentence(tmp_path: Path, partial: bytes) -> None:
    contents = [b"", b"hello", partial[: len(partial) // 2], partial[:100], b"\x89PNG\r\n\x1a\n" + bytes(100)]
    contents += [np.random.default_rng(seed).bytes(200) for seed in range(50)]
    contents += [b"\x80\x02" + np.random.default_rng(seed).bytes(200) for seed in range(50)]
    file = tmp_path / "damaged.pth"
    for content in contents:
        file.write_bytes(content)
        with pytest.raises(EnvironmentFault, match=r"damaged\.pth (is not a file of|holds).*weights"):
            weights.read_checkpoint(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.zeros(1)], "found list"),
        ({}, "holds no weights"),
        ({"epoch": 3, "conv1.weight": torch.zeros(1)}, "'epoch' is int"),
        ({3: torch.zeros(1)}, "3 is Tensor"),
    ],
)
def test_files_of_something_else_than_named_tensors_are_refused(content: object, words: str, tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(content, file)
    with pytest.raises(EnvironmentFault, match=words):
        weights.read_checkpoint(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"nowhere\.pth cannot be read: No such file"):
        weights.read_checkpoint(tmp_path / "nowhere.pth")
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        weights.add(tmp_path, NAME)


def test_a_states_digest_tells_names_dtypes_shapes_and_values_apart_and_nothing_else() -> None:
    base = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.float32)}
    digest = weights.state_digest(base)
    assert digest == weights.state_digest(dict(reversed(base.items())))
    assert digest == weights.state_digest(base | {"a": np.asfortranarray(base["a"])})
    others = [
        {"c": base["a"], "b": base["b"]},
        base | {"a": base["a"].reshape(3, 2)},
        base | {"a": base["a"].astype(np.float64)},
        base | {"a": base["a"] + np.float32(1e-3)},
        base | {"b": base["b"].view(np.int32)},
        {"a": base["a"]},
    ]
    assert len({digest, *map(weights.state_digest, others)}) == len(others) + 1
