"""Regions of interest, tiles and alignment through the command line, from fit to eval."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pytest
import torch

from adcli.backbones.extractor import build_extractor
from adcli.engines.torch import TorchEngine, pool
from adcli.errors import UnreadableImage
from adcli.finding import FoundImage
from adcli.images import prepare, read_image
from adcli.store import load
from adcli.tasks.engines import Machine
from adcli.tasks.mapping import Mapper
from adcli.tasks.records import still_same
from tests.conftest import QUICK, Adcli
from tests.tasks.folders import picture, records

BOX = "24,24,48,48"  # of 96 x 96
PATCHCORE = ("--method", "patchcore", "--backbone", "random-resnet18", "--image-size", "64", "-p", "coreset=0.2")


def inside() -> np.ndarray:
    mask = np.zeros((96, 96), bool)
    mask[24:72, 24:72] = True
    return mask


def fitted(adcli: Adcli, good: Path, path: Path, *words: object, quick: tuple[str, ...] = QUICK) -> Path:
    ran = adcli("fit", good, "-m", path, *quick, *words)
    assert ran.code == 0, ran.err
    return path


@pytest.fixture(scope="module", params=["padim", "patchcore", "tiles"])
def roi_model(
    request: pytest.FixtureRequest, dataset: Path, adcli: Adcli, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("roi") / "model.h5"
    more = ("--tile", "48", "--overlap", "12") if request.param == "tiles" else ()
    quick = QUICK if request.param == "padim" else PATCHCORE
    return fitted(adcli, dataset / "train", path, "--roi", BOX, *more, quick=quick)


def test_what_happens_outside_the_region_changes_nothing(
    roi_model: Path, dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for path in sorted((dataset / "test").rglob("*.png"))[:6]:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        (tmp_path / "as-is").mkdir(exist_ok=True)
        (tmp_path / "other").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "as-is" / path.name), pixels)
        noise = rng.integers(0, 256, pixels.shape, np.uint8)
        cv2.imwrite(str(tmp_path / "other" / path.name), np.where(inside(), pixels, noise))
    for name in ("as-is", "other"):
        ran = adcli("score", tmp_path / name, "--out", tmp_path / f"out-{name}", "-m", roi_model, "--maps")
        assert ran.code == 0, ran.err
    for one, other in zip(records(tmp_path / "out-as-is"), records(tmp_path / "out-other"), strict=True):
        assert one["score"] == other["score"] and one["regions"] == other["regions"]
        stem = Path(one["image"]).stem
        maps = [picture(tmp_path / f"out-{name}" / "maps" / f"{stem}.tiff") for name in ("as-is", "other")]
        assert np.array_equal(*maps)
        assert np.array_equal(maps[0] > -np.inf, inside())


def test_the_share_that_is_not_looked_at_is_told_everywhere(
    roi_model: Path, dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    scored = adcli("score", dataset / "test" / "good", "--out", out, "-m", roi_model)
    assert "75.0% of each not inspected" in " ".join(scored.out.split())
    run = json.loads((out / "run.json").read_text())
    about = json.loads(adcli("info", roi_model, "--json").out)
    for facts in (run, about):
        assert facts["uninspected_share"] == 0.75
        assert facts["roi_digest"] == load(roi_model).model.geometry.roi.digest
    table = json.loads(adcli("eval", dataset, "-m", roi_model, "--json").out)
    assert any("75.0% of an image is not inspected" in note for note in table["notes"])


def test_fit_prints_the_share_too(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    ran = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *QUICK, "--roi", "0%,0%,100%,50%")
    assert "50.0% of an image not inspected" in ran.out


def test_a_bank_holds_no_patch_from_outside(dataset: Path, adcli: Adcli, tmp_path: Path) -> None:
    whole = fitted(adcli, dataset / "train", tmp_path / "whole.h5", quick=PATCHCORE)
    part = fitted(adcli, dataset / "train", tmp_path / "part.h5", "--roi", BOX, quick=PATCHCORE)
    whole_model, part_model = load(whole).model, load(part).model
    learnt = len(whole_model.provenance.learnt)
    assert whole_model.detector.patches_seen == learnt * 8 * 8
    assert part_model.detector.patches_seen == learnt * 4 * 4  # the box lies on the grid's lines
    assert part_model.detector.owner.max() < learnt


def test_eval_counts_defects_outside_as_missed_and_good_pixels_there_not_at_all(
    dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    model = fitted(adcli, dataset / "train", tmp_path / "m.h5", "--roi", BOX)
    data = tmp_path / "data"
    for kind in ("good", "mark"):
        (data / "test" / kind).mkdir(parents=True)
    (data / "ground_truth" / "mark").mkdir(parents=True)
    good = sorted((dataset / "test" / "good").glob("*.png"))
    for number, (x, y) in enumerate([(40, 40), (5, 5)]):  # one mark inside, one outside
        pixels = cv2.imread(str(good[number]), cv2.IMREAD_UNCHANGED)
        mask = np.zeros((96, 96), np.uint8)
        mask[y : y + 16, x : x + 16] = 255
        cv2.imwrite(str(data / "test" / "mark" / f"{number}.png"), np.where(mask, 255 - pixels, pixels))
        cv2.imwrite(str(data / "ground_truth" / "mark" / f"{number}_mask.png"), mask)
        (data / "test" / "good" / f"{number}.png").write_bytes(good[number + 2].read_bytes())
    rows = json.loads(adcli("eval", data, "-m", model, "--json").out)["rows"]
    row = next(row for row in rows if row["group"] == "all")
    assert row["regions"] == 2
    assert row["aupro_0.3"] <= 0.5 and row["region_overlap"] <= 0.5  # one of the two is never found


def test_a_minimum_area_larger_than_the_region_is_refused_and_later_check(
    dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    ran = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *QUICK, "--roi", BOX, "--min-area", "2500px")
    assert ran.code == 2 and "2304 of them looked at" in ran.err
    model = fitted(adcli, dataset / "train", tmp_path / "m.h5", "--roi", BOX, "--min-area", "2000px")
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), cv2.resize(cv2.imread(str(next((dataset / "test" / "good").iterdir())), 0), (64, 64)))
    adcli("score", small, "--out", tmp_path / "out", "-m", model)
    (record,) = records(tmp_path / "out")
    assert record["verdict"] == "CHECK" and record["score"] is None
    assert "larger than the inspected area of the image" in record["reason"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--roi", "absent.png"), "no file absent.png"),
        (("--roi", "0,0,97,10"), "beyond the image"),
        (("--tile", "96"), "no smaller than the images"),
        (("--roi", ""), "region of interest is empty"),
        (("--roi", "0.1,0.1,0.5,0.5"), "less than a pixel"),
        (("--roi=-10,0,50,50",), "beyond the image"),
        (("--tile", "16"), "tile of 16 pixels is not possible"),
        (("--tile", "64", "--overlap", "64"), "overlap of 64 pixels is not possible"),
        (("--overlap", "8"), "give --tile as well"),
        (("--tile", "64", "--leave-one-out"), "leave out --tile"),
        (("--align", "absent.png"), "golden image cannot be used"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    words: tuple[str, ...], said: str, dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    ran = adcli("fit", dataset / "train", "-m", tmp_path / "m.h5", *QUICK, *words)
    assert ran.code == 2 and said in ran.sentence
    assert not (tmp_path / "m.h5").exists()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good textures of 200 x 260 pixels, and one with a small mark that is lost at 64 x 64."""
    folder = tmp_path_factory.mktemp("big")
    (folder / "good").mkdir()
    rng = np.random.default_rng(3)
    for number in range(13):
        noise = cv2.GaussianBlur(rng.normal(0, 60, (200, 260)), (0, 0), 1.5)
        image = np.clip(120 + noise, 0, 255).astype(np.uint8)
        if number == 12:
            cv2.circle(image, (180, 60), 4, 255, -1)
        cv2.imwrite(str(folder / ("bad.png" if number == 12 else f"good/{number:02}.png")), image)
    return folder


