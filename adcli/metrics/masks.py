"""Ground-truth masks from files, and maps brought to their size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from adcli.errors import UsageError
from adcli.images import read_image


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The defect mask (H, W) of bool at its own size, of a defective image whose `size` is (H, W).

    A pixel is defect above half of full scale: more than 127 of 255, so that the soft edge of an anti-aliased mask
    is cut in its middle. A mask whose largest value is 1 is 0/1; above 255 it is of 16 bit. Another size than the
    image's is fine, as the map is what gets resized (`to_size`); a mask that is upright where the image lies is not.

    A mask without a defect pixel is a UsageError, not an UnreadableImage: the file is whole, but the data set says
    two things of one image, and evaluating it as good would hide every miss. So is a missing file.
    """
    if not path.exists():
        raise UsageError(
            f"the mask {path} of a defective image does not exist; add it, or leave the image out of the evaluation"
        )
    values = read_image(path).pixels
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise UsageError(f"the mask {path} is coloured; save it in gray with 0 for good and 255 for defect pixels")
        values = values[..., 0]
    (h, w), (image_h, image_w) = values.shape, size
    if (h - w) * (image_h - image_w) < 0:
        raise UsageError(
            f"the mask {path} is {w}x{h} pixels and its image {image_w}x{image_h}; one of them is turned: save both "
            "the same way up"
        )
    largest = values.max()
    full_scale = 1 if largest <= 1 else 255 if largest <= 255 else 65535
    mask = values > full_scale / 2
    if not mask.any():
        raise UsageError(
            f"the mask {path} of a defective image has no defect pixel (its largest value is {largest:g} of "
            f"{full_scale}); mend the mask or move the image to the good ones"
        )
    return mask


def to_size(score_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map (h, w) of float32 at `size` (H, W): bilinear, half-pixel centres."""
    if score_map.shape == size:
        return score_map
    return cv2.resize(score_map, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
