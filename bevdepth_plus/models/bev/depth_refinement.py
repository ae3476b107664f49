"""Refine lifted features along depth. Source: BEVDepth (AAAI 2023), Sec. 3.4; "DA" in its code."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus_ops import bev_pool


@MODELS.register_module()
class DepthRefinement(nn.Module):
    """Convolve lifted features over depth x width, each image row independently.

    So a pixel of wrong depth can use the features of its neighbours in the row. Always in float32.

    Cost: four 3x3 convolutions on N * D * H * W points. For six cameras at 256 x 704, 112 bins and
    80 channels these are 473,088 points, 109 G multiply-adds and a volume of 151 MB (float32) a
    frame, which must be stored, while pooling without refinement never builds it.

    Args:
        channels: context channels, in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(*_conv_norm_relu(channels))
        self.residual = nn.Sequential(*_conv_norm_relu(channels), *_conv_norm_relu(channels))
        self.out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(
        self,
        volume: Tensor,  # [M, C, W, D]
    ) -> Tensor:
        """Refined features of M image rows, the same shape."""
        with torch.autocast(volume.device.type, enabled=False):
            reduced = self.reduce(volume.float())  # [M, C, W, D]
            return self.out(self.residual(reduced) + reduced)


def lift_rows(
    depth: Tensor,  # [B, N, D, H, W], probabilities
    context: Tensor,  # [B, N, C, H, W]
) -> Tensor:
    """Depth x context, image row by image row: ``[B * N * H, C, W, D]``."""
    depth_rows = depth.permute(0, 1, 3, 4, 2).flatten(0, 2)  # [B * N * H, W, D]
    context_rows = context.transpose(2, 3).flatten(0, 2)  # [B * N * H, C, W]
    return depth_rows[:, None] * context_rows[..., None]


def pool_rows(
    volume: Tensor,  # [B * N * H, C, W, D]
    cells: Tensor,  # [B, N, D, H, W] int32
    bev_size: tuple[int, int],  # (Y, X)
) -> Tensor:
    """Sum a lifted volume into BEV cells: ``[B, C, Y, X]``.

    ``bev_pool`` takes each image row as a camera, and its W x D points as pixels with one depth bin
    of probability 1; so the features are not copied.
    """
    batch = cells.shape[0]
    row_cells = cells.permute(0, 1, 3, 4, 2).flatten(1, 2)[:, :, None]  # [B, N * H, 1, W, D]
    ones = torch.ones_like(row_cells, dtype=volume.dtype)
    return bev_pool(ones, volume.unflatten(0, (batch, -1)), row_cells.contiguous(), bev_size)


def _conv_norm_relu(channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]
