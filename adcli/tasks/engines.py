"""Which engine scores, and in which precision: those that the threshold was set in, where this machine has them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from adcli.backbones import PIXELS
from adcli.detectors import Method
from adcli.engines import PRECISIONS, LearningEngine, Scorer, fast_bf16_cpu, may_have_gpu
from adcli.errors import EnvironmentFault, UsageError
from adcli.graphs import Graph
from adcli.graphs.network import Network
from adcli.model import Model
from adcli.parallel import cores

TORCH, OPENVINO = "torch", "openvino"
ENGINES = ("auto", TORCH, OPENVINO)
_NAMES = {TORCH: "torch", OPENVINO: "OpenVINO"}


@dataclass(frozen=True)
class Machine:
    """What of this machine to use. Words as on the command line."""

    device: str = "auto"  # auto | cpu | cuda | cuda:N
    engine: str = "auto"  # auto | torch | openvino
    precision: str = "auto"  # auto | fp32 | bf16
    batch_size: int = 0  # images a batch; 0: the engine's own
    workers: int = 0  # threads; 0: one a core

    @property
    def threads(self) -> int:
        """Worker threads."""
        return self.workers or cores()


@dataclass(frozen=True)
class Opened:
    """A model on an engine."""

    scorer: Scorer
    engine: str
    precision: str
    notes: list[str]  # what must be said of them: a threshold belongs to those it was set in


def check_machine(machine: Machine, method: Method | None = None) -> None:
    """Refuses an engine that there is none of, or that a method cannot use, before anything is read."""
    if machine.engine not in ENGINES:
        raise UsageError(f"there is no engine {machine.engine!r}: write {', '.join(ENGINES[:-1])} or {ENGINES[-1]}")
    if machine.engine == OPENVINO and (missing := _missing()):
        raise EnvironmentFault(f'{missing}: pip install "adcli[openvino]", or use --engine torch')
    if machine.engine == OPENVINO and method is not None and not hasattr(method.detector(), "graph"):
        raise UsageError(f"{method.name} has no graph for OpenVINO: use --engine torch")
    if machine.engine == OPENVINO and machine.device not in ("auto", "cpu"):
        raise UsageError(f"the OpenVINO engine uses the CPU only: leave out --device {machine.device}")


def foresee(machine: Machine) -> None:
    """Begins to import what will most likely compute, beside the reading of a model."""
    if machine.engine != TORCH and machine.device in ("auto", "cpu"):
        threading.Thread(target=_missing, daemon=True).start()


def open_scorer(
    model: Model,
    machine: Machine,
    stacked: int = 1,
    *,
    extractor: Any = None,
    left_out: bool = False,
    own: bool = True,
) -> Opened:
    """The model on the engine that is asked for.

    `auto` is what the threshold was set in; without a threshold OpenVINO where it can be used, and torch elsewhere.

    Args:
        stacked: inputs that are one image to the detector.
        extractor: the model's backbone, where it is in memory already.
        left_out: for images that the detector learnt from, each to be scored as if it had not been.
        own: with the method's own image score.

    Raises:
        UsageError: there is no such engine or precision, or it cannot be used with this model.
        EnvironmentFault: it is not installed, or the device is not there.
    """
    check_machine(machine)
    stored = model.calibration.engine if model.calibration is not None else None
    graph, reason = None, None
    if machine.engine == OPENVINO or (machine.engine == "auto" and stored != TORCH):
        graph, reason = _graph(model, machine, stacked, own)
    if left_out:  # torch compares; which engine computes the features, and will score with them, is seen by the graph
        opened = _with_torch(model, machine, stacked, extractor, left_out, alike=True)
        return opened if graph is None else replace(opened, engine=OPENVINO)
    if machine.engine == OPENVINO and graph is None:
        raise UsageError(f"{reason}: use --engine torch")
    if graph is not None:
        opened = _with_openvino(model, machine, graph)
    else:
        opened = _with_torch(model, machine, stacked, extractor, left_out, alike=stored != OPENVINO)
    if stored is None or opened.engine == stored:
        return opened
    why = "" if reason is None else f" ({reason})"
    note = (
        f"scores are computed by {_NAMES[opened.engine]} in {opened.precision}{why}, the threshold was set by "
        f"{_NAMES[stored]} in {model.calibration.precision}"
    )
    return replace(opened, notes=[note])


def choose_device(machine: Machine) -> Any:
    """What to compute on: the word cpu, or a GPU as a torch.device.

    Raises:
        UsageError: there is no such word.
        EnvironmentFault: there is no such GPU.
    """
    if machine.device == "cpu" or (machine.device == "auto" and not may_have_gpu()):
        return "cpu"
    from adcli.engines.torch import resolve_device

    device = resolve_device(machine.device)
    return "cpu" if device.type == "cpu" else device


def choose_learning_precision(machine: Machine, device: Any) -> str:
    """The precision of features, unless a model says."""
    if machine.precision != "auto":
        return machine.precision
    if device == "cpu":
        return "bf16" if fast_bf16_cpu() else "fp32"
    from adcli.engines.torch import fast_bf16

    return "bf16" if fast_bf16(device) else "fp32"


def follows_steps(machine: Machine, device: Any, precision: str) -> bool:
    """Whether OpenVINO computes features to learn from, of networks that are known by their steps."""
    return machine.engine != TORCH and str(device) == "cpu" and precision in PRECISIONS and _missing() is None


def learning_engine(
    extractor: Any, machine: Machine, device: Any, precision: str, image_size: tuple[int, int]
) -> LearningEngine:
    """What detectors learn with: features from OpenVINO where that is there and knows the network, or else torch."""
    if follows_steps(machine, device, precision):
        network = steps_of(extractor)
        if network is not None and network.steps:
            from adcli.engines.openvino import OpenVINONetwork

            return OpenVINONetwork(
                network, extractor.state(), image_size, precision, machine.threads, machine.batch_size
            )
    import torch

    from adcli.engines.torch import TorchEngine

    return TorchEngine(extractor, torch.device(device), precision, machine.batch_size)


def steps_of(extractor: Any) -> Network | None:
    """The steps of a backbone; None where it does something that is no step."""
    from adcli.backbones.stepped import SteppedBackbone

    if isinstance(extractor, SteppedBackbone):
        return extractor.network
    from adcli.backbones.tracing import network_of

    return network_of(extractor)


def own_backbone(model: Model, machine: Machine, device: Any) -> Any:
    """The backbone with the weights in the model, to learn with: without torch, where that is possible."""
    from adcli.backbones.stepped import stepped

    if follows_steps(machine, device, model.spec.precision):
        found = stepped(model.spec.backbone, model.spec.layers, model.weights)
        if found is not None:
            return found
    return own_extractor(model)


def own_extractor(model: Model) -> Any:
    """The backbone with the weights in the model. Raises ModelFileError where they do not fit it."""
    from adcli.backbones.extractor import build_extractor
    from adcli.errors import ModelFileError

    try:
        return build_extractor(model.spec.backbone, model.spec.layers, model.weights, model.spec.seed)
    except (EnvironmentFault, UsageError) as error:
        raise ModelFileError(f"the model's own weights do not fit its backbone: {error}") from error


@cache
def _missing() -> str | None:
    """Why OpenVINO is not to be had here, if so. A damaged installation is none, and must not end a night's run."""
    if find_spec("openvino") is None:
        return "OpenVINO is not installed"
    try:
        import_module("adcli.engines.openvino")
    except AttributeError:  # the operations that graphs are made of came with 2024.4
        return "OpenVINO is too old"
    except (ImportError, OSError) as error:
        if isinstance(error.__cause__, BaseException) and not isinstance(error.__cause__, Exception):
            raise error.__cause__ from None  # Ctrl-C, which its compiled part calls a failure
        return f"OpenVINO cannot be loaded ({str(error).strip().partition(chr(10))[0]})"
    return None


