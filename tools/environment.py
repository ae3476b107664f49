"""What is installed here, whether it fits together, and what to do where it does not.

Shared by `setup_env.py` and `doctor.py`, which do their work before the plugin can be imported.

Needs the standard library alone, so that it runs (and says so) where nothing is installed.
Everything else is imported in a child process: a module built against another torch may take the
interpreter down with it, and that too is an answer.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

PYTHON_VERSIONS = ((3, 10), (3, 12))  # first and last that mmdet3d 1.4 and the lock serve

# distribution -> (lowest, first too new): what mmdet3d 1.4.0 asserts; requirements/ has the rest
SUPPORTED = {
    "torch": ("2.6", None),
    "numpy": ("1.26", "3"),
    "mmengine": ("0.10", "1"),
    "mmcv": ("2.0", "2.2"),
    "mmdet": ("3.0", "3.4"),
    "mmdet3d": ("1.4", "1.5"),
    "nuscenes-devkit": ("1.1", None),
    "numba": ("0.57", None),
    "opencv-python-headless": ("4.5", None),
}

MODULES = {"nuscenes-devkit": "nuscenes", "opencv-python-headless": "cv2"}  # where they differ

# In the order in which a failure explains the later ones.
IMPORTS = (
    "numpy",
    "torch",
    "cv2",
    "numba",
    "mmengine",
    "mmcv",
    "mmcv._ext",
    "mmdet",
    "mmdet3d.models",
    "nuscenes.eval.detection.algo",
    "bevdepth_plus_ops",
)

SETUP = "run `make setup`"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        name: what was looked at.
        detail: what was found.
        state: "ok", "warn" (works, but not as it could) or "broken" (something that matters).
        remedy: what to do about it; empty when `state` is "ok".
    """

    name: str
    detail: str
    state: str = "ok"
    remedy: str = ""


def python_problem(version: tuple[int, ...]) -> str | None:
    """One line when this Python cannot carry the tested stack, else None."""
    low, high = PYTHON_VERSIONS
    if low <= tuple(version[:2]) <= high:
        return None
    found = ".".join(str(part) for part in version[:2])
    return (
        f"Python {found} is not supported: use {low[0]}.{low[1]} to {high[0]}.{high[1]} "
        "(make setup PYTHON=python3.11)"
    )


def find_compiler() -> str | None:
    """Path of the C++ compiler that torch's extension builder will call."""
    return shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")


