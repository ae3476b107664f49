"""Builds the op on a GPU host, runs its tests on the GPU, then the benchmark; writes one JSON.

    python ops/gpu_check.py [--out gpu_check.json]

Needs PyTorch with CUDA and nvcc. pytest is used where it is installed; else the same test files run
under the small runner in this file. Nothing is installed: the build goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OPS = Path(__file__).resolve().parent
BENCHMARK = OPS.parent / "benchmarks" / "bev_pool.py"
TESTS = ("test_bev_pool", "test_frustum", "test_operators", "test_plan", "test_random", "test_gpu")


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("gpu_check: PyTorch sees no CUDA device", file=sys.stderr)
        return 1
    major, minor = torch.cuda.get_device_capability()
    report: dict = {
        "gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
        "cuda": torch.version.cuda, "python": sys.version.split()[0],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        library, result = f"{folder}/lib", Path(folder) / "bench.json"
        environment = os.environ | {
            "BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE": "1",
            "TORCH_CUDA_ARCH_LIST": f"{major}.{minor}",
            "TORCH_EXTENSIONS_DIR": f"{folder}/extensions",
            "PYTHONPATH": library,
        }
        build = [str(OPS / "setup.py"), "-q", "build", "--build-base", f"{folder}/build"]
        build += ["--build-lib", library]
        report["build"] = run([sys.executable, *build], environment, 180, folder)
        if report["build"]["exit_code"] == 0:
            report["tests"] = run([sys.executable, *test_command()], environment, 150, folder)
            bench = [str(BENCHMARK), "--device", "cuda", "--rounds", "30", "--out", str(result)]
            report["benchmark_run"] = run([sys.executable, *bench], environment, 150, folder)
            if result.exists():
                report["benchmark"] = json.loads(result.read_text())
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    steps = [report.get(name, {"exit_code": 1}) for name in ("build", "tests", "benchmark_run")]
    failed = any(step["exit_code"] for step in steps)
    print(f"\ngpu_check: {'FAILED' if failed else 'passed'}; written to {options.out}")
    return int(failed)


def test_command() -> list[str]:
    try:
        import pytest  # noqa: F401
    except ImportError:
        return [str(OPS / "tests" / "run_without_pytest.py"), *TESTS]
    files = [str(OPS / "tests" / f"{name}.py") for name in TESTS]
    # -c: the settings of a project around this folder would leave the GPU tests out.
    return ["-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider",
            "-c", os.devnull, "--rootdir", ".", *files]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
