"""Builds `bevdepth_plus_ops`: pip install --no-build-isolation ./ops"""

from __future__ import annotations

from setuptools import setup

setup(
    name="bevdepth_plus_ops",
    version="0.1.0",
    description="Lift-splat BEV pooling for PyTorch: exact and deterministic on CPU and CUDA",
    packages=["bevdepth_plus_ops"],
    python_requires=">=3.10",
    install_requires=["torch>=2.6"],
)
