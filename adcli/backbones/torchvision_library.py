"""torchvision itself, imported without torch's compiler.

Its operations for object detection ask the compiler one question when they are called, and import it at the start for
that: as long as all of torch takes. Here it is imported when the question is asked.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_COMPILER = "torch._dynamo"


def _is_compile_supported(device_type: str) -> bool:
    return importlib.import_module(f"{_COMPILER}.utils").is_compile_supported(device_type)


def _without_compiler() -> ModuleType:
    names = (_COMPILER, f"{_COMPILER}.utils")
    if "torchvision" in sys.modules or any(name in sys.modules for name in names):
        return importlib.import_module("torchvision")
    kept = dict(sys.modules)
    stand_ins = {name: ModuleType(name) for name in names}
    stand_ins[names[1]].is_compile_supported = _is_compile_supported
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("torchvision")
    except (AttributeError, ImportError):  # another version wants more of the compiler
        for name in set(sys.modules) - set(kept):
            if name.partition(".")[0] == "torchvision":
                del sys.modules[name]
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        if vars(torch).get("_dynamo") is stand_ins[_COMPILER]:  # asked for by getattr, it would be imported
            del torch._dynamo
    return importlib.import_module("torchvision")


torchvision = _without_compiler()
