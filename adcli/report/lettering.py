"""Words on pictures of pixels, light on dark."""

from __future__ import annotations

import cv2
import numpy as np

PAPER, INK = (28, 28, 28), (245, 245, 245)


def shortened(text: str, room: int, size: float) -> str:
    """The text on one line of at most `room` pixels: what goes, goes from the middle."""
    text = _drawable(text)
    whole, kept = text, len(text)
    while kept and text_width(text, size) > room:
        kept = min(kept - 1, kept * room // text_width(text, size))
        text = f"{whole[: (kept + 1) // 2]}...{whole[len(whole) - kept // 2 :]}"
    return text


def text_width(text: str, size: float) -> int:
    """Pixels that `write` needs."""
    return cv2.getTextSize(_drawable(text), cv2.FONT_HERSHEY_SIMPLEX, size, _thickness(size))[0][0]


def write(picture: np.ndarray, text: str, x: int, y: int, size: float) -> None:
    """On the picture, (H, W, 3) uint8, with the text's baseline at `y`. OpenCV before 5 draws ASCII alone."""
    cv2.putText(picture, _drawable(text), (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, INK, _thickness(size), cv2.LINE_AA)


def _drawable(text: str) -> str:
    """Without line ends and the undecodable bytes of file names, at which OpenCV 5 crashes."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _thickness(size: float) -> int:
    return max(1, round(1.3 * size))
