"""From a folder of wheels to a host that can run the detector. Needs the standard library and pip.

Everything goes into one work folder. A step that was done for the same sources is not done again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bevdepth_plus.files import atomic_folder
from tools.environment import ROOT
from tools.stamps import Stamps, fingerprint

STAND_IN = Path(__file__).with_name("mmcv_ext.py")
DATA = "data/synthetic"  # below the work folder, where configs/synthetic_small.py looks


class PreparationError(Exception):
    """A step of the preparation failed; the message says which, and ends with its output."""


@dataclass(frozen=True)
class Host:
    """Where things lie on the host, and what its processes are told.

    Attributes:
        work: the work folder; everything below it is made here.
        wheels: folder of wheels and mmcv's source; None: this Python has all packages.
        architecture: CUDA compute capability to compile the op for, "9.0"; None: without CUDA.
        scenes: of the data set, for training and validation.
        keyframes: of each scene.
        image_size: of the pictures, (width, height).
    """

    work: Path
    wheels: Path | None
    architecture: str | None
    scenes: tuple[int, int] = (4, 1)
    keyframes: int = 5
    image_size: tuple[int, int] = (800, 450)

    @property
    def data(self) -> Path:
        return self.work / DATA

    def environment(self) -> dict[str, str]:
        own = [] if self.wheels is None else [self.work / "op", self.work / "site"]
        paths = [*map(str, own), str(ROOT), os.environ.get("PYTHONPATH", "")]
        added = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
        added["PYTHONWARNINGS"] = "ignore"  # of other packages: the output is for the times
        if self.architecture:
            added["TORCH_CUDA_ARCH_LIST"] = self.architecture
        return {**os.environ, **added}


def prepare(host: Host) -> None:
    """Packages, then the op's build and the data set beside each other.

    Raises:
        PreparationError: a step failed.
    """
    host.work.mkdir(parents=True, exist_ok=True)
    done = Stamps(host.work)
    if host.wheels is not None:
        install_packages(host, done)
    with ThreadPoolExecutor() as steps:
        running = {"data": steps.submit(make_data, host, done)}
        if host.wheels is not None:
            running["op"] = steps.submit(build_op, host, done)
    for name, step in running.items():
        done.add(name, step.result())


def install_packages(host: Host, done: Stamps) -> None:
    """The wheels, and mmcv from its source with the stand-in for its compiled ops."""
    wheels = sorted(host.wheels.glob("*.whl"))
    sources = sorted(host.wheels.glob("mmcv-*.tar.gz"))
    if not wheels or not sources:
        raise PreparationError(
            f"{host.wheels} holds {len(wheels)} wheels and {len(sources)} sources of mmcv: fill it "
            "with benchmarks/gpu_host/fetch_wheels.py"
        )
    key = fingerprint([file.name for file in (*wheels, *sources)], [STAND_IN])
    if done.has("packages", key):
        return
    with atomic_folder(host.work / "site") as site:
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
        command += ["--no-compile", "--no-cache-dir", "--target", str(site), *map(str, wheels)]
        run("packages", command, os.environ, host.work)
        unpack_mmcv(sources[-1], site)
    done.add("packages", key)


def unpack_mmcv(source: Path, site: Path) -> None:
    """The Python files of mmcv's source, without the kernels to compile."""
    root = source.name.removesuffix(".tar.gz")
    with tarfile.open(source) as archive:
        for member in archive.getmembers():
            inside = member.name.removeprefix(f"{root}/")
            if inside.startswith("mmcv/") and not inside.startswith("mmcv/ops/csrc/"):
                member.name = inside
                archive.extract(member, site, filter="data")
    shutil.copy(STAND_IN, site / "mmcv" / "_ext.py")


def build_op(host: Host, done: Stamps) -> str:
    """Compiles the op for this GPU; returns the fingerprint of what it was built from."""
    key = fingerprint([host.architecture or "cpu", sys.version], [ROOT / "ops"])
    if done.has("op", key):
        return key
    environment = host.environment() | {
        "BEVDEPTH_PLUS_OPS_REQUIRE_NATIVE": "1",
        "BEVDEPTH_PLUS_OPS_CUDA": str(int(host.architecture is not None)),
    }
    with atomic_folder(host.work / "op") as folder:
        build = [str(ROOT / "ops" / "setup.py"), "-q", "build", "--build-lib", str(folder)]
        build += ["--build-base", str(host.work / "op_build")]
        run("op", [sys.executable, *build], environment, host.work)
    return key


def make_data(host: Host, done: Stamps) -> str:
    """Synthetic scenes and their info files; returns the fingerprint of what they were made by."""
    settings = [*map(str, host.scenes), str(host.keyframes), *map(str, host.image_size)]
    key = fingerprint(settings, [ROOT / "bevdepth_plus" / "synthetic", ROOT / "tools"])
    if done.has("data", key):
        return key
    shutil.rmtree(host.data, ignore_errors=True)  # of other settings
    environment = host.environment()
    scenes = [str(ROOT / "tools" / "make_synthetic_nuscenes.py"), str(host.data)]
    scenes += ["--train-scenes", settings[0], "--val-scenes", settings[1]]
    scenes += ["--keyframes", settings[2], "--image-size", *settings[3:]]
    run("data", [sys.executable, *scenes], environment, host.work)
    infos = [str(ROOT / "tools" / "create_data.py"), str(host.data), "--version", "v1.0-mini"]
    # The op is only imported there: its definition in plain PyTorch will do until it is built.
    environment["PYTHONPATH"] += os.pathsep + str(ROOT / "ops")
    run("data", [sys.executable, *infos], environment, host.work)
    return key


def run(step: str, command: list[str], environment: dict, folder: Path) -> str:
    """Runs a command; its output is returned, and named in the error where it fails."""
    answer = subprocess.run(
        command, env=environment, cwd=folder, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if answer.returncode:
        raise PreparationError(f"{step} failed ({answer.returncode}): {answer.stdout[-3000:]}")
    return answer.stdout
