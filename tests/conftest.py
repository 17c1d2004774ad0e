"""A small dataset and one model for all tests, the command line in-process, and the real images where there are any."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

# Several processes of tests share the cores, and threads that wait for each other on a busy one take thrice the time.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before torch and numpy are imported

# A shell's background job ignores Ctrl-C, and so would every process that the tests start and stop by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("ADCLI_SHARED") or ROOT.parent / "shared")
QUICK = ("--backbone", "embedded", "--image-size", "64", "-p", "dims=30")  # a fit of well under a second


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What an error says: exactly one line, and no traceback."""
        assert self.err.endswith("\n"), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("adcli: "), self.err
        return self.err.removeprefix("adcli: ").rstrip("\n")


Adcli = Callable[..., Ran]


def undecodable_png(note: bytes = b"") -> bytes:
    """A file whose structure is a PNG's, checksums included, and whose pixels cannot be unpacked."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 96, 96, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"no pixels" + note) + chunk(b"IEND", b"")


@pytest.fixture(autouse=True, scope="session")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No weights, no configuration and no colours of whoever runs the tests."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ADCLI_")]:
            patch.delenv(name)
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            patch.delenv(name, raising=False)
        patch.setenv("ADCLI_WEIGHTS_DIR", str(nowhere / "weights"))
        patch.setenv("TORCH_HOME", str(nowhere / "torch"))
        patch.setenv("ADCLI_PICTURES", "0")  # half a second each, for the tests that look at them only
        yield


@pytest.fixture(scope="session")
def adcli() -> Adcli:
    """Runs a command line in this process."""
    from typer.testing import CliRunner

    from adcli.cli.app import app

    def run(*words: object, stdin: bytes | str | None = None, env: Mapping[str, str | None] | None = None) -> Ran:
        done = CliRunner().invoke(app, [str(word) for word in words], input=stdin, env=env)
        assert done.exit_code != 1, done.stderr
        return Ran(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/good, test/{good,scratch,stain,dent} and ground_truth, 96 x 96 gray PNG. Not to be written to."""
    folder = tmp_path_factory.mktemp("data") / "metal"
    few = ["--size", "96", "--good", "20", "--test-good", "6", "--defects", "3"]
    script = ROOT / "examples" / "make_textures.py"
    subprocess.run([sys.executable, str(script), str(folder), *few], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def model(dataset: Path, adcli: Adcli) -> Path:
    """A calibrated model of the dataset. Not to be written to: see `own_model`."""
    path = dataset.parent / "model.h5"
    assert adcli("fit", dataset / "train", "-m", path, *QUICK).code == 0
    return path


@pytest.fixture(scope="session")
def band_model(dataset: Path, model: Path, adcli: Adcli) -> Path:
    """The model with a CHECK band, set on all the good test images and the defective ones: all three verdicts occur."""
    path = shutil.copy(model, model.with_name("band.h5"))
    band = ("--max-false-reject", "0.2", "--check-false-reject", "0.6", "--min-area", "20px")
    assert adcli("calibrate", dataset / "test", "-m", path, *band, "--pixel-pitch", "0.1mm").code == 0
    return path


@pytest.fixture
def own_model(model: Path, tmp_path: Path) -> Path:
    """A copy of the model, to calibrate or to damage."""
    return shutil.copy(model, tmp_path / "own.h5")


@pytest.fixture(scope="session")
def uncalibrated(dataset: Path, model: Path, adcli: Adcli) -> Path:
    """A model that held nothing out."""
    path = model.with_name("uncalibrated.h5")
    assert adcli("fit", dataset / "train", "-m", path, *QUICK, "--holdout", "0").code == 0
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and weights beside the project; ADCLI_SHARED names another."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"there are no real images in {SHARED}: set ADCLI_SHARED to the folder that has data and weights")
    return SHARED