def _graph(model: Model, machine: Machine, stacked: int, own: bool) -> tuple[Graph | None, str | None]:
    """The detector as a graph, or why OpenVINO cannot be used."""
    if missing := _missing():
        return None, missing
    if machine.device not in ("auto", "cpu") or (machine.device == "auto" and not _on_cpu(model, machine)):
        return None, "OpenVINO uses the CPU only"
    if stacked > 1:
        return None, "OpenVINO does not score tiles that have statistics of their own"
    if model.network is None:
        return None, f"the model holds no steps of {model.spec.backbone} that OpenVINO could follow"
    graph = model.detector.graph(own) if hasattr(model.detector, "graph") else None
    if graph is None:
        return None, f"{model.spec.method} with these parameters has no graph for OpenVINO"
    return graph, None


def _on_cpu(model: Model, machine: Machine) -> bool:
    """Whether the CPU is to score where no device is named: a GPU goes first, unless OpenVINO is asked for, or set the
    threshold."""
    if machine.engine == OPENVINO or (model.calibration is not None and model.calibration.engine == OPENVINO):
        return True
    return choose_device(machine) == "cpu"


def _with_openvino(model: Model, machine: Machine, graph: Graph) -> Opened:
    from adcli.engines.openvino import OpenVINOScorer

    precision, notes = _choose_precision(model, machine.precision, fast_bf16_cpu)
    network, size = Network.from_text(model.network), model.spec.image_size
    batch = min(machine.batch_size, graph.together) or graph.together
    scorer = OpenVINOScorer(network, model.weights, graph, size, precision, machine.threads, batch)
    return Opened(scorer, OPENVINO, precision, notes)


