#!/bin/sh
# Installs adcli and does the main job on generated textures with planted defects: fit, calibrate, score, eval.
# No network but the package registry is needed: the backbone comes with adcli. Everything goes to ./quickstart.
set -eu
set -- ""
. "$(dirname "$0")/install.sh"

run() { # shows a command, then runs it
    printf '\n$ %s\n' "$*"
    "$@"
}

rm -rf quickstart
run python examples/make_textures.py quickstart/textures
run python examples/make_textures.py quickstart/later --seed 1
cd quickstart
run adcli fit textures/train/good --method padim
run adcli calibrate later/train/good --max-false-reject 0.05
run adcli score textures/test --out results
run adcli eval textures --out metrics
echo
echo "to go on: . .venv/bin/activate"
echo "look at an overlay: $(find "$PWD/results/overlays" -name '*.jpg' | sort | head -n 1)"
