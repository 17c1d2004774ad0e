"""stdout carries data and nothing else; what is said goes to stderr, one line a thing; colours and bars only where
somebody looks."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import Process, needs_fork
from tests.conftest import QUICK, Adcli

ESCAPE = "\x1b"


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("fit {data}/train -m new.h5 {quick}", {"model", "method", "learnt", "threshold", "held_out", "min_area_px"}),
        ("fit {data}/train -m new.h5 {quick} --holdout 0", {"model", "method", "learnt", "calibrated", "unreadable"}),
        ("calibrate {data}/test/good -m own.h5", {"threshold", "held_out", "rejected", "estimates", "suspects"}),
        ("score {data}/test --out out -m own.h5", {"images", "ok", "check", "ng", "error", "model"}),
        ("eval {data} -m own.h5", {"rows", "notes", "model"}),
        ("info own.h5", {"method", "sha256", "detector_digest", "weights_digest", "threshold", "size_bytes"}),
        ("methods", None),
        ("doctor", {"cores", "missing", "versions", "weights"}),
        ("weights list", None),
        ("weights verify", None),
    ],
)
def test_with_json_stdout_is_one_document(
    words: str, keys: set[str] | None, dataset: Path, model: Path, adcli: Adcli, here: Path
) -> None:
    shutil.copy(model, "own.h5")
    command = words.format(data=shlex.quote(str(dataset)), quick=" ".join(QUICK))
    ran = adcli(*shlex.split(command), "--json")
    assert ran.code == 0
    document = json.loads(ran.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON number"))
    assert ran.out.endswith("\n")
    assert keys is None or keys <= set(document)
    named = re.findall(r'"([^"]+)": ', json.dumps(document["rows"][0] if "rows" in document else {}))
    assert all(re.fullmatch(r"[a-z0-9_.]+", name) for name in named)


def test_json_of_fit_and_calibrate_lists_what_was_left_out(dataset: Path, adcli: Adcli, here: Path) -> None:
    shutil.copytree(dataset / "train" / "good", "good")
    for number in range(20):  # some will be learnt from, some held out
        Path(f"good/bad{number}.png").write_bytes(b"no image" + bytes([number]))
    fitted = adcli("fit", "good", *QUICK, "--json")
    assert fitted.code == 5
    left_out = json.loads(fitted.out)["unreadable"]
    assert sorted(entry["image"] for entry in left_out) == sorted(f"good/bad{number}.png" for number in range(20))
    assert all("convert it" in entry["reason"] for entry in left_out)
    shutil.copytree(dataset / "test" / "good", "later")
    Path("later/bad.png").write_bytes(b"no image")
    calibrated = adcli("calibrate", "later", "--json")
    assert calibrated.code == 5
    assert [entry["image"] for entry in json.loads(calibrated.out)["left_out"]] == ["later/bad.png"]


def test_without_json_stdout_is_a_table_and_stderr_what_is_said(
    dataset: Path, own_model: Path, adcli: Adcli, tmp_path: Path
) -> None:
    for words in (
        ("fit", dataset / "train", "-m", tmp_path / "new.h5", *QUICK),
        ("calibrate", dataset / "test" / "good", "-m", own_model),
        ("score", dataset / "test", "--out", tmp_path / "out", "-m", own_model),
        ("eval", dataset, "-m", own_model),
        ("eval", dataset, "-m", own_model, "--csv"),
        ("eval", dataset, "-m", own_model, "--markdown"),
        ("info", own_model),
        ("methods",),
        ("weights", "list"),
    ):
        ran = adcli(*words)
        assert ran.code == 0
        assert ran.out.strip()
        assert ESCAPE not in ran.out + ran.err
        assert "\r" not in ran.out + ran.err
        quiet = adcli(*words, "-q", *(["--force"] if words[0] == "fit" else [])) if words[0] in VERBS else None
        assert quiet is None or quiet.err == ""


VERBS = ("fit", "calibrate", "score", "eval")


def test_the_first_thing_calibrate_prints_is_the_highest_held_out_scores(
    dataset: Path, own_model: Path, adcli: Adcli
) -> None:
    ran = adcli("calibrate", dataset / "test" / "good", "-m", own_model)
    assert ran.out.startswith("Highest held-out scores")
    for rule in ("area", "conformal 5 %", "conformal 1 %", "guaranteed 5 % at 95 %", "guaranteed 1 % at 95 %"):
        assert rule in ran.out
    assert "needs 299 images" in ran.out


def test_eval_csv_has_a_row_for_every_row_and_nothing_where_undefined(
    dataset: Path, uncalibrated: Path, adcli: Adcli
) -> None:
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(adcli("eval", dataset, "-m", uncalibrated, "--csv").out)))
    document = json.loads(adcli("eval", dataset, "-m", uncalibrated, "--json").out)
    assert len(rows) == len(document["rows"])
    for row, same in zip(rows, document["rows"], strict=True):
        assert row == {key: "" if value is None else str(value) for key, value in same.items()}
    assert rows[-1]["threshold"] == rows[-1]["tnr"] == ""


@pytest.mark.parametrize(
    "name",
    ["two\nlines.png", "tab\there.png", "car\rriage.png", "\x1b[31mred.png", "[bold]x[.png", ":bug:.png", "\udcff.png"],
)
def test_no_name_of_a_file_breaks_a_line_or_colours_a_terminal(
    name: str, dataset: Path, own_model: Path, adcli: Adcli, here: Path
) -> None:
    shutil.copytree(dataset / "test" / "good", "good")
    shutil.copy(dataset / "test" / "dent" / "002.png", f"good/{name}")
    Path("broken").mkdir()
    Path(f"broken/{name}").write_bytes(b"no image")
    inputs = ("good", f"broken/{name}")
    shown = name.encode("unicode_escape").decode() if not name.isprintable() else name
    for words in (
        ("score", *inputs, "--out", "out", "-m", own_model),
        ("calibrate", *inputs, "-m", own_model),
        ("fit", *inputs, *QUICK, "-m", "new.h5", "--holdout", "0.5"),
    ):
        ran = adcli(*words)
        assert ran.code == 5
        assert ESCAPE not in ran.err + ran.out
        assert "\r" not in ran.err + ran.out
        (line,) = [line for line in ran.err.splitlines() if "broken/" in line]
        assert line.startswith("adcli: ")
        assert shown in line
        assert words[0] != "calibrate" or f"good/{shown} " in ran.out  # among the highest scores
    told = adcli("score", f"broken/{name}x", "--out", "out", "-m", own_model)
    assert told.code == 2
    assert told.sentence
    calibrated = adcli("calibrate", *inputs, "-m", own_model, "--json")
    assert f"good/{name}" in [suspect["image"] for suspect in json.loads(calibrated.out)["suspects"]]


def test_colour_is_forced_and_forbidden_by_the_environment(own_model: Path, adcli: Adcli) -> None:
    assert ESCAPE in adcli("info", own_model, env={"FORCE_COLOR": "1", "TERM": "xterm"}).out
    assert ESCAPE not in adcli("info", own_model, env={"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}).out
    assert ESCAPE not in adcli("info", own_model, env={"FORCE_COLOR": "1", "TERM": "dumb"}).out
    json.loads(adcli("info", own_model, "--json", env={"FORCE_COLOR": "1", "TERM": "xterm"}).out)


def test_verbose_prints_the_traceback_and_still_the_sentence(adcli: Adcli) -> None:
    told = adcli("info", "none.h5", "-v")
    assert told.code == 2
    assert "Traceback" in told.err
    assert told.err.splitlines()[-1].startswith("adcli: there is no model")
    assert "Traceback" in adcli("info", "none.h5", env={"ADCLI_VERBOSE": "1"}).err
    for no in ("", "0", "false", "No", "OFF"):
        assert "Traceback" not in adcli("info", "none.h5", env={"ADCLI_VERBOSE": no}).err


def test_a_defect_is_one_line_that_names_a_log(
    dataset: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    from typer.testing import CliRunner

    from adcli.cli.app import app
    from adcli.tasks import records as made

    def break_down(*words: object) -> None:
        raise ZeroDivisionError("on a\nrainy day")

    monkeypatch.setattr(made, "judge", break_down)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    command = ["score", str(dataset / "test"), "--out", str(tmp_path / "out"), "-m", str(model)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    log = Path(re.search(r"ZeroDivisionError: (\S+\.log) ", done.stderr)[1])
    assert "rainy day" in log.read_text()
    assert log.parent == tmp_path
    done = CliRunner().invoke(app, [*command, "--force", "-v"])
    assert done.exit_code == 1
    assert "in break_down" in done.stderr


class Screen:
    """A terminal, and all that was written to it."""

    def __init__(self) -> None:
        self._master, self._slave = os.openpty()
        self.name = os.ttyname(self._slave)
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 4096):
                self._seen += data
        except OSError:  # the last writer is gone
            pass

    def close(self) -> str:
        """Waits for the end, and tells what was shown."""
        os.close(self._slave)
        self._reader.join(10)
        os.close(self._master)
        return self._seen.decode()


@pytest.fixture
def screen() -> Iterator[Screen]:
    yield Screen()


@needs_fork
@pytest.mark.parametrize(
    ("options", "env", "bars", "colours"),
    [
        ((), {"TERM": "xterm"}, True, True),
        ((), {"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ((), {"TERM": "dumb"}, False, False),
        (("-q",), {"TERM": "xterm"}, False, False),
    ],
)
def test_a_terminal_gets_progress_on_stderr_and_data_on_stdout_stays_bare(
    options: tuple[str, ...],
    env: dict[str, str],
    bars: bool,
    colours: bool,
    screen: Screen,
    dataset: Path,
    model: Path,
    tmp_path: Path,
) -> None:
    words = ("score", dataset / "test", "--out", "out", "-m", model, "--json", *options)
    process = Process(*words, cwd=tmp_path, env=env, err=screen.name)
    assert process.wait() == 0
    shown = screen.close()
    assert json.loads(process.out)["images"] == 15
    assert ("15/15" in shown) == bars
    assert bool(re.search(r"\x1b\[[0-9;]*[1-9][0-9;]*m", shown)) == colours
    assert (ESCAPE in shown) == bars


@needs_fork
def test_where_no_terminal_is_neither_bars_nor_codes_are(dataset: Path, model: Path, tmp_path: Path) -> None:
    for env in ({"TERM": "xterm"}, {"TERM": "xterm", "FORCE_COLOR": "1"}):
        process = Process("score", dataset / "test", "--out", "out", "-m", model, "--json", cwd=tmp_path, env=env)
        assert process.wait() == 0
        assert process.err == ""
        assert json.loads(process.out)["images"] == 15
