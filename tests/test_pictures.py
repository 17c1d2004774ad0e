"""The calibration's picture shows its thresholds where they are, the same every time, and says nothing on stderr."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from adcli import thresholds
from adcli.report.pictures import SIZE, DrawnThreshold, calibration_picture, share_above

IN_FORCE, CHECK, BARS, DEEP = (0, 94, 213), (178, 114, 0), (204, 192, 180), (124, 103, 82)  # BGR
SCORES = np.random.default_rng(0).normal(10, 2, 33)
RUG = np.arange(21) / 2  # 0 to 10


def draw(scores=SCORES, *estimates: DrawnThreshold, **changed) -> bytes:
    given = {"footprint_px": 272, "min_area_px": 272, "title": "model.h5", "guarantee": "Something is guaranteed."}
    return calibration_picture(scores, estimates, **given | changed)


def decode(data: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    return picture


def upper(picture: np.ndarray) -> np.ndarray:
    """The histogram's panel."""
    return picture[170:440, 97:1056]


def lower(picture: np.ndarray) -> np.ndarray:
    """The panel of false rejects."""
    return picture[515:835, 97:1070]


def is_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture.astype(int) - colour).max(axis=2) <= 2


def column(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    """The middle of the columns that are mostly of a colour in the histogram's panel."""
    columns = np.flatnonzero(is_colour(upper(picture), colour).mean(axis=0) > 0.4)
    assert 0 < columns.size <= 8
    return columns.mean()


def in_force(value: float, **changed) -> DrawnThreshold:
    return DrawnThreshold("area", value, in_force=True, **changed)


def test_it_is_a_png_of_the_promised_size():
    data = draw(SCORES, in_force(SCORES.max()), pixel_pitch=0.05)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert SIZE == (1600, 900)
    decode(data)
    assert b"matplotlib" not in data.lower()


def test_the_same_input_gives_the_same_bytes_whatever_the_users_settings(monkeypatch):
    import matplotlib

    data = draw(SCORES, in_force(12), check=11)
    assert draw(SCORES[::-1], in_force(12), check=11) == data
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30)
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    before = dict(matplotlib.rcParams)
    assert draw(SCORES, in_force(12), check=11) == data
    assert dict(matplotlib.rcParams) == before
    assert draw(SCORES, in_force(12.1), check=11) != data


def test_the_logger_is_left_as_it_was_also_after_a_failure():
    logger = logging.getLogger("matplotlib")
    logger.setLevel(logging.INFO)
    try:
        draw(SCORES, in_force(12))
        assert logger.level == logging.INFO
        with pytest.raises(TypeError):
            draw(SCORES, in_force(12), footprint_px=None)
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(logging.NOTSET)


def test_the_line_in_force_stands_at_its_score_on_both_panels():
    columns = {value: column(decode(draw(RUG, in_force(value))), IN_FORCE) for value in (1.25, 3.25, 6.25, 9.25)}
    per_unit = (columns[9.25] - columns[1.25]) / 8
    assert per_unit > 70
    for value, found in columns.items():
        assert found == pytest.approx(columns[1.25] + (value - 1.25) * per_unit, abs=1)
    picture = decode(draw(RUG, in_force(6.25)))
    below = np.flatnonzero(is_colour(lower(picture), IN_FORCE).mean(axis=0) > 0.4)
    assert below.mean() == pytest.approx(columns[6.25], abs=0.5)
    # The rug, by itself: the marks of 6 and 6.5 are beside the line at equal distance.
    marks = np.flatnonzero((upper(decode(draw(RUG)))[-12] < 160).all(axis=1))
    groups = np.split(marks, np.flatnonzero(np.diff(marks) > 3) + 1)
    assert len(groups) == RUG.size
    assert (groups[12].mean() + groups[13].mean()) / 2 == pytest.approx(columns[6.25], abs=1)


def test_check_is_dashed_and_not_the_colour_of_ng():
    picture = decode(draw(RUG, in_force(8), check=3))
    check, ng = column(picture, CHECK), column(picture, IN_FORCE)
    assert check < ng
    dashes = is_colour(upper(picture), CHECK)[:, round(check)]
    assert np.count_nonzero(np.diff(dashes.astype(int)) == 1) >= 4 and not dashes.all()
    assert is_colour(upper(picture), IN_FORCE)[:, round(ng)].all()
    assert not is_colour(decode(draw(RUG, in_force(8))), CHECK).any()


def test_a_threshold_without_a_guarantee_is_dotted():
    solid, dotted = (
        is_colour(upper(decode(draw(RUG, in_force(5.25, guaranteed=guaranteed)))), IN_FORCE).any(axis=1)
        for guaranteed in (True, False)
    )
    assert solid.all() and 0.2 < dotted.mean() < 0.8


def test_the_bars_are_as_high_as_their_counts():
    scores = np.repeat([0.5, 3.5, 6.5, 9.5], [2, 8, 4, 6])
    is_bar = is_colour(upper(decode(draw(scores))), BARS)
    columns = np.flatnonzero(is_bar.any(axis=0))
    groups = np.split(columns, np.flatnonzero(np.diff(columns) > 20) + 1)
    heights = [is_bar[:, round(group.mean())].sum() for group in groups]
    assert np.array(heights) / heights[0] == pytest.approx([1, 4, 2, 3], rel=0.05)


def test_the_dots_of_the_threshold_in_force_stand_at_its_rates():
    scores = np.arange(1, 1001) / 100
    rows = []
    for k in (500, 50, 5):
        panel = lower(decode(draw(scores, in_force(float(scores[-k - 1])))))
        wide = np.flatnonzero(is_colour(panel, IN_FORCE).sum(axis=1) >= 11)
        rows.append(wide.max() - 5)  # the lower of the two dots, which is the share itself
    assert rows[2] - rows[1] == pytest.approx(rows[1] - rows[0], abs=2)  # a decade is a decade
    assert rows[1] - rows[0] > 50


