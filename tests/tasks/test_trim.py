"""`fit --trim`: suspicious images are not learnt from, and said."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import stats

from adcli.model import Model, digests_of
from adcli.store import load
from adcli.tasks.trim import LIMIT, modified_z
from tests.conftest import QUICK, Adcli
from tests.models import same
from tests.tasks.folders import picture
from tests.tasks.joining import pretended

__all__ = ["pretended"]
pytestmark = pytest.mark.usefixtures("pretended")
SMALL = QUICK[:4]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def spoilt(source: Path, target: Path, seed: int, stripes: bool = False) -> Path:
    """A good image with a patch of noise, or of stripes elsewhere: two alike would make each other usual."""
    pixels = picture(source).copy()
    if stripes:
        pixels[50:90, 50:90] = np.where(np.arange(40) // 5 % 2, 255, 0)
    else:
        pixels[10:50, 10:50] = np.random.default_rng(seed).integers(0, 256, (40, 40), np.uint8)
    target.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return target


@pytest.fixture
def contaminated(dataset: Path, tmp_path: Path) -> tuple[Path, list[Path]]:
    """20 good images and two spoilt ones."""
    folder = shutil.copytree(dataset / "train" / "good", tmp_path / "good")
    names = sorted(folder.iterdir())
    return folder, [spoilt(names[number], folder / f"bad {number}.png", number, number == 3) for number in (3, 11)]


def read(path: Path) -> Model:
    return load(path).model


def test_modified_z_scores_are_those_of_the_logarithms_by_median_and_mad() -> None:
    scores = np.random.default_rng(0).lognormal(1, 0.3, 41)
    logs = np.log(scores)
    expected = (logs - np.median(logs)) / stats.median_abs_deviation(logs, scale="normal")
    np.testing.assert_allclose(modified_z(scores), expected, rtol=1e-4)  # 0.6745 is the quartile to four digits
    np.testing.assert_allclose(modified_z(1000 * scores), modified_z(scores), rtol=1e-9)
    np.testing.assert_allclose(modified_z(scores[:7], among=scores), modified_z(scores)[:7], rtol=1e-12)


def test_equal_scores_are_not_strange_and_mostly_equal_ones_are_judged_by_the_mean_deviation() -> None:
    assert not modified_z(np.full(9, 2.5)).any()
    mostly = np.array([1.0] * 8 + [math.e])
    np.testing.assert_allclose(modified_z(mostly)[-1], 1 / (1.253314 / 9), rtol=1e-9)
    small = np.array([1.0, 2.0, 3.0, -np.inf])  # the last image is smaller than the minimum size
    assert np.array_equal(modified_z(small), [*modified_z(small[:3]), 0])


def test_few_normal_scores_are_beyond_the_limit() -> None:
    drawn = np.random.default_rng(1).lognormal(0, 0.2, (400, 50))
    beyond = np.mean([(modified_z(scores) > LIMIT).mean() for scores in drawn])
    assert beyond < 0.004


@pytest.mark.parametrize("method", [("padim", "-p", "dims=30"), ("patchcore", "-p", "coreset=0.1"), ("means",)])
def test_planted_images_are_found_said_and_not_learnt_from(
    method: tuple[str, ...], contaminated: tuple[Path, list[Path]], adcli: Adcli, tmp_path: Path
) -> None:
    folder, bad = contaminated
    fit = ("fit", *("--method", *method), *SMALL, "--holdout", "0")
    told = adcli(*fit, folder, "-m", tmp_path / "m.h5", "--trim", "auto", "--json")
    assert told.code == 0
    listed = json.loads(told.out)["trimmed"]
    assert {one["image"] for one in listed} == {str(path) for path in bad}
    assert {one["sha256"] for one in listed} == set(map(sha256, bad))
    assert [one["deviation"] for one in listed] == sorted((one["deviation"] for one in listed), reverse=True)
    assert min(one["deviation"] for one in listed) > LIMIT
    assert all(f"trimmed {path}: its score as if left out is " in told.err for path in bad)
    model = read(tmp_path / "m.h5")
    assert digests_of(model.provenance.trimmed) == set(map(sha256, bad))
    assert json.loads(adcli("info", tmp_path / "m.h5", "--json").out)["trimmed"] == 2
    for path in bad:
        path.unlink()
    assert adcli(*fit, folder, "-m", tmp_path / "clean.h5").code == 0
    clean = read(tmp_path / "clean.h5")
    assert same(model.detector, clean.detector)
    assert same(model.guard, clean.guard)
    assert np.array_equal(model.provenance.learnt, clean.provenance.learnt)


def test_a_share_leaves_out_that_many_of_the_highest_whatever_the_order(
    contaminated: tuple[Path, list[Path]], adcli: Adcli, tmp_path: Path
) -> None:
    folder, bad = contaminated
    fit = ("--method", "means", *SMALL, "--holdout", "0", "--trim", "14%", "--json")
    one = json.loads(adcli("fit", folder, "-m", tmp_path / "a.h5", *fit).out)["trimmed"]
    assert len(one) == 3  # 14 % of 22 are 3.08
    assert {sha256(path) for path in bad} == {entry["sha256"] for entry in one[:2]}
    turned = sorted(folder.iterdir(), reverse=True)
    other = json.loads(adcli("fit", *turned, "-m", tmp_path / "b.h5", *fit).out)["trimmed"]
    assert [entry["sha256"] for entry in one] == [entry["sha256"] for entry in other]
    none = adcli("fit", folder, "-m", tmp_path / "c.h5", *fit[:-2], "4%", "--json")
    assert json.loads(none.out)["trimmed"] == []
    assert "left none of the 22 images" in none.err
    assert read(tmp_path / "c.h5").provenance.trimmed is None


def test_two_images_stay_whatever_the_share(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    few = sorted((dataset / "train" / "good").iterdir())[:4]
    fit = ("fit", *few, "--method", "padim", *SMALL, "-p", "dims=9", "--holdout", "0", "-m", tmp_path / "m.h5")
    assert adcli(*fit, "--trim", "90%").code == 0
    assert len(read(tmp_path / "m.h5").provenance.learnt) == 2
    refused = adcli(*fit[:3], *fit[5:], "--trim", "90%", "--force", "--quiet")
    assert refused.code == 2
    assert "too few" in refused.sentence


def test_copies_of_one_image_go_together(contaminated: tuple[Path, list[Path]], adcli: Adcli, tmp_path: Path) -> None:
    folder, bad = contaminated
    shutil.copy(bad[0], folder / "again.png")
    fit = ("fit", folder, "--method", "padim", *SMALL, "-p", "dims=30", "--holdout", "0", "-m", tmp_path / "m.h5")
    assert adcli(*fit, "--trim", "auto").code == 0
    assert not set(map(sha256, bad)) & read(tmp_path / "m.h5").provenance.learnt_digests()


def test_held_out_images_are_never_left_out_only_warned_of(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    folder = shutil.copytree(dataset / "train" / "good", tmp_path / "good")
    source = sorted(folder.iterdir())[0]
    lowest = sorted(map(sha256, folder.iterdir()))[4]
    seed = 0
    while sha256(bad := spoilt(source, folder / "bad.png", seed)) > lowest:
        seed += 1  # among the five lowest digests it is held out
    told = adcli("fit", folder, "--method", "means", *SMALL, "-m", tmp_path / "m.h5", "--trim", "auto", "--json")
    assert told.code == 0
    assert f"1 are as strange as what --trim leaves out ({bad})" in told.err
    model = read(tmp_path / "m.h5")
    assert sha256(bad) in digests_of(model.calibration.digests)
    assert json.loads(told.out)["trimmed"] == []
    assert model.calibration.threshold == max(model.calibration.scores)


def test_copies_to_learn_from_are_left_out_with_their_image(
    contaminated: tuple[Path, list[Path]], adcli: Adcli, tmp_path: Path
) -> None:
    folder, bad = contaminated
    fit = ("fit", folder, "--method", "padim", *SMALL, "-p", "dims=30", "--holdout", "0", "-m", tmp_path / "m.h5")
    told = adcli(*fit, "--trim", "auto", "--brightness", "0.9:1.1", "--json")
    assert told.code == 0
    assert {one["sha256"] for one in json.loads(told.out)["trimmed"]} >= set(map(sha256, bad))


@pytest.fixture
def photographed(dataset: Path, tmp_path: Path) -> tuple[Path, list[Path]]:
    """Ten parts, two images each; a spoilt view of one of them, and its other view."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, image in enumerate(sorted((dataset / "train" / "good").iterdir())):
        shutil.copy(image, folder / f"part{number // 2}_{number % 2}.png")
    spoilt(folder / "part3_1.png", folder / "part3_1.png", 3)
    return folder, [folder / "part3_1.png", folder / "part3_0.png"]


