"""Which good images are held out: by content or by part, never by order, so that adding files moves none."""

from __future__ import annotations

import hashlib

from adcli.errors import UsageError
from adcli.finding import FoundImage

LEAST_HELD_OUT = 5
LEAST_LEARNT = 2
LEAST_JOINED = 1  # to what a model has learnt already


def split(
    digests: list[tuple[FoundImage, str]], share: float, already: int | None = None
) -> tuple[list[tuple[FoundImage, str]], list[tuple[FoundImage, str]]]:
    """Images to learn from and images to hold out, by content: an image is held out when its sha256, as a fraction of
    2^256, is below `share`; adding files then moves none of the others. Where that holds fewer than five out, it is the
    five lowest; fewer where `already` so many others are held out, which is a number where images join a model.

    Raises:
        UsageError: when fewer than two would be left to learn from; where images join a model, none.
    """
    held = _held(sorted({digest for _, digest in digests}), share, "different good images", already)
    return [pair for pair in digests if pair[1] not in held], [pair for pair in digests if pair[1] in held]


def split_parts(
    digests: list[tuple[FoundImage, str]], parts: dict[FoundImage, str], share: float, already: int | None = None
) -> tuple[list[tuple[FoundImage, str]], list[tuple[FoundImage, str]]]:
    """The same for whole parts, by the sha256 of their names: another image of a part goes where the part is.

    A copy of an image that is learnt from is not held out.
    """
    names = {hashlib.sha256(part.encode(errors="surrogateescape")).hexdigest(): part for part in parts.values()}
    held = {names[digest] for digest in _held(sorted(names), share, "parts", already)}
    learn = [pair for pair in digests if parts[pair[0]] not in held]
    learnt = {digest for _, digest in learn}
    return learn, [pair for pair in digests if parts[pair[0]] in held and pair[1] not in learnt]


def _held(ranked: list[str], share: float, what: str, already: int | None) -> set[str]:
    """Those of the ascending digests that are held out."""
    least_learnt = LEAST_LEARNT if already is None else LEAST_JOINED
    if share == 0:
        if len(ranked) < least_learnt:
            raise UsageError(f"{len(ranked)} {what} are too few to learn from: give at least {least_learnt}")
        return set()
    least = max(0, LEAST_HELD_OUT - (already or 0))
    held = {digest for digest in ranked if int(digest, 16) / 2**256 < share} | set(ranked[:least])
    if len(ranked) - len(held) < least_learnt:
        # Images that join a model cannot be left out in turn.
        in_turn = "calibrate on each in turn with --leave-one-out, " if already is None else ""
        raise UsageError(
            f"{len(ranked)} {what} are too few to hold out {len(held)} and learn from the rest: give at least "
            f"{max(least, len(held)) + least_learnt}, {in_turn}or learn from all with --holdout 0 and calibrate on "
            "others later"
        )
    return held
