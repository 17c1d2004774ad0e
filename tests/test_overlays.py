"""The overlay's scale is fixed, its outline and legend are there, whatever the image's size and type."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy import ndimage

from adcli.errors import UsageError
from adcli.report import overlays
from adcli.report.overlays import draw_overlay, encode_jpeg

LOW, THRESHOLD = 10.0, 20.0
SIZE = 400  # large enough to be drawn at its own size
NOWHERE = np.zeros((SIZE, SIZE), bool)


def draw(pixels=None, score_map=None, mask=None, title="OK", **changed) -> np.ndarray:
    shape = next(array.shape[:2] for array in (pixels, score_map, mask, NOWHERE) if array is not None)
    return draw_overlay(
        np.full(shape, 128, np.uint8) if pixels is None else pixels,
        np.full(shape, LOW, np.float32) if score_map is None else score_map,
        regions_mask=np.zeros(shape, bool) if mask is None else mask,
        title=title,
        **{"low": LOW, "threshold": THRESHOLD, **changed},
    )


def inside(picture: np.ndarray, height: int = SIZE) -> np.ndarray:
    """The image's part of a picture: it begins where black and white images of that width begin to differ."""
    row = np.zeros((1, picture.shape[1]), np.uint8)
    top = np.flatnonzero((draw(row) != draw(row + 255)).any(axis=(1, 2)))[0]
    return picture[top : top + height]


