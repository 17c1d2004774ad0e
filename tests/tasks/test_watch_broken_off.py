"""The command of a watch that breaks off: it is run for every line that is on the disk, as no later watch runs it."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adcli.errors import EnvironmentFault
from adcli.report.database import Database
from adcli.report.ledger import Ledger
from adcli.tasks import station
from adcli.tasks.mapping import Mapper
from adcli.tasks.records import Outputs
from adcli.tasks.station import Channel, Settings
from adcli.tasks.watch import watch
from tests.tasks.folders import records

APPEND = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read())"


def run_for(
    folder: Path, model: Path, tell: Callable[[Any], None] = lambda record: None, outputs: Outputs | None = None
) -> list[str]:
    """The images that the command was run for, by a watch that fails; of them each once."""
    command = shlex.join([sys.executable, "-c", APPEND, str(folder / "ran")])
    settings = Settings(poll=0.02, settle=0.0, once=True, command=command, timeout=60.0)
    channel = Channel(tell, print, lambda: False)
    with pytest.raises((EnvironmentFault, BrokenPipeError)):
        watch(str(folder / "in"), model, folder / "out", channel=channel, settings=settings, outputs=outputs)
    return [json.loads(line)["image"] for line in (folder / "ran").read_bytes().splitlines()]


def closed(record: dict[str, Any]) -> None:
    raise BrokenPipeError


def full(*arguments: Any) -> None:
    raise EnvironmentFault("the disk is full")


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    shutil.copytree(dataset / "test" / "good", tmp_path / "in")
    return tmp_path


def kept(folder: Path) -> list[str]:
    return [record["image"] for record in records(folder / "out")]


def test_the_command_is_run_for_all_that_is_on_the_disk_when_nobody_listens(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station, "_LONGEST", 1000.0)
    assert run_for(folder, model, tell=closed) == kept(folder)
    assert len(kept(folder)) == 6


def test_the_command_is_run_for_all_that_is_on_the_disk_when_the_database_fails(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station, "_LONGEST", 1000.0)
    monkeypatch.setattr(
        Database, "follow", lambda self: full() if (folder / "out" / "results.jsonl").exists() else None
    )
    assert run_for(folder, model, outputs=Outputs(sqlite=folder / "runs.db")) == kept(folder)
    assert len(kept(folder)) == 6


def test_the_command_is_run_for_lines_that_the_ledger_does_not_take(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station, "_LONGEST", 1000.0)
    monkeypatch.setattr(Ledger, "put", full)
    assert run_for(folder, model) == kept(folder)
    assert len(kept(folder)) == 6


def test_the_command_is_run_for_what_is_brought_to_the_disk_at_the_end(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Mapper.stream

    def breaking(self: Mapper, *arguments: Any) -> Iterator[Any]:
        results = stream(self, *arguments)
        yield next(results)
        yield next(results)
        raise EnvironmentFault("the device is gone")

    monkeypatch.setattr(Mapper, "stream", breaking)
    monkeypatch.setattr(station, "_LONGEST", 1000.0)
    assert run_for(folder, model) == kept(folder)
    assert len(kept(folder)) == 2
    assert json.loads((folder / "out" / "health.json").read_bytes())["images"] == 2


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt, "stopped"), (BrokenPipeError, "failed")])
def test_the_health_file_says_whether_somebody_stopped_it(
    error: type[BaseException], state: str, folder: Path, model: Path
) -> None:
    def tell(record: dict[str, Any]) -> None:
        raise error

    channel = Channel(tell, print, lambda: False)
    with pytest.raises(error):
        watch(
            str(folder / "in"),
            model,
            folder / "out",
            channel=channel,
            settings=Settings(poll=0.02, settle=0.0, once=True),
        )
    assert json.loads((folder / "out" / "health.json").read_bytes())["state"] == state
