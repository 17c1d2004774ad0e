"""adcli run night after night: interrupted and continued, begun with --init, and as the page shows it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adcli.store import load
from tests.cli.conftest import DAY, QUICK_FIT
from tests.cli.processes import Process, needs_fork
from tests.conftest import ROOT, Adcli
from tests.tasks.folders import records, timeless

# An interruption


def test_a_finished_part_is_not_scored_again_and_another_night_is(line: Path, adcli: Adcli) -> None:
    assert adcli("run", *DAY).code == 0
    times = {path: path.stat().st_mtime_ns for path in Path("results").rglob("*") if path.is_file()}
    shutil.rmtree("results/2026-01-31/cap")
    ran = adcli("run", "--resume", *DAY, "--json")
    assert ran.code == 0
    assert [row["note"] for row in json.loads(ran.out)["rows"]] == ["finished before", "", "finished before"]
    for path, when in times.items():
        assert (path.stat().st_mtime_ns == when) == ("cap" not in path.parts)
    ran = adcli("run", "--resume", "--date", "2026-02-01", "--json")
    assert [row["note"] for row in json.loads(ran.out)["rows"]] == ["", "", ""]
    assert len(records(Path("results/2026-02-01/lid"))) == 15


@needs_fork
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_night_says_how_to_go_on_and_then_is_as_if_it_had_not_been(
    number: int, code: int, dataset: Path, line: Path, adcli: Adcli
) -> None:
    for copy in range(8):
        shutil.copytree(dataset / "test", f"incoming/cap/{copy}")
    assert adcli("run", *DAY).code == 0
    whole = {part: timeless(Path(f"results/2026-01-31/{part}")) for part in ("lid", "cap", "ring")}
    shutil.rmtree("results")
    named = () if number == signal.SIGINT else ("--project", line / "adcli.toml")
    process = Process("run", *DAY, *named, cwd=line.parent if named else line, env={"ADCLI_WORKERS": "1"})
    until = time.monotonic() + 60
    while not Path("results/2026-01-31/cap/.adcli-run.json").exists() and time.monotonic() < until:
        time.sleep(0.002)
    process.send(number)
    assert process.wait() == code
    assert process.out == ""
    again = re.search(r"go on with (adcli run .*)\n", process.err)[1]
    assert again == " ".join(["adcli run --date 2026-01-31 --resume", *map(str, named)])
    assert Path("results/2026-01-31/lid/run.json").exists()
    assert not Path("results/2026-01-31/ring").exists()
    assert adcli(*shlex.split(again)[1:]).code == 0
    assert {part: timeless(Path(f"results/2026-01-31/{part}")) for part in whole} == whole


# A file to start from


def test_init_writes_a_file_that_can_be_run_and_overwrites_none(adcli: Adcli, here: Path) -> None:
    assert adcli("run", "--init").code == 0
    text = Path("adcli.toml").read_text()
    listed = adcli("run", "--list", *DAY)
    assert shlex.split(listed.out) == [
        *("adcli", "score", "--no-project", "--out", "results/2026-01-31/lid", "--model", "lid.h5"),
        *("--fail-on", "ng", "incoming/lid"),
    ]
    told = adcli("run", "--init")
    assert (told.code, "exists" in told.sentence) == (2, True)
    assert Path("adcli.toml").read_text() == text
    Path("adcli.toml").write_text("[[[")
    assert adcli("run", "--init").code == 2
    assert Path("adcli.toml").read_text() == "[[["


def test_every_line_of_the_file_to_start_from_is_right_also_those_in_comments(adcli: Adcli, here: Path) -> None:
    assert adcli("run", "--init").code == 0
    lines = Path("adcli.toml").read_text().splitlines()
    bare = [re.sub(r"^# (?=\[|[a-z-]+ = )", "", text) for text in lines]
    assert sum(a != b for a, b in zip(bare, lines, strict=True)) > 10
    Path("adcli.toml").write_text("\n".join(bare))
    assert adcli("run", "--list", "--do", "fit,calibrate,score,eval,verify").code == 0


def test_completion_offers_the_parts_of_the_file(line: Path) -> None:
    call = [sys.executable, "-c", "from adcli.cli.app import app; app(prog_name='adcli')"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "_ADCLI_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    for begun, offered in (("", ["lid", "cap", "ring"]), ("c", ["cap"]), ("z", [])):
        words = env | {"COMP_WORDS": f"adcli run {begun}"}
        assert subprocess.run(call, env=words, capture_output=True, text=True).stdout.split() == offered
    (line / "adcli.toml").write_text("[[[")
    done = subprocess.run(call, env=env | {"COMP_WORDS": "adcli run "}, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


# What is written


def test_the_page_shows_the_example() -> None:
    page = (ROOT / "docs/project.md").read_text()
    assert re.search(r"^```toml\n(.*?)^```", page, re.S | re.M)[1] == (ROOT / "examples/adcli.toml").read_text()


def test_the_example_runs(dataset: Path, adcli: Adcli, here: Path) -> None:
    shutil.copy(ROOT / "examples/adcli.toml", "adcli.toml")
    Path("models").mkdir()
    Path("samples").mkdir()
    for part in ("lid", "cap", "ring"):
        shutil.copytree(dataset / "train", f"good/{part}")
        shutil.copytree(dataset, f"labelled/{part}")
    for folder in ("lid", "cap-left", "cap-right", "ring"):
        shutil.copytree(dataset / "test/good", f"incoming/{folder}")
    shutil.copytree(dataset / "test/good", "held-out/lid")
    samples = "image,expected\n" + "".join(f"../held-out/lid/{n:03}.png,OK/CHECK/NG\n" for n in range(3))
    Path("samples/lid.csv").write_text(samples)
    env = QUICK_FIT | {"ADCLI_MAX_FALSE_REJECT": "20%"}  # there are few images here
    fitted = adcli("run", "--do", "fit", env=env)
    assert fitted.code == 0, fitted.err
    assert load(Path("models/ring.h5")).model.spec.method == "patchcore"
    assert len(load(Path("models/cap.h5")).model.sizes) == 2
    ran = adcli("run", "lid", "--do", "calibrate,verify,score,eval", *DAY, "--json", env=env)
    assert ran.code in (0, 3), ran.err
    ran = adcli("run", *DAY, "--resume", "--json")
    assert ran.code in (0, 3), ran.err
    told = [(row["part"], row["images"], row["note"]) for row in json.loads(ran.out)["rows"]]
    assert told == [("lid", 6, "finished before"), ("cap", 12, ""), ("ring", 6, "")]
    assert Path("line-3.db").exists()
    assert len(list(Path("results/2026-01-31/cap/masks").rglob("*.png"))) == 12
    assert Path("evaluated/2026-01-31/lid/eval.json").exists()
