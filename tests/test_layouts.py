"""Labelled datasets: groups, and masks that belong to their images."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from adcli.errors import UsageError
from adcli.finding import find_images
from adcli.layouts import LabelledImage, read_dataset, three_folders


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def rows(labelled: list[LabelledImage], root: Path) -> list[tuple[str, str, str | None]]:
    """(path below `root`, group, mask below `root`)"""
    return [
        (os.path.relpath(image.path, root), image.group, image.mask and os.path.relpath(image.mask, root))
        for image in labelled
    ]


MVTEC = ["train/good/0.png", "test/good/0.png", "test/good/1.png", "test/scratch/0.png", "test/hole/0.png"]


def test_the_mvtec_layout_yields_its_test_images_with_their_masks_sorted_by_path(tmp_path: Path) -> None:
    make(tmp_path, *MVTEC, "ground_truth/scratch/0_mask.png", "ground_truth/hole/0.png", "license.txt")
    labelled = read_dataset(tmp_path)
    assert rows(labelled, tmp_path) == [
        ("test/good/0.png", "good", None),
        ("test/good/1.png", "good", None),
        ("test/hole/0.png", "hole", "ground_truth/hole/0.png"),
        ("test/scratch/0.png", "scratch", "ground_truth/scratch/0_mask.png"),
    ]
    assert [image.relative for image in labelled] == [
        PurePosixPath(name) for name in ("test/good/0.png", "test/good/1.png", "test/hole/0.png", "test/scratch/0.png")
    ]
    assert all(image.path.is_file() and (image.mask is None or image.mask.is_file()) for image in labelled)


def test_a_mask_may_have_another_suffix_than_its_image_and_stems_may_hold_dots(tmp_path: Path) -> None:
    make(tmp_path, "test/hole/part.v1.JPG", "ground_truth/hole/part.v1_mask.bmp", "test/hole/part.v2.bmp")
    make(tmp_path, "ground_truth/hole/part.v2.tiff")
    assert [(group, mask) for _, group, mask in rows(read_dataset(tmp_path), tmp_path)] == [
        ("hole", "ground_truth/hole/part.v1_mask.bmp"),
        ("hole", "ground_truth/hole/part.v2.tiff"),
    ]


def test_an_image_whose_own_stem_ends_in_mask_finds_its_mask(tmp_path: Path) -> None:
    make(tmp_path, "test/hole/face_mask.png", "ground_truth/hole/face_mask.png")
    assert rows(read_dataset(tmp_path), tmp_path)[0][2] == "ground_truth/hole/face_mask.png"
    make(tmp_path, "test/tear/face_mask.png", "ground_truth/tear/face_mask_mask.png")
    assert rows(read_dataset(tmp_path), tmp_path)[1][2] == "ground_truth/tear/face_mask_mask.png"


@pytest.mark.parametrize("truth", ["cable/test_public/ground_truth", "cable/ground_truth"])
def test_a_folder_with_good_among_its_types_is_a_dataset_with_ground_truth_in_or_beside_it(
    tmp_path: Path, truth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "cable/test_public/good/0.png", "cable/test_public/bad/0.png")
    make(tmp_path / truth, "bad/0_mask.png")
    root = tmp_path / "cable" / "test_public"
    expected = [
        ("cable/test_public/bad/0.png", "bad", f"{truth}/bad/0_mask.png"),
        ("cable/test_public/good/0.png", "good", None),
    ]
    assert rows(read_dataset(root), tmp_path) == expected
    assert [str(image.relative) for image in read_dataset(root)] == ["bad/0.png", "good/0.png"]
    monkeypatch.chdir(root)
    assert rows(read_dataset(Path()), tmp_path) == expected


def test_a_dataset_without_masks_has_none_anywhere(tmp_path: Path) -> None:
    make(tmp_path, *MVTEC)
    assert {image.mask for image in read_dataset(tmp_path)} == {None}
    (tmp_path / "ground_truth" / "hole").mkdir(parents=True)
    assert {image.mask for image in read_dataset(tmp_path)} == {None}


def test_a_dataset_may_have_no_good_or_no_defective_images(tmp_path: Path) -> None:
    make(tmp_path / "a", "test/good/0.png")
    make(tmp_path / "b", "test/hole/0.png", "ground_truth/hole/0.png")
    assert [image.group for image in read_dataset(tmp_path / "a")] == ["good"]
    assert [image.group for image in read_dataset(tmp_path / "b")] == ["hole"]


def test_missing_masks_are_refused_and_the_first_few_listed(tmp_path: Path) -> None:
    make(tmp_path, *(f"test/hole/{number}.png" for number in range(9)), "ground_truth/hole/8.png")
    with pytest.raises(UsageError, match="8 of 9 defective images have no mask") as caught:
        read_dataset(tmp_path)
    sentence = str(caught.value)
    assert all(str(tmp_path / f"test/hole/{number}.png") in sentence for number in range(5))
    assert "hole/5.png" not in sentence and "and 3 more" in sentence


def test_a_mask_of_another_type_does_not_stand_in_for_a_missing_one(tmp_path: Path) -> None:
    make(tmp_path, "test/hole/0.png", "ground_truth/tear/0.png")
    with pytest.raises(UsageError, match="1 of 1 defective images have no mask"):
        read_dataset(tmp_path)


def test_masks_without_an_image_are_refused_and_listed(tmp_path: Path) -> None:
    make(tmp_path, *MVTEC, "ground_truth/scratch/0.png", "ground_truth/hole/0.png")
    make(tmp_path, "ground_truth/hole/1_mask.png", "ground_truth/bent/0.png")
    with pytest.raises(UsageError, match="2 masks have no image") as caught:
        read_dataset(tmp_path)
    assert "bent/0.png" in str(caught.value) and "hole/1_mask.png" in str(caught.value)


def test_masks_of_good_images_are_not_used(tmp_path: Path) -> None:
    make(tmp_path, *MVTEC, "ground_truth/scratch/0.png", "ground_truth/hole/0.png", "ground_truth/good/1.png")
    assert [mask for _, group, mask in rows(read_dataset(tmp_path), tmp_path) if group == "good"] == [None, None]


def test_two_masks_for_one_image_or_two_images_for_one_mask_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "a", "test/hole/0.png", "ground_truth/hole/0.png", "ground_truth/hole/0_mask.png")
    make(tmp_path / "b", "test/hole/0.png", "test/hole/0.bmp", "ground_truth/hole/0.png")
    for name in "ab":
        with pytest.raises(UsageError, match="Which mask belongs to which image is not clear"):
            read_dataset(tmp_path / name)


def test_what_is_not_a_dataset_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "pictures/1.png", "stray/test/1.png", "empty/test/good/notes.txt")
    with pytest.raises(UsageError, match="pictures is not a labelled dataset"):
        read_dataset(tmp_path / "pictures")
    with pytest.raises(UsageError, match=r"outside of the folders that name their type: .*stray/test/1\.png"):
        read_dataset(tmp_path / "stray")
    with pytest.raises(UsageError, match="No images in"):
        read_dataset(tmp_path / "empty")
    with pytest.raises(UsageError, match="gone is not a labelled dataset"):
        read_dataset(tmp_path / "gone")


# Three folders.


def three(root: Path, good: list[str], bad: list[str], masks: list[str] | None) -> list[tuple[str, str, str | None]]:
    good_images, bad_images, mask_images = (
        find_images([str(root / name) for name in names]) if names else names for names in (good, bad, masks)
    )
    return rows(three_folders(good_images, bad_images, mask_images), root)


def test_three_flat_folders_are_paired_by_stem(tmp_path: Path) -> None:
    make(tmp_path, "ok/1.png", "ng/1.jpg", "ng/2.jpg", "gt/2.png", "gt/1_mask.png")
    assert three(tmp_path, ["ok"], ["ng"], ["gt"]) == [
        ("ng/1.jpg", "bad", "gt/1_mask.png"),
        ("ng/2.jpg", "bad", "gt/2.png"),
        ("ok/1.png", "good", None),
    ]
    assert [mask for _, _, mask in three(tmp_path, ["ok"], ["ng"], None)] == [None] * 3


@pytest.mark.parametrize("masks", [["gt"], ["gt/hole", "gt/tear"], ["gt/tear", "gt/hole"]])
@pytest.mark.parametrize("bad", [["ng"], ["ng/hole", "ng/tear"]])
def test_equal_stems_in_nested_folders_are_paired_by_their_folder(
    tmp_path: Path, bad: list[str], masks: list[str]
) -> None:
    make(tmp_path, "ng/hole/0.png", "ng/tear/0.png", "gt/hole/0_mask.png", "gt/tear/0_mask.png")
    assert three(tmp_path, [], bad, masks) == [
        ("ng/hole/0.png", "hole", "gt/hole/0_mask.png"),
        ("ng/tear/0.png", "tear", "gt/tear/0_mask.png"),
    ]


def test_stems_that_occur_once_are_paired_across_folders_that_nest_differently(tmp_path: Path) -> None:
    make(tmp_path, "ng/hole/a.png", "ng/tear/b.png", "gt/a_mask.png", "gt/b_mask.png")
    assert [mask for _, _, mask in three(tmp_path, [], ["ng"], ["gt"])] == ["gt/a_mask.png", "gt/b_mask.png"]


def test_stems_that_occur_twice_are_not_guessed_at(tmp_path: Path) -> None:
    make(tmp_path, "ng/hole/0.png", "ng/tear/0.png", "gt/0_mask.png")
    with pytest.raises(UsageError, match="2 of 2 defective images have no mask"):
        three(tmp_path, [], ["ng"], ["gt"])


def test_an_image_given_as_good_and_as_bad_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "all/1.png", "all/2.png")
    with pytest.raises(UsageError, match=r"both as good and as bad: .*all/1\.png"):
        three(tmp_path, ["all/1.png"], ["all"], None)


def test_a_defective_image_in_a_folder_named_good_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "test/good/1.png", "test/hole/1.png")
    with pytest.raises(UsageError, match=r"in a folder named good: .*test/good/1\.png"):
        three(tmp_path, [], ["test"], None)


def test_no_two_images_of_three_folders_have_the_same_relative_path(tmp_path: Path) -> None:
    make(tmp_path, "ok/1.png", "ng/1.png", "ng/hole/1.png")
    found = [find_images([str(tmp_path / name)]) for name in ("ok", "ng")]
    assert [str(image.relative) for image in three_folders(*found, None)] == ["bad/1.png", "hole/1.png", "good/1.png"]


def test_empty_masks_are_a_mistake_and_empty_images_are_not(tmp_path: Path) -> None:
    make(tmp_path, "ok/1.png", "ng/1.png")
    with pytest.raises(UsageError, match="No masks"):
        three(tmp_path, ["ok"], ["ng"], [])
    assert [group for _, group, _ in three(tmp_path, ["ok"], [], None)] == ["good"]
    assert [group for _, group, _ in three(tmp_path, [], ["ng"], None)] == ["bad"]


def test_the_order_is_that_of_the_path_bytes(tmp_path: Path) -> None:
    make(tmp_path, *(f"test/{group}/{name}.png" for group in ("good", "Ärger", "b") for name in ("ä", "z", "a", "B")))
    paths = [os.fsencode(image.path) for image in read_dataset(tmp_path)]
    assert paths == sorted(paths) and len(paths) == 12
