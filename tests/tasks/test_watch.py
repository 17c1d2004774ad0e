"""A watch that runs: files come, change and go under it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from adcli.tasks.arrivals import Arrivals
from tests.conftest import Adcli
from tests.tasks.folders import records
from tests.tasks.watches import Live


def test_files_are_scored_as_they_come_and_not_before_they_are_whole(
    dataset: Path, model: Path, images: Path, tmp_path: Path
) -> None:
    data = (dataset / "test" / "good" / "000.png").read_bytes()
    with Live(images, model, tmp_path / "out", settle=0.4) as live:
        with (images / "slow.png").open("wb", buffering=0) as file:
            for at in range(0, len(data), len(data) // 8 + 1):
                file.write(data[at : at + len(data) // 8 + 1])
                time.sleep(0.1)
        assert live.told == []
        (images / "renamed.part").write_bytes(data)
        time.sleep(0.1)
        (images / "renamed.part").rename(images / "renamed.png")
        (images / "new" / "below").mkdir(parents=True)
        shutil.copy(dataset / "test" / "good" / "001.png", images / "new" / "below")
        live.until(lambda: len(live.told) == 3)
        assert sorted(live.images(images)) == ["new/below/001.png", "renamed.png", "slow.png"]
        assert {record["verdict"] for record in live.told} <= {"OK", "NG"}
    assert records(tmp_path / "out") == live.told
    assert live.health()["state"] == "stopped"


def test_a_file_that_is_overwritten_is_scored_again_and_has_the_pictures_of_its_last_verdict(
    of_verdict: dict[str, Path], band_model: Path, images: Path, tmp_path: Path
) -> None:
    with Live(images, band_model, tmp_path / "out") as live:
        for number, verdict in enumerate(("OK", "NG", "OK"), 1):
            shutil.copy(of_verdict[verdict], images / "last.png")
            live.until(lambda number=number: len(live.told) == number)
            assert (tmp_path / "out" / "masks" / "last.png").exists() == (verdict == "NG")
            assert (tmp_path / "out" / "overlays" / "last.jpg").exists() == (verdict == "NG")
    assert [record["verdict"] for record in records(tmp_path / "out")] == ["OK", "NG", "OK"]


def test_what_stays_unreadable_is_an_error_once_and_an_image_when_it_is_written_anew(
    dataset: Path, model: Path, adcli: Adcli, images: Path, tmp_path: Path
) -> None:
    data = (dataset / "test" / "good" / "000.png").read_bytes()
    (images / "half.png").write_bytes(data[:500])
    with Live(images, model, tmp_path / "out") as live:
        live.until(lambda: live.told)
        time.sleep(0.5)
        assert [record["verdict"] for record in live.told] == ["ERROR"]
        assert "half.png" in live.told[0]["reason"]
    with Live(images, model, tmp_path / "out") as live:
        time.sleep(0.5)
        assert live.told == []
        (images / "half.png").write_bytes(data)
        live.until(lambda: live.told)
        assert live.told[0]["score"] is not None
    assert len(records(tmp_path / "out")) == 2


def test_a_file_that_is_mended_before_its_second_reading_is_never_an_error(
    dataset: Path, model: Path, images: Path, tmp_path: Path
) -> None:
    data = (dataset / "test" / "good" / "000.png").read_bytes()
    (images / "late.png").write_bytes(data[:500])
    with Live(images, model, tmp_path / "out", settle=0.6) as live:
        time.sleep(0.9)  # settled, and read in vain
        (images / "late.png").write_bytes(data)
        live.until(lambda: live.told)
        assert [record["verdict"] for record in live.told] in (["OK"], ["NG"])


@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_files_that_go_or_change_between_the_look_and_the_reading_are_no_errors(
    what: str,
    of_verdict: dict[str, Path],
    band_model: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settled, touched = Arrivals.settled, []

    def then(self: Arrivals, most: int) -> list[Any]:
        found = settled(self, most)
        for arrival in [one for one in found if "hit" in one.image and not touched]:
            touched.append(arrival)
            Path(arrival.image).unlink()
            if what == "replaced":
                shutil.copy(of_verdict["NG"], tmp_path / "new.png")
                (tmp_path / "new.png").rename(arrival.image)
        return found

    monkeypatch.setattr(Arrivals, "settled", then)
    for name in ("hit.png", "other.png"):
        shutil.copy(of_verdict["OK"], images / name)
    with Live(images, band_model, tmp_path / "out") as live:
        live.until(lambda: len(live.told) == (2 if what == "replaced" else 1))
        time.sleep(0.3)
    verdicts = {record["image"].rpartition("/")[2]: record["verdict"] for record in records(tmp_path / "out")}
    assert touched
    assert verdicts == {"other.png": "OK"} | ({"hit.png": "NG"} if what == "replaced" else {})


def test_while_the_folder_is_away_the_watch_waits_and_goes_on_when_it_is_back(
    dataset: Path, model: Path, adcli: Adcli, images: Path, tmp_path: Path
) -> None:
    shutil.copy(dataset / "test" / "good" / "000.png", images)
    away = tmp_path / "away"
    with Live(images, model, tmp_path / "out") as live:
        live.until(lambda: live.told)
        images.rename(away)
        live.until(lambda: live.said)
        time.sleep(0.2)
        live.until(lambda: live.health()["state"] == "away")
        assert live.health()["away"] == "No such file or directory"
        shutil.copy(dataset / "test" / "good" / "001.png", away)
        away.rename(images)
        live.until(lambda: len(live.told) == 2)
        live.until(lambda: live.health()["state"] == "watching")
        gone, back = live.said
        assert f"{images} cannot be looked at" in gone
        assert back == f"{images} is there again"
    images.rename(away)
    single = adcli("watch", images, "--out", tmp_path / "out", "-m", model, "--once")
    assert single.code == 8
    with Live(images, model, tmp_path / "out") as live:  # a share that is there later than its watch
        live.until(lambda: live.said)
        shutil.copy(dataset / "test" / "good" / "002.png", away)
        away.rename(images)
        live.until(lambda: live.told)
        assert live.images(images) == ["002.png"]


def test_the_model_that_it_started_with_is_kept_and_a_change_is_said_once(
    dataset: Path, own_model: Path, adcli: Adcli, images: Path, tmp_path: Path
) -> None:
    before = own_model.read_bytes()
    with Live(images, own_model, tmp_path / "out") as live:
        shutil.copy(dataset / "test" / "dent" / "000.png", images)
        live.until(lambda: len(live.told) == 1)
        assert adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--threshold", "0").code == 0
        live.until(lambda: live.said)
        shutil.copy(dataset / "test" / "dent" / "000.png", images / "same.png")
        live.until(lambda: len(live.told) == 2)
        assert live.told[0]["threshold"] == live.told[1]["threshold"] > 0
        live.until(lambda: live.health()["model_changed"])
        assert len(live.said) == 1
        assert "keeps the model it started with" in live.said[0]
        own_model.write_bytes(before)
        live.until(lambda: len(live.said) == 2)
        own_model.unlink()
        live.until(lambda: len(live.said) == 3)
        assert "is gone" in live.said[2]
    own_model.write_bytes(before)
    assert adcli("calibrate", dataset / "test" / "good", "-m", own_model, "--threshold", "0").code == 0
    refused = adcli("watch", images, "--out", tmp_path / "out", "-m", own_model, "--once")
    assert refused.code == 2
    assert "another model" in refused.sentence
