"""OpenVINO itself, imported without its converter of other libraries' models.

The converter takes half of the import's time, and what it imports tells a server of its maker, at every start, that it
was imported, and keeps a number for this machine in the user's home. adcli has no use for it, and sends nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_CONVERTER = "openvino.tools.ovc"


def _without_converter() -> ModuleType:
    if _CONVERTER in sys.modules:  # another has imported it
        return importlib.import_module("openvino")
    sys.modules[_CONVERTER] = None  # an absent one, which OpenVINO does without
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_CONVERTER]


openvino = _without_converter()
opset = openvino.opset14
