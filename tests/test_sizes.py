"""Areas, lengths and whole sizes: read, written back, and turned into pixels."""

from __future__ import annotations

import numpy as np
import pytest

from adcli.errors import UsageError
from adcli.sizes import AskedSize, MinArea, MinLength, MinSize, PixelSize, parse_pitch


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("25px", 25, "px"),
        ("25", 25, "px"),
        (" 25 PX ", 25, "px"),
        ("0.4mm2", 0.4, "mm2"),
        ("0.4 mm²", 0.4, "mm2"),
        ("0.1%", 0.001, "share"),
        ("0.29%", 0.0029, "share"),
        ("100%", 1, "share"),
        ("1e-3%", 0.00001, "share"),
    ],
)
def test_a_minimum_area_is_read_and_written_back(text, value, unit):
    area = MinArea.parse(text)
    assert area == MinArea(value, unit)
    assert MinArea.parse(str(area)) == area


def test_a_minimum_area_is_written_as_a_user_would():
    assert [str(MinArea.parse(text)) for text in ("25", "0.40 mm2", "0.29%")] == ["25px", "0.4mm2", "0.29%"]


def test_every_share_survives_being_written_and_read():
    for value in np.random.default_rng(0).random(500):
        area = MinArea(float(value), "share")
        assert MinArea.parse(str(area)) == area


@pytest.mark.parametrize("text", ["", "px", "-3px", "25cm2", "1.2.3px", ".px", "nan", "inf%", "101%", "0x10", "5 5px"])
def test_what_is_not_a_minimum_area_is_refused(text):
    with pytest.raises(UsageError):
        MinArea.parse(text)


@pytest.mark.parametrize(
    ("text", "width", "height", "pitch", "pixels"),
    [
        ("25px", 10, 10, None, 25),
        ("25.5px", 10, 10, None, 26),
        ("0px", 10, 10, None, 1),
        ("0.25mm2", 9, 9, 0.05, 100),
        ("0.2501mm2", 9, 9, 0.05, 101),
        ("0.03mm2", 9, 9, 0.1, 3),
        ("0.001mm2", 9, 9, 0.1, 1),
        ("0.1%", 1000, 700, None, 700),
        ("0.1%", 1000, 701, None, 701),
        ("0.1%", 450, 450, None, 203),
        ("7%", 10, 10, None, 7),
        ("100%", 123, 77, None, 123 * 77),
    ],
)
def test_a_minimum_area_in_pixels_is_the_least_whole_number_that_is_enough(text, width, height, pitch, pixels):
    assert MinArea.parse(text).pixels(width, height, pitch) == pixels


def test_pixels_counted_as_a_share_come_back_as_the_same_pixels():
    for count in range(1, 2000, 7):
        assert MinArea(count / (450 * 449), "share").pixels(450, 449) == count


def test_square_millimetres_without_the_size_of_a_pixel_are_refused():
    with pytest.raises(UsageError, match="--pixel-pitch"):
        MinArea.parse("0.4mm2").pixels(100, 100)


@pytest.mark.parametrize(
    ("text", "pitch"), [("0.05mm", 0.05), ("50um", 0.05), ("33.3 um", 0.0333), ("50µm", 0.05), ("1MM", 1.0)]
)
def test_the_size_of_a_pixel_is_read_in_mm(text, pitch):
    assert parse_pitch(text) == pitch


@pytest.mark.parametrize("text", ["0.05", "0mm", "-1mm", "50nm", "mm", ""])
def test_what_is_not_the_size_of_a_pixel_is_refused(text):
    with pytest.raises(UsageError):
        parse_pitch(text)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("40px", 40, "px"),
        ("40", 40, "px"),
        (" 2.5 PX ", 2.5, "px"),
        ("2mm", 2, "mm"),
        ("500um", 0.5, "mm"),
        ("0.3 µm", 0.0003, "mm"),
        ("1e-3mm", 0.001, "mm"),
    ],
)
def test_a_minimum_length_is_read_and_written_back(text, value, unit):
    length = MinLength.parse(text)
    assert length == MinLength(value, unit)
    assert MinLength.parse(str(length)) == length


