"""`fit --rotate` and `--brightness`: what is learnt from copies, and that the model tells of them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from adcli.gallery import Gallery
from adcli.geometry.augmentation import Augmentation
from adcli.store import load
from tests.conftest import QUICK, Adcli
from tests.tasks.folders import picture

BANK = ("--backbone", "random-resnet18", "--image-size", "64", "--method", "patchcore", "-p", "coreset=1")


def copied(dataset: Path, folder: Path, count: int) -> Path:
    folder.mkdir()
    for path in sorted((dataset / "train" / "good").iterdir())[:count]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def few(dataset: Path, tmp_path: Path) -> Path:
    """Four good images."""
    return copied(dataset, tmp_path / "few", 4)


def rows(bank: Gallery) -> np.ndarray:
    held = bank.read()
    return held[np.lexsort(held.T[::-1])]


def test_quarter_turns_teach_what_the_turned_files_would(few: Path, adcli: Adcli, tmp_path: Path) -> None:
    assert adcli("fit", few, "-m", tmp_path / "turned.h5", *BANK, "--holdout", "0", "--rotate", "4").code == 0
    for path in list(few.iterdir()):
        for quarters in (1, 2, 3):
            pixels = np.rot90(picture(path), quarters)
            (few / f"{path.stem}-{quarters}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    assert adcli("fit", few, "-m", tmp_path / "files.h5", *BANK, "--holdout", "0").code == 0
    turned, files = load(tmp_path / "turned.h5").model, load(tmp_path / "files.h5").model
    assert turned.detector.bank.shape == files.detector.bank.shape == (16 * 64, 384)
    np.testing.assert_allclose(rows(turned.detector.bank), rows(files.detector.bank), atol=1e-4)
    np.testing.assert_allclose(turned.guard.centre, files.guard.centre, atol=1e-9)
    assert (len(turned.provenance.learnt), len(files.provenance.learnt)) == (4, 16)


def test_a_bank_has_no_patch_of_a_mirrored_corner(few: Path, adcli: Adcli, tmp_path: Path) -> None:
    assert adcli("fit", few, "-m", tmp_path / "m.h5", *BANK, "--holdout", "0", "--rotate", "8").code == 0
    detector = load(tmp_path / "m.h5").model.detector
    owned = np.bincount(detector.owner)
    assert len(owned) == 32
    assert set(owned[0::2]) == {64}  # quarter turns show all
    assert set(owned[1::2]) == {int(_seen(45).sum())}


def _seen(angle: float) -> np.ndarray:
    from adcli.geometry import Geometry
    from adcli.geometry.views import Views

    return (
        Views(Geometry(), (64, 64), None, 0)
        .of(np.zeros((96, 96), np.uint8))
        .turned(angle, 1)
        .patches_to_learn(0, (8, 8))
    )


def test_the_model_tells_of_its_copies_and_scores_images_as_they_are(
    dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    model = tmp_path / "m.h5"
    good = copied(dataset, tmp_path / "good", 8)
    fit = ("fit", good, *BANK[:-1], "coreset=0.02", "--rotate", "3", "--brightness", "0.8:1.2")
    told = adcli(*fit, "-m", model, "--json")
    assert told.code == 0
    assert "--rotate blurs" not in told.err
    kept = load(model).model
    assert kept.spec.augmentation == Augmentation(3, 0.8, 1.2)
    for facts in (json.loads(told.out), json.loads(adcli("info", model, "--json").out)):
        assert (facts["rotations"], facts["brightness"]) == (3, [0.8, 1.2])
    again = adcli(*fit, "-m", tmp_path / "again.h5", "--workers", "1")
    assert "each 9 times over" in again.out
    assert model.read_bytes() == (tmp_path / "again.h5").read_bytes()
    assert adcli("score", dataset / "test" / "dent", "-m", model, "--out", tmp_path / "out").code == 0


def test_brightness_makes_light_and_dark_images_usual(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    excess = {}
    for name, words in (("plain", ()), ("bright", ("--brightness", "0.7:1.3"))):
        model = tmp_path / f"{name}.h5"
        assert adcli("fit", dataset / "train", "-m", model, *QUICK, *words).code == 0
        kept = load(model).model
        place = 3 + 1  # of the brightness, behind the sizes and the black share
        excess[name] = kept.guard.above[place]
    assert excess["bright"] > 3 * excess["plain"]


def test_a_method_of_positions_is_warned_of_turning(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    told = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *QUICK, "--rotate", "2")
    assert told.code == 0
    assert "--rotate blurs what padim learns" in told.err
    detector = load(tmp_path / "m.h5").model.detector
    assert detector.n_images == 2 * len(load(tmp_path / "m.h5").model.provenance.learnt)


def test_copies_of_tiles_and_regions_are_learnt_from(few: Path, adcli: Adcli, tmp_path: Path) -> None:
    where = ("--tile", "64", "--roi", "10,10,70,70", "--rotate", "4", "--holdout", "0")
    assert adcli("fit", few, "-m", tmp_path / "m.h5", *QUICK, *where).code == 0
    stacked = load(tmp_path / "m.h5").model.detector  # four tiles of 16 rows of patches, one above the other
    assert (stacked.n_images, stacked.shapes[0][1]) == (4 * 4, 4 * 16)
    assert adcli("fit", few, "-m", tmp_path / "n.h5", *BANK[:-1], "coreset=0.02", *where).code == 0
    assert load(tmp_path / "n.h5").model.detector.owner.max() < 4 * 4 * 4


def test_leaving_one_out_is_refused_where_its_copies_would_stay(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    fit = ("fit", dataset / "train", "-m", tmp_path / "m.h5", *QUICK, "--leave-one-out", "--quiet")
    for words in (("--rotate", "4"), ("--brightness", "0.9:1.1")):
        refused = adcli(*fit, *words)
        assert refused.code == 2
        assert "copies" in refused.sentence
