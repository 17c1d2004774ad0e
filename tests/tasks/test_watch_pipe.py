"""`watch -`: one answer a path, at once."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adcli.errors import EnvironmentFault
from adcli.tasks.station import Channel
from adcli.tasks.watch import answer
from tests.conftest import Adcli
from tests.tasks.folders import KEYS, records


def ask(lines: Iterator[str], model: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    answer(lines, model, None, channel=Channel(tell, lambda sentence: None, lambda: False))


def test_each_path_is_answered_before_the_next_is_given(dataset: Path, model: Path) -> None:
    answers: list[dict[str, Any]] = []
    came = threading.Condition()

    def tell(record: dict[str, Any]) -> None:
        with came:
            answers.append(record)
            came.notify()

    def lines() -> Iterator[str]:
        for number in range(6):
            yield f"{dataset}/test/good/{number:03}.png\n"
            with came:
                assert came.wait_for(lambda number=number: len(answers) == number + 1, 60)

    ask(lines(), model, tell)
    assert [record["image"] for record in answers] == [f"{dataset}/test/good/{n:03}.png" for n in range(6)]


def test_answers_come_in_order_one_a_path_and_again_for_a_path_that_is_named_again(
    dataset: Path, model: Path, adcli: Adcli, here: Path
) -> None:
    good = [str(path) for path in sorted((dataset / "test" / "good").iterdir())]
    Path("empty.png").write_bytes(b"")
    paths = [*good, "empty.png", "none.png", ".", *good, good[0]] * 5
    before = sorted(here.iterdir())
    ran = adcli("watch", "-", "-m", model, stdin="\n".join(["", *paths, "", ""]))
    assert ran.code == 5
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert [record["image"] for record in answers] == paths
    assert [record["verdict"] == "ERROR" for record in answers] == [
        path in ("empty.png", "none.png", ".") for path in paths
    ]
    assert all(list(record) == KEYS for record in answers)
    assert sorted(here.iterdir()) == before


def test_a_pipe_ends_by_its_verdicts(of_verdict: dict[str, Path], band_model: Path, adcli: Adcli, here: Path) -> None:
    for verdict, code in (("OK", 0), ("CHECK", 4), ("NG", 3)):
        assert (
            adcli("watch", "-", "-m", band_model, "--fail-on", "check", stdin=f"{of_verdict[verdict]}\n").code == code
        )
    assert adcli("watch", "-", "-m", band_model, stdin="").code == 0


def test_a_pipe_with_an_output_folder_keeps_results_and_pictures(
    of_verdict: dict[str, Path], band_model: Path, adcli: Adcli, here: Path
) -> None:
    Path("a").mkdir()
    Path("b").mkdir()
    for name in ("a/x.png", "b/x.png", "a/x.jpg"):
        shutil.copy(of_verdict["NG"], name)
    paths = ["a/x.png", "b/x.png", "a/x.jpg", "a/x.png", "b/../a/x.png"]
    ran = adcli("watch", "-", "-m", band_model, "--out", "out", "--health", "told.json", stdin="\n".join(paths))
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert records(Path("out")) == answers
    assert [record["image"] for record in answers] == paths
    root = here.relative_to("/") if os.name != "nt" else here.relative_to(here.anchor)
    masks = {str(path.relative_to(Path("out/masks") / root)) for path in Path("out/masks").rglob("*.png")}
    assert masks == {"a/x.png", "b/x.png", "a/x.jpg.png", "a/x.png.png"}
    assert json.loads(Path("told.json").read_text())["ng"] == 5
    assert not Path("out/health.json").exists()
    assert adcli("watch", "-", "-m", band_model, "--out", "out", stdin="a/x.png").code == 0
    assert len(records(Path("out"))) == 6


def test_an_error_of_whoever_gives_the_paths_is_not_swallowed(model: Path) -> None:
    def lines() -> Iterator[str]:
        yield "none.png\n"
        raise EnvironmentFault("the pipe broke")

    told: list[dict[str, Any]] = []
    with pytest.raises(EnvironmentFault, match="the pipe broke"):
        ask(lines(), model, told.append)
    assert len(told) == 1


def test_a_path_that_no_file_can_have_is_an_error_and_the_next_is_answered(
    dataset: Path, model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    good = str(dataset / "test" / "good" / "000.png")
    for more in ((), ("--out", tmp_path / "out")):
        ran = adcli("watch", "-", "-m", model, *more, stdin=f"a\0b.png\n/\n{good}\n")
        assert ran.code == 5
        first, root, last = (json.loads(line) for line in ran.out.splitlines())
        assert (first["verdict"], root["verdict"]) == ("ERROR", "ERROR") and last["verdict"] != "ERROR"
        assert "no name that a file can have" in first["reason"]


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e12", "2200000", "-1"])
def test_a_wait_that_is_none_or_endless_is_refused(seconds: str, model: Path, adcli: Adcli) -> None:
    ran = adcli("watch", "-", "-m", model, "--exec", "true", f"--exec-timeout={seconds}", stdin="")
    assert ran.code == 2 and "no time to wait" in ran.sentence
