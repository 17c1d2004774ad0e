"""What one backbone found where another was used, as measured: benchmarks/tables.py writes the figures."""

from __future__ import annotations

import json
from pathlib import Path

MEASURED = Path(__file__).with_name("backbones.json")
"""Of `embedded` and of the one it was taught by: means over data sets, methods and seeds, and the network's time."""

_METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro_0.3": "AUPRO"}


def beside(name: str) -> str | None:
    """Which backbone is used, and what the other measured one brings, in one line; None for those not measured."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    if name not in measured:
        return None
    other = next(one for one in measured if one != name)
    used, instead = measured[name], measured[other]
    found = [f"{words} {used[key]:.3f} / {instead[key]:.3f}" for key, words in _METRICS.items()]
    found.append(f"network's time 1 / {instead['network_ms'] / used['network_ms']:.1f}")
    return f"backbone {name}; measured ({used['of']}), {name} / --backbone {other}: {', '.join(found)}"
