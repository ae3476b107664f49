"""Ours beside recorded results of the public DUSt3R and MASt3R code: every tensor, every match."""

from __future__ import annotations

import json
from pathlib import Path

from bevdepth_plus.comparison import Comparison
from bevdepth_plus.errors import DataError
from bevdepth_plus.pointmaps.parity.full_size import compare_full_size
from bevdepth_plus.pointmaps.parity.functions import compare_functions
from bevdepth_plus.pointmaps.parity.networks import compare_network

_KINDS = {
    "pointmap_two_view": compare_network,
    "pointmap_full_size": compare_full_size,
    "pointmap_functions": compare_functions,
}


def is_pointmap_folder(folder: Path) -> bool:
    """Whether ``config.json`` says that the folder records a pointmap code."""
    return str(_config(folder).get("kind", "")).startswith("pointmap_")


def compare_folder(folder: Path) -> dict[str, Comparison]:
    """Compare each recorded tensor with ours.

    Raises:
        FileNotFoundError: a file of the folder is missing.
        ValueError: weights and config do not fit, or a recorded tensor has another shape.
    """
    config = _config(folder)
    kind = config.get("kind")
    if kind not in _KINDS:
        raise ValueError(
            f"{folder / 'config.json'}: kind must be one of {list(_KINDS)}, got {kind!r}"
        )
    return _KINDS[kind](folder, config)


def _config(folder: Path) -> dict:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    return content if isinstance(content, dict) else {}
