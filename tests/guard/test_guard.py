"""What the guard objects to, and in which words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from adcli.guard import ASPECTS, Guard, Look, learn_guard, left_out_scores
from adcli.thresholds.guards import ROOM
from tests.guard.looks import FAULTS, look, texture

STATISTICS = np.array([0.0, 0.5, 0.1, 0.2, -6.0, 0.05, 0.02, -0.02, 0.9])


def made(rng: np.random.Generator, width: int = 100, height: int = 80, channels: int = 3, bits: int = 8) -> Look:
    noise = 0.01 * rng.normal(size=9)
    noise[0] = 0
    return Look(width, height, channels, bits, STATISTICS + noise, rng.normal(size=6).astype(np.float32))


def many(n: int = 40, seed: int = 0, **options: int) -> list[Look]:
    rng = np.random.default_rng(seed)
    return [made(rng, **options) for _ in range(n)]


@pytest.fixture(scope="module")
def textures() -> Guard:
    rng = np.random.default_rng(0)
    return learn_guard([look(texture(rng)) for _ in range(60)])


def test_good_textures_pass(textures: Guard) -> None:
    rng = np.random.default_rng(1)
    scores = [textures.score(look(texture(rng))) for _ in range(100)]
    assert np.median(scores) < 1
    assert np.quantile(scores, 0.95) < ROOM


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_far_from_all_good_images_and_named(textures: Guard, name: str) -> None:
    fault, words = FAULTS[name]
    rng = np.random.default_rng(2)
    for _ in range(5):
        faulty = look(fault(texture(rng)))
        assert textures.score(faulty) > 2 * ROOM
        assert words in textures.objection(faulty, ROOM)


def test_the_objection_is_there_exactly_when_the_score_is_above_the_limit() -> None:
    guard = learn_guard(many())
    for one in many(30, seed=1):
        score = guard.score(one)
        assert score == guard.deviations(one).max()
        assert guard.objection(one, score) is None
        assert guard.objection(one, math.nextafter(score, 0)) is not None


def test_deviations_are_told_in_units_of_the_quantiles_on_their_side() -> None:
    looks = many()
    guard = learn_guard(looks)
    values = np.sort([one.statistics[1] for one in looks])  # brightness
    median = (values[19] + values[20]) / 2
    low, high = values[1] + 0.95 * (values[2] - values[1]), values[37] + 0.05 * (values[38] - values[37])
    place = ASPECTS.index("brightness")
    for value, unit in ((median + 0.3, high - median), (median - 0.3, median - low)):
        statistics = STATISTICS.copy()
        statistics[1] = value
        found = guard.deviations(replace(looks[0], statistics=statistics))[place]
        assert found == pytest.approx(0.3 / unit, rel=1e-9)


def test_statistics_that_never_vary_leave_room_for_rounding() -> None:
    rng = np.random.default_rng(0)
    pooled = rng.normal(size=6).astype(np.float32)
    alike = [Look(100, 80, 1, 8, STATISTICS, pooled)] * 6
    guard = learn_guard(alike)
    assert guard.score(alike[0]) == 0
    rounded = replace(alike[0], statistics=STATISTICS + 0.5 / 255, pooled=pooled * np.float32(1 + 1e-6))
    assert guard.score(rounded) < 1
    darker = STATISTICS.copy()
    darker[1] -= 0.05
    assert "darker than good images: brightness 0.45, good images 0.4875 to 0.5125" in guard.objection(
        replace(alike[0], statistics=darker), ROOM
    )


def test_where_all_good_images_have_one_size_another_is_beyond_any_limit() -> None:
    guard = learn_guard(many())
    one = many(1, seed=5)[0]
    assert guard.score(replace(one, width=101)) == math.inf
    said = guard.objection(replace(one, width=101, height=60), 1e300)
    assert said == "the image has 101 x 60 pixels, where good images have 100 x 80"


def test_where_sizes_vary_those_near_the_range_pass_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    guard = learn_guard([made(rng, int(width), 80) for width in rng.integers(90, 111, 50)])
    one = made(rng)
    for width in (85, 90, 110, 115):
        assert guard.deviations(replace(one, width=width))[1] < ROOM
    for width in (70, 150):
        said = guard.objection(replace(one, width=width), ROOM)
        assert said.startswith(f"the image has {width} x 80 pixels, where good images have a width of ")
        low, high = map(int, said.partition(" of ")[2].partition(";")[0].split(" to "))
        assert 70 < low < 90 and 110 < high < 150


def test_an_image_on_its_side_is_of_another_shape_where_sizes_vary() -> None:
    rng = np.random.default_rng(0)
    sizes = [(int(side), int(side * 0.5)) for side in rng.integers(100, 400, 50)]
    guard = learn_guard([made(rng, width, height) for width, height in sizes])
    said = guard.objection(replace(made(rng), width=100, height=200), ROOM)
    assert "100 x 200 pixels, 0.5 times as wide as high, good images 1." in said or "width" in said
    assert guard.deviations(replace(made(rng), width=100, height=200))[ASPECTS.index("width by height")] > 10


def test_formats_that_were_learnt_pass_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    guard = learn_guard([made(rng, channels=channels, bits=8) for channels in (1, 3) * 10])
    assert guard.formats == ((1, 8), (3, 8))
    assert guard.score(made(rng, channels=1)) < math.inf
    sixteen = made(rng, bits=16)
    assert guard.score(sixteen) == math.inf
    assert "RGB of 16 bits, where good images are gray of 8 bits or RGB of 8 bits" in guard.objection(sixteen, ROOM)


def test_only_strange_features_are_told_by_their_distance() -> None:
    looks = many()
    guard = learn_guard(looks)
    strange = replace(looks[0], statistics=STATISTICS, pooled=looks[0].pooled + np.float32(50))
    said = guard.objection(strange, ROOM)
    assert said.startswith("the image looks like no good image: features at distance ")
    at, most = (float(part.split()[0]) for part in said.split("distance ")[1].split(", good images up to "))
    assert at > most > guard.gate.usual
    assert guard.objection(replace(strange, width=7), ROOM).endswith("; also unlike them: features")


def test_features_closer_than_usual_are_no_deviation() -> None:
    looks = many()
    guard = learn_guard(looks)
    central = replace(looks[0], pooled=guard.gate.mean.astype(np.float32))
    assert guard.deviations(central)[-1] == 0


def test_what_is_no_number_is_like_no_good_image() -> None:
    looks = many()
    guard = learn_guard(looks)
    for bad in (math.nan, math.inf):
        pooled = looks[0].pooled.copy()
        pooled[0] = bad
        assert guard.score(replace(looks[0], pooled=pooled)) == math.inf
    statistics = STATISTICS.copy()
    statistics[3] = math.nan
    assert guard.score(replace(looks[0], statistics=statistics)) == math.inf


def test_scores_left_out_are_nearly_those_of_a_guard_that_never_saw_the_image() -> None:
    """Nearly: shrinkage and usual distance are learnt anew by such a guard."""
    looks = many(50)
    found = left_out_scores(looks)
    for place in range(50):
        guard = learn_guard(looks[:place] + looks[place + 1 :])
        assert found[place] == pytest.approx(guard.score(looks[place]), rel=0.15, abs=0.15), place
        without = replace(looks[place], pooled=guard.gate.mean.astype(np.float32))
        assert found[place] >= guard.score(without) - 1e-9  # sizes and statistics are exact


def test_a_format_or_size_of_one_image_only_is_new_when_that_one_is_left_out() -> None:
    rng = np.random.default_rng(0)
    looks = [*many(10), made(rng, bits=16), made(rng, width=99)]
    assert np.flatnonzero(np.isinf(left_out_scores(looks))).tolist() == [10, 11]


def test_the_order_of_the_good_images_does_not_matter() -> None:
    looks = many()
    one, other = learn_guard(looks), learn_guard(looks[::-1])
    for seen in many(5, seed=3):
        assert one.score(seen) == pytest.approx(other.score(seen), rel=1e-5)


def test_an_image_unlike_the_golden_one_is_objected_to_and_one_more_like_it_is_not() -> None:
    looks = many()
    guard = learn_guard(looks)
    for correlation, word in ((0.2, "less like the golden image"), (1.0, None)):
        statistics = looks[0].statistics.copy()
        statistics[-1] = correlation
        objection = guard.objection(replace(looks[0], statistics=statistics), ROOM)
        assert objection is None if word is None else word in objection
        if word:
            assert "correlation with the golden image 0.2, good images 0.8" in objection and objection.endswith("to 1")
