"""Synthetic data sets that experiments render for themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from experiments.runner.variants import REPO

VERSION = ("--version", "v1.0-trainval")


def make_synthetic(root: str | Path, *options: str) -> None:
    """Render a data set and write its info files; one that is complete is kept as it is.

    Args:
        root: a relative one is relative to the repository.
        options: of ``tools/make_synthetic_nuscenes.py``.
    """
    if (REPO / root / "bevdepth_plus_infos_val.pkl").is_file():
        return
    infos = ("--sweeps",) if "--sequence-rate" in options else ()
    for tool, its_options in (("make_synthetic_nuscenes.py", options), ("create_data.py", infos)):
        command = [sys.executable, f"tools/{tool}", str(root), *VERSION, *its_options]
        subprocess.run(command, cwd=REPO, check=True)
