"""Builds the op on a GPU host, runs its tests on the GPU, then the benchmark; writes one JSON.

    python ops/gpu_check.py [--out gpu_check.json]

Needs PyTorch with CUDA and nvcc. pytest is used where it is installed; else the same test files run
under tests/run_without_pytest.py. Nothing is installed: the build goes to a temporary folder. Every
step is a process of its own, and the JSON is written after each: a crash loses nothing before it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OPS = Path(__file__).resolve().parent
BENCHMARK = OPS.parent / "benchmarks" / "bev_pool.py"
TESTS = (
    "test_bev_pool", "test_wrong_arguments", "test_frustum", "test_operators", "test_plan",
    "test_random", "test_gpu", "test_last_resort",
)  # fmt: skip

# Which C++ runtime the extension and PyTorch really share shows only with both loaded.
LOADED_RUNTIMES = """
import json
import bevdepth_plus_ops
lines = open("/proc/self/maps").read().splitlines()
print(json.dumps(sorted({line.split()[-1] for line in lines if "libstdc++" in line})))
"""


def run(command: list[str], environment: dict[str, str], seconds: float, folder: str) -> dict:
    """Runs a step in `folder` (away from the uncompiled sources) and says how it went."""
    print(f"\n$ {' '.join(command)}", flush=True)
    start = time.perf_counter()
    try:
        done = subprocess.run(command, env=environment, timeout=seconds, cwd=folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, output = 124, (error.stdout or b"").decode(errors="replace")
    print(output[-6000:], flush=True)
    return {
        "command": command, "exit_code": code, "seconds": round(time.perf_counter() - start, 1),
        "output_tail": output[-3000:],
    }  # fmt: skip


class Report:
    """The JSON file: written anew after every entry, whole or not at all."""

    def __init__(self, path: Path, entries: dict) -> None:
        self.path, self.entries = path, entries
        self.write()

    def add(self, **entries: object) -> None:
        self.entries.update(entries)
        self.write()

    def write(self) -> None:
        unfinished = self.path.with_name(self.path.name + ".part")
        unfinished.write_text(json.dumps(self.entries, indent=1) + "\n")
        unfinished.replace(self.path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("gpu_check: PyTorch sees no CUDA device", file=sys.stderr)
        return 1
    major, minor = torch.cuda.get_device_capability()
    report = Report(options.out, {
        "gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
        "cuda": torch.version.cuda, "python": sys.version.split()[0],
        "toolchain": toolchain(torch.__config__.show()),
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE": "1",
            "TORCH_CUDA_ARCH_LIST": f"{major}.{minor}",
            "TORCH_EXTENSIONS_DIR": f"{folder}/extensions",
            "PYTHONPATH": f"{folder}/lib",
        }
        failed = run_steps(report, environment, folder)
    outcome = f"FAILED: {', '.join(failed)}" if failed else "passed"
    print(f"\ngpu_check: {outcome}; written to {options.out}")
    return int(bool(failed))


def run_steps(report: Report, environment: dict[str, str], folder: str) -> list[str]:
    """Build, tests file by file, benchmark; returns the names of the steps that failed."""
    build = [str(OPS / "setup.py"), "-q", "build", "--build-base", f"{folder}/build"]
    build += ["--build-lib", f"{folder}/lib"]
    report.add(build=run([sys.executable, *build], environment, 180, folder))
    if report.entries["build"]["exit_code"]:
        return ["build"]
    runtimes = run([sys.executable, "-c", LOADED_RUNTIMES], environment, 60, folder)
    report.add(runtimes=runtimes)

    tests: dict[str, dict] = {}
    for name in TESTS:
        tests[name] = run([sys.executable, *test_command(name)], environment, 150, folder)
        report.add(tests=tests)
    if tests["test_last_resort"]["exit_code"]:
        report.add(warning=mismatch(report.entries["toolchain"], runtimes["output_tail"]))
        print(f"gpu_check: {report.entries['warning']}")

    result = Path(folder) / "benchmark.json"
    bench = [str(BENCHMARK), "--device", "cuda", "--rounds", "30", "--out", str(result)]
    report.add(benchmark_run=run([sys.executable, *bench], environment, 200, folder))
    if result.exists():  # of the cases that were finished, if not of all
        report.add(benchmark=json.loads(result.read_text()))
    steps = {"runtimes": runtimes, **tests, "benchmark": report.entries["benchmark_run"]}
    return [name for name, step in steps.items() if step["exit_code"]]


def test_command(name: str) -> list[str]:
    try:
        import pytest  # noqa: F401
    except ImportError:
        return [str(OPS / "tests" / "run_without_pytest.py"), name]
    # -v: after a crash the last line names the test that ran.
    # -c: the settings of a project around this folder would leave the GPU tests out.
    return ["-m", "pytest", "-v", "--tb=short", "--import-mode=importlib", "-p", "no:cacheprovider",
            "-c", os.devnull, "--rootdir", ".", str(OPS / "tests" / f"{name}.py")]  # fmt: skip


def toolchain(torch_build: str) -> dict[str, str]:
    """The compilers of PyTorch and of this host, from `torch.__config__.show()` and `--version`."""
    built_by = re.search(r"^\s*- ((GCC|clang|MSVC) \S+)", torch_build, re.MULTILINE)
    compiler = os.environ.get("CXX", "c++")
    version = "not found"
    if shutil.which(compiler):
        answer = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, check=False
        )
        version = (answer.stdout.splitlines() or ["says nothing"])[0]
    return {"torch_built_by": built_by[1] if built_by else "unknown", "compiler": version}


def mismatch(found: dict[str, str], runtimes: str) -> str:
    """What to say where a C++ exception of the op did not become a Python one."""
    return (
        "a C++ exception of the op does not survive here. PyTorch was built by "
        f"{found['torch_built_by']}, the op by {found['compiler']}; loaded: {runtimes.strip()}. "
        "Build the op with a compiler of PyTorch's major version (CXX=...). Wrong arguments are "
        "caught in Python and do not need it."
    )


if __name__ == "__main__":
    sys.exit(main())
