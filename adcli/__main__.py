"""The process: `adcli`, or `python -m adcli`."""

from __future__ import annotations

import gc
import os


def main() -> None:
    """Runs the command line and exits with its code."""
    # Searching all that was ever imported for garbage, as often as is the default, took 0.4 s while torch was imported.
    # What is young is searched as before.
    gc.set_threshold(*gc.get_threshold()[:2], 100)
    # OpenBLAS, which numpy brings, keeps its threads spinning for 2^26 cycles after they were made or used; the import
    # of numpy alone took 0.13 s of two cores instead of 0.07 (OpenMathLib/OpenBLAS issue 5171). Images are worked on
    # side by side, on threads of our own, and those of BLAS would only wait beside them, busily.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from adcli.cli.app import app
        from adcli.cli.exits import leave
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    try:
        app()
    except SystemExit as end:
        leave(end)


if __name__ == "__main__":
    main()
