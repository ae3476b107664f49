"""The deploy floor runs where neither torch nor an mm* library is installed."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import bevdepth_plus.deploy

# What exports a model runs where it was trained.
EXPORTING = {"cutting", "describe", "export", "parts", "samples", "translations", "verify"}
MODULES = [
    f"bevdepth_plus.deploy.{module.name}"
    for module in pkgutil.iter_modules(bevdepth_plus.deploy.__path__)
    if module.name not in EXPORTING
]
MODULES += [f"bevdepth_plus.deploy.backends.{name}" for name in ("graphs", "onnx", "openvino")]
HEAVY = ("torch", "mmcv", "mmengine", "mmdet", "mmdet3d", "scipy", "pandas", "numba", "matplotlib")


@pytest.mark.parametrize("module", ["bevdepth_plus.deploy", *MODULES])
def test_a_module_imports_no_training_stack(module):
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["bevdepth_plus.deploy", *MODULES])
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
