"""A contact sheet holds every tile whole, in order, under captions that fit."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from adcli.report.lettering import PAPER, shortened, text_width, write
from adcli.report.sheets import WIDEST, Tile, contact_sheet

COLOURS = [(40, 40, 220), (40, 200, 40), (220, 80, 40), (40, 210, 220), (200, 60, 200)]


def tile(number: int, shape: tuple[int, int] = (500, 450), name: str = "part.png") -> Tile:
    return Tile(np.full((*shape, 3), COLOURS[number], np.uint8), name, f"score {number}")


def sheet(tiles: list[Tile], title: str = "Highest scores") -> np.ndarray:
    data = contact_sheet(tiles, title)
    assert data[:2] == b"\xff\xd8"
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def box_of(picture: np.ndarray, number: int, least: int = 30) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a tile's colour."""
    low, high = (np.clip(np.add(COLOURS[number], change), 0, 255) for change in (-least, least))
    found = cv2.inRange(picture, low.astype(float), high.astype(float))
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    assert rows.size
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


@pytest.mark.parametrize("count", range(1, 6))
@pytest.mark.parametrize("shape", [(500, 450), (300, 900), (900, 300), (1022, 900), (2000, 3000)])
def test_every_tile_is_there_whole_in_order_at_one_height(count, shape):
    picture = sheet([tile(number, shape) for number in range(count)])
    assert picture.shape[1] <= WIDEST
    boxes = [box_of(picture, number) for number in range(count)]
    rows = [round(box[0] / 20) for box in boxes]  # the edges of a JPEG waver
    assert list(zip(rows, boxes, strict=True)) == sorted(
        zip(rows, boxes, strict=True), key=lambda both: (both[0], both[1][2])
    )
    for number, (top, bottom, left, right) in enumerate(boxes):
        assert abs((right - left) / (bottom - top) - shape[1] / shape[0]) < 0.03
        assert abs((bottom - top) - (boxes[0][1] - boxes[0][0])) <= 3
        away = np.abs(picture[top + 9 : bottom - 9, left + 9 : right - 9].astype(int) - COLOURS[number])
        assert away.max() < 12
    in_row = [rows.count(row) for row in sorted(set(rows))]
    assert in_row == sorted(in_row, reverse=True) and in_row[0] == math.ceil(count / len(in_row))


def test_five_squares_stand_in_rows_of_three_and_two():
    picture = sheet([tile(number, (800, 800)) for number in range(5)])
    boxes = [box_of(picture, number) for number in range(5)]
    assert [round(box[0] / 20) for box in boxes] == [3, 3, 3, 35, 35]


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (8, 8), (1, 1), (3, 700), (65000, 40)])
def test_a_tile_of_any_shape_finds_room_beside_others(shape):
    picture = sheet([tile(0), tile(1, shape), tile(2)])
    assert picture.shape[1] <= WIDEST
    for number in (0, 2):
        top, bottom, left, right = box_of(picture, number)
        assert bottom - top > 500 and abs((right - left) / (bottom - top) - 0.9) < 0.03
    assert sheet([tile(1, shape)]).shape[1] <= WIDEST


def test_a_tiny_image_keeps_its_pixels_apart():
    pixels = np.random.default_rng(0).integers(0, 2, (8, 8)).astype(np.uint8) * 200 + 40
    picture = sheet([Tile(pixels[..., None].repeat(3, axis=2), "tiny", "1")])
    top, size = 56, 560
    left = (picture.shape[1] - size) // 2 if picture.shape[1] > 2 * size else 20
    drawn = picture[top : top + size, left : left + size]
    sharp = np.kron(pixels, np.ones((70, 70), int))
    assert (np.abs(drawn[..., 0] - sharp) > 20).mean() < 0.02


def test_captions_are_below_their_tile_and_differ_with_name_and_score():
    base = sheet([tile(0)])
    bottom = box_of(base, 0)[1]
    for other in (Tile(tile(0).picture, "other.png", "score 0"), Tile(tile(0).picture, "part.png", "score 5")):
        changed = sheet([other])
        rows = np.flatnonzero((np.abs(changed.astype(int) - base).max(axis=2) > 60).any(axis=1))
        assert rows.size and rows[0] >= bottom
    titled = sheet([tile(0)], "Another title")
    rows = np.flatnonzero((np.abs(titled.astype(int) - base).max(axis=2) > 60).any(axis=1))
    assert rows.size and rows[-1] < box_of(base, 0)[0]


@pytest.mark.parametrize("name", ["", "ä/测试.png", "a\udce4\n.png", "long/" * 400 + "end.png", "W" * 300])
def test_any_name_keeps_to_its_own_tile(name):
    picture = sheet([tile(0, name=name), tile(1, name="")], name)
    assert picture.shape == sheet([tile(0), tile(1)]).shape
    between = box_of(picture, 0)[3] + 3, box_of(picture, 1)[2] - 3
    assert np.abs(picture[60:, between[0] : between[1]].astype(int) - PAPER).max() < 12


def test_both_ends_of_a_long_name_are_kept():
    middle = "folder/" * 100
    sheets = [contact_sheet([tile(0, name=name)], "a") for name in (f"a{middle}1", f"b{middle}1", f"a{middle}2")]
    assert len(set(sheets)) == 3


def test_the_same_tiles_give_the_same_bytes():
    assert contact_sheet([tile(0), tile(1)], "a") == contact_sheet([tile(0), tile(1)], "a")


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="one tile"):
        contact_sheet([], "nothing")


@pytest.mark.parametrize("text", ["short", "i" * 200 + "W" * 200, "W" * 200 + "i" * 200, "folder/" * 50 + "a.png"])
@pytest.mark.parametrize("room", [60, 100, 333, 1000])
def test_a_shortened_text_fits_uses_the_room_and_keeps_both_ends(text, room):
    short = shortened(text, room, 0.6)
    assert text_width(short, 0.6) <= room
    if text_width(text, 0.6) <= room:
        assert short == text
    else:
        first, _, last = short.partition("...")
        assert first and text.startswith(first) and text.endswith(last) and len(first) - len(last) in (0, 1)
        assert text_width(short, 0.6) > 0.4 * room


@pytest.mark.parametrize("text", ["", "a\udce4b", "two\nlines", "\x00", "\U0001f600", "\u202e", "测试 ä"])
def test_any_text_is_measured_and_written(text):
    canvas = np.zeros((60, 300, 3), np.uint8)
    write(canvas, text, 5, 40, 0.8)
    assert bool(text) == canvas.any() and text_width(text, 0.8) >= 0


def test_a_text_is_as_wide_as_is_said():
    canvas = np.zeros((60, 900, 3), np.uint8)
    write(canvas, "Highest held-out scores", 10, 40, 0.8)
    right = np.flatnonzero(canvas.any(axis=(0, 2)))[-1] + 1
    assert right - 10 == pytest.approx(text_width("Highest held-out scores", 0.8), abs=6)
