"""The image reader: whole pixels that are the file's, or a refusal."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np

from adcli.errors import UnreadableImage
from adcli.images import Image, digest_image, read_image
from tests.fuzzing.cases import Case, Target, Violation, outcome, poisoned, put
from tests.fuzzing.mutations import damaged
from tests.fuzzing.seeds import images
from tests.fuzzing.structured import structured

MOST_PIXELS = 10**6
NAME = "part.png"
CUT = "cut "
_WORDS = (
    *(
        b"IHDR",
        b"IDAT",
        b"IEND",
        b"acTL",
        b"tRNS",
        b"PLTE",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8",
        b"\xff\xd9",
        b"\xff\xda",
    ),
    *(
        b"\xff\xc0",
        b"\xff\xc2",
        b"\xff\xc4",
        b"\xff\xd0",
        b"RIFF",
        b"WEBP",
        b"VP8 ",
        b"VP8L",
        b"VP8X",
        b"ALPH",
        b"ANIM",
    ),
    *(b"BM", b"II*\0", b"MM\0*", b"II+\0", b"P2\n", b"P5\n", b"P6\n", b"65535\n", b"\0\0\0\0", b"\xff\xff\xff\xff"),
)


def image_target() -> Target:
    """One case in ten is a whole file cut off; the others are damaged, most by what is known of their format."""
    seeds = images()
    kinds, files = list(seeds), list(seeds.values())
    # Digits may be cut without a sign of it; refused ones are refused anyway.
    cuttable = [kind for kind in kinds if "ascii" not in kind]

    def make(rng: np.random.Generator) -> tuple[str, Case]:
        draw = rng.random()
        if draw < 0.1:
            kind = cuttable[rng.integers(len(cuttable))]
            # The padding after the last row or chunk holds no image: up to three bytes.
            return CUT + kind, {NAME: seeds[kind][: rng.integers(len(seeds[kind]) - 2)]}
        kind = kinds[rng.integers(len(kinds))]
        data = seeds[kind]
        if draw < 0.7:
            data = structured(data, rng)
        if draw > 0.55:
            data = damaged(data, rng, files, _WORDS)
        return kind, {NAME: data}

    return Target("images", make, check_image)


def check_image(kind: str, case: Case, folder: Path) -> str:
    """Refused, or read: twice the same, by the digest too, and never in part."""
    put(case, folder)
    path, data = folder / NAME, case[NAME]
    first, second = (_read(path, poison) for poison in (0x55, 0xAA))
    try:
        digest = digest_image(path, MOST_PIXELS)
    except UnreadableImage as error:
        digest = error
    if isinstance(first, UnreadableImage):
        if str(first) != str(second):
            raise Violation(f"refused as {first}, and then {second!r:.200}")
        if isinstance(digest, UnreadableImage) and str(digest) != str(first):
            raise Violation(f"refused as {first}, and its digest as {digest}")
        return outcome(first, folder)
    if isinstance(second, UnreadableImage):
        raise Violation(f"read once, and then refused as {second}")
    if kind.startswith(CUT):
        raise Violation("pixels of a file that is cut off")
    if first.pixels.shape not in ((first.height, first.width), (first.height, first.width, 3)):
        raise Violation(f"pixels of the shape {first.pixels.shape} in {first.width} x {first.height}")
    if first.pixels.dtype not in (np.uint8, np.uint16) or not 1 <= first.width * first.height <= MOST_PIXELS:
        raise Violation(f"{first.width} x {first.height} pixels of {first.pixels.dtype}")
    if not first.sha256 == digest == hashlib.sha256(data).hexdigest():
        raise Violation(f"the digest is {digest!r:.200}, the image's {first.sha256}")
    if not np.array_equal(first.pixels, second.pixels):
        share = float(np.mean(first.pixels != second.pixels))
        raise Violation(f"{share:.2%} of the values are whatever was in the memory")
    return f"read: {first.pixels.ndim} axes of {first.pixels.dtype}"


def _read(path: Path, poison: int) -> Image | UnreadableImage:
    with poisoned(poison):
        try:
            return read_image(path, MOST_PIXELS)
        except UnreadableImage as error:
            reason: BaseException | None = error
            while reason is not None:  # so few pixels fit into any memory
                if isinstance(reason, MemoryError) or getattr(reason, "code", None) == cv2.Error.StsNoMem:
                    raise Violation(f"too little memory for {MOST_PIXELS} pixels: {reason}") from error
                reason = reason.__cause__
            return error
