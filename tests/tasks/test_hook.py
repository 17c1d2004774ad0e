"""The command that is run for each result: what it is given, and what becomes of one that fails."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from pathlib import Path

import pytest

from adcli.errors import UsageError
from adcli.tasks import hook
from adcli.tasks.hook import Hook

RECORDS = [{"image": f"in/{n}.png", "verdict": "OK", "score": n + 0.5} for n in range(5)]


def python(code: str, *arguments: object) -> str:
    return shlex.join([sys.executable, "-c", code, *map(str, arguments)])


def run(command: str, timeout: float = 20.0, records: list[dict[str, object]] = RECORDS) -> tuple[dict, list[str]]:
    """The counts and what was said, of a command that is run for some records."""
    said: list[str] = []
    with Hook(command, timeout, said.append) as running:
        for record in records:
            running.run(record)
    return running.counts(), said


def counts(**more: int) -> dict[str, int]:
    names = ("ok", "failed", "timed_out", "dropped", "waiting")
    return {f"exec_{name}": more.get(name, 0) for name in names}


def test_each_result_is_given_as_json_in_order(tmp_path: Path) -> None:
    append = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read())"
    told = run(python(append, tmp_path / "a file"))
    assert told == (counts(ok=5), [])
    assert [json.loads(line) for line in (tmp_path / "a file").read_bytes().splitlines()] == RECORDS


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    write = "import sys; open(sys.argv[1], 'w').write(repr(sys.argv[2:]))"
    words = ["$HOME", "*", "a;b", "`id`", "> out", "in/0.png"]
    run(python(write, tmp_path / "words", *words), records=RECORDS[:1])
    assert (tmp_path / "words").read_text() == repr(words)


@pytest.mark.skipif(os.name == "nt", reason="a shell")
def test_a_shell_that_is_written_is_used(tmp_path: Path) -> None:
    assert run(f"sh -c 'cat >>{shlex.quote(str(tmp_path))}/all'")[0] == counts(ok=5)
    assert (tmp_path / "all").read_text().count("\n") == 5


def test_failures_are_counted_and_told_and_the_next_is_run() -> None:
    pick = "import json, sys; sys.exit(3 if json.load(sys.stdin)['score'] == 1.5 else 0)"
    told, said = run(python(pick))
    assert told == counts(ok=4, failed=1)
    assert said == ["--exec ended with 3 for in/1.png"]


def test_a_command_that_does_not_read_is_no_failure() -> None:
    large = [{"image": "a.png", "more": "x" * 200_000}]
    assert run(python("pass"), records=large) == (counts(ok=1), [])


@pytest.mark.skipif(os.name == "nt", reason="groups of processes")
def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = f"import time; time.sleep(1); open({str(tmp_path / 'late')!r}, 'w')"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    began = time.monotonic()
    told, said = run(python(parent), timeout=0.5, records=RECORDS[:1])
    assert time.monotonic() - began < 20
    assert told == counts(timed_out=1)
    assert said == ["--exec took more than 0.5 s for in/0.png and was ended"]
    time.sleep(1.5)
    assert not (tmp_path / "late").exists()


def test_results_that_are_too_many_for_the_time_left_are_dropped_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "_MOST_WAITING", 10)
    said: list[str] = []
    with Hook(python("import time; time.sleep(0.4)"), 0.6, said.append, lambda: True) as running:
        for record in RECORDS * 2:
            running.run(record)
    told = running.counts()
    assert told["exec_dropped"] > 0
    assert sum(told.values()) == 10
    assert said[-1].startswith(f"--exec was not run for the last {told['exec_dropped']} results")


def test_an_end_that_nobody_asked_for_waits_for_all_that_are_slow_but_not_too_slow() -> None:
    told, said = run(python("import time; time.sleep(0.15)"), timeout=0.6, records=RECORDS * 2)
    assert (told, said) == (counts(ok=10), [])


def test_scoring_waits_for_a_command_that_is_slower_than_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "_MOST_WAITING", 1)
    said: list[str] = []
    with Hook(python("import time; time.sleep(0.2)"), 20.0, said.append) as running:
        began = time.monotonic()
        for record in RECORDS:
            running.run(record)
        assert time.monotonic() - began > 0.5


@pytest.mark.skipif(os.name == "nt", reason="groups of processes")
def test_a_run_that_is_begun_shortly_before_the_end_has_the_time_that_is_left() -> None:
    said: list[str] = []
    began = time.monotonic()
    with Hook(python("import time; time.sleep(40)"), 60.0, said.append) as running:
        running._until = began + 1.5  # as where the runs before it have used the rest
        for record in RECORDS:
            running.run(record)
    assert time.monotonic() - began < 20
    assert running.counts() == counts(timed_out=1, dropped=4)
    assert re.fullmatch(r"--exec took more than 1(\.\d)? s for in/0.png and was ended", said[0])


def fail(*arguments: object) -> None:
    raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("is_heard", [True, False])
def test_whatever_goes_wrong_is_a_failure_and_the_next_is_run(is_heard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = hook.encode_json
    monkeypatch.setattr(hook, "encode_json", lambda record: fail() if record["score"] == 1.5 else encode(record))
    said: list[str] = []
    with Hook(python("pass"), 20.0, said.append if is_heard else fail) as running:
        for record in RECORDS:
            running.run(record)
    assert running.counts() == counts(ok=4, failed=1)
    assert said == ["--exec failed for in/1.png: I/O operation on closed file"][:is_heard]


def test_a_command_that_no_system_can_run_is_a_failure_for_each_result() -> None:
    told, said = run(python("pass", "a\0b"))
    assert told == counts(failed=5)
    assert said[0].startswith("--exec failed for in/0.png: ")


@pytest.mark.parametrize("command", ["no-such-program --at-all", "", "'unclosed", "  "])
def test_a_program_that_is_not_there_is_refused_at_once(command: str) -> None:
    with pytest.raises(UsageError, match="--exec"):
        Hook(command, 1.0, print)


def test_a_program_that_goes_away_is_a_failure(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o755)
    said: list[str] = []
    with Hook(str(program), 20.0, said.append) as running:
        program.unlink()
        running.run(RECORDS[0])
    assert running.counts() == counts(failed=1)
    assert "could not be run for in/0.png" in said[0]
