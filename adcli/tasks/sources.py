"""Which model, run or folder of maps belongs to which category of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adcli.errors import UsageError
from adcli.report.results import LINES, RUN
from adcli.tasks.engines import Machine
from adcli.tasks.observed_files import MapsSource, ResultsSource
from adcli.tasks.observing import ModelSource, Source

PLACE = "{category}"
_LARGEST = 3.4028234663852886e38  # float32, as maps are


@dataclass(frozen=True)
class Evaluand:
    """What is evaluated: a model, unless `origin` names a folder of results or of maps.

    Both paths may hold `{category}`; of several categories, a folder is taken for one of models or of results, by name.
    """

    model: Path = Path("model.h5")
    origin: Path | None = None
    scores: Path | None = None  # CSV of image scores, with maps only
    map_threshold: float | None = None  # with maps only
    weights: Path | None = None  # with a model only, to be checked

    def opener(self, categories: Sequence[str], machine: Machine) -> Callable[[str], Source]:
        """Opens a category's source by its name. Raises UsageError at once, naming all that are missing."""
        if self.origin is None:
            if self.scores is not None or self.map_threshold is not None:
                raise UsageError("--scores and --map-threshold belong to maps of another tool: name them with --from")
            models = self._located(self.model, categories, "model")
            return lambda name: ModelSource(models[name], machine, self.weights)
        if self.weights is not None:
            raise UsageError("--weights are checked against a model, and --from needs none: leave one of them out")
        if self.map_threshold is not None and not abs(self.map_threshold) <= _LARGEST:
            raise UsageError(f"--map-threshold {self.map_threshold:g} is no score: write a number that float32 holds")
        folders = self._located(self.origin, categories, "folder")
        scores = {} if self.scores is None else self._located(self.scores, categories, "table of scores")

        def open_folder(name: str) -> Source:
            folder = folders[name]
            if (folder / RUN).exists() or (folder / LINES).exists():
                if self.scores is not None or self.map_threshold is not None:
                    raise UsageError(f"{folder} holds results of adcli score: leave out --scores and --map-threshold")
                return ResultsSource(folder)
            return MapsSource(folder, self.map_threshold, scores.get(name))

        return open_folder

    def _located(self, path: Path, categories: Sequence[str], what: str) -> dict[str, Path]:
        found = {name: self._of(path, name, what, len(categories) > 1) for name in categories}
        if what == "model" and list(found.values()) == [path]:
            return found  # a missing one is refused as by every verb, when it is opened
        if missing := sorted({str(one) for one in found.values() if not one.exists()}):
            raise UsageError(f"there is no {what} {', '.join(missing)}: name it, with {PLACE} where categories differ")
        return found

    @staticmethod
    def _of(path: Path, category: str, what: str, several: bool) -> Path:
        if PLACE in str(path):
            return Path(str(path).replace(PLACE, category))
        if not several or not path.is_dir():
            return path
        if what == "model":
            inside = [path / f"{category}.h5", path / category / "model.h5"]
            return next((one for one in inside if one.exists()), inside[0])
        return path / category if (path / category).exists() else path
