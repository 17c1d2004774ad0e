"""How many images a promise takes, and what so many images can promise. Statistics only: no model, no image is opened.

Good images: with the (m+1)-th largest of n held-out scores as threshold, m of them above it, the false-reject rate
follows Beta(m+1, n-m) (see `adcli.thresholds`). Its mean is (m+1)/(n+1), its c-quantile the bound at confidence c; for
m = 0, the paper's rule, that is 1 - (1-c)^(1/n).

Bad images: of N labelled ones that had no part in choosing the threshold, m are missed. The escape rate is then at most
BetaInv(c; m+1, N-m) with confidence c (Clopper and Pearson, Biometrika 26, 1934). It is the same number: 0 of 29 missed
show that 90 % are found with 95 % confidence, the a90/95 of MIL-HDBK-1823A. An average over draws is not given for bad
images: the threshold is none of their order statistics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR
from fractions import Fraction

from adcli.errors import UsageError
from adcli.tasks.holdout import LEAST_HELD_OUT, LEAST_LEARNT
from adcli.thresholds import at_most, images_needed, percent_rounded

RATES = (0.05, 0.02, 0.01, 0.005, 0.001)  # of the table that is given when nothing is asked
ALLOWED = (0, 1, 2, 3, 5, 10)  # held-out good images above the threshold, or bad images missed
LEAST_RATE = 1e-6  # takes three million images and more
MOST_IMAGES = 10**7
_SURE = 0.95  # that a total leaves enough held out


@dataclass(frozen=True)
class Needed:
    """Images that a rate takes, where some may be on the wrong side."""

    kind: str  # good | bad
    rate: float
    allowed: int  # good images above the threshold, or bad ones below it
    images: int  # held-out good ones, or bad ones: at the confidence asked for
    total: int | None  # good images of which `fit` is expected to hold out so many
    images_on_average: int | None  # held-out good ones for the same rate of the next image
    total_on_average: int | None


@dataclass(frozen=True)
class Promised:
    """What can be said with so many images, of which some are on the wrong side."""

    kind: str
    images: int  # held-out good ones, or bad ones
    allowed: int
    rate: float  # at most, at the confidence asked for
    rate_on_average: float | None  # of the next good image


@dataclass(frozen=True)
class Advice:
    """The tables, what they mean in sentences, and which wishes cannot be met."""

    confidence: float
    holdout: float
    held_out: int | None  # of the good images given, expected
    needed: list[Needed]
    promised: list[Promised]
    sentences: list[str]
    unmet: list[str]  # sentences on wishes that the images given cannot meet
    enough: bool | None  # None where no wish meets a number of images


def advise(
    *,
    max_false_reject: float | None = None,
    max_escape: float | None = None,
    confidence: float = 0.95,
    good: int | None = None,
    bad: int | None = None,
    holdout: float = 0.2,
) -> Advice:
    """What the wished rates take, what the images given can promise, and whether these suffice for those.

    `good` counts all good images, of which `fit` holds out the share `holdout`; 1 is for those given to `calibrate`.

    Raises:
        UsageError: a rate, a share or a number of images is none.
    """
    for rate, name in ((max_false_reject, "false-reject rate"), (max_escape, "escape rate")):
        _check_rate(rate, name)
    if not 0 < confidence < 1:
        raise UsageError(f"The confidence must be above 0 and below 1, not {confidence}; 95 % is 0.95.")
    if not LEAST_RATE <= holdout <= 1:
        raise UsageError(f"The hold-out must be from {LEAST_RATE:g} to 1, not {holdout}; a fifth is 0.2.")
    for count, name in ((good, "good"), (bad, "bad")):
        if count is not None and not 1 <= count <= MOST_IMAGES:
            raise UsageError(f"The number of {name} images must be from 1 to {MOST_IMAGES}, not {count}.")
    least = LEAST_HELD_OUT + LEAST_LEARNT
    if good is not None and good < least and holdout < 1:
        raise UsageError(
            f"adcli fit holds out of no fewer than {least} good images, not of {good}: for images that all go to "
            "calibrate add --holdout 1"
        )
    asks = _Asks(confidence, holdout)
    wishes = [("good", max_false_reject), ("bad", max_escape)]
    given = [("good", None if good is None else asks.held_out(good)), ("bad", bad)]
    needed = [row for kind, rate in wishes if rate is not None for row in asks.needed(kind, rate)]
    is_general = not needed and good is None and bad is None
    if is_general:
        needed = [row for kind, _ in wishes for rate in RATES for row in asks.needed(kind, rate)]
    promised = [row for kind, n in given if n is not None for row in asks.promised(kind, n)]
    met: list[str] = []
    unmet: list[str] = []
    if max_false_reject is not None and good is not None:
        fits, sentence = asks.judge_good(max_false_reject, good)
        (met if fits else unmet).append(sentence)
    if max_escape is not None and bad is not None:
        fits, sentence = asks.judge_bad(max_escape, bad)
        (met if fits else unmet).append(sentence)
    sentences = [
        *([] if max_false_reject is None else asks.say_good_needed(max_false_reject)),
        *([] if max_escape is None else asks.say_bad_needed(max_escape)),
        *([] if good is None else asks.say_good_promised(good)),
        *([] if bad is None else asks.say_bad_promised(bad)),
        *(asks.say_table() if is_general else []),
        *met,
    ]
    enough = not unmet if met or unmet else None
    return Advice(confidence, holdout, given[0][1], needed, promised, sentences, unmet, enough)


def rate_bound(allowed: int, n: int, confidence: float) -> float:
    """BetaInv(c; m+1, n-m): what the rate is at most when m of n are on the wrong side; 1 when all are."""
    from scipy.special import betaincinv

    return float(betaincinv(allowed + 1, n - allowed, confidence)) if allowed < n else 1.0


def most_allowed(n: int, rate: float, confidence: float) -> int | None:
    """The largest m for which m of n on the wrong side still keep the promise; None when not even 0 do."""
    from scipy.special import bdtr

    doubt = float(1 - Fraction(str(float(confidence)))) * (1 + 1e-12)  # a hair more, as in adcli.thresholds
    few, many = -1, n  # `few` is allowed, `many` is not: n of n show nothing
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if bdtr(middle, n, rate) <= doubt else (few, middle)
    return few if few >= 0 else None


@dataclass(frozen=True)
class _Asks:
    """One confidence and one hold-out share, and everything that follows from them."""

    confidence: float
    holdout: float

    @property
    def _share(self) -> Fraction:
        return Fraction(str(float(self.holdout)))  # 0.29 * 100 in floats is 28.999999999999996

    @property
    def _sure(self) -> str:
        return f"with {_percent(self.confidence)} confidence"

    def held_out(self, total: int) -> int:
        """Held-out images of so many, on average: an image's hash decides."""
        return min(total, max(LEAST_HELD_OUT, math.floor(total * self._share)))

    def total(self, held_out: int) -> int:
        """Good images of which so many are held out on average."""
        return math.ceil(held_out / self._share)

    def total_surely(self, held_out: int) -> int:
        """Good images of which at least so many are held out 19 times in 20."""
        from scipy.special import betainc

        def is_enough(total: int) -> bool:  # P(Binomial(total, share) >= held_out), as a Beta probability
            return bool(betainc(held_out, total - held_out + 1, self.holdout) >= _SURE)

        if self._share == 1 or held_out <= LEAST_HELD_OUT:
            return self.total(held_out)
        few, enough = held_out - 1, 2 * held_out
        while not is_enough(enough):
            few, enough = enough, 2 * enough
        while enough - few > 1:
            middle = (few + enough) // 2
            few, enough = (few, middle) if is_enough(middle) else (middle, enough)
        return enough

    def needed(self, kind: str, rate: float) -> Iterator[Needed]:
        """A row for each number that may be on the wrong side."""
        for allowed in ALLOWED:
            images = images_needed(rate, self.confidence, allowed)
            if kind == "bad":
                yield Needed(kind, rate, allowed, images, None, None, None)
            else:
                average = images_needed(rate, None, allowed)
                yield Needed(kind, rate, allowed, images, self.total(images), average, self.total(average))

    def promised(self, kind: str, n: int) -> Iterator[Promised]:
        """A row for each number that may be on the wrong side, as long as others are on the right one."""
        for allowed in ALLOWED:
            if allowed < n:
                average = (allowed + 1) / (n + 1) if kind == "good" else None
                yield Promised(kind, n, allowed, rate_bound(allowed, n, self.confidence), average)

    def say_table(self) -> Iterator[str]:
        """How to read the table of what is needed when nothing is asked."""
        yield (
            f"Good images: so many held out, with 0, 1, 2 ... of them above the threshold, promise {self._sure} that "
            f"at most this share of good images is rejected. In total is where {_percent(self.holdout)} of them is "
            "held out, on average is for the next one only: both with 0 above."
        )
        yield "Bad images: so many labelled ones, with 0, 1, 2 ... of them missed, show that at most this share passes."
        yield "For your own: --max-false-reject and --max-escape, or what you have, --good-images and --bad-images."

    def say_good_needed(self, rate: float) -> Iterator[str]:
        """How many good images to collect."""
        images = images_needed(rate, self.confidence)
        yield (
            f"To promise {self._sure} that at most {_percent(rate)} of good images are rejected, hold out {images} of "
            f"them, none above the threshold: {self._collect(images)}."
        )
        average = images_needed(rate)
        total = f", about {self.total(average)} in total" if self._share < 1 else ""
        yield f"To promise it of the next good image only, on average over such sets, it takes {average}{total}."

    def say_bad_needed(self, rate: float) -> Iterator[str]:
        """How many bad images to collect."""
        none, one = (images_needed(rate, self.confidence, allowed) for allowed in (0, 1))
        yield (
            f"To show {self._sure} that at most {_percent(rate)} of bad images pass, all of {none} labelled bad images "
            f"must be found, or {one - 1} of {one}. They must have had no part in choosing the threshold; nothing is "
            "shown of kinds of defect that are not among them."
        )

    def say_good_promised(self, total: int) -> Iterator[str]:
        """What so many good images can promise."""
        n = self.held_out(total)
        if n < total:
            yield f"Of {total} good images about {n} are held out; how many exactly, their hashes decide."
        yield (
            f"With the largest of {n} held-out scores as threshold the next good image is rejected with a probability "
            f"of at most 1/{n + 1} = {at_most(1 / (n + 1))}; {self._sure} at most "
            f"{at_most(rate_bound(0, n, self.confidence))} of good images are."
        )

    def say_bad_promised(self, n: int) -> Iterator[str]:
        """What so many bad images can show."""
        bound = rate_bound(0, n, self.confidence)
        yield (
            f"If 0 of {n} bad images are missed, {self._sure} at most {at_most(bound)} pass: at least "
            f"{_at_least(1 - bound)} are found."
        )
        if n > 1:
            yield f"If 1 is missed, at most {at_most(rate_bound(1, n, self.confidence))} pass."

    def judge_good(self, rate: float, total: int) -> tuple[bool, str]:
        """Whether so many good images suffice, and what it takes."""
        n, images = self.held_out(total), images_needed(rate, self.confidence)
        promise = f"at most {_percent(rate)} false rejects {self._sure}"
        of = f"{n} held-out good images" if n == total else f"{total} good images, about {n} held out,"
        allowed = most_allowed(n, rate, self.confidence)
        if allowed is None:
            average = " On average, for the next image, they do." if images_needed(rate) <= n else ""
            return False, f"{of} do not suffice for {promise}; it takes {images}: {self._collect(images)}.{average}"
        surely = self.total_surely(images)
        luck = "" if total >= surely else f" By the luck of their hashes fewer may be held out: {surely} are safe."
        return True, f"{of} suffice for {promise}, with {_up_to(allowed)} of them above the threshold.{luck}"

    def judge_bad(self, rate: float, n: int) -> tuple[bool, str]:
        """Whether so many bad images suffice, and what it takes."""
        promise = f"at most {_percent(rate)} escapes {self._sure}"
        allowed = most_allowed(n, rate, self.confidence)
        if allowed is None:
            images = images_needed(rate, self.confidence)
            return False, f"{n} bad images do not suffice for {promise}; it takes {images}, all of them found."
        return True, f"{n} bad images suffice for {promise}, with {_up_to(allowed)} of them missed."

    def _collect(self, images: int) -> str:
        """Where so many held-out images come from."""
        if self._share == 1:
            return f"give {images} to adcli calibrate that the model has not learnt from"
        total, surely, share = self.total(images), self.total_surely(images), _percent(self.holdout)
        sure = f" ({surely} to be safe: their hashes decide)" if surely > total else ""
        return f"about {total} good images in total with {share} held out{sure}, or {images} others for adcli calibrate"


def _check_rate(rate: float | None, name: str) -> None:
    if rate is None:
        return
    if not 0 < rate < 1:
        raise UsageError(f"The {name} must be above 0 and below 1, not {rate}; 1 % is 0.01.")
    if rate < LEAST_RATE:
        raise UsageError(f"The {name} {rate:g} takes millions of images to show; ask for {LEAST_RATE:g} or more.")


def _up_to(allowed: int) -> str:
    return f"up to {allowed}" if allowed else "none"


def _percent(rate: float) -> str:
    """A rate that was given, with every digit of it."""
    return f"{float(100 * Fraction(str(float(rate)))):.12g} %"


def _at_least(rate: float) -> str:
    return percent_rounded(rate, ROUND_FLOOR)