def _with_torch(model: Model, machine: Machine, stacked: int, extractor: Any, left_out: bool, alike: bool) -> Opened:
    """`alike`: torch is what the threshold was set by; in its place it scores in float32 unless told otherwise."""
    import torch

    from adcli.backbones.stepped import SteppedBackbone
    from adcli.engines.torch import TorchEngine, TorchScorer, fast_bf16

    device = torch.device(choose_device(machine))
    precision, notes = _choose_precision(model, machine.precision, lambda: fast_bf16(device))
    if not alike and machine.precision == "auto":
        precision, notes = "fp32", []
    if left_out:  # by features as they were learnt from, to the bit
        extractor = extractor or own_backbone(model, machine, device)
        engine = learning_engine(extractor, machine, device, precision, model.spec.image_size)
    else:
        if extractor is None or isinstance(extractor, SteppedBackbone):
            extractor = own_extractor(model)
        engine = TorchEngine(extractor, device, precision, machine.batch_size)
    return Opened(TorchScorer(engine, model.detector, left_out, stacked), TORCH, precision, notes)


def _set_in(model: Model) -> tuple[str, str]:
    """The precision that scores belong to, and since when."""
    if model.calibration is not None:
        return model.calibration.precision, "the threshold was set"
    return model.spec.precision, "the model learnt"


def _choose_precision(model: Model, asked: str, fast_bf16: Any) -> tuple[str, list[str]]:
    """The precision to score in, and what must be said of it."""
    if asked not in ("auto", *PRECISIONS):
        raise UsageError(f"there is no precision {asked!r}: write auto, {' or '.join(PRECISIONS)}")
    if model.spec.backbone == PIXELS:  # its features are the same in either
        return model.spec.precision, []
    stored, verb = _set_in(model)
    if asked not in ("auto", stored):
        return asked, [f"scores are computed in {asked}, {verb} in {stored}"]
    if asked == "auto" and stored == "bf16" and not fast_bf16():
        return "fp32", [f"this machine has no fast bf16: scores are computed in fp32, {verb} in bf16"]
    return stored, []
