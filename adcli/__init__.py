"""Find what does not belong in an image, having shown good parts only.

The verbs of the command line, for Python: `fit`, `update` (`fit --update`), `calibrate`, `score`, `evaluate`,
`escapes`, `verify`, `compare`, `export`; and `load`, `save` for model files. Importing this package imports none of
torch, OpenCV or HDF5; the first use of a verb does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["calibrate", "compare", "escapes", "evaluate", "export", "fit", "load", "save", "score", "update", "verify"]

if TYPE_CHECKING:
    from adcli.api import calibrate, compare, escapes, evaluate, export, fit, load, save, score, update, verify


def __getattr__(name: str) -> object:
    if name in __all__:
        from adcli import api

        return getattr(api, name)
    raise AttributeError(f"module 'adcli' has no attribute {name!r}")
