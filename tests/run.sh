#!/bin/sh
# Installs adcli with its test tools and runs the tests; arguments go to pytest.
set -eu
arguments="$*"
set -- "[test]"
. "$(dirname "$0")/../examples/install.sh"
# shellcheck disable=SC2086 # the arguments are words
exec python -m pytest $arguments
