"""Files of other people's weights: read without running code in them, loaded without remainder."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bevdepth_plus.errors import DataError


def read_plain_checkpoint(path: Path, remedy: str) -> Any:
    """What a checkpoint file holds, on the CPU.

    Args:
        remedy: what to do about a file that holds more than weights.

    Raises:
        DataError: there is no such file, it is damaged, or loading it could run code.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        if zipfile.is_zipfile(path) and "Unsupported" in str(error):
            raise DataError(
                f"{path} holds more than weights, and loading it could run code: it is not "
                f"loaded; {remedy}"
            ) from None
        raise DataError(not_a_checkpoint(path)) from None


def not_a_checkpoint(path: str | Path) -> str:
    """What is wrong with a file that torch cannot load, one line."""
    with Path(path).open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return (
            f"checkpoint {path} is a web page, not a checkpoint: the download gave a log-in or "
            "error page; open its address in a browser and fetch the file itself"
        )
    if start.startswith(b"version https://git-lfs"):
        return f"checkpoint {path} is a Git LFS pointer, not the file; run git lfs pull"
    return f"checkpoint {path} is truncated or not a checkpoint; fetch it again"


def load_exactly(module: nn.Module, weights: Mapping[str, Tensor], what: str, remedy: str) -> None:
    """Fill a module: every weight used, every parameter filled, else it stays as it is.

    Args:
        what: names the module in the error.
        remedy: what to do where the weights do not fit.

    Raises:
        ValueError: names are left over or missing, or a shape is another one.
    """
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - weights), sorted(weights.keys() - own)
    if missing or unexpected:
        raise ValueError(
            f"the weights do not fit {what}: {len(missing)} parameters stay unfilled "
            f"{missing[:3]}, {len(unexpected)} weights have no place {unexpected[:3]}; {remedy}"
        )
    for name, tensor in own.items():
        if weights[name].shape != tensor.shape:
            raise ValueError(
                f"{name} is {tuple(weights[name].shape)} in the weights and {tuple(tensor.shape)} "
                f"in {what}; {remedy}"
            )
    module.load_state_dict(weights)
