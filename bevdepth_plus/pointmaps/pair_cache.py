"""Results of image pairs, kept by what they were made from: pixels, masks, settings, network.

The name of a file never counts: a changed image or mask is another key, a renamed one is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from bevdepth_plus.files import atomic_write

_FORMAT = 1  # part of every key: raise it when what is kept changes


class PairCache:
    """A folder of results; without a folder, nothing is kept."""

    def __init__(
        self, folder: Path | None, model: nn.Module, settings: Mapping[str, object]
    ) -> None:
        self.folder = folder
        if folder is not None:
            said = json.dumps(dict(settings, format=_FORMAT), sort_keys=True)
            self._network = content_key(*model.state_dict().values(), text=said)

    def get(
        self, inputs: tuple[Tensor, ...], make: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """What was kept for these inputs, or else what ``make`` returns, which is then kept."""
        if self.folder is None:
            return make()
        path = self.folder / f"{content_key(*inputs, text=self._network)}.pth"
        if path.is_file():
            try:
                return torch.load(path, map_location=inputs[0].device, weights_only=True)
            except Exception:  # a damaged file is made anew; torch raises many kinds
                path.unlink()
        made = make()
        with atomic_write(path) as file:
            torch.save(made, file)
        return made


def content_key(*tensors: Tensor, text: str = "") -> str:
    """A hash of the values, shapes and types of tensors, and of a text."""
    digest = hashlib.blake2b(text.encode(), digest_size=20)
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
