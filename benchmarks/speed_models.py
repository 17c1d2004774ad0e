"""What speed.py needs before it can time anything: images, and a fitted model for every contender, kept in a folder.

adcli's models are those of plain `adcli fit`: a fifth of the good images is held out. PatchCore's bank of the others is
the one that adcli chose, so that all search equally many vectors; PaDiM each learns itself.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from measure import HERE, SHARED, WEIGHTS, adcli, run
from speed_images import describe_files, make_images

METHODS = {
    "padim": ["--method", "padim"],
    "patchcore_1%": ["--method", "patchcore", "-p", "coreset=0.01"],
    "patchcore_10%": ["--method", "patchcore", "-p", "coreset=0.1"],
}
SCORED = ("padim", "patchcore_1%")
SETS = ("160", "mtd")


def family(method: str) -> str:
    """The method's name to those who know no shares."""
    return method.partition("_")[0]


@dataclass(frozen=True)
class Bench:
    """The folder, and who takes part."""

    folder: Path
    peer_python: str | None
    limit: int  # images a set; 0: all

    @cached_property
    def _made(self) -> Path:
        folder = self.folder / "160"
        make_images(folder, SHARED / "data" / "bottle450")
        return folder

    def data(self, name: str) -> Path:
        """The data set, in the MVTec AD layout."""
        return self._made if name == "160" else SHARED / "data" / name

    def scored(self, name: str) -> Path:
        """The folder of images to score."""
        return self._few(self.data(name) / "test", f"{name}-test")

    def learnt(self, name: str) -> Path:
        """The folder of images that `fit` is timed on."""
        return self._few(self._good(name), f"{name}-train")

    def _good(self, name: str) -> Path:
        return self.data(name) / "train" / "good"

    def _few(self, whole: Path, name: str) -> Path:
        """Copies of some of a folder's images, where not all are asked for."""
        if not self.limit:
            return whole
        few = self.folder / f"{name}-{self.limit}"
        files = images_in(whole)
        for path in files[:: max(1, len(files) // self.limit)][: self.limit]:
            copy = few / path.relative_to(whole)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return few

    def model(self, name: str, method: str) -> Path:
        """adcli's model."""

        def make(path: Path) -> None:
            words = [*METHODS[method], "--weights", str(WEIGHTS), "--device", "cpu", "--no-pictures"]
            run(adcli("fit", str(self._good(name)), *words, "--model", str(path)))

        return self._once(f"adcli/{name}-{method}.h5", make)

    def bank(self, name: str, method: str) -> Path | None:
        """adcli's PatchCore bank as an array; None for a method without."""
        if family(method) != "patchcore":
            return None

        def make(path: Path) -> None:
            import numpy as np

            from adcli.store import load

            np.save(path, load(self.model(name, method)).model.detector.bank.read())

        return self._once(f"banks/{name}-{method}.npy", make)

    def plain(self, name: str, method: str) -> Path:
        """The plain script's model."""

        def make(path: Path) -> None:
            words = ["fit", family(method), str(self._good(name)), str(path), "--weights", str(WEIGHTS)]
            run([sys.executable, str(HERE / "speed_plain.py"), *words, *self._bank_words(name, method)])

        return self._once(f"plain/{name}-{method}.pt", make)

    def checkpoint(self, name: str, method: str) -> Path:
        """anomalib's."""

        def make(path: Path) -> None:
            words = ["fit", family(method), str(self.data(name)), str(path), "--weights", str(WEIGHTS)]
            run(self.peer(*words, *self._bank_words(name, method)))

        return self._once(f"anomalib/{name}-{method}.ckpt", make)

    def peer(self, *words: str) -> list[str]:
        """A command in anomalib's interpreter."""
        assert self.peer_python
        return [self.peer_python, str(HERE / "speed_peer.py"), *words]

    def facts(self, name: str) -> dict[str, Any]:
        """What is scored."""
        return describe_files(images_in(self.scored(name)))

    def rows_in_bank(self, name: str, method: str) -> int | None:
        """Vectors that every PatchCore searches."""
        import numpy as np

        bank = self.bank(name, method)
        return None if bank is None else len(np.load(bank, mmap_mode="r"))

    def _bank_words(self, name: str, method: str) -> list[str]:
        bank = self.bank(name, method)
        return [] if bank is None else ["--bank", str(bank)]

    def _once(self, relative: str, make: Callable[[Path], None]) -> Path:
        path = self.folder / relative
        if not path.exists():
            print("making", path, file=sys.stderr, flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_stem(f"{path.stem}-unfinished")
            unfinished.unlink(missing_ok=True)
            make(unfinished)
            unfinished.rename(path)
        return path


def images_in(folder: Path) -> list[Path]:
    """Those of a folder, as all contenders find them."""
    return sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