@pytest.mark.parametrize("unit", ["px", "mm"])
def test_every_length_survives_being_written_and_read(unit):
    rng = np.random.default_rng(0)
    for value in np.exp(rng.uniform(-30, 30, 500)):
        length = MinLength(float(value), unit)
        assert MinLength.parse(str(length)) == length


@pytest.mark.parametrize("text", ["", "mm", "-2mm", "2cm", "2mm2", "2%", "1.2.3px", "nan", "inf", "2 2mm", ".e3mm"])
def test_what_is_not_a_minimum_length_is_refused(text):
    with pytest.raises(UsageError, match="write it as 40px, 2mm or 500um"):
        MinLength.parse(text)


@pytest.mark.parametrize("text", ["0", "0px", "0.0mm", "1e999px", "1e-999mm"])
def test_a_length_that_is_not_finite_and_above_zero_is_refused(text):
    with pytest.raises(UsageError, match="finite number above zero"):
        MinLength.parse(text)


@pytest.mark.parametrize("parse", [MinArea.parse, MinLength.parse, MinSize.parse, parse_pitch])
@pytest.mark.parametrize("number", ["1e99999999999999999999", "1e-99999999999999999999", ".e5", "1e"])
@pytest.mark.parametrize("unit", ["", "px", "mm", "mm2"])
def test_numbers_beyond_any_number_are_refused(parse, number, unit):
    with pytest.raises(UsageError):
        parse(number + unit)


@pytest.mark.parametrize("kind", [MinArea, MinLength])
def test_an_unknown_unit_is_a_mistake_of_the_programmer(kind):
    with pytest.raises(ValueError, match="unit"):
        kind(1.0, "inch")


@pytest.mark.parametrize(
    ("text", "pitch", "pixels"),
    [("40px", None, 40.0), ("40px", 0.1, 40.0), ("2mm", 0.05, 40.0), ("500um", 0.2, 2.5), ("3.5", None, 3.5)],
)
def test_a_minimum_length_in_pixels_is_not_rounded(text, pitch, pixels):
    assert MinLength.parse(text).pixels(pitch) == pixels


def test_a_whole_number_of_pixels_in_mm_is_that_whole_number():
    for hundredths in range(1, 100, 3):
        for count in range(1, 300, 7):
            length = MinLength.parse(f"{hundredths * count / 100:.2f}mm")
            assert length.pixels(hundredths / 100) == count


def test_millimetres_without_the_size_of_a_pixel_are_refused():
    with pytest.raises(UsageError, match=r"2mm .*--pixel-pitch"):
        MinLength.parse("2mm").pixels()
    with pytest.raises(UsageError, match="--pixel-pitch"):
        MinSize.parse("25px:width=0.1mm").pixels(100, 100)


@pytest.mark.parametrize(
    ("text", "size", "written"),
    [
        ("25px", MinSize(MinArea(25, "px")), "25px"),
        ("25", MinSize(MinArea(25, "px")), "25px"),
        ("0.4mm2", MinSize(MinArea(0.4, "mm2")), "0.4mm2"),
        ("0.1%", MinSize(MinArea(0.001, "share")), "0.1%"),
        ("1px:length=2mm", MinSize(MinArea(1, "px"), MinLength(2, "mm")), "1px:length=2mm"),
        ("length=500um", MinSize(MinArea(1, "px"), MinLength(0.5, "mm")), "1px:length=0.5mm"),
        ("width=3", MinSize(MinArea(1, "px"), None, MinLength(3, "px")), "1px:width=3px"),
        (
            " 0.1 mm2 : Width = 0.1mm : LENGTH=2mm ",
            MinSize(MinArea(0.1, "mm2"), MinLength(2, "mm"), MinLength(0.1, "mm")),
            "0.1mm2:length=2mm:width=0.1mm",
        ),
    ],
)
def test_a_minimum_size_is_read_and_written_back(text, size, written):
    assert MinSize.parse(text) == size
    assert str(size) == written
    assert MinSize.parse(written) == size


