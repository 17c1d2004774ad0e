"""The process: `adcli`, or `python -m adcli`."""

from __future__ import annotations

import gc


def main() -> None:
    """Runs the command line and exits with its code."""
    # Searching all that was ever imported for garbage, as often as is the default, took 0.4 s while torch was imported.
    # What is young is searched as before.
    gc.set_threshold(*gc.get_threshold()[:2], 100)
    from adcli.cli.app import app
    from adcli.cli.exits import leave

    try:
        app()
    except SystemExit as end:
        leave(end)


if __name__ == "__main__":
    main()
