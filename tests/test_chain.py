"""A log whose every change shows at the line behind it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adcli.errors import Busy, EnvironmentFault
from adcli.files import hold
from adcli.report import chain
from adcli.report.chain import append_linked, broken_links
from tests.conftest import ROOT


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of six lines."""
    path = tmp_path / "log.jsonl"
    for number in range(6):
        append_linked(path, {"number": number, "name": "müll\udcff", "nothing": float("nan")})
    return path


def test_a_log_is_json_whatever_stands_in_it_and_has_no_broken_link(log: Path) -> None:
    lines = [json.loads(line) for line in log.read_bytes().decode().splitlines()]
    assert [line["number"] for line in lines] == list(range(6))
    assert {line["name"] for line in lines} == {"müll\udcff"}
    assert {line["nothing"] for line in lines} == {None}
    digests = [hashlib.sha256(line).hexdigest() for line in log.read_bytes().splitlines()]
    assert [line["previous"] for line in lines] == [None, *digests[:-1]]
    assert broken_links(log) == []
    assert broken_links(log.with_name("none")) == []


def test_a_change_removal_insertion_or_swap_of_lines_shows_at_the_line_behind_it(log: Path) -> None:
    whole = log.read_bytes().splitlines(keepends=True)

    def broken(lines: list[bytes]) -> list[int]:
        log.write_bytes(b"".join(lines))
        return broken_links(log)

    for at in range(6):
        altered = [line.replace(b'"number"', b'"numbeR"') if n == at else line for n, line in enumerate(whole)]
        assert broken(altered) == ([at + 2] if at < 5 else [])
        assert broken(whole[:at] + whole[at + 1 :]) == ([at + 1] if at < 5 else [])
        assert broken([*whole[:at], b"\n", *whole[at:]]) == [at + 1, *([at + 2] if at < 6 else [])]
        assert broken([*whole[:at], b'{"number": 9}\n', *whole[at:]]) == [at + 1, at + 2]
    assert broken([whole[0], whole[2], whole[1], *whole[3:]]) == [2, 3, 4]
    assert broken([line.replace(b"\n", b"\r\n") for line in whole]) == [2, 3, 4, 5, 6]
    assert broken([b"[" * 100_000 + b"\n", *whole[1:]]) == [1, 2]
    assert broken(whole) == []


def test_a_torn_last_line_is_closed_and_shows_and_the_next_is_whole(log: Path) -> None:
    whole = log.read_bytes()
    for cut in (1, 10):
        log.write_bytes(whole[:-cut])
        append_linked(log, {"number": 6})
        lines = log.read_bytes().splitlines()
        assert len(lines) == 7
        assert json.loads(lines[6])["previous"] == hashlib.sha256(lines[5]).hexdigest()
        assert broken_links(log) == ([] if cut == 1 else [6])  # without its line end only, the line is what it was


def test_two_links_to_a_log_are_one_log(log: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.jsonl"
    link.parent.mkdir()
    link.symlink_to(log)
    append_linked(link, {})
    assert link.is_symlink()
    assert broken_links(log) == []
    assert len(log.read_bytes().splitlines()) == 7
    with hold(log.with_name("log.jsonl.lock")), pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "_PATIENCE", 0.1)
        with pytest.raises(Busy):
            append_linked(link, {})


def test_many_processes_that_write_at_once_make_one_chain(log: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from adcli.report.chain import append_linked\n"
        "for number in range(10): append_linked(Path(sys.argv[1]), {'number': number})"
    )
    command = [sys.executable, "-c", code, str(log)]
    writers = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) for _ in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    assert len(log.read_bytes().splitlines()) == 36
    assert broken_links(log) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(EnvironmentFault):
            append_linked(tmp_path / "log.jsonl", {})
    finally:
        tmp_path.chmod(0o700)
