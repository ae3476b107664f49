"""Rigs and deployment run where neither torch nor an mm* library is installed."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import bevdepth_plus.deploy
import bevdepth_plus.deploy.backends
import bevdepth_plus.deploy.sources
import bevdepth_plus.rigs

# What runs where models are trained: making exported files, and the detector itself.
TRAINING_SIDE = {
    f"bevdepth_plus.deploy.{name}"
    for name in (
        *("describe", "parts", "export", "cutting", "translations", "samples", "verify"),
        *("backends.torch", "backends.look_around"),
    )
}
PACKAGES = (
    bevdepth_plus.rigs,
    bevdepth_plus.deploy,
    bevdepth_plus.deploy.backends,
    bevdepth_plus.deploy.sources,
)
MODULES = [
    name
    for package in PACKAGES
    for name in (
        package.__name__,
        *(f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)),
    )
    if name not in TRAINING_SIDE
]
HEAVY = ("torch", "mmcv", "mmengine", "mmdet", "mmdet3d", "scipy", "pandas", "numba", "matplotlib")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_no_training_stack(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_needs_only_what_an_onnx_environment_has(module):
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import {module}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
