"""A pipeline as OpenVINO's two files, and such files run by OpenVINO."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from adcli.engines import INPUT, OUTPUT
from adcli.engines.openvino_library import openvino
from adcli.engines.openvino_operations import OpenVINOOperations
from adcli.errors import EnvironmentFault
from adcli.graphs.pipeline import Pipeline

_EXACT = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}


def write(pipeline: Pipeline, path: Path) -> None:
    """Writes FILE.xml, the graph, and FILE.bin, its constants in float32."""
    pixels = openvino.opset14.parameter([1, *pipeline.image_size, 3], np.float32, name=INPUT)
    pixels.output(0).set_names({INPUT})
    result = openvino.opset14.result(pipeline.build(OpenVINOOperations(), pixels), name=OUTPUT)
    result.output(0).set_names({OUTPUT})
    model = openvino.Model([result], [pixels], "adcli")
    for number, node in enumerate(model.get_ordered_ops()):
        if node.get_friendly_name() not in (INPUT, OUTPUT):  # OpenVINO numbers through all graphs of a process
            node.set_friendly_name(f"{node.get_type_name()}_{number}")
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
        openvino.Core().read_model(path)  # refuses what a full disk has cut off
    except RuntimeError as error:
        free = shutil.disk_usage(path.parent).free // 2**20
        raise EnvironmentFault(
            f"OpenVINO could not write {path.name}, where {free} MiB are free: make room, or choose another folder"
        ) from error


def read(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What the files make of pixels (H, W, 3): the map (H, W). Safe to call from several threads."""
    compiled = openvino.Core().compile_model(path, "CPU", _EXACT)

    def run(pixels: np.ndarray) -> np.ndarray:
        return compiled.create_infer_request().infer({INPUT: pixels[np.newaxis]})[OUTPUT][0].copy()

    return run
