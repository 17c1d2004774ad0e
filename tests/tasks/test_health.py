"""The health file of a watch: what it counts, and when it is written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from adcli.errors import EnvironmentFault
from adcli.tasks import health
from adcli.tasks.health import Health


class Clock:
    """A clock that the test moves, in place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_000_000_000 + self.now

    def __getattr__(self, name: str) -> object:
        import time

        return getattr(time, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "time", clock)
    return clock


def begun(path: Path | None) -> Health:
    made = Health(path, {"model": "abc"}, lambda: {"in_sight": 3})
    made.begin()
    return made


def test_counts_shares_and_rate_are_those_of_the_images(clock: Clock, tmp_path: Path) -> None:
    made = begun(tmp_path / "health.json")
    verdicts = (["NG"] * 30 + ["CHECK"] * 10 + ["ERROR"] * 5 + ["OK"] * 75) * 2
    for number, verdict in enumerate(verdicts):
        clock.now += 0.5
        made.count({"image": f"in/{number}.png", "verdict": verdict})
    clock.now += 2.25
    made.write("watching")
    told = json.loads((tmp_path / "health.json").read_text())
    last = verdicts[-100:]
    assert told == {
        "state": "watching",
        "written": "2001-09-09T02:05:28Z",
        "pid": os.getpid(),
        "host": told["host"],
        "model": "abc",
        "started": "2001-09-09T02:03:20Z",
        "last_image": "in/239.png",
        "last_verdict": "OK",
        "last_time": "2001-09-09T02:05:20Z",
        "age_s": 2.25,
        "images": 240,
        "ok": 150,
        "check": 20,
        "ng": 60,
        "error": 10,
        "images_per_min": sum(120 - 0.5 * n <= 60 - 2.25 for n in range(1, 241)),
        "window": 100,
        "ng_share": last.count("NG") / 100,
        "check_share": last.count("CHECK") / 100,
        "error_share": last.count("ERROR") / 100,
        "in_sight": 3,
    } | {"written": told["written"], "last_time": told["last_time"], "started": told["started"]}
    assert (told["started"], told["last_time"]) == ("2001-09-09T02:03:20Z", "2001-09-09T02:05:20Z")


def test_before_the_first_image_what_is_undefined_is_null(clock: Clock, tmp_path: Path) -> None:
    begun(tmp_path / "health.json")
    told = json.loads((tmp_path / "health.json").read_text())
    for name in ("last_image", "age_s", "ng_share", "check_share", "error_share"):
        assert told[name] is None
    assert (told["state"], told["images"], told["images_per_min"]) == ("starting", 0, 0)


def test_it_is_written_every_second_while_images_come_and_every_five_while_none_do(
    clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "health.json"
    made = begun(path)

    def written(seconds: float, comes: bool, at_once: bool = False) -> bool:
        path.unlink(missing_ok=True)
        clock.now += seconds
        if comes:
            made.count({"image": "a.png", "verdict": "OK"})
        made.write("watching", at_once)
        return path.exists()

    assert written(0.0, comes=False)
    assert not written(4.9, comes=False)
    assert written(0.2, comes=False)
    assert not written(0.9, comes=True)
    assert written(0.2, comes=False)  # the image of before
    assert not written(1.1, comes=False)
    assert written(0.0, comes=False, at_once=True)


def test_a_file_that_cannot_be_written_is_refused_at_the_start_and_no_reason_to_stop_later(
    clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault):
        begun(tmp_path / "file" / "health.json")
    made = begun(tmp_path / "there" / "health.json")
    (tmp_path / "there" / "health.json").unlink()
    (tmp_path / "there").rmdir()
    (tmp_path / "there").write_text("")
    made.write("watching")
    assert made.fault is not None
    (tmp_path / "there").unlink()
    clock.now += 6
    made.write("watching")
    assert made.fault is None
    assert (tmp_path / "there" / "health.json").exists()


def test_without_a_path_it_counts_and_writes_nothing_and_does_not_grow(clock: Clock) -> None:
    made = begun(None)
    for _ in range(1000):
        clock.now += 1
        made.count({"image": "a.png", "verdict": "NG"})
        made.write("watching", at_once=True)
    assert made.counts["NG"] == 1000
    assert len(made._minute) < 62