@pytest.mark.parametrize("method", ["padim", "patchcore"])
def test_tiles_find_what_is_small_in_a_large_image(method: str, big: Path, adcli: Adcli, tmp_path: Path) -> None:
    quick = QUICK if method == "padim" else PATCHCORE
    model = fitted(adcli, big / "good", tmp_path / "m.h5", "--tile", "64", "--overlap", "16", quick=quick)
    assert adcli("score", big / "bad.png", "--out", tmp_path / "out", "-m", model).code == 0
    (record,) = records(tmp_path / "out")
    assert record["verdict"] == "NG"
    x, y, w, h = record["regions"][0]["bbox"]
    assert x <= 180 <= x + w and y <= 60 <= y + h
    assert (record["width"], record["height"]) == (260, 200)


def test_padim_learns_every_tile_for_itself_where_there_are_few(big: Path, adcli: Adcli, tmp_path: Path) -> None:
    own = load(fitted(adcli, big / "good", tmp_path / "own.h5", "--tile", "100", "--overlap", "20")).model
    assert own.geometry.tiling.own_statistics == (200, 260)
    assert own.detector.shapes[0][1] == 3 * 3 * 16 and len(own.detector.mean) == 9 * 16 * 16
    ran = adcli("fit", big / "good", "-m", tmp_path / "shared.h5", *QUICK, "--tile", "48", "--overlap", "16")
    assert "all tiles share the statistics of padim" in ran.err
    shared = load(tmp_path / "shared.h5").model
    assert shared.geometry.tiling.own_statistics is None and len(shared.detector.mean) == 16 * 16
    # An image of another size has other tiles: nothing is known of them.
    other = tmp_path / "other.png"
    cv2.imwrite(str(other), np.full((150, 260), 120, np.uint8))
    assert adcli("score", other, "--out", tmp_path / "out", "-m", tmp_path / "own.h5").code == 5
    (record,) = records(tmp_path / "out")
    assert record["verdict"] == "ERROR" and "knows the tiles of images of 260 x 200" in record["reason"]


