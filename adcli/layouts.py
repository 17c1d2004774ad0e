"""Labelled datasets: which image is good, which is defective and how, and where its mask is.

Masks are paired with images by path and stem, never by order.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from adcli.errors import UsageError
from adcli.finding import walk_images

GOOD = "good"
_TRUTH = "ground_truth"


@dataclass(frozen=True)
class LabelledImage:
    """An image and what is known of it. `mask` is None for good images, and for all of a dataset without masks."""

    path: Path
    relative: PurePosixPath
    group: str  # "good", or the type of the defect
    mask: Path | None


class Found(Protocol):
    """What `find_images` returns, as far as it matters here."""

    @property
    def path(self) -> Path: ...
    @property
    def relative(self) -> PurePosixPath: ...


@dataclass(frozen=True)
class _File:
    path: Path
    relative: PurePosixPath


def read_dataset(root: Path) -> list[LabelledImage]:
    """The test images of a folder laid out like MVTec AD, sorted by path bytes.

    `root/test/<type>/...` with masks in `root/ground_truth/<type>/...`, or `root/<type>/...` with `root/good` among the
    types and `ground_truth` in or beside `root` (MVTec AD 2's test_public, or a category's test folder). A mask has its
    image's stem, `_mask` appended or not, and any image suffix. Without any mask all are None; with some, one for every
    defective image. Masks of good images are not used.
    """
    root = Path(root)
    tests = root / "test"
    if not tests.is_dir():
        tests = root
        if not (root / GOOD).is_dir():
            raise UsageError(
                f"{root} is not a labelled dataset: it has neither a folder test nor a folder good; "
                "give one laid out like MVTec AD, or --good, --bad and --masks."
            )
    images = [
        _File(tests / name, PurePosixPath(name)) for name in walk_images(tests) if not name.startswith(f"{_TRUTH}/")
    ]
    if not images:
        raise UsageError(f"No images in {tests}; give a dataset laid out like MVTec AD, or --good, --bad and --masks.")
    if stray := [image.path for image in images if len(image.relative.parts) == 1]:
        raise UsageError(f"Images lie outside of the folders that name their type: {_few(stray)}; move them into one.")
    truth = next(
        (folder for folder in (tests / _TRUTH, root / _TRUTH, tests.absolute().parent / _TRUTH) if folder.is_dir()),
        None,
    )
    masks = [] if truth is None else [_File(truth / name, PurePosixPath(name)) for name in walk_images(truth)]
    from_root = PurePosixPath(tests.relative_to(root).as_posix())
    listed = [(image, image.relative.parts[0], from_root / image.relative) for image in images]
    return _label(listed, masks, across_folders=False)


def three_folders(good: Sequence[Found], bad: Sequence[Found], masks: Sequence[Found] | None) -> list[LabelledImage]:
    """Good images, defective images and their masks, each as `find_images` found them, sorted by path bytes.

    A defective image's group is the first folder of its relative path, and "bad" for one directly in the folder given;
    the `relative` returned begins with the group. Masks as in `read_dataset`, also across folders where a stem is the
    only one of its kind; an empty `masks` is a mistake, None says that there are none.
    """
    both = {os.path.realpath(image.path) for image in good} & {os.path.realpath(image.path) for image in bad}
    if both:
        raise UsageError(f"Given both as good and as bad: {_few(both)}; leave one of the two out.")
    if masks is not None and not masks and bad:
        raise UsageError("No masks where --masks points; give the folder that holds them, or leave --masks out.")
    listed = [(image, GOOD, GOOD / image.relative) for image in good]
    for image in bad:
        inside = image.relative if len(image.relative.parts) > 1 else "bad" / image.relative
        listed.append((image, inside.parts[0], inside))
        if inside.parts[0] == GOOD:
            raise UsageError(
                f"Given as bad, and in a folder named good: {image.path}; give the defective folders only."
            )
    return _label(listed, masks or [], across_folders=True)


def _label(
    listed: Sequence[tuple[Found, str, PurePosixPath]], masks: Sequence[Found], across_folders: bool
) -> list[LabelledImage]:
    good = [image for image, group, _ in listed if group == GOOD]
    defective = [image for image, group, _ in listed if group != GOOD]
    mask_of, unmatched = _pair(defective, masks, across_folders)
    if masks:
        if lacking := [image.path for image in defective if image not in mask_of]:
            raise UsageError(
                f"{len(lacking)} of {len(defective)} defective images have no mask: {_few(lacking)}; add them "
                "(named as the image, or with _mask appended), or leave all masks out."
            )
        if unmatched := _pair(good, unmatched, across_folders=False)[1]:
            raise UsageError(
                f"{len(unmatched)} masks have no image: {_few(mask.path for mask in unmatched)}; "
                "remove them or add their images."
            )
    labelled = [
        LabelledImage(image.path, relative, group, mask_of[image].path if image in mask_of else None)
        for image, group, relative in listed
    ]
    return sorted(labelled, key=lambda image: os.fsencode(image.path))


def _pair(
    images: Sequence[Found], masks: Sequence[Found], across_folders: bool
) -> tuple[dict[Found, Found], list[Found]]:
    """Each image's mask, and the masks left over.

    By relative path and stem, with or without `_mask`; then, `across_folders` that may nest differently, by the stem
    alone where one image and one mask are left that have it.
    """
    mask_of: dict[Found, Found] = {}
    left = list(masks)
    for by_path in (True, False) if across_folders else (True,):
        owners: dict[str, list[Found]] = defaultdict(list)
        for image in images:
            if image not in mask_of:
                owners[_stem(image, by_path)].append(image)
        candidates: dict[str, list[Found]] = defaultdict(list)
        for mask in left:
            stem = _stem(mask, by_path)
            candidates[stem if stem in owners else stem.removesuffix("_mask")].append(mask)
        for stem in (stem for stem in owners if stem in candidates):
            if len(owners[stem]) == len(candidates[stem]) == 1:
                mask_of[owners[stem][0]] = candidates[stem][0]
            elif by_path:
                raise UsageError(
                    f"Which mask belongs to which image is not clear: {_few(m.path for m in candidates[stem])} "
                    f"for {_few(image.path for image in owners[stem])}; keep one of each."
                )
        paired = set(mask_of.values())
        left = [mask for mask in left if mask not in paired]
    return mask_of, left


def _stem(file: Found, by_path: bool) -> str:
    return str(file.relative.with_suffix("")) if by_path else file.relative.stem


def _few(paths: Iterable[object]) -> str:
    names = sorted(str(path) for path in paths)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
