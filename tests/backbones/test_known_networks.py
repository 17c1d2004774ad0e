"""What holds of every network known by name, which is not looked at again when one is built."""

from __future__ import annotations

import subprocess
import sys

import pytest

from adcli.backbones import BACKBONES, EMBEDDED, find_backbone
from adcli.backbones.extractor import architecture_of, cut, layer_shapes

BUILDS = """
import sys
from adcli.backbones.extractor import architecture_of, build_extractor
for name in ("embedded", "resnet18", "densenet201", "efficientnet_b4", "mobilenet_v3_large"):
    architecture_of(name)
    assert "torch._dynamo" not in sys.modules, name
build_extractor("random-mobilenet_v3_large", ("features.3",), None, 0)
assert "torch._dynamo" not in sys.modules
"""


def test_no_network_is_built_by_way_of_torchs_compiler_which_takes_long_to_import() -> None:
    done = subprocess.run([sys.executable, "-c", BUILDS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [*BACKBONES, EMBEDDED])
def test_grids_turn_with_the_image(name: str) -> None:
    known = find_backbone(name)
    extractor = cut(architecture_of(name), name, tuple(dict.fromkeys(known.layers + (known.padim_layers or ()))))
    wide, tall = layer_shapes(extractor, (96, 160)), layer_shapes(extractor, (160, 96))
    assert tall == [(channels, width, height) for channels, height, width in wide]
    assert all(height < width for _, height, width in wide)
