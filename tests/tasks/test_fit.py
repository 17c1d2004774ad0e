"""What `fit` learns from, what it holds out, and that its file says so and nothing of when or where."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from adcli.errors import UsageError
from adcli.finding import find_images
from adcli.images import digest_image
from adcli.store import load
from adcli.tasks.holdout import split
from tests.conftest import QUICK, Adcli, undecodable_png
from tests.tasks.folders import picture, records


def digests(rows: np.ndarray) -> set[str]:
    return {row.tobytes().hex() for row in rows}


def noise(path: Path, seed: int, shape: tuple[int, ...] = (40, 50), dtype: type = np.uint8) -> Path:
    values = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, values)[1].tobytes())
    return path


@pytest.fixture
def good(dataset: Path, tmp_path: Path) -> Path:
    """The good images, to be added to."""
    return shutil.copytree(dataset / "train" / "good", tmp_path / "good")


@pytest.mark.parametrize(
    "method", [("padim",), ("patchcore", "-p", "coreset=0.05"), ("fusion",)], ids=lambda method: method[0]
)
def test_equal_images_and_seed_give_equal_bytes_wherever_and_whenever(
    method: tuple[str, ...], good: Path, adcli: Adcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *params = method
    quick = (*QUICK[:4], "--method", name, *params)
    assert adcli("fit", good, "-m", tmp_path / "one.h5", *quick).code == 0
    elsewhere = shutil.copytree(good, tmp_path / "else" / "where")
    for path in elsewhere.iterdir():
        os.utime(path, (0, 0))
    monkeypatch.chdir(elsewhere)
    assert adcli("fit", ".", "-m", tmp_path / "two.h5", *quick, "--workers", "1").code == 0
    one = (tmp_path / "one.h5").read_bytes()
    assert one == (tmp_path / "two.h5").read_bytes()
    assert str(tmp_path).encode() not in one
    assert adcli("fit", good, "-m", tmp_path / "three.h5", *quick, "--seed", "1").code == 0
    assert one != (tmp_path / "three.h5").read_bytes()


def test_an_image_is_held_out_by_its_content_alone(good: Path, adcli: Adcli, tmp_path: Path) -> None:
    contents = {hashlib.sha256(path.read_bytes()).hexdigest() for path in good.iterdir()}
    below = {digest for digest in contents if int(digest, 16) / 2**256 < 0.5}
    assert 5 <= len(below) <= 15  # else the five lowest would be held out
    assert adcli("fit", good, "-m", tmp_path / "m.h5", *QUICK, "--holdout", "0.5").code == 0
    model = load(tmp_path / "m.h5").model
    assert digests(model.calibration.digests) == below
    assert digests(model.provenance.learnt) == contents - below
    for number, path in enumerate(sorted(good.iterdir())):
        path.rename(good / f"renamed {99 - number}.png")
    assert adcli("fit", good, "-m", tmp_path / "renamed.h5", *QUICK, "--holdout", "0.5").code == 0
    renamed = load(tmp_path / "renamed.h5").model
    assert digests(renamed.calibration.digests) == below


def test_adding_a_file_moves_none_of_the_others(good: Path, tmp_path: Path) -> None:
    def held(extra: int) -> tuple[set[str], set[str]]:
        for number in range(extra):
            noise(good / f"new {number}.png", number)
        pairs = [(image, digest_image(image.path)) for image in find_images([str(good)])]
        learn, held_out = split(pairs, 0.5)
        return {digest for _, digest in learn}, {digest for _, digest in held_out}

    learn, held_out = held(0)
    for extra in (1, 5, 30):
        more_learn, more_held_out = held(extra)
        assert learn <= more_learn
        assert held_out <= more_held_out


def test_at_least_five_are_held_out_those_of_the_lowest_digests(dataset: Path, model: Path) -> None:
    contents = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in (dataset / "train/good").iterdir())
    assert sum(int(digest, 16) / 2**256 < 0.01 for digest in contents) < 5
    pairs = [(image, digest_image(image.path)) for image in find_images([str(dataset / "train")])]
    assert sorted(digest for _, digest in split(pairs, 0.01)[1]) == contents[:5]
    assert len(load(model).model.calibration.scores) >= 5


@pytest.mark.parametrize(("count", "holdout"), [(1, 0.2), (5, 0.2), (6, 0.2), (1, 0.0)])
def test_too_few_images_are_refused_with_the_number_it_takes(
    count: int, holdout: float, dataset: Path, tmp_path: Path
) -> None:
    images = find_images([str(dataset / "train")])[:count]
    with pytest.raises(UsageError, match="at least 7" if holdout else "at least 2"):
        split([(image, digest_image(image.path)) for image in images], holdout)


def test_seven_images_are_enough_and_copies_do_not_count(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((dataset / "train" / "good").iterdir())[:6]):
        for copy in range(3):
            target = tmp_path / "good" / f"{number}-{copy}.png"
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    fit = ("fit", tmp_path / "good", "-m", tmp_path / "m.h5", *QUICK)
    told = adcli(*fit)
    assert told.code == 2
    assert "6 different good images" in told.sentence
    noise(tmp_path / "good" / "seventh.png", 1)
    assert adcli(*fit).code == 0
    model = load(tmp_path / "m.h5").model
    assert len(model.calibration.scores) == len(digests(model.calibration.digests)) == 5
    assert not digests(model.calibration.digests) & digests(model.provenance.learnt)
    assert len(digests(model.provenance.learnt)) == 2


def test_without_a_holdout_all_is_learnt_and_no_threshold_set(dataset: Path, uncalibrated: Path) -> None:
    model = load(uncalibrated).model
    assert model.calibration is None
    assert len(model.provenance.learnt) == 20
    assert digests(model.provenance.learnt) == {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (dataset / "train" / "good").iterdir()
    }


def test_sixteen_bits_gray_and_colour_of_any_size_may_be_mixed(good: Path, adcli: Adcli, tmp_path: Path) -> None:
    noise(good / "colour.png", 1, (30, 44, 3))
    noise(good / "deep.png", 2, (30, 44), np.uint16)
    noise(good / "deep colour.png", 3, (30, 44, 3), np.uint16)
    noise(good / "one pixel wide.png", 4, (90, 1))
    noise(good / "one pixel high.bmp", 5, (1, 90))
    noise(good / "photo.jpg", 6)
    noise(good / "camera.tif", 7, (64, 64), np.uint16)
    noise(good / "camera.pgm", 8, (64, 64), np.uint16)
    for holdout in ("0.2", "0.6"):  # so that most are learnt from once and held out once
        model = tmp_path / f"{holdout}.h5"
        assert adcli("fit", good, "-m", model, *QUICK, "--holdout", holdout).code == 0
        assert adcli("score", good, "--out", tmp_path / "out", "-m", model).code == 0
    assert {record["width"] for record in records(tmp_path / "out")} == {96, 44, 1, 90, 50, 64}


def test_the_white_level_makes_twelve_bits_in_sixteen_what_eight_would_be(
    dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    for path in (dataset / "train" / "good").iterdir():
        pixels = picture(path).astype(np.uint16)
        for kind, values in (("twelve", pixels * 16), ("sixteen", pixels * 256)):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / path.name).write_bytes(cv2.imencode(".png", values)[1].tobytes())
    thresholds = {}
    for kind, white in (("twelve", 4080), ("sixteen", 65280)):
        words = ("fit", tmp_path / kind, "-m", tmp_path / f"{kind}.h5", *QUICK, "--holdout", "0.4")
        assert adcli(*words, "--white-level", white).code == 0
        thresholds[kind] = load(tmp_path / f"{kind}.h5").model
        assert thresholds[kind].spec.white_level == white
    assert np.allclose(thresholds["twelve"].detector.mean.sum(), thresholds["sixteen"].detector.mean.sum(), rtol=0.05)
    dark = adcli("fit", tmp_path / "twelve", "-m", tmp_path / "dark.h5", *QUICK, "--holdout", "0.4")
    assert dark.code == 0
    means = {name: load(tmp_path / f"{name}.h5").model.detector.mean for name in ("dark", "twelve", "sixteen")}
    same, other = (np.abs(means[name] - means["twelve"]).mean() for name in ("sixteen", "dark"))
    assert other > 2 * same  # which differ by the images that are held out


def test_layers_and_a_size_that_is_no_square_are_kept_in_the_model(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    options = ("--layers", "layer2, layer3", "--image-size", "96x64", "--backbone", "random-resnet18", "-p", "dims=20")
    assert adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *options).code == 0
    model = load(tmp_path / "m.h5").model
    assert model.spec.layers == ("layer2", "layer3")
    assert model.spec.image_size == (96, 64)
    assert model.detector.shapes == ((128, 12, 8), (256, 6, 4))
    assert not any(name.startswith(("layer4", "fc")) for name in model.weights)
    assert adcli("score", dataset / "test", "--out", tmp_path / "out", "-m", tmp_path / "m.h5", "--maps").code == 0
    assert picture(tmp_path / "out" / "maps" / "dent" / "000.tiff").shape == (96, 96)


def test_images_that_cannot_be_decoded_are_neither_learnt_from_nor_held_out(
    good: Path, adcli: Adcli, tmp_path: Path
) -> None:
    bad = [good / f"bad {number}.png" for number in range(8)]
    for number, path in enumerate(bad):
        path.write_bytes(undecodable_png(b"%d" % number))
    assert adcli("fit", good, "-m", tmp_path / "m.h5", *QUICK, "--holdout", "0.5").code == 5
    model = load(tmp_path / "m.h5").model
    used = digests(model.provenance.learnt) | digests(model.calibration.digests)
    assert len(used) == 20
    assert not used & {hashlib.sha256(path.read_bytes()).hexdigest() for path in bad}
    assert model.provenance.unreadable == sum(
        int(hashlib.sha256(path.read_bytes()).hexdigest(), 16) / 2**256 >= 0.5 for path in bad
    )


@pytest.mark.parametrize("method", ["padim", "patchcore"])
def test_images_of_which_too_few_can_be_decoded_are_refused(method: str, adcli: Adcli, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for number in range(12):
        (tmp_path / "good" / f"{number}.png").write_bytes(undecodable_png(b"%d" % number))
    told = adcli("fit", tmp_path / "good", "-m", tmp_path / "m.h5", *QUICK[:4], "--method", method)
    assert told.code == 2
    assert "could not be decoded" in told.sentence
    assert not (tmp_path / "m.h5").exists()


def test_a_failed_fit_leaves_the_old_model_and_no_leftovers(
    dataset: Path, own_model: Path, adcli: Adcli, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own_model.read_bytes()
    for words in (("-p", "dims=9999"), ("--device", "cuda:99"), ("--max-false-reject", "0.0001")):
        assert adcli("fit", dataset / "train", "-m", own_model, "--force", *QUICK[:4], *words).code in (2, 6, 8)
    assert own_model.read_bytes() == before
    assert [path.name for path in own_model.parent.iterdir()] == ["own.h5"]


def test_an_untrained_backbone_is_spoken_of(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    ran = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *QUICK)
    assert "untrained" in ran.err


def test_the_next_command_can_be_pasted(dataset: Path, adcli: Adcli, here: Path) -> None:
    ran = adcli("fit", dataset / "train", "-m", "a lid's model.h5", *QUICK)
    import shlex

    (line,) = [line for line in ran.err.splitlines() if line.startswith("next: ")]
    assert shlex.split(line.removeprefix("next: ")) == [
        *("adcli", "score", "IMAGES", "--out", "results", "--model", "a lid's model.h5"),
    ]
