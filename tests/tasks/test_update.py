"""`fit --update`: new good images join a model, and the threshold is set anew on those held out of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

import adcli as package
from adcli.errors import UsageError
from adcli.finding import FoundImage
from adcli.images import find_images
from adcli.model import Model, digests_of
from adcli.store import load, save
from adcli.tasks.holdout import split
from adcli.thresholds.estimators import Rule
from tests.conftest import Adcli, undecodable_png
from tests.models import same
from tests.tasks.joining import pretended

__all__ = ["pretended"]
pytestmark = pytest.mark.usefixtures("pretended")
SMALL = ("--backbone", "random-resnet18", "--image-size", "64")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def days(dataset: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The good images of two days: 10 and 16, of which 6 were held for testing."""
    first, second = tmp_path / "first", tmp_path / "second"
    good = sorted((dataset / "train" / "good").iterdir())
    for folder, images in (
        (first, good[:10]),
        (second, [*good[10:], *sorted((dataset / "test" / "good").iterdir())]),
    ):
        folder.mkdir()
        for number, image in enumerate(images):
            shutil.copy(image, folder / f"{number:02}.png")
    return first, second


@pytest.fixture
def former(days: tuple[Path, Path], adcli: Adcli, tmp_path: Path) -> Path:
    """A calibrated model of the first day."""
    path = tmp_path / "former.h5"
    assert adcli("fit", days[0], "-m", path, "--method", "joining", *SMALL).code == 0
    return path


def read(path: Path) -> Model:
    return load(path).model


def test_an_updated_model_has_learnt_what_a_fit_to_all_images_learns(
    days: tuple[Path, Path], adcli: Adcli, tmp_path: Path
) -> None:
    fit = ("fit", *("--method", "joining"), *SMALL, "--holdout", "0")
    assert adcli(*fit, days[0], "-m", tmp_path / "a.h5").code == 0
    assert adcli("fit", days[1], "--update", tmp_path / "a.h5", "-m", tmp_path / "ab.h5", "--holdout", "0").code == 0
    assert adcli(*fit, *days, "-m", tmp_path / "whole.h5").code == 0
    joined, whole = read(tmp_path / "ab.h5"), read(tmp_path / "whole.h5")
    assert joined.detector.count == whole.detector.count
    np.testing.assert_allclose(joined.detector.sums, whole.detector.sums, rtol=1e-12)
    np.testing.assert_allclose(joined.guard.gate.mean, whole.guard.gate.mean, rtol=1e-5)
    for field in ("centre", "below", "above"):
        assert np.array_equal(getattr(joined.guard, field), getattr(whole.guard, field))
    assert np.array_equal(joined.provenance.learnt, whole.provenance.learnt)
    assert same(joined.spec, whole.spec)
    assert load(tmp_path / "a.h5").detector_digest != load(tmp_path / "ab.h5").detector_digest