BY_PART = ("--group-by", "part[0-9]+", "--holdout", "0", "--json")


@pytest.mark.parametrize("method", ["means", "padim"])
@pytest.mark.parametrize("asked", ["auto", "10%"])
def test_a_part_goes_whole_and_its_images_are_listed_with_its_name(
    method: str, asked: str, photographed: tuple[Path, list[Path]], adcli: Adcli, tmp_path: Path
) -> None:
    folder, views = photographed
    words = (*SMALL, *(("-p", "dims=30") if method == "padim" else ()), *BY_PART)
    told = adcli("fit", folder, "-m", tmp_path / "m.h5", "--method", method, *words, "--trim", asked)
    assert told.code == 0, told.err
    assert "left out 1 of the 10 parts" in told.err
    listed = json.loads(told.out)["trimmed"]
    assert [(one["image"], one["part"]) for one in listed] == [(str(view), "part3") for view in views]
    assert listed[0]["deviation"] == listed[1]["deviation"] > LIMIT
    assert listed[0]["score"] > listed[1]["score"]
    assert "and its part part3 is " in told.err
    model = read(tmp_path / "m.h5")
    assert digests_of(model.provenance.trimmed) == set(map(sha256, views))
    assert len(model.provenance.learnt) == 18


def test_no_view_of_a_part_makes_another_one_usual(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, image in enumerate(sorted((dataset / "train" / "good").iterdir())):
        shutil.copy(image, folder / f"part{number}_0.png")
    for view in (0, 1):  # the same defect at the same place, which is usual where one of the views is learnt from
        spoilt(folder / f"part{9 + view}_0.png", folder / f"part9_{view}.png", 5)
    fit = ("fit", folder, "--method", "padim", *SMALL, "-p", "dims=30", "--trim", "auto", "--holdout", "0", "--json")
    told = adcli(*fit, "-m", tmp_path / "m.h5", "--group-by", "part[0-9]+")
    assert {one["part"] for one in json.loads(told.out)["trimmed"]} == {"part9"}


def test_parts_of_one_image_are_judged_as_images_are(
    contaminated: tuple[Path, list[Path]], adcli: Adcli, tmp_path: Path
) -> None:
    folder, _ = contaminated
    fit = ("fit", folder, "--method", "padim", *SMALL, "-p", "dims=30", "--trim", "auto", "--holdout", "0", "--json")
    one = json.loads(adcli(*fit, "-m", tmp_path / "a.h5").out)["trimmed"]
    other = json.loads(adcli(*fit, "-m", tmp_path / "b.h5", "--group-by", ".*").out)["trimmed"]
    assert one and [image | {"part": None} for image in other] == one
    assert [image["part"] for image in other] == [Path(image["image"]).name for image in other]


def test_too_few_parts_to_judge_any_are_refused(
    photographed: tuple[Path, list[Path]], adcli: Adcli, tmp_path: Path
) -> None:
    folder, _ = photographed
    words = ("fit", folder, "-m", tmp_path / "m.h5", *QUICK, "--holdout", "0", "--trim", "auto", "--quiet")
    refused = adcli(*words, "--group-by", "_[01]")
    assert refused.code == 2
    assert "judges parts by the others: 2 are too few" in refused.sentence


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--trim", "auto", "--leave-one-out"), "--leave-one-out"),
        (("--trim", "0"), "no share"),
        (("--trim", "100%"), "no share"),
        (("--trim", "some"), "no share"),
    ],
)
def test_what_cannot_be_trimmed_is_refused(
    words: tuple[str, ...], said: str, dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    refused = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *QUICK, *words, "--quiet")
    assert refused.code == 2
    assert said in refused.err
