"""The completion scripts work in the shells that are here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "completions"
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def shell(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=os.environ | more, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("name", "check"), [("adcli.bash", ("bash", "-n")), ("_adcli", ("zsh", "-n")), ("adcli.fish", ("fish", "-n"))]
)
def test_the_shell_can_read_its_script(name: str, check: tuple[str, str]) -> None:
    if shutil.which(check[0]) is None:
        pytest.skip(f"{check[0]} is not installed")
    done = shell(*check, str(SCRIPTS / name))
    assert (done.returncode, done.stderr) == (0, "")


def test_zsh_finds_its_mark_on_the_first_line() -> None:
    assert (SCRIPTS / "_adcli").read_text().startswith("#compdef adcli\n")


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["fi"], ["fit"]),
        (["weights", "ver"], ["verify"]),
        (["fit", "--hold"], ["--holdout"]),
        (["nothing-like-it"], []),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], offered: list[str]) -> None:
    program = tmp_path / "adcli"
    program.write_text(
        f"#!/bin/sh\nexec '{sys.executable}' -c \"from adcli.cli.app import app; app(prog_name='adcli')\"\n"
    )
    program.chmod(0o755)
    script = f"""
        source "{SCRIPTS}/adcli.bash"
        COMP_WORDS=(adcli {" ".join(words)})
        COMP_CWORD={len(words)}
        $(complete -p adcli | sed 's/.* -F \\([^ ]*\\) .*/\\1/') adcli
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = shell("bash", "--norc", "-c", script, PATH=path, PYTHONPATH=str(ROOT))
    assert done.stdout.split() == offered, done.stderr
