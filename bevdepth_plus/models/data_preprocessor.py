"""From the loader's uint8 images to the network's normalised batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseDataPreprocessor
from torch import Tensor


@MODELS.register_module()
class MultiViewPreprocessor(BaseDataPreprocessor):
    """Stack a batch of multi-view samples, go from BGR to RGB and normalise on the device.

    Args:
        mean, std: per channel in the network's order, 0..255.
        to_rgb: False leaves the images in BGR. The public BEVDepth code reads RGB, swaps it for
            BGR and normalises that with the means of RGB; only for checkpoints trained so.
    """

    mean: Tensor  # [3, 1, 1]
    std: Tensor  # [3, 1, 1]

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], to_rgb: bool = True, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.to_rgb = to_rgb
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Lists of ``img`` uint8 ``[S*N, 3, H, W]`` and ``depth`` ``[N, H, W]`` become batches.

        Raises:
            ValueError: the samples of a batch have different shapes.
        """
        data = cast(dict, self.cast_data(data))
        inputs = {name: _stack(name, tensors) for name, tensors in data["inputs"].items()}
        inputs["img"] = self.normalised(inputs["img"])
        return {"inputs": inputs, "data_samples": data.get("data_samples")}

    def normalised(self, images: Tensor) -> Tensor:  # BGR, [B, M, 3, H, W]
        """In the network's order and range, float32."""
        images = images.flip(2) if self.to_rgb else images
        return (images.float() - self.mean) / self.std


def _stack(name: str, tensors: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(
            f"samples of one batch differ in the shape of {name!r}: {sorted(shapes)}; "
            "use batch size 1 or samples with the same number of cameras and frames"
        )
    return torch.stack(list(tensors))
