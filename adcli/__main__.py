"""The process: `adcli`, or `python -m adcli`."""

from __future__ import annotations


def main() -> None:
    """Runs the command line and exits with its code."""
    from adcli.cli.app import app

    app()


if __name__ == "__main__":
    main()