def test_an_image_that_is_refused_for_its_size_is_not_scored_again(big: Path, adcli: Adcli, tmp_path: Path) -> None:
    model = fitted(adcli, big / "good", tmp_path / "own.h5", "--tile", "100", "--overlap", "20")
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "0.png"), np.full((150, 260), 120, np.uint8))
    for number, path in enumerate(sorted((big / "good").iterdir())[:3], 1):
        (images / f"{number}.png").write_bytes(path.read_bytes())
    refused = read_image(images / "0.png")
    error = UnreadableImage("too small", refused.sha256)
    assert still_same(images / "0.png", error.sha256, str(error))
    assert adcli("score", images, "--out", tmp_path / "out", "-m", model).code == 5
    assert records(tmp_path / "out")[0]["sha256"] == refused.sha256


def test_the_guard_sees_the_features_of_all_tiles(big: Path, adcli: Adcli, tmp_path: Path) -> None:
    path = fitted(adcli, big / "good", tmp_path / "m.h5", "--tile", "100", "--overlap", "20", quick=PATCHCORE)
    model = load(path).model
    mapper = Mapper(model, Machine(workers=1, precision="fp32"))
    image = FoundImage(big / "bad.png", "bad.png", PurePosixPath("bad.png"))
    (look,) = mapper.stream([image], lambda _, mapped: mapped.look)
    pixels = read_image(big / "bad.png").pixels
    spec = model.spec
    engine = TorchEngine(
        build_extractor(spec.backbone, spec.layers, model.weights, spec.seed), torch.device("cpu"), "fp32"
    )
    rows = [
        pool(engine.features(prepare(box.of(pixels), (64, 64))[None]))[0]
        for box in model.geometry.tiling.boxes(pixels.shape)
    ]
    np.testing.assert_allclose(look.pooled, np.mean(rows, axis=0), rtol=1e-4, atol=1e-5)
    assert np.abs(look.pooled - rows[0]).max() > 1e-3