def test_the_threshold_is_set_anew_on_new_images_held_out_by_content(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    new = tmp_path / "new.h5"
    assert adcli("fit", days[1], "--update", former, "-m", new, "--holdout", "0.5").code == 0
    contents = {sha256(path) for path in days[1].iterdir()}
    below = {digest for digest in contents if int(digest, 16) / 2**256 < 0.5}
    assert len(below) >= 5
    model, before = read(new), read(former)
    assert digests_of(model.calibration.digests) == below
    assert model.provenance.learnt_digests() == before.provenance.learnt_digests() | contents - below
    assert model.calibration.threshold == max(model.calibration.scores)


def test_learnt_images_are_passed_over_and_calibrated_ones_held_out_once_more(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    before = read(former)
    known, judged = before.provenance.learnt_digests(), digests_of(before.calibration.digests)
    told = adcli("fit", *days, "--update", former, "-m", tmp_path / "new.h5")
    assert told.code == 0
    assert f"{len(known)} of these 26 images are ones that the model learnt from: they are passed over" in told.err
    assert f"{len(judged)} of these 26 images are ones that the model was calibrated on: they are held" in told.err
    after = read(tmp_path / "new.h5")
    assert judged < digests_of(after.calibration.digests)
    assert not digests_of(after.calibration.digests) & after.provenance.learnt_digests()
    assert after.provenance.updates == (len(after.provenance.learnt) - len(known),)
    nothing = adcli("fit", days[0], "--update", former, "-m", tmp_path / "none.h5", "--quiet")
    assert nothing.code == 2
    assert "none of the 10 images is new" in nothing.sentence


def test_without_a_holdout_the_model_ends_without_a_threshold_and_says_so(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    told = adcli("fit", *days, "--update", former, "-m", tmp_path / "new.h5", "--holdout", "0")
    assert told.code == 0
    assert "the threshold was of the model before the update, and is gone" in told.err
    after = read(tmp_path / "new.h5")
    assert after.calibration is None
    assert not digests_of(read(former).calibration.digests) & after.provenance.learnt_digests()
    assert len(after.provenance.learnt) == len(read(former).provenance.learnt) + 16
    refused = adcli("fit", *days, "--update", former, "-m", tmp_path / "x.h5", "--holdout", "0", "--threshold", "3")
    assert refused.code == 2


@pytest.mark.parametrize("already", [None, 0, 3])
def test_too_few_new_images_are_not_sent_to_leave_one_out(already: int | None) -> None:
    pairs = [
        (FoundImage(Path(name), name, PurePosixPath(name)), digest)
        for name, digest in (("a", "0" * 64), ("b", "1" * 64))
    ]
    with pytest.raises(UsageError, match="too few to hold out") as refusal:
        split(pairs, 0.5, already)
    assert ("--leave-one-out" in str(refusal.value)) == (already is None)


def test_no_model_is_overwritten_unless_told_to(days: tuple[Path, Path], former: Path, adcli: Adcli) -> None:
    bytes_before, digest = former.read_bytes(), load(former).detector_digest
    refused = adcli("fit", days[1], "--update", former, "-m", former, "--quiet")
    assert refused.code == 2
    assert "--force" in refused.sentence
    assert former.read_bytes() == bytes_before
    assert adcli("fit", days[1], "--update", former, "-m", former, "--force").code == 0
    assert load(former).detector_digest != digest


def test_info_tells_every_update(days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path) -> None:
    halves = sorted(days[1].iterdir())
    for part in (halves[:8], halves[8:]):
        words = ("fit", *part, "--update", former, "-m", former, "--force", "--holdout", "0", "--json")
        told = json.loads(adcli(*words).out)
    assert told["updates"] == [8, 8]
    facts = json.loads(adcli("info", former, "--json").out)
    assert facts["updates"] == [8, 8]
    assert facts["learnt"] == told["learnt"] == 16 + 5


def test_equal_updates_give_equal_bytes_and_the_python_call_the_same(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        words = ("--min-area", "9px", "--max-false-reject", "0.2")
        assert adcli("fit", days[1], "--update", former, "-m", tmp_path / f"{name}.h5", *words).code == 0
    rule = Rule(max_false_reject=0.2)
    fitted = package.update(days[1], former, tmp_path / "three.h5", min_area="9px", rule=rule)
    assert fitted.learnt == len(read(tmp_path / "three.h5").provenance.learnt)
    contents = {(tmp_path / f"{name}.h5").read_bytes() for name in ("one", "two", "three")}
    assert len(contents) == 1


def test_a_method_that_cannot_join_images_refuses_in_one_sentence(
    days: tuple[Path, Path], adcli: Adcli, tmp_path: Path
) -> None:
    assert adcli("fit", days[0], "-m", tmp_path / "m.h5", "--method", "means", *SMALL).code == 0
    refused = adcli("fit", days[1], "--update", tmp_path / "m.h5", "-m", tmp_path / "n.h5", "--quiet")
    assert refused.code == 2
    assert "means cannot join new images" in refused.sentence
    assert "joining" in refused.sentence
    assert not (tmp_path / "n.h5").exists()


def test_a_model_without_its_sums_refuses_before_any_image_is_read(
    days: tuple[Path, Path], adcli: Adcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, words in (("padim", ("-p", "dims=9")), ("fusion", ("-p", "members=padim(dims=9)+patchcore"))):
        fit = ("fit", days[0], "-m", tmp_path / f"{name}.h5", "--method", name, *words, *SMALL, "--holdout", "0")
        assert adcli(*fit).code == 0

    def read(*_: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr("adcli.tasks.update.identify", read)
    for name in ("padim", "fusion"):
        refused = adcli("fit", days[1], "--update", tmp_path / f"{name}.h5", "-m", tmp_path / "n.h5", "--quiet")
        assert refused.code == 2
        assert "this padim model has not kept the sums" in refused.sentence


def test_a_single_new_image_joins_and_an_unreadable_one_does_not(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    (one, *_), more = sorted(days[1].iterdir()), ("--update", former, "--holdout", "0")
    assert adcli("fit", one, *more, "-m", tmp_path / "n.h5").code == 0
    after = read(tmp_path / "n.h5").provenance
    assert after.updates == (1,)
    assert after.learnt_digests() == read(former).provenance.learnt_digests() | {sha256(one)}
    one.write_bytes(undecodable_png(bytes(1000)))
    refused = adcli("fit", one, *more, "-m", tmp_path / "x.h5", "--quiet")
    assert refused.code == 2
    assert "0 of the 1 images to learn from can be read" in refused.sentence


def test_a_single_new_image_joins_where_former_ones_are_held_out_once_more(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    learnt = next(path for path in sorted(days[1].iterdir()) if int(sha256(path), 16) / 2**256 >= 0.2)
    assert adcli("fit", days[0], learnt, "--update", former, "-m", tmp_path / "n.h5").code == 0
    after = read(tmp_path / "n.h5")
    assert after.provenance.updates == (1,)
    assert digests_of(after.calibration.digests) == digests_of(read(former).calibration.digests)


@pytest.mark.parametrize(("share", "most"), [(0, 0), (0.5, 1)])
def test_only_a_fit_from_nothing_takes_two_images_to_learn_from(share: float, most: int) -> None:
    pairs = [(FoundImage(Path("a"), "a", PurePosixPath("a")), "f" * 64)]
    assert split(pairs, share, already=5) == (pairs, [])
    with pytest.raises(UsageError, match="too few"):
        split(pairs, share)
    low = [(FoundImage(Path("b"), "b", PurePosixPath("b")), "0" * 64)]
    if share:
        with pytest.raises(UsageError, match="give at least 2,"):
            split(low, share, already=5)


@pytest.mark.parametrize(
    "words",
    [
        ("--method", "joining"),
        ("--trim", "auto"),
        ("--rotate", "4"),
        ("--leave-one-out",),
        ("--tile", "64"),
        ("--protocol", "paper"),
    ],
)
def test_what_the_former_model_has_settled_is_refused(
    words: tuple[str, ...], days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    refused = adcli("fit", days[1], "--update", former, "-m", tmp_path / "n.h5", *words)
    assert refused.code == 2
    assert words[0] in refused.sentence


def test_the_environment_of_other_fits_does_not_matter(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    words = ("fit", days[1], "--update", former, "-m", tmp_path / "n.h5")
    assert adcli(*words, env={"ADCLI_METHOD": "patchcore", "ADCLI_TILE": "64"}).code == 0
    assert read(tmp_path / "n.h5").spec.method == "joining"


def test_precision_is_that_of_the_model(days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path) -> None:
    other = {"fp32": "bf16", "bf16": "fp32"}[read(former).spec.precision]
    refused = adcli("fit", days[1], "--update", former, "-m", tmp_path / "n.h5", "--precision", other, "--quiet")
    assert refused.code == 2
    assert "--precision" in refused.sentence


def test_images_that_cannot_be_read_are_listed_and_counted(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    (days[1] / "broken.png").write_bytes(undecodable_png())
    told = adcli("fit", days[1], "--update", former, "-m", tmp_path / "n.h5", "--holdout", "0")
    assert told.code == 5
    after = read(tmp_path / "n.h5")
    assert after.provenance.unreadable == 1
    assert after.provenance.updates == (16,)


def test_the_guard_of_a_file_that_kept_no_looks_stays_as_it_was(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    model = read(former)
    old = dataclasses.replace(model, guard=dataclasses.replace(model.guard, looks=None))
    save(old, tmp_path / "old.h5")
    told = adcli("fit", days[1], "--update", tmp_path / "old.h5", "-m", tmp_path / "n.h5")
    assert told.code == 0
    assert "kept no looks" in told.err
    assert same(read(tmp_path / "n.h5").guard, old.guard)


def test_what_trimming_left_out_does_not_join_later(
    days: tuple[Path, Path], former: Path, adcli: Adcli, tmp_path: Path
) -> None:
    model = read(former)
    suspicious = find_images([str(days[1])])[0]
    row = np.frombuffer(bytes.fromhex(sha256(suspicious.path)), np.uint8).reshape(1, 32)
    provenance = dataclasses.replace(model.provenance, trimmed=row)
    save(dataclasses.replace(model, provenance=provenance), tmp_path / "old.h5")
    told = adcli("fit", days[1], "--update", tmp_path / "old.h5", "-m", tmp_path / "n.h5", "--holdout", "0")
    assert told.code == 0
    assert "1 of these 16 images are ones that the model left out as suspicious" in told.err
    assert sha256(suspicious.path) not in read(tmp_path / "n.h5").provenance.learnt_digests()
