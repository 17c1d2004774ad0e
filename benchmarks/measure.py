"""Runs a whole command and tells what it took: wall and processor seconds, and peak memory, by the system's account."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SHARED = Path(os.environ.get("ADCLI_SHARED", HERE.parent.parent / "shared"))
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WEIGHTS = SHARED / "weights" / "resnet18-imagenet1k-v1-to-layer3.pth"


def run(command: Sequence[str], **environment: str) -> tuple[str, dict[str, float]]:
    """stdout of a command, and its `wall_s`, `cpu_s`, `peak_mb`. Ends the program when the command fails."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **environment})
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        if status:
            sys.exit(f"{' '.join(command)} ended with {status}: {err.read().decode()[-2000:]}")
        text = out.read().decode()
    took = {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}
    return text, {key: round(value, 3) for key, value in took.items()}


def adcli(*words: str) -> list[str]:
    """The command line of adcli in this interpreter's environment."""
    return [sys.executable, "-m", "adcli", *words]


def small_model(folder: Path) -> tuple[Path, Path]:
    """A data set of 96 x 96 pixels and a model of it."""
    data, model = folder / "data", folder / "model.h5"
    script = HERE.parent / "examples" / "make_textures.py"
    few = ["--size", "96", "--good", "20", "--test-good", "6", "--defects", "3"]
    run([sys.executable, str(script), str(data), *few])
    quick = ["--backbone", "random-resnet18", "--image-size", "64", "-p", "dims=30", "--no-pictures"]
    run(adcli("fit", str(data / "train"), "-m", str(model), *quick))
    return data, model


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    from adcli.versions import library_versions

    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    flags: set[str] = set()
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
            elif line.startswith("flags"):
                flags = set(line.partition(":")[2].split())
    return {
        "cpu": model,
        "cores": CORES,
        "amx_bf16": "amx_bf16" in flags,
        "avx512f": "avx512f" in flags,
        "python": platform.python_version(),
        "versions": library_versions(),
    }


def keep(name: str, content: dict[str, Any]) -> Path:
    """Writes benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
