#!/bin/sh
# Installs adcli with its test tools and runs the tests on up to four cores; arguments go to pytest (-n 0: no others).
set -eu
arguments="$*"
set -- "[test]"
. "$(dirname "$0")/../examples/install.sh"
# shellcheck disable=SC2086 # the arguments are words
exec python -m pytest -n auto --maxprocesses 4 --dist worksteal $arguments
