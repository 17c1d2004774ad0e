"""The region of interest: what is drawn, how it scales, and that nothing outside it has a say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from adcli.errors import UsageError
from adcli.geometry import Geometry
from adcli.geometry.drawing import read_roi
from adcli.geometry.roi import RegionOfInterest
from adcli.geometry.tiles import Tiling
from adcli.geometry.views import Views

SIZE = (60, 80)


def roi_of(text: str, *sizes: tuple[int, int]) -> np.ndarray:
    return read_roi(text, sizes or (SIZE,)).mask()


def test_a_box_in_pixels_is_those_pixels() -> None:
    mask = roi_of("10,20,30,5")
    assert mask.shape == SIZE and mask.sum() == 150
    assert mask[20:25, 10:40].all()


def test_a_box_in_percent_is_that_share_of_images_of_any_size() -> None:
    assert np.array_equal(roi_of("12.5%,50%,50%,25%"), roi_of("10,30,40,15"))
    roi = read_roi("25%,0%,50%,100%", [(60, 80), (30, 40)])
    for size in ((60, 80), (33, 100)):
        assert roi.on(size).mean() == pytest.approx(0.5, abs=0.02)
        assert not roi.on(size)[:, 0].any() and roi.on(size)[:, size[1] // 2].all()


@pytest.mark.parametrize("text", ["10,10 40,10 40,30 10,30", "10,10;40,10;40,30;10,30", " 10 ,10  40,10 40,30 10,30"])
def test_a_polygon_holds_its_outline(text: str) -> None:
    mask = roi_of(text)
    assert mask[10:31, 10:41].all() and mask.sum() == 31 * 21


def test_a_mask_file_is_taken_as_it_is(tmp_path: Path) -> None:
    drawn = np.zeros(SIZE, np.uint8)
    cv2.circle(drawn, (40, 30), 17, 255, -1)
    for name, values in (("full.png", drawn), ("ones.png", drawn // 255), ("soft.png", np.where(drawn, 200, 90))):
        path = tmp_path / name
        cv2.imwrite(str(path), values.astype(np.uint8))
        assert np.array_equal(roi_of(str(path)), drawn > 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing.png", "no file nothing.png"),
        ("1,2,3", "no file 1,2,3"),
        ("10,10 40,10", "two corners|at least three"),
        ("10,10,100,10", "beyond the image, which has 80x60"),
        ("0%,0%,101%,10%", "beyond the image, which has 100%x100%"),
        ("10,10,0,10", "empty"),
        ("10%,10,20,20", "partly in %"),
        ("0,0 90,10 10,10", "beyond the image"),
    ],
)
def test_what_is_no_region_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        roi_of(text)


def test_pixels_need_images_of_one_size() -> None:
    with pytest.raises(UsageError, match="differ in size"):
        roi_of("10,10,20,20", (60, 80), (61, 80))


def test_a_mask_of_another_size_than_the_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.full((30, 40), 255, np.uint8))
    with pytest.raises(UsageError, match=r"40x30 pixels, and the images are 80x60"):
        roi_of(str(path))


def test_a_coloured_or_damaged_mask_is_refused(tmp_path: Path) -> None:
    coloured, damaged = tmp_path / "coloured.png", tmp_path / "damaged.png"
    cv2.imwrite(str(coloured), np.dstack([np.zeros(SIZE), np.full(SIZE, 255), np.zeros(SIZE)]).astype(np.uint8))
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n")
    for path, said in ((coloured, "coloured"), (damaged, "cannot be used")):
        with pytest.raises(UsageError, match=said):
            roi_of(str(path))


def test_its_digest_names_the_pixels_and_the_size() -> None:
    one = np.zeros((8, 16), bool)
    one[2:5, 3:9] = True
    other = one.copy()
    other[0, 0] = True
    digests = {RegionOfInterest.of(mask).digest for mask in (one, other, one.reshape(16, 8), one.T)}
    assert len(digests) == 4 and RegionOfInterest.of(one.copy()).digest in digests


def test_a_region_that_was_tampered_with_is_refused() -> None:
    roi = RegionOfInterest.of(np.eye(8, dtype=bool))
    with pytest.raises(ValueError, match="digest"):
        RegionOfInterest(8, 8, roi.bits | np.uint8(1), roi.digest)


def views(mask: np.ndarray, tiling: Tiling | None = None, size: int = 32) -> Views:
    return Views(Geometry(RegionOfInterest.of(mask), tiling), (size, size), None, sigma=2.0)


@pytest.mark.parametrize("tiling", [None, Tiling(40, 8)])
@pytest.mark.parametrize("size", [24, 32, 96])
def test_what_lies_outside_does_not_reach_the_network(tiling: Tiling | None, size: int) -> None:
    rng = np.random.default_rng(1)
    mask = np.zeros((90, 110), bool)
    mask[13:71, 22:90] = True
    one = rng.integers(0, 256, (90, 110, 3), np.uint8)
    other = np.where(mask[..., None], one, rng.integers(0, 256, one.shape, np.uint8))
    seen = [list(views(mask, tiling, size).of(pixels).inputs()) for pixels in (one, other)]
    assert all(np.array_equal(a, b) for a, b in zip(*seen, strict=True))
    changed = np.where(mask[..., None], rng.integers(0, 256, one.shape, np.uint8), one)
    assert not np.array_equal(seen[0][0], next(iter(views(mask, tiling, size).of(changed).inputs())))


@pytest.mark.parametrize("tiling", [None, Tiling(40, 8)])
def test_patches_outside_have_no_say_in_the_map(tiling: Tiling | None) -> None:
    mask = np.zeros((90, 110), bool)
    mask[30:71, 22:60] = True
    maps = []
    for outside in (0.0, 1000.0):
        view = views(mask, tiling).of(np.zeros((90, 110), np.uint8))
        draw = np.random.default_rng(3)
        for number in range(len(view)):
            grid = draw.random((8, 8), np.float32)
            inside = view.patches_inside(number, (8, 8))
            view.add(number, grid if inside is None else np.where(inside, grid, np.float32(outside)))
        maps.append(view.score_map())
    assert np.array_equal(*maps)
    assert np.array_equal(maps[0] > -np.inf, mask)
    assert maps[0][mask].min() >= 0 and maps[0][mask].max() <= 1


def test_tiles_without_a_pixel_of_the_region_are_not_looked_at() -> None:
    mask = np.zeros((200, 200), bool)
    mask[:30, :30] = True
    assert len(views(mask, Tiling(64, 8)).of(np.zeros((200, 200), np.uint8))) == 1
    assert len(Views(Geometry(None, Tiling(64, 8)), (32, 32), None, 0).of(np.zeros((200, 200), np.uint8))) == 16


def test_a_region_thinner_than_an_input_pixel_is_still_looked_at() -> None:
    mask = np.zeros((400, 400), bool)
    mask[:, 201] = True
    view = views(mask).of(np.zeros((400, 400), np.uint8))
    inside = view.patches_inside(0, (8, 8))
    assert inside.any() and not inside.all()
    view.add(0, np.ones((8, 8), np.float32))
    score_map = view.score_map()
    np.testing.assert_allclose(score_map[mask], 1, rtol=1e-6)
    assert (score_map[~mask] == -np.inf).all()