def test_the_upper_bound_is_clopper_and_pearsons():
    scores = np.arange(20.0)
    share, bound = share_above(scores, np.array([-1.0, 0, 9.5, 18, 19, 50]))
    assert share.tolist() == [1, 0.95, 0.5, 0.05, 0, 0]
    assert bound[0] == 1
    for k, rate in zip((19, 10, 1, 0, 0), bound[1:], strict=True):
        at_most_k = sum(math.comb(20, i) * rate**i * (1 - rate) ** (20 - i) for i in range(k + 1))
        assert at_most_k == pytest.approx(0.05)
    assert bound[-1] == thresholds.area_rule(scores).rate_high


def test_a_threshold_far_away_does_not_press_the_scores_together():
    alone = np.flatnonzero(is_colour(upper(decode(draw(RUG, in_force(math.nan)))), BARS).any(axis=0))
    for far in (1e4, -1e4, 1e300):
        picture = decode(draw(RUG, in_force(far)))
        bars = np.flatnonzero(is_colour(upper(picture), BARS).any(axis=0))
        assert abs(bars[0] - alone[0]) < 3 and abs(bars[-1] - alone[-1]) < 3
        assert not np.array_equal(picture, decode(draw(RUG, in_force(2 * far if far < 1e300 else 1e299))))  # is told


def test_one_wild_score_is_told_and_not_drawn():
    bars = np.flatnonzero(is_colour(upper(decode(draw(np.append(RUG, 1e5), in_force(10)))), BARS).any(axis=0))
    assert bars[-1] - bars[0] > 700


def test_the_discs_are_to_scale():
    for footprint, area in ((272, 68), (100, 900), (5, 5)):
        discs = decode(draw(footprint_px=footprint, min_area_px=area))[540:760, 1120:]
        found = is_colour(discs, BARS).sum() / is_colour(discs, DEEP).sum()
        assert found == pytest.approx(footprint / area, rel=0.03)


def test_whether_the_minimum_area_is_below_the_footprint_is_said():
    def sentence(footprint: int, area: int) -> bytes:
        return decode(draw(footprint_px=footprint, min_area_px=area))[800:870, 1120:].tobytes()

    assert sentence(272, 271) == sentence(90, 1) != sentence(272, 272) == sentence(272, 273)


def test_the_pitch_turns_pixels_into_square_millimetres():
    pictures = [draw(pixel_pitch=pitch) for pitch in (None, 0.05, 0.1)]
    assert len(set(pictures)) == 3


@pytest.mark.parametrize(
    "scores",
    [[12.3], [0.0], [5.0] * 40, [-3, -2.5, -1e5], [1e-30, 2e-30], [3e38, -3e38], [1e6, 1e6 + 0.0625], range(20_000)],
    ids=str,
)
def test_any_scores_can_be_drawn(scores):
    scores = np.array(scores, float)
    decode(draw(scores, in_force(scores.max())))
    decode(draw(scores, in_force(1e9), DrawnThreshold("pixel quantile", -1e9, guaranteed=False), check=scores.min()))


def test_many_estimates_are_listed_and_those_out_of_reach_are_named():
    many = [DrawnThreshold(f"estimator {n}", 5 + 0.4 * n) for n in range(14)]
    missing = DrawnThreshold("guaranteed 1 %", math.nan)
    assert draw(RUG, *many, missing) != draw(RUG, *many)
    decode(draw(RUG, *many, missing))


@pytest.mark.parametrize("text", ["", "$a_1$ and $", "a$\\frac{$", "测试/ä\udce4\n\x1b[2J.h5", "long/" * 100])
def test_any_title_and_sentence_can_be_drawn(text, recwarn):
    assert np.array_equal(decode(draw(title=text, guarantee=text))[150:], decode(draw())[150:])
    assert not recwarn.list


@pytest.mark.parametrize("scores", [[], [math.nan], [math.inf, 1], [[1.0, 2.0]]])
def test_no_scores_and_scores_that_are_no_numbers_are_refused(scores):
    with pytest.raises(ValueError, match="finite"):
        draw(np.array(scores))


CODE = """
import sys
from adcli.report.pictures import DrawnThreshold, calibration_picture
assert "matplotlib" not in sys.modules
picture = calibration_picture([1.0, 2.0], [DrawnThreshold("area", 2.0, True)], footprint_px=9, min_area_px=9,
                              title="\u6d4b", guarantee="$")
assert picture[:4] == b"\\x89PNG" and "matplotlib.pyplot" not in sys.modules
"""


@pytest.mark.parametrize("variable", ["MPLCONFIGDIR", "HOME"])
def test_nothing_is_said_where_matplotlib_can_keep_no_cache(variable, tmp_path):
    (tmp_path / "file").touch()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    environment |= {variable: str(tmp_path / "file/below"), "TMPDIR": str(tmp_path)}

    def run(code: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert run("import matplotlib; matplotlib.get_cachedir()").stderr  # it would talk
    done = run(CODE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_window_that_matplotlib_does_not_know_is_no_matter():
    code = (
        "from adcli.report.pictures import DrawnThreshold as D, calibration_picture as draw;"
        "print(len(draw([1.0], [D('area', 1.0, True)], footprint_px=9, min_area_px=9, title='', guarantee='')))"
    )
    environment = os.environ | {"MPLBACKEND": "nonsense"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and int(done.stdout) > 1000 and not done.stderr
