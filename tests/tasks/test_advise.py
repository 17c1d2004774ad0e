"""What so many images can promise: the published tables, scipy's distributions, and counting by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from scipy import stats

from adcli.errors import UsageError
from adcli.tasks.advise import ALLOWED, RATES, advise, at_most, most_allowed, rate_bound
from adcli.tasks.holdout import LEAST_HELD_OUT
from tests.conftest import ROOT, Adcli

# Held-out images for 95 % confidence with 0, 1, 2, 3, 5 and 10 exceedances, then those for the next image on average.
# BinomCDF(m; n, rate) <= 0.05, tabulated apart from this code.
GOLDEN = {
    0.1: (29, 46, 61, 76, 103, 167, 9),
    0.05: (59, 93, 124, 153, 208, 336, 19),
    0.02: (149, 236, 313, 386, 523, 845, 49),
    0.01: (299, 473, 628, 773, 1049, 1693, 99),
    0.005: (598, 947, 1258, 1549, 2100, 3389, 199),
    0.002: (1497, 2371, 3146, 3875, 5254, 8478, 499),
    0.001: (2995, 4742, 6294, 7752, 10511, 16959, 999),
}


def document(adcli: Adcli, *words: object, code: int = 0) -> dict[str, Any]:
    ran = adcli("advise", *words, "--json")
    assert ran.code == code
    return json.loads(ran.out)


@pytest.mark.parametrize("rate", GOLDEN)
def test_the_table_of_images_needed_is_the_published_one(rate: float, adcli: Adcli) -> None:
    told = document(adcli, "--max-false-reject", rate, "--max-escape", rate)
    for kind in ("good", "bad"):
        rows = [row for row in told["needed"] if row["kind"] == kind]
        assert [row["allowed"] for row in rows] == [0, 1, 2, 3, 5, 10]
        assert tuple(row["images"] for row in rows) == GOLDEN[rate][:6]
    assert told["needed"][0]["images_on_average"] == GOLDEN[rate][6]
    assert all(row["images_on_average"] is None and row["total"] is None for row in told["needed"] if row in rows)


def test_without_a_question_the_table_has_the_common_rates_and_both_readings(adcli: Adcli) -> None:
    told = document(adcli)
    assert {row["rate"] for row in told["needed"]} == set(RATES) == {0.05, 0.02, 0.01, 0.005, 0.001}
    for row in told["needed"]:
        assert row["images"] == GOLDEN[row["rate"]][ALLOWED.index(row["allowed"])]
    assert {row["kind"] for row in told["needed"]} == {"good", "bad"}
    assert (told["promised"], told["enough"], told["held_out"]) == ([], None, None)
    shown = adcli("advise").out
    for rate, numbers in GOLDEN.items():
        if rate in RATES:
            (line,) = (line for line in shown.splitlines() if line.startswith(f" {100 * rate:g} %"))
            assert line.split()[2:8] == [str(number) for number in numbers[:6]]


def test_one_image_less_than_needed_breaks_the_promise() -> None:
    for confidence in (0.5, 0.9, 0.99):
        for row in advise(max_false_reject=0.03, confidence=confidence).needed:
            enough, few = (stats.binom.cdf(row.allowed, n, 0.03) for n in (row.images, row.images - 1))
            assert enough <= 1 - confidence < few
            assert (row.allowed + 1) / (row.images_on_average + 1) <= 0.03 < (row.allowed + 1) / row.images_on_average


@pytest.mark.parametrize("n", [1, 2, 20, 59, 300])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_promises_are_beta_quantiles_and_means(n: int, confidence: float) -> None:
    advice = advise(good=n, bad=n, holdout=1, confidence=confidence)
    assert [row.allowed for row in advice.promised if row.kind == "good"] == [m for m in ALLOWED if m < n]
    for row in advice.promised:
        law = stats.beta(row.allowed + 1, n - row.allowed)
        assert row.images == n
        assert row.rate == pytest.approx(law.ppf(confidence), rel=1e-9)
        assert row.rate == pytest.approx(stats.binomtest(row.allowed, n).proportion_ci(2 * confidence - 1).high) or (
            confidence == 0.5
        )
        if row.kind == "good":
            assert row.rate_on_average == pytest.approx(law.mean())
        else:
            assert row.rate_on_average is None
    assert advice.promised[0].rate == pytest.approx(1 - (1 - confidence) ** (1 / n))


def test_none_of_29_missed_means_nine_tenths_found_with_95_percent_confidence(adcli: Adcli) -> None:
    told = document(adcli, "--bad-images", 29, "--max-escape", 0.1)
    assert told["enough"] is True
    assert told["promised"][0]["rate"] == pytest.approx(1 - 0.05 ** (1 / 29))
    assert any("If 0 of 29 bad images are missed" in s and "at least 90.1 % are found" in s for s in told["sentences"])
    assert document(adcli, "--bad-images", 28, "--max-escape", 0.1, code=6)["enough"] is False


def test_all_on_the_wrong_side_bounds_nothing() -> None:
    assert rate_bound(3, 3, 0.95) == 1


def test_the_most_that_may_be_missed_is_found_by_trying_all() -> None:
    for n in (1, 28, 29, 46, 100, 167):
        for rate in (0.1, 0.5, 0.9):
            fits = [m for m in range(n) if stats.binom.cdf(m, n, rate) <= 0.05]
            assert most_allowed(n, rate, 0.95) == (max(fits) if fits else None)


def test_of_all_good_images_only_the_held_out_ones_promise(adcli: Adcli) -> None:
    told = document(adcli, "--good-images", 300)
    assert told["held_out"] == 60
    assert told["promised"][0]["rate"] == pytest.approx(1 - 0.05 ** (1 / 60))
    assert document(adcli, "--good-images", 300, "--holdout", 1)["held_out"] == 300
    assert document(adcli, "--good-images", 100, "--holdout", 0.29)["held_out"] == 29  # 0.29 * 100 < 29 in floats
    assert document(adcli, "--good-images", 12)["held_out"] == LEAST_HELD_OUT


def test_totals_hold_out_enough_on_average_and_the_safe_one_19_times_in_20() -> None:
    advice = advise(max_false_reject=0.05)
    assert [row.total for row in advice.needed] == [5 * row.images for row in advice.needed]
    assert [row.total_on_average for row in advice.needed] == [5 * row.images_on_average for row in advice.needed]
    safe = next(n for n in range(295, 1000) if stats.binom.sf(58, n, 0.2) >= 0.95)
    assert f"({safe} to be safe" in advice.sentences[0]


@pytest.mark.parametrize(
    ("words", "unmet"),
    [
        (("--good-images", 299, "--holdout", 1, "--max-false-reject", 0.01), 0),
        (("--good-images", 298, "--holdout", 1, "--max-false-reject", 0.01), 1),
        (("--good-images", 299, "--max-false-reject", 0.01), 1),
        (("--good-images", 299, "--holdout", 1, "--max-false-reject", 0.01, "--confidence", 0.99), 1),
        (("--good-images", 99, "--holdout", 1, "--max-false-reject", 0.01, "--bad-images", 5, "--max-escape", 0.1), 2),
        (("--good-images", 10, "--max-escape", 0.1), 0),
        (("--bad-images", 2, "--max-false-reject", 0.1), 0),
    ],
)
def test_a_wish_that_the_images_cannot_meet_ends_with_6_and_says_what_it_takes(
    words: tuple[object, ...], unmet: int, adcli: Adcli
) -> None:
    ran = adcli("advise", *words)
    assert ran.code == (6 if unmet else 0)
    assert ran.out
    if unmet:
        assert ran.sentence.count("do not suffice for") == unmet
        assert "it takes" in ran.sentence
    else:
        assert ran.err == ""
    told = document(adcli, *words, code=ran.code)
    assert len(told["unmet"]) == unmet
    both = ("--good-images" in words and "--max-false-reject" in words) or (
        "--bad-images" in words and "--max-escape" in words
    )
    assert told["enough"] is ((unmet == 0) if both else None)


def test_a_promise_that_holds_on_average_only_is_said_to(adcli: Adcli) -> None:
    words = ("advise", "--holdout", 1, "--max-false-reject", 0.01, "--good-images")
    assert "On average, for the next image, they do." in adcli(*words, 99).sentence
    assert "On average" not in adcli(*words, 98).sentence


def test_what_suffices_says_how_many_may_be_on_the_wrong_side(adcli: Adcli) -> None:
    words = ("advise", "--holdout", 1, "--max-false-reject", 0.05, "--good-images")
    assert "with none of them above the threshold" in adcli(*words, 92).out
    assert "with up to 1 of them above the threshold" in adcli(*words, 93).out
    assert "with up to 2 of them missed" in adcli("advise", "--bad-images", 61, "--max-escape", 0.1).out


def test_a_bound_in_words_is_never_better_than_it_is() -> None:
    assert [at_most(rate) for rate in (1 / 20, 0.098145, 0.0487029, 1e-5, 1.0, 2 / 3)] == [
        *("5 %", "9.82 %", "4.88 %", "0.001 %", "100 %", "66.7 %")
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-false-reject", 0), "false-reject rate must be above 0"),
        (("--max-false-reject", 1), "false-reject rate must be above 0"),
        (("--max-false-reject", -0.1), "false-reject rate must be above 0"),
        (("--max-false-reject", "nan"), "false-reject rate must be above 0"),
        (("--max-false-reject", 1e-7), "millions of images"),
        (("--max-escape", 0), "escape rate must be above 0"),
        (("--max-escape", "inf"), "escape rate must be above 0"),
        (("--confidence", 1), "confidence must be above 0"),
        (("--confidence", "nan"), "confidence must be above 0"),
        (("--holdout", 0), "hold-out must be"),
        (("--holdout", 1.5), "hold-out must be"),
        (("--good-images", 0), "number of good images"),
        (("--bad-images", -1), "number of bad images"),
        (("--good-images", 10**12), "number of good images"),
        (("--good-images", "many"), "'--good-images'"),
    ],
)
def test_what_is_no_rate_or_number_is_refused_in_one_sentence(
    words: tuple[object, ...], said: str, adcli: Adcli
) -> None:
    ran = adcli("advise", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.sentence


@pytest.mark.parametrize("rate", [1e-6, 0.5, 1 - 1e-9])
def test_the_extremes_of_what_may_be_asked_are_answered(rate: float) -> None:
    for confidence in (1e-9, 1 - 1e-12):
        for holdout in (1e-6, 1):
            advice = advise(
                max_false_reject=rate, max_escape=rate, confidence=confidence, good=10**7, bad=10**7, holdout=holdout
            )
            assert all(0 <= row.rate <= 1 for row in advice.promised)
            assert all(row.images > row.allowed for row in advice.needed)


def test_a_refusal_from_python_is_the_same() -> None:
    with pytest.raises(UsageError, match="escape rate"):
        advise(max_escape=math.nan)


def test_advice_comes_without_the_libraries_for_images() -> None:
    code = (
        "import sys; from adcli.cli.app import app; app(['advise', '--good-images', '300'], standalone_mode=False);"
        "sys.stderr.write(str({'torch', 'torchvision', 'cv2', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "set()"
    assert "held out" in done.stdout


def test_fewer_good_images_than_fit_takes_are_refused_unless_all_calibrate(adcli: Adcli) -> None:
    told = adcli("advise", "--good-images", 6)
    assert told.code == 2 and "--holdout 1" in told.sentence
    assert document(adcli, "--good-images", 6, "--holdout", 1)["held_out"] == 6
    assert document(adcli, "--good-images", 7)["held_out"] == 5
