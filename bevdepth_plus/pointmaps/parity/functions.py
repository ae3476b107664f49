"""Matching, losses, canonical views, focal lengths and alignment on recorded inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from bevdepth_plus.comparison import Comparison
from bevdepth_plus.pointmaps.parity.alignment import compare_alignment
from bevdepth_plus.pointmaps.parity.canonical import compare_canonical
from bevdepth_plus.pointmaps.parity.losses import compare_losses
from bevdepth_plus.pointmaps.parity.matching import compare_matching

_FILES = {
    "matching.pth": compare_matching,
    "pointmap_losses.pth": compare_losses,
    "canonical.pth": compare_canonical,
    "alignment_small.pth": compare_alignment,
}


def compare_functions(folder: Path, config: Mapping) -> dict[str, Comparison]:
    """Compare each file's recorded values, see :func:`parity.compare_folder`."""
    found = {}
    for name, compare_file in _FILES.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; the folder holds {list(_FILES)}")
        content = torch.load(path, map_location="cpu", weights_only=True)
        found.update(compare_file(content["inputs"], content["expected"]))
    return found
