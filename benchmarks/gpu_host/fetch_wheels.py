"""Downloads what a bare GPU host lacks: python benchmarks/gpu_host/fetch_wheels.py FOLDER

The host is Linux on x86-64 with Python 3.12; it has torch with CUDA, torchvision, numba, OpenCV,
scipy, scikit-learn, pandas, matplotlib, rich, tqdm and pip, and no network. Versions are those of
requirements/. About 9 MB. Run it with the Python of `make setup`: pip asks mmcv's setup.py for its
version, and that imports torch.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
# Of the lock file; the host has the others.
MISSING_ON_THE_HOST = (
    "addict", "cachetools", "platformdirs", "pycocotools", "pyquaternion", "shapely", "termcolor",
    "terminaltables", "trimesh", "yapf",
)  # fmt: skip
MMCV = "mmcv==2.1.0"  # as tools/setup_env.py
GLIBC = ("2_28", "2_27", "2_17", "2014", "1")  # pip takes each name of a wheel literally


def wheels() -> list[str]:
    """``name==version`` of every wheel."""
    pins = re.findall(r"^([\w.-]+==\S+)", (REQUIREMENTS / "mm.txt").read_text(), re.MULTILINE)
    locked = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (REQUIREMENTS / "lock.txt").read_text(), re.MULTILINE)
    )
    return pins + [f"{name}=={locked[name]}" for name in MISSING_ON_THE_HOST]


def download_commands(folder: Path) -> list[list[str]]:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder)]
    host = ["--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"]
    for version in GLIBC:
        separator = "_" if "_" in version else ""
        host += ["--platform", f"manylinux{separator}{version}_x86_64"]
    return [[*pip, *host, *wheels()], [*pip, "--no-binary=mmcv", "--no-build-isolation", MMCV]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for command in download_commands(folder):
        if subprocess.run(command, check=False).returncode:
            print("fetch_wheels: pip failed, see above", file=sys.stderr)
            return 1
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {len(list(folder.iterdir()))} files, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
