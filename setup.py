"""Packaging of the plugin. The op is a sub-tree of its own: `pip install ./ops`."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """The version string of `bevdepth_plus/__init__.py`, read without importing the package."""
    text = (ROOT / "bevdepth_plus" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if match is None:
        raise RuntimeError('bevdepth_plus/__init__.py: no line __version__ = "..."')
    return match.group(1)


setup(
    name="bevdepth_plus",
    version=read_version(),
    description="Camera-only 3D detection with metric depth: a plugin for mmdet3d 1.x",
    long_description="Multi-view 3D object detection in bird's-eye view for mmdet3d 1.x.",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["bevdepth_plus", "bevdepth_plus.*"]),
    # torch, mmcv, mmdet and mmdet3d are left out on purpose: pip would replace a CUDA torch, and
    # would build mmcv in isolation against another one. `make setup` installs the tested stack.
    install_requires=[
        "numpy<2",
        "numba",
        "opencv-python-headless",
        "matplotlib",
        "pyquaternion",
        "tqdm",
    ],
    extras_require={
        # trimesh writes point clouds; safetensors is a second format of converted weights.
        "pointmaps": ["scipy", "trimesh", "safetensors"],
    },
)
