"""Alignment: a moved part is brought back to where the golden image has it, and its map to where the part lies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from adcli.errors import UsageError
from adcli.geometry import Geometry
from adcli.geometry.alignment import Placement, _correlation, place, read_golden
from adcli.geometry.views import Views

H, W = 240, 300


def part() -> np.ndarray:
    """A plate with holes, edges and print on a plain ground: nothing about it is symmetric."""
    image = np.full((H, W), 60, np.uint8)
    cv2.rectangle(image, (70, 60), (230, 180), 170, -1)
    cv2.circle(image, (110, 100), 18, 40, -1)
    cv2.circle(image, (190, 140), 9, 230, -1)
    cv2.putText(image, "A7", (130, 165), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 20, 3)
    cv2.line(image, (75, 70), (150, 62), 120, 4)
    return cv2.GaussianBlur(image, (0, 0), 1.0)


def moved(image: np.ndarray, x: float, y: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The image with its part turned about the middle and shifted, and the (2, 3) matrix that did it."""
    matrix = cv2.getRotationMatrix2D(((W - 1) / 2, (H - 1) / 2), angle, 1)
    matrix[:, 2] += (x, y)
    return cv2.warpAffine(image, matrix, (W, H), borderMode=cv2.BORDER_REPLICATE), matrix


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("golden") / "golden.png"
    cv2.imwrite(str(path), part())
    return read_golden(path, None)


@pytest.mark.parametrize(
    ("x", "y", "angle"),
    [(0, 0, 0), (7.5, -3.25, 0), (-22, 15, 4), (10, 8, -12), (0, 0, 90), (-6, 9, 180), (12, -5, -137)],
)
def test_shift_and_rotation_are_found_to_a_fraction_of_a_pixel(golden, x: float, y: float, angle: float) -> None:
    rng = np.random.default_rng(0)
    image, matrix = moved(part(), x, y, angle)
    image = np.clip(0.9 * image + 12 + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    found = place(golden, image)
    corners = np.array([[70, 60, 1], [230, 60, 1], [230, 180, 1], [70, 180, 1]], float).T
    assert np.abs(found.to_image @ corners - matrix @ corners).max() < 0.5
    assert found.correlation > 0.95
    assert abs((found.angle + angle + 180) % 360 - 180) < 0.3  # OpenCV turns anticlockwise


@pytest.mark.parametrize(("scale", "dtype"), [(2.5, np.uint8), (1.0, np.uint16)])
def test_images_of_another_size_or_depth_are_placed_alike(golden, scale: float, dtype: type) -> None:
    image, matrix = moved(part(), 9, -6, 5)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    pixels = image.astype(dtype) * (257 if dtype is np.uint16 else 1)
    found = place(golden, pixels)
    corner = np.array([100.0, 80.0, 1])
    there = (matrix @ corner + 0.5) * scale - 0.5
    assert np.abs(found.to_image @ [(100.5 * scale) - 0.5, (80.5 * scale) - 0.5, 1] - there).max() < 0.5 * scale


def test_another_product_noise_or_an_empty_place_correlates_little(golden) -> None:
    rng = np.random.default_rng(1)
    other = np.full((H, W), 60, np.uint8)
    cv2.ellipse(other, (150, 120), (90, 30), 40, 0, 360, 200, -1)
    aligned = place(golden, moved(part(), 5, 5, 3)[0]).correlation
    for pixels in (other, rng.integers(0, 256, (H, W), np.uint8), np.full((H, W), 80, np.uint8)):
        assert place(golden, pixels).correlation < aligned - 0.2
    assert place(golden, np.full((H, W), 80, np.uint8)).correlation == 0


@pytest.mark.parametrize("angle", range(0, 360, 10))
def test_every_angle_is_found(golden, angle: int) -> None:
    rng = np.random.default_rng(angle)
    image, matrix = moved(part(), 10, -8, angle)
    image = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    found = place(golden, image)
    corners = np.array([[70, 60, 1], [230, 60, 1], [230, 180, 1], [70, 180, 1]], float).T
    assert np.abs(found.to_image @ corners - matrix @ corners).max() < 1


def test_a_part_without_an_angle_is_not_given_one(tmp_path: Path) -> None:
    disc = np.full((H, W), 40, np.uint8)
    cv2.circle(disc, (150, 120), 80, 200, 12)
    path = tmp_path / "disc.png"
    cv2.imwrite(str(path), disc)
    noisy = np.clip(disc + np.random.default_rng(2).normal(0, 4, disc.shape), 0, 255).astype(np.uint8)
    assert abs(place(read_golden(path, None), noisy).angle) < 5


def test_the_network_sees_the_part_where_the_golden_image_has_it(golden) -> None:
    views = Views(Geometry(golden=golden), (H, W), None, 0)
    image, _ = moved(part(), -14, 9, 7)
    (seen,) = views.of(image).inputs()
    away = np.abs(seen[60:180, 70:230, 0] * 255 - part()[60:180, 70:230])
    assert np.quantile(away, 0.99) < 12
    assert np.abs(image.astype(int) - part())[60:180, 70:230].max() > 100


def test_the_map_lies_on_the_file_again_and_what_it_does_not_cover_is_not_scored(golden) -> None:
    views = Views(Geometry(golden=golden), (H, W), None, 0)
    image, matrix = moved(part(), -14, 9, 7)
    view = views.of(image)
    list(view.inputs())
    grid = np.zeros((H, W), np.float32)
    grid[98:103, 108:113] = 1  # the hole at (110, 100) of the golden image
    view.add(0, grid)
    score_map = view.score_map()
    y, x = np.unravel_index(score_map.argmax(), score_map.shape)
    assert np.hypot(*(matrix @ [110, 100, 1] - (x, y))) < 3
    outside = score_map == -np.inf
    assert 0 < outside.mean() < 0.3
    assert not np.isnan(score_map).any()


def test_a_part_that_hardly_overlaps_the_golden_image_is_not_aligned_to_it(golden) -> None:
    still = np.hstack([np.eye(2), np.zeros((2, 1))])
    apart = still.copy()
    apart[0, 2] = 0.9 * golden.pixels.shape[1]
    assert _correlation(golden.pixels, golden.pixels, still) == pytest.approx(1)
    assert _correlation(golden.pixels, golden.pixels, apart) == 0


def test_a_pixel_that_is_seen_by_half_is_not_scored(golden, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = np.array([[1.0, 0, 0.5], [0, 1, 0]])  # the golden pixel's x + 0.5
    monkeypatch.setattr("adcli.geometry.views.place", lambda *_: Placement(shifted, (0.5, 0.0), 0.0, 1.0))
    view = Views(Geometry(golden=golden), (H, W), None, 0).of(part())
    list(view.inputs())
    view.add(0, np.ones((H, W), np.float32))
    outside = view.score_map() == -np.inf
    assert outside[:, 0].all() and not outside[:, 1:].any()


def test_a_golden_image_that_shows_nothing_or_is_damaged_is_refused(tmp_path: Path) -> None:
    plain, damaged = tmp_path / "plain.png", tmp_path / "damaged.png"
    cv2.imwrite(str(plain), np.full((50, 50), 99, np.uint8))
    damaged.write_bytes(b"GIF89a")
    narrow = tmp_path / "narrow.png"
    cv2.imwrite(str(narrow), np.random.default_rng(0).integers(0, 256, (300, 9), np.uint8))
    for path, said in (
        (narrow, "too narrow"),
        (plain, "one gray"),
        (damaged, "cannot be used"),
        (tmp_path / "absent.png", "cannot be used"),
    ):
        with pytest.raises(UsageError, match=said):
            read_golden(path, None)
