"""Which versions computed something: kept in model files and run records."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from adcli import __version__

_LIBRARIES = ("torch", "torchvision", "openvino", "numpy", "opencv-python-headless", "h5py", "scipy", "isal")


def library_versions() -> dict[str, str]:
    """adcli's and its libraries' versions, by package name, read without importing them; absent ones are left out."""
    found = {"adcli": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
