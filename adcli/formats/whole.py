"""What all formats share: the answer, the refusal, and the bounds of a size."""

from __future__ import annotations

from dataclasses import dataclass

MAX_SIDE = 1_000_000  # pixels; libpng's own limit, and OpenCV has one of 2^20 for every format


class NotWhole(Exception):
    """Why the bytes are refused: the rest of a sentence that begins with the file's name."""


@dataclass(frozen=True)
class Header:
    """What a whole image's header says, and what a decoder should be given for it."""

    width: int
    height: int
    bits: int = 8  # of one decoded channel: 8 or 16
    patches: tuple[tuple[int, bytes], ...] = ()  # (offset, bytes) to write over before decoding
    bare: bytes | None = None  # to decode in place of the file: the same image without what is beside its pixels


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuses what is empty or too large, before anything of that size is allocated."""
    if width < 1 or height < 1:
        raise NotWhole(f"is damaged: its header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise NotWhole(f"is {width} x {height} pixels, more than the {max_pixels} that are read; cut it into parts")
    if max(width, height) > MAX_SIDE:
        raise NotWhole(f"is {width} x {height} pixels, longer than the {MAX_SIDE} that are read; cut it into parts")


def need(present: bool, what: str) -> None:
    """Refuses what a whole file would have."""
    if not present:
        raise NotWhole(f"is cut off or damaged: {what}; copy it again")