def colour_of(score: float, beside: float = LOW, **changed) -> tuple[int, ...]:
    """The colour of one score on a gray image whose other half has another score."""
    score_map = np.full((SIZE, SIZE), beside, np.float32)
    score_map[:, : SIZE // 2] = score
    return tuple(int(value) for value in inside(draw(score_map=score_map, **changed))[SIZE // 2, SIZE // 4])


@pytest.mark.parametrize("score", [10, 14, 17, 19.9, 20, 20.1, 25, 35])
def test_the_same_score_has_the_same_colour_in_images_with_other_ranges(score):
    assert len({colour_of(score, beside) for beside in (-1e6, 0, 10, 20, 40, 1e6, math.inf)}) == 1


def test_a_score_keeps_its_colour_when_scale_and_scores_are_stretched_together():
    assert colour_of(0.0015, low=0.001, threshold=0.002, beside=0.001) == colour_of(15)


def test_ordinary_pixels_leave_the_image_bare():
    for score in (-1e9, 0, 10, 12.9):
        assert colour_of(score) == (128, 128, 128)


def test_below_the_threshold_is_blue_and_above_is_orange_to_yellow():
    for score in (15, 17, 19.99):
        blue, green, red = colour_of(score)
        assert blue > green > 0 and blue > red + 20
    for score in (20.01, 25, 30, 1e30, math.inf):
        blue, green, red = colour_of(score)
        assert red > green > blue and red > blue + 80


def test_the_colour_jumps_at_the_threshold_and_nowhere_else():
    scores = np.arange(8.05, 35, 0.1, dtype=np.float32).repeat(2)
    picture = inside(draw(score_map=scores[None].repeat(SIZE, axis=0)))
    colours = picture[SIZE // 2, ::2].astype(int)
    steps = np.abs(np.diff(colours, axis=0)).max(axis=1)
    assert steps.argmax() == 119  # from 19.95 to 20.05
    assert steps.max() > 100
    assert np.sort(steps)[-2] <= 12


def test_a_score_equal_to_the_threshold_is_not_above_it():
    assert colour_of(np.nextafter(np.float32(THRESHOLD), np.float32(0))) == colour_of(THRESHOLD)
    blue, _, red = colour_of(THRESHOLD)
    assert blue > red


def test_scores_above_twice_the_threshold_share_the_hottest_colour():
    assert colour_of(30) == colour_of(1000) == colour_of(math.inf)


def test_a_scale_without_length_shows_only_what_is_above():
    for low in (20.0, 21.0):
        assert colour_of(20, low=low) == colour_of(-5, low=low)
        assert colour_of(20.001, low=low, beside=20) == colour_of(30)


def test_a_scale_that_is_not_finite_is_refused():
    for changed in ({"low": math.nan}, {"threshold": math.inf}):
        with pytest.raises(ValueError, match="finite"):
            draw(**changed)


def test_the_regions_are_outlined_in_white_on_black_on_any_ground():
    mask = NOWHERE.copy()
    mask[150:250, 100:300] = True
    for gray in (0, 128, 255):
        pixels = np.full((SIZE, SIZE), gray, np.uint8)
        outlined, bare = inside(draw(pixels, mask=mask)), inside(draw(pixels))
        edge = mask & ~ndimage.binary_erosion(mask)
        assert (outlined[edge] == 255).all()
        beside = ndimage.binary_dilation(edge) & ~edge
        assert (outlined[beside] == 0).all()
        far = ~ndimage.binary_dilation(edge, iterations=3)
        assert np.array_equal(outlined[far], bare[far])


def test_a_hole_in_a_region_is_outlined_too():
    mask = NOWHERE.copy()
    mask[100:300, 100:300] = True
    mask[180:220, 180:220] = False
    picture = inside(draw(mask=mask))
    assert (picture[179, 200] == 255).all() and (picture[100, 200] == 255).all()


def test_without_regions_nothing_is_outlined():
    picture = inside(draw(score_map=np.full((SIZE, SIZE), 25, np.float32)))
    assert (picture == picture[0, 0]).all()


def test_the_image_keeps_its_size_between_title_and_legend():
    ramp = np.linspace(0, 255, SIZE).astype(np.uint8)[None].repeat(500, axis=0)
    picture = draw(ramp)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (SIZE, 3)
    assert np.array_equal(inside(picture, 500), ramp[..., None].repeat(3, axis=2))


@pytest.mark.parametrize(
    ("height", "width", "factor"), [(60, 60, 6), (100, 20, 4), (1, 1, 360), (359, 3, 2), (360, 9, 1)]
)
def test_a_tiny_image_is_enlarged_by_a_whole_number_until_the_legend_fits(height, width, factor):
    pixels = np.random.default_rng(0).integers(40, 256, (height, width)).astype(np.uint8)
    picture = inside(draw(pixels), height * factor)
    assert picture.shape[1] == max(360, width * factor)
    left = (picture.shape[1] - width * factor) // 2
    image = picture[:, left : left + width * factor]
    assert np.array_equal(image, np.kron(pixels, np.ones((factor, factor), np.uint8))[..., None].repeat(3, axis=2))


def test_the_outline_of_a_tiny_image_is_enlarged_with_it():
    mask = np.zeros((60, 60), bool)
    mask[20:40, 10:30] = True
    picture = inside(draw(mask=mask), 360)
    assert (picture[120, 60:180] == 255).all() and (picture[239, 60:180] == 255).all()


@pytest.mark.parametrize("shape", [(3, 2000), (1500, 30), (2100, 2300)])
def test_any_shape_can_be_drawn(shape):
    picture = draw(np.zeros(shape, np.uint8), mask=np.ones(shape, bool))
    assert picture.shape[0] > shape[0] and picture.shape[1] == max(360, shape[1])


def test_colour_is_muted_gray_and_channels_keep_their_order():
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[:] = (200, 60, 20)  # RGB
    blue, green, red = inside(draw(pixels))[0, 0].astype(int)
    assert red > green > blue
    assert red - blue < 0.5 * (200 - 20)
    gray = np.full((SIZE, SIZE, 3), 77, np.uint8)
    assert np.array_equal(draw(gray), draw(gray[..., 0]))


@pytest.mark.parametrize(("brightest", "white"), [(200, 255), (256, 511), (4000, 4095), (4096, 8191), (65535, 65535)])
def test_sixteen_bits_are_shown_by_the_least_number_of_bits_that_holds_them(brightest, white):
    pixels = np.zeros((SIZE, SIZE), np.uint16)
    pixels[: SIZE // 2] = brightest
    picture = inside(draw(pixels))
    assert (picture[0, 0] == round(255 * brightest / white)).all()
    assert (picture[-1, 0] == 0).all()


def test_sixteen_bits_follow_a_white_level_where_one_is_given():
    pixels = np.full((SIZE, SIZE, 3), 1000, np.uint16)
    assert (inside(draw(pixels, white_level=2000)) == 128).all()
    assert (inside(draw(pixels, white_level=500)) == 255).all()


def test_an_all_black_sixteen_bit_image_stays_black():
    assert (inside(draw(np.zeros((SIZE, SIZE), np.uint16))) == 0).all()


def test_outside_the_region_of_interest_the_image_is_dimmed_and_uncoloured():
    score_map = np.full((SIZE, SIZE), LOW, np.float32)
    score_map[:, :100] = -np.inf
    picture = inside(draw(np.full((SIZE, SIZE), 200, np.uint8), score_map))
    assert (picture[:, :100] == 70).all()
    assert (picture[:, 100:] == 200).all()


def test_the_input_is_left_as_it_was():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    score_map = rng.normal(15, 5, (SIZE, SIZE)).astype(np.float32)
    mask = score_map > 20
    before = pixels.copy(), score_map.copy(), mask.copy()
    draw(pixels, score_map, mask)
    assert all(np.array_equal(now, then) for now, then in zip((pixels, score_map, mask), before, strict=True))


def test_the_legend_shows_the_scale_and_changes_with_both_scores_and_the_name():
    pictures = [
        draw(),
        draw(low=9.0, score_map=np.full((SIZE, SIZE), 9, np.float32)),
        draw(threshold=21.0),
        draw(low_name="1 % pixel"),
    ]
    legends = [picture[-30:] for picture in pictures]
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(legends[i], legends[j])
    bar = pictures[0][-24]
    assert tuple(bar[20]) == (128, 128, 128)  # bare at 0
    assert tuple(bar[SIZE - 12]) == pytest.approx(colour_of(30), abs=3)  # hottest at 2


@pytest.mark.parametrize("title", ["", "NG  Prüfling/ä.png", "NG  \udce4\n.png", "NG  " + "long/" * 200 + "end.png"])
def test_any_title_can_be_drawn_without_touching_the_image(title):
    assert np.array_equal(inside(draw(title=title)), inside(draw()))
    assert draw(title=title).shape == draw().shape


def test_both_ends_of_a_long_title_are_kept():
    middle = "/".join(["folder"] * 100)
    pictures = [draw(title=f"{first}{middle}{last}") for first, last in (("NG", "1"), ("OK", "1"), ("NG", "2"))]
    assert not np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])


def test_arrays_of_different_sizes_and_other_types_are_refused():
    good = np.zeros((SIZE, SIZE), np.uint8)
    for pixels, score_map, mask in (
        (good[1:], np.zeros((SIZE, SIZE), np.float32), NOWHERE),
        (good, np.zeros((SIZE, SIZE - 1), np.float32), NOWHERE),
        (good, np.zeros((SIZE, SIZE), np.float32), NOWHERE[1:]),
        (good.astype(np.float32), np.zeros((SIZE, SIZE), np.float32), NOWHERE),
    ):
        with pytest.raises(ValueError):
            draw(pixels, score_map, mask)


def test_a_jpeg_comes_back_nearly_as_it_was_and_the_same_every_time():
    rng = np.random.default_rng(0)
    score_map = ndimage.gaussian_filter(rng.normal(size=(SIZE, SIZE)), 15) * 300 + 10
    picture = draw(score_map=score_map.astype(np.float32), mask=score_map > 25)
    data = encode_jpeg(picture)
    assert data[:2] == b"\xff\xd8" and data == encode_jpeg(picture)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == picture.shape
    assert np.abs(decoded.astype(int) - picture).mean() < 4
    assert len(encode_jpeg(picture, 50)) < len(data)


def test_a_picture_too_large_for_a_jpeg_is_refused_in_words():
    with pytest.raises(UsageError, match="--overlays none"):
        encode_jpeg(np.zeros((65501, 1, 3), np.uint8))


def plainly(pixels: np.ndarray, score_map: np.ndarray) -> np.ndarray:
    """An image under its map, the whole of it at once, and every pixel of it."""
    picture = overlays._paint(overlays._muted(pixels), overlays._levels(score_map, LOW, THRESHOLD))
    dimmed = cv2.convertScaleAbs(picture, alpha=overlays._DIMMED)
    return np.where((score_map == -np.inf)[..., None], dimmed, picture)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["all bare", "about the last bare score", "one hot pixel", "anything"])
@pytest.mark.parametrize("roi", [False, True])
def test_drawn_band_by_band_where_something_shows_it_is_the_same_picture(channels, kind, roi):
    rng = np.random.default_rng(channels)
    shape = 500, 377
    score_map = {
        "all bare": rng.uniform(0, 12.9, shape),
        "about the last bare score": rng.uniform(12.9, 13.2, shape),
        "one hot pixel": np.full(shape, LOW),
        "anything": rng.normal(15, 9, shape),
    }[kind].astype(np.float32)
    if kind == "one hot pixel":
        score_map[317, 200] = 1e9
    if roi:
        score_map[90:200, 50:] = -np.inf
    pixels = rng.integers(0, 256, (*shape, 3) if channels == 3 else shape, dtype=np.uint8)
    expected = plainly(pixels, score_map)
    if kind != "all bare":
        assert (expected != plainly(pixels, np.minimum(score_map, LOW))).any()
    np.testing.assert_array_equal(inside(draw(pixels, score_map), shape[0]), expected)
