"""Broken environments are named, each with what to do about it, and never as a stack trace."""

from __future__ import annotations

import subprocess
import sys
import venv
from copy import deepcopy
from pathlib import Path

import pytest

from tools.environment import (
    ROOT,
    diagnose,
    find_nvcc,
    inspect_environment,
    nvcc_release,
    python_problem,
)

WHOLE = dict(
    python=[3, 11, 7],
    versions={
        "torch": "2.13.0+cpu",
        "numpy": "1.26.4",
        "mmengine": "0.10.7",
        "mmcv": "2.1.0",
        "mmdet": "3.3.0",
        "mmdet3d": "1.4.0",
        "nuscenes-devkit": "1.2.0",
        "numba": "0.68.1",
        "opencv-python-headless": "4.11.0.86",
    },
    failed={},
    torch=dict(version="2.13.0+cpu", cuda=None, devices=[]),
    mmcv_cuda=False,
    backends={"cpu": None, "cuda": "built without CUDA kernels"},
    compiler="/usr/bin/c++",
    nvcc=None,
    nvcc_release=None,
    headers=True,
)
UNDEFINED = "ImportError: mmcv/_ext.cpython-311.so: undefined symbol: _ZN3c105ErrorC2E"


def problems(**changes: object) -> dict[str, tuple[str, str]]:
    """{name: (state, remedy)} of all findings that are not ok, for a changed whole report."""
    report = deepcopy(WHOLE)
    for field, value in changes.items():
        if isinstance(value, dict) and isinstance(report[field], dict):
            report[field].update(value)
            report[field] = {k: v for k, v in report[field].items() if v != "absent"}
        else:
            report[field] = value
    found = {finding.name: finding for finding in diagnose(report)}
    return {name: (f.state, f.remedy) for name, f in found.items() if f.state != "ok"}


def test_a_whole_environment_has_no_problem():
    assert problems() == {}


@pytest.mark.parametrize(
    ("name", "version", "named"),
    [
        ("mmcv", "2.2.0", "below 2.2"),
        ("mmcv", "1.7.2", "2.0 or newer"),
        ("mmdet", "3.4.0", "below 3.4"),
        ("mmdet3d", "1.1.0", "1.4 or newer"),
        ("numpy", "3.0.0", "below 3"),
        ("torch", "1.13.1+cu117", "install one"),
    ],
)
def test_a_version_that_does_not_fit_is_named_with_the_range(name, version, named):
    found = problems(versions={name: version})
    assert list(found) == [name]
    assert found[name][0] == "broken"
    assert named in found[name][1]


def test_a_missing_torch_is_said_once_although_all_imports_fail_of_it():
    missing = "ModuleNotFoundError: No module named 'torch'"
    failed = {"torch": missing, "mmcv": missing, "mmdet": missing}
    found = problems(versions={"torch": "absent"}, failed=failed, torch=None)
    assert found == {"torch": ("broken", "run `make setup`")}


def test_an_mmcv_of_another_torch_is_to_be_rebuilt_and_named_once():
    found = problems(failed={"mmcv._ext": UNDEFINED, "mmdet": UNDEFINED})
    assert list(found) == ["import mmcv._ext"]
    assert "another torch than 2.13.0+cpu" in found["import mmcv._ext"][1]


def test_an_mmcv_without_ops_is_named():
    found = problems(failed={"mmcv._ext": "ModuleNotFoundError: No module named 'mmcv._ext'"})
    assert "without its ops" in found["import mmcv._ext"][1]


def test_an_opencv_that_wants_libgl_is_to_be_replaced():
    failed = {"cv2": "ImportError: libGL.so.1: cannot open shared object file"}
    state, remedy = problems(failed=failed)["import cv2"]
    assert state == "broken" and "opencv-python" in remedy


def test_two_opencvs_are_a_note():
    assert problems(versions={"opencv-python": "4.11.0.86"})["opencv"][0] == "warn"


def test_a_missing_package_is_named():
    failed = {"mmdet3d.models": "ModuleNotFoundError: No module named 'six'"}
    assert "package six is missing" in problems(failed=failed)["import mmdet3d.models"][1]


def test_a_missing_compiler_and_missing_headers_say_what_to_install():
    assert "apt install g++" in problems(compiler=None)["C++ compiler"][1]
    assert "apt install python3.11-dev" in problems(headers=False)["C++ compiler"][1]


def test_a_gpu_without_cuda_ops_and_with_another_toolkit_is_noted():
    torch = dict(version="2.11.0+cu130", cuda="13.0", devices=["NVIDIA H200"])
    found = problems(torch=torch, nvcc="/usr/bin/nvcc", nvcc_release="12.4")
    assert set(found) == {"mmcv CUDA ops", "op backend cuda", "nvcc"}
    assert "toolkit 13.0" in found["nvcc"][1]
    assert "set CUDA_HOME" in problems(torch=torch, mmcv_cuda=True)["nvcc"][1]


def test_an_op_backend_that_cannot_run_gives_its_reason():
    found = problems(backends={"cpu": "not built"})
    assert found["op backend cpu"][0] == "warn"


@pytest.mark.parametrize("version", [(3, 9, 18), (3, 13, 0)])
def test_a_python_outside_the_range_is_one_line(version):
    problem = python_problem(version)
    assert "3.10 to 3.12" in problem and "\n" not in problem
    assert problems(python=list(version))["python"][0] == "broken"


def test_nvcc_is_looked_for_in_cuda_home_first(tmp_path, monkeypatch):
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.4, V12.4.99'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert find_nvcc() == str(nvcc)
    assert nvcc_release(str(nvcc)) == "12.4"


def fake_package(site: Path, name: str, version: str, code: str = "") -> None:
    folder = site / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(code)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_module_that_kills_the_interpreter_is_found(tmp_path, monkeypatch):
    fake_package(tmp_path, "numpy", "1.26.4")
    fake_package(tmp_path, "torch", "2.13.0", "import os, signal; os.kill(os.getpid(), 11)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = inspect_environment()
    assert report["failed"]["torch"] == "the interpreter died of signal 11"


def test_the_doctor_reports_a_wrong_mmcv_without_a_stack_trace(tmp_path, monkeypatch):
    fake_package(tmp_path, "numpy", "1.26.4")
    fake_package(tmp_path, "torch", "2.13.0", "raise ImportError('libcudart.so.13: not found')")
    fake_package(tmp_path, "mmcv", "2.2.0")
    fake_package(tmp_path, "mmdet", "3.3.0", "assert False, 'MMCV==2.2.0 is incompatible.'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [sys.executable, str(ROOT / "tools" / "doctor.py")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "BROKEN mmcv" in answer.stdout
    assert "libcudart.so.13" in answer.stdout
    assert "MMCV==2.2.0 is incompatible." in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr


def test_the_doctor_runs_where_nothing_is_installed(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    command = [str(tmp_path / "bare" / "bin" / "python"), str(ROOT / "tools" / "doctor.py")]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    for name in ("torch", "mmcv", "mmdet3d"):
        assert f"BROKEN {name} " in answer.stdout
    assert "Traceback" not in answer.stdout + answer.stderr