def test_an_image_without_a_pixel_of_the_region_is_left_out_of_the_fit(
    dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    good = shutil.copytree(dataset / "train" / "good", tmp_path / "good")
    for number in range(6):  # some of them are learnt from, wherever the digests fall
        cv2.imwrite(str(good / f"tiny{number}.png"), np.full((6, 6), 100 + number, np.uint8))
    words = ("--roi", "0%,0%,5%,5%", "--holdout", "0")
    ran = adcli("fit", good, "-m", tmp_path / "m.h5", *QUICK, *words)
    assert ran.code == 5 and "no pixel in the region of interest" in ran.err
    assert len(load(tmp_path / "m.h5").model.provenance.learnt) == 20


def test_leaving_one_out_of_images_that_see_different_positions_is_refused(
    dataset: Path, adcli: Adcli, tmp_path: Path
) -> None:
    good = shutil.copytree(dataset / "train" / "good", tmp_path / "good")
    cv2.imwrite(str(good / "other.png"), np.full((80, 96), 100, np.uint8))
    ran = adcli("fit", good, "-m", tmp_path / "m.h5", *QUICK, "--roi", "0%,0%,55%,55%", "--leave-one-out")
    assert ran.code == 2 and "images of one size" in ran.sentence


@pytest.mark.parametrize("tile", ["100", "48"])
def test_a_score_does_not_depend_on_the_company_or_the_threads(
    tile: str, big: Path, adcli: Adcli, tmp_path: Path
) -> None:
    model = fitted(adcli, big / "good", tmp_path / "m.h5", "--tile", tile, "--overlap", "16")
    adcli("score", big, "--out", tmp_path / "all", "-m", model, "--workers", "3")
    adcli("score", big / "bad.png", "--out", tmp_path / "one", "-m", model, "--workers", "1")
    (alone,) = records(tmp_path / "one")
    among = next(record for record in records(tmp_path / "all") if record["image"].endswith("bad.png"))
    assert alone["score"] == among["score"] and alone["regions"] == among["regions"]


def test_an_aligned_model_scores_a_moved_part_as_the_part(adcli: Adcli, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)

    def part(x: float, y: float, angle: float, mark: bool = False) -> np.ndarray:
        image = np.full((96, 96), 50, np.uint8)
        cv2.rectangle(image, (26, 30), (70, 64), 190, -1)
        cv2.circle(image, (38, 42), 6, 20, -1)
        cv2.putText(image, "F", (52, 58), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 90, 2)
        if mark:
            cv2.circle(image, (60, 38), 4, 255, -1)
        matrix = cv2.getRotationMatrix2D((47.5, 47.5), angle, 1)
        matrix[:, 2] += (x, y)
        image = cv2.warpAffine(image, matrix, (96, 96), borderMode=cv2.BORDER_REPLICATE)
        return np.clip(cv2.GaussianBlur(image, (0, 0), 0.8) + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)

    (tmp_path / "good").mkdir()
    (tmp_path / "new").mkdir()
    golden = tmp_path / "golden.png"
    cv2.imwrite(str(golden), part(0, 0, 0))
    for number in range(24):
        cv2.imwrite(str(tmp_path / "good" / f"{number:02}.png"), part(*rng.uniform(-5, 5, 2), rng.uniform(-8, 8)))
    cv2.imwrite(str(tmp_path / "new" / "bad.png"), part(4, -3, 6, mark=True))
    cv2.imwrite(str(tmp_path / "new" / "good.png"), part(-4, 4, -7))
    model = fitted(adcli, tmp_path / "good", tmp_path / "m.h5", "--align", golden)
    adcli("score", tmp_path / "new", "--out", tmp_path / "out", "-m", model, "--maps")
    bad, good = records(tmp_path / "out")
    assert bad["verdict"] == "NG" and bad["score"] > 3 * good["score"]  # which may be just above its threshold
    matrix = cv2.getRotationMatrix2D((47.5, 47.5), 6, 1)
    at = matrix @ [60, 38, 1] + (4, -3)
    x, y = np.rint(at).astype(int)
    assert picture(tmp_path / "out" / "masks" / "bad.png")[y, x] == 255  # where the mark lies in the file
    about = json.loads(adcli("info", model, "--json").out)
    assert about["golden_sha256"] == load(model).model.geometry.golden.digest
    assert about["uninspected_share"] is None  # each image has its own
    # Where there is no such part, the image is not OK, whatever the map says.
    cv2.imwrite(str(tmp_path / "plain.png"), np.full((96, 96), 110, np.uint8))
    ran = adcli("score", tmp_path / "plain.png", "--out", tmp_path / "plain", "-m", model)
    assert ran.code == 0 and records(tmp_path / "plain")[0]["verdict"] != "OK"
