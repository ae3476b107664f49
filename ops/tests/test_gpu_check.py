"""The GPU check keeps what it has when a step fails, and names the compilers."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch

OPS = Path(__file__).resolve().parent.parent


@pytest.fixture
def gpu_check():
    spec = importlib.util.spec_from_file_location("gpu_check", OPS / "gpu_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def steps(gpu_check, monkeypatch):
    """In place of processes: exit codes by a word of the command, and the report before each."""
    codes: dict[str, int] = {}
    seen: list[dict] = []

    def run(command, environment, seconds, folder):
        seen.append(json.loads(Path(folder, "report.json").read_text()))
        code = next((c for word, c in codes.items() if any(word in part for part in command)), 0)
        return {"command": command, "exit_code": code, "seconds": 0.0, "output_tail": ""}

    monkeypatch.setattr(gpu_check, "run", run)
    return codes, seen


def run_steps(gpu_check, folder: Path) -> tuple[list[str], dict]:
    entries = {"toolchain": {"torch_built_by": "GCC 11.2", "compiler": "g++ 14.2.0"}}
    report = gpu_check.Report(folder / "report.json", entries)
    failed = gpu_check.run_steps(report, {}, str(folder))
    return failed, json.loads((folder / "report.json").read_text())


def test_a_crash_in_one_test_file_leaves_the_others_and_the_benchmark(gpu_check, steps, tmp_path):
    steps[0]["test_operators"] = -11
    failed, report = run_steps(gpu_check, tmp_path)
    assert failed == ["test_operators"]
    assert set(report["tests"]) == set(gpu_check.TESTS)
    assert report["tests"]["test_operators"]["exit_code"] == -11
    assert "benchmark_run" in report and "warning" not in report


def test_the_report_is_on_disk_before_the_next_step_starts(gpu_check, steps, tmp_path):
    run_steps(gpu_check, tmp_path)
    on_disk = [len(seen.get("tests", ())) for seen in steps[1]]
    assert on_disk == [0, 0, *range(len(gpu_check.TESTS)), len(gpu_check.TESTS)]


def test_without_a_build_nothing_else_is_tried(gpu_check, steps, tmp_path):
    steps[0]["setup.py"] = 1
    failed, report = run_steps(gpu_check, tmp_path)
    assert failed == ["build"]
    assert "tests" not in report


def test_an_exception_that_does_not_survive_names_both_compilers(gpu_check, steps, tmp_path):
    steps[0]["test_last_resort"] = 1
    _, report = run_steps(gpu_check, tmp_path)
    assert "GCC 11.2" in report["warning"] and "g++ 14.2.0" in report["warning"]


def test_a_benchmark_cut_off_leaves_its_finished_cases(gpu_check, steps, tmp_path):
    steps[0]["bev_pool.py"] = 124
    (tmp_path / "benchmark.json").write_text('{"cases": [1]}')
    failed, report = run_steps(gpu_check, tmp_path)
    assert "benchmark" in failed
    assert report["benchmark"] == {"cases": [1]}


def test_the_compiler_of_this_pytorch_is_found(gpu_check):
    found = gpu_check.toolchain(torch.__config__.show())
    assert found["torch_built_by"] != "unknown"
    assert found["compiler"] != ""


def test_a_step_that_dies_of_a_signal_is_told_by_its_exit_code(gpu_check, tmp_path):
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    assert gpu_check.run(command, {}, 60, str(tmp_path))["exit_code"] == -11


def test_every_test_file_that_runs_on_a_gpu_is_among_the_checks(gpu_check):
    takes_device = re.compile(r"^def test_\w+\(.*\bdevice\b", re.MULTILINE)
    files = (OPS / "tests").glob("test_*.py")
    names = {path.stem for path in files if takes_device.search(path.read_text())}
    assert len(names) > 3
    assert names <= set(gpu_check.TESTS)