def find_nvcc() -> str | None:
    """Path of nvcc: in CUDA_HOME when that is set, as torch looks for it, else on the PATH."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home and (Path(home) / "bin" / "nvcc").exists():
        return str(Path(home) / "bin" / "nvcc")
    return shutil.which("nvcc")


def nvcc_release(nvcc: str) -> str | None:
    """CUDA release of this nvcc, such as "13.0"."""
    answer = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"release (\d+\.\d+)", answer.stdout)
    return match.group(1) if match else None


def python_headers_present() -> bool:
    """Whether Python.h is there for this interpreter: C++ extensions cannot be built without."""
    return (Path(sysconfig.get_paths()["include"]) / "Python.h").exists()


def probe() -> None:
    """Prints, a JSON line at a time, what is installed in this interpreter and what imports."""
    for name in (*SUPPORTED, "opencv-python"):
        with suppress(importlib.metadata.PackageNotFoundError):
            _emit(versions={name: importlib.metadata.version(name)})
    for name in IMPORTS:
        _emit(begin=name)
        try:
            importlib.import_module(name)
        except (SystemExit, Exception) as error:  # whatever a broken build throws is the finding
            _emit(failed={name: _one_line(error)})
    if "torch" in sys.modules:
        _emit(torch=_torch_facts(sys.modules["torch"]))
    if "mmcv._ext" in sys.modules:
        _emit(mmcv_cuda=_mmcv_cuda())
    if "bevdepth_plus_ops" in sys.modules:
        _emit(backends=_op_backends(sys.modules["torch"]))


def inspect_environment(python: str = sys.executable) -> dict[str, Any]:
    """What `probe` found in `python`, as one dict, with the tools of this machine beside it.

    Returns:
        versions {distribution: version}, failed {module: one line}, torch (facts or None),
        mmcv_cuda, backends, python, compiler, nvcc, nvcc_release, headers.
    """
    nvcc = find_nvcc()
    report: dict[str, Any] = dict(
        versions={},
        failed={},
        torch=None,
        mmcv_cuda=None,
        backends={},
        python=list(sys.version_info[:3]),
        compiler=find_compiler(),
        nvcc=nvcc,
        nvcc_release=nvcc_release(nvcc) if nvcc else None,
        headers=python_headers_present(),
    )
    command = [python, "-W", "ignore", "-c", "from tools.environment import probe; probe()"]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = None
    for line in child.stdout.splitlines():
        if not line.startswith("{"):
            continue  # something a module printed at import
        entry = json.loads(line)
        last = entry.get("begin", last)
        for field in ("versions", "failed"):
            report[field].update(entry.get(field, {}))
        for field in ("torch", "mmcv_cuda", "backends"):
            report[field] = entry.get(field, report[field])
    if child.returncode != 0:
        report["failed"][last or "python"] = _death(child)
    return report


def diagnose(report: dict[str, Any]) -> list[Finding]:
    """Turns a report of `inspect_environment` into findings, each problem with its remedy."""
    findings = [_python_finding(report)]
    findings += [_package_finding(name, report) for name in SUPPORTED]
    findings += _opencv_findings(report)
    findings += _import_findings(report)
    findings += _torch_findings(report)
    findings += _op_findings(report)
    return findings


def _python_finding(report: dict[str, Any]) -> Finding:
    version = ".".join(str(part) for part in report["python"])
    problem = python_problem(tuple(report["python"]))
    detail = f"{version} on {platform.machine()}"
    return Finding("python", detail, "broken" if problem else "ok", problem or "")


def _package_finding(name: str, report: dict[str, Any]) -> Finding:
    version = report["versions"].get(name)
    if version is None:
        if name == "opencv-python-headless" and "opencv-python" in report["versions"]:
            return Finding(name, "absent, opencv-python is there")
        return Finding(name, "not installed", "broken", SETUP)
    low, high = SUPPORTED[name]
    too_old = _numbers(version) < _numbers(low)
    too_new = high is not None and _numbers(version) >= _numbers(high)
    if not (too_old or too_new):
        return Finding(name, version)
    wanted = f"{low} or newer" + (f", below {high}" if high else "")
    remedy = f"the stack needs {name} {wanted}: {SETUP}"
    if name == "torch":  # make setup leaves a torch that is there alone
        remedy = f"the stack needs torch {wanted}: install one, then {SETUP}"
    return Finding(name, version, "broken", remedy)


def _opencv_findings(report: dict[str, Any]) -> list[Finding]:
    both = {"opencv-python", "opencv-python-headless"} <= set(report["versions"])
    if not both:
        return []
    remedy = "they overwrite each other's cv2: pip uninstall opencv-python"
    return [Finding("opencv", "opencv-python and opencv-python-headless", "warn", remedy)]


def _import_findings(report: dict[str, Any]) -> list[Finding]:
    """The failed imports, without those that only repeat a cause already named."""
    findings = []
    named = {MODULES.get(name, name) for name in SUPPORTED if name not in report["versions"]}
    for name, text in report["failed"].items():
        missing = _missing_module(text)
        cause = missing.split(".")[0] if missing and missing != name else missing or text
        if cause not in named:
            findings.append(_import_finding(name, text, report))
            named.add(cause)
    return findings


def _import_finding(name: str, text: str, report: dict[str, Any]) -> Finding:
    """What an import error of this module means, for the errors users really meet."""
    if "libGL" in text:
        remedy = (
            "this OpenCV needs a display library: pip uninstall -y opencv-python "
            f"opencv-python-headless, then {SETUP}"
        )
    elif name == "mmcv._ext" and "No module named" in text:
        remedy = f"this mmcv was installed without its ops: pip uninstall -y mmcv, then {SETUP}"
    elif name == "mmcv._ext":
        torch_version = report["versions"].get("torch", "none")
        remedy = (
            f"mmcv was built against another torch than {torch_version}: "
            f"pip uninstall -y mmcv, then {SETUP}, which builds it for this one"
        )
    elif name == "bevdepth_plus_ops" and "No module named" not in text:
        remedy = f"the op was built against another torch: pip uninstall -y {name}, then {SETUP}"
    elif name == "torch" and "No module named" not in text:
        remedy = "this torch does not load: reinstall it (see its error above)"
    elif (missing := _missing_module(text)) is not None:
        remedy = f"the Python package {missing} is missing: {SETUP}"
    else:
        remedy = f"see the first broken line; if there is none above, {SETUP}"
    return Finding(f"import {name}", text, "broken", remedy)


def _missing_module(text: str) -> str | None:
    match = re.search(r"No module named '([\w.]+)'", text)
    return match.group(1) if match else None


def _torch_findings(report: dict[str, Any]) -> list[Finding]:
    findings = []
    torch = report["torch"]
    if torch is not None:
        cuda = torch["cuda"]
        built = f"built for CUDA {cuda}" if cuda else "built for the CPU only"
        devices = ", ".join(torch["devices"]) or "none visible"
        findings.append(Finding("GPU", f"{devices}; torch {built}"))
        if torch["devices"] and "mmcv._ext" not in report["failed"] and not report["mmcv_cuda"]:
            remedy = f"DCN will not run on the GPU: pip uninstall -y mmcv, then {SETUP}"
            findings.append(Finding("mmcv CUDA ops", "not built", "warn", remedy))
    findings.append(_compiler_finding(report))
    if report["nvcc"]:
        findings.append(_nvcc_finding(report))
    elif torch is not None and torch["devices"]:
        remedy = f"install the CUDA toolkit {torch['cuda']} (or set CUDA_HOME) to build CUDA ops"
        findings.append(Finding("nvcc", "not found", "warn", remedy))
    return findings


def _compiler_finding(report: dict[str, Any]) -> Finding:
    if report["compiler"] is None:
        remedy = "needed to build mmcv and the op: install g++ (Debian, Ubuntu: apt install g++)"
        return Finding("C++ compiler", "not found", "warn", remedy)
    if not report["headers"]:
        major, minor = report["python"][:2]
        remedy = f"Python.h is missing: apt install python{major}.{minor}-dev"
        return Finding("C++ compiler", report["compiler"], "warn", remedy)
    return Finding("C++ compiler", report["compiler"])


def _nvcc_finding(report: dict[str, Any]) -> Finding:
    release, torch = report["nvcc_release"] or "unknown release", report["torch"]
    detail = f"{release} ({report['nvcc']})"
    cuda = torch["cuda"] if torch else None
    if cuda and release.split(".")[0] != cuda.split(".")[0]:
        remedy = f"torch was built for CUDA {cuda}: point CUDA_HOME at a toolkit {cuda}"
        return Finding("nvcc", detail, "warn", remedy)
    return Finding("nvcc", detail)


def _op_findings(report: dict[str, Any]) -> list[Finding]:
    """What `_op_backends` found; a missing kernel is a note, for plain PyTorch steps in."""
    findings = []
    gpu = bool(report["torch"] and report["torch"]["devices"])
    for name, problem in report["backends"].items():
        if name == "cuda" and not gpu:
            findings.append(Finding("op backend cuda", f"{problem or 'built'}; no GPU visible"))
        elif problem is None:
            findings.append(Finding(f"op backend {name}", "usable"))
        else:
            remedy = f"pip uninstall -y bevdepth_plus_ops, then {SETUP}"
            findings.append(Finding(f"op backend {name}", problem, "warn", remedy))
    return findings


def _torch_facts(torch: Any) -> dict[str, Any]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [torch.cuda.get_device_name(index) for index in range(count)]
    return dict(version=torch.__version__, cuda=torch.version.cuda, devices=devices)


def _mmcv_cuda() -> bool:
    version = importlib.import_module("mmcv.ops").get_compiling_cuda_version()
    return version != "not available"


def _op_backends(torch: Any) -> dict[str, str | None]:
    """Each backend of the op: None where it is built, else why it is not."""
    native = importlib.import_module("bevdepth_plus_ops.native")
    cuda = None if native.has_kernels(torch.device("cuda")) else "built without CUDA kernels"
    missing = native.MISSING_REASON
    return {"reference (plain PyTorch)": None, "cpu": missing, "cuda": missing or cuda}


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 13, 0) of "2.13.0+cpu": enough to compare releases, without the packaging library."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group(0).split(".")) if match else ()


def _one_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


def _death(child: subprocess.CompletedProcess) -> str:
    lines = child.stderr.strip().splitlines()
    if child.returncode < 0:
        return f"the interpreter died of signal {-child.returncode}"
    return lines[-1][:200] if lines else f"exit status {child.returncode}"


def _emit(**entry: Any) -> None:
    print(json.dumps(entry), flush=True)
