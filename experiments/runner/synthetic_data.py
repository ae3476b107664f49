"""Synthetic data sets that benchmarks make for themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from training_variants import REPO

VERSION = ("--version", "v1.0-trainval")
# More scenes than the demo's and longer ones, with exact depth; the size that networks read.
DATA = "data/synthetic_benchmark"
SCENES = ("--train-scenes", "100", "--val-scenes", "10", "--keyframes", "12")
SCENES += ("--image-size", "384", "216", "--depth")


def make_synthetic(root: str | Path, *options: str) -> None:
    """Render a data set and write its info files; one that is whole is kept as it is.

    ``options`` are those of ``tools/make_synthetic_nuscenes.py``; a relative ``root`` is relative
    to the repository.
    """
    if (REPO / root / "bevdepth_plus_infos_val.pkl").is_file():
        return
    for tool, its_options in (("make_synthetic_nuscenes.py", options), ("create_data.py", ())):
        command = [sys.executable, f"tools/{tool}", root, *VERSION, *its_options]
        subprocess.run(command, cwd=REPO, check=True)