def test_every_size_survives_being_written_and_read():
    rng = np.random.default_rng(1)
    for _ in range(300):
        lengths = [
            None if rng.random() < 0.3 else MinLength(float(rng.exponential(9)), str(rng.choice(["px", "mm"])))
            for _ in range(2)
        ]
        size = MinSize(MinArea(float(rng.random()), str(rng.choice(["px", "mm2", "share"]))), *lengths)
        assert MinSize.parse(str(size)) == size


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "abc",
            ":",
            "25cm2",
            "25px:",
            ":length=2mm",
            "25px:2mm",
            "length=2mm:25px",
            "25px:depth=2mm",
            "area=25px",
        ),
        *("area=25px", "25px:length=2mm:length=3mm", "25px,length=2mm", "-3px:length=2mm"),
    ],
)
def test_what_is_not_a_minimum_size_is_refused_with_the_forms(text):
    with pytest.raises(UsageError, match=r"25px.* or .*0\.1mm2:length=2mm:width=0\.1mm"):
        MinSize.parse(text)


@pytest.mark.parametrize("text", ["25px:length", "25px:length=", "25px:length=2mm2", "25px:width=0", "101%:width=2px"])
def test_a_wrong_part_of_a_minimum_size_is_refused(text):
    with pytest.raises(UsageError):
        MinSize.parse(text)


@pytest.mark.parametrize("name", ["elongation", "fill"])
def test_what_is_not_monotone_in_the_threshold_is_refused_with_the_reason(name):
    with pytest.raises(UsageError, match=f"{name} is not monotone in the threshold.* only area, length and width"):
        MinSize.parse(f"25px:{name}=3")


def test_a_minimum_size_in_pixels_is_each_of_its_parts_in_pixels():
    size = MinSize.parse("0.1%:length=2mm:width=3px")
    assert size.pixels(1000, 700, 0.05) == PixelSize(700, 40.0, 3.0)
    assert MinSize.parse("25px").pixels(10, 10) == PixelSize(25, 0, 0) == PixelSize(25)


def test_a_length_goes_to_the_sizes_that_name_none_of_their_own():
    asked = AskedSize.parse(["5px", "9px:length=2px"], length="30px", width="4px")
    assert [str(size) for size in asked.over((), MinArea(0.1, "share"))] == [
        "5px:length=30px:width=4px",
        "9px:length=2px:width=4px",
    ]


def test_a_length_alone_changes_the_sizes_there_are():
    default = (MinSize.parse("5px:length=7px"), MinSize.parse("9px:width=3px"))
    assert [str(size) for size in AskedSize.parse([], length="30px").over(default, MinArea(0.1, "share"))] == [
        "5px:length=30px",
        "9px:length=30px:width=3px",
    ]
    assert [str(size) for size in AskedSize.parse([], width="1px").over(default, MinArea(0.1, "share"))] == [
        "5px:length=7px:width=1px",
        "9px:width=1px",
    ]


def test_footprint_is_the_models_own_and_a_size_given_twice_counts_once():
    asked = AskedSize.parse(["footprint", "5px", "5 px"])
    assert asked.over((MinSize.parse("1px"),), MinArea(0.25, "share")) == (
        MinSize(MinArea(0.25, "share")),
        MinSize.parse("5px"),
    )


def test_nothing_asked_is_nothing():
    assert AskedSize.parse([]) is None


def test_an_area_beyond_all_numbers_is_refused():
    with pytest.raises(UsageError, match="more than any image"):
        MinArea(1e308, "mm2").pixels(10, 10, 1e-9)
