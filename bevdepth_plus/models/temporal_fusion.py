"""Fuse the BEV maps of several moments, which already lie in the key frame's ego."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional


@MODELS.register_module()
class ConcatFusion(nn.Module):
    """Concatenate channels, newest first, as in BEVDepth and BEVDet4D."""

    def forward(self, bevs: Sequence[Tensor]) -> Tensor:  # S x [B, C, Y, X]
        return torch.cat(list(bevs), dim=1)


@MODELS.register_module()
class CorrelationFusion(BaseModule):
    """Concatenate, and add how well each past map fits the present one when moved about.

    What moved leaves its mark elsewhere in the past map; convolutions over both need long to learn
    to compare places. A correlation layer compares them by construction, on coarser maps.
    Source: FlowNet (Dosovitskiy et al., ICCV 2015), Sec. 3.

    Args:
        in_channels: of one BEV map.
        embed_channels: of the features that are compared.
        radius: of the square of moves, in coarse cells.
        out_channels: that each past map's correlations are brought to.
        stride: BEV cells in a coarse cell's side.
    """

    def __init__(
        self,
        in_channels: int,
        embed_channels: int = 16,
        radius: int = 6,
        out_channels: int = 32,
        stride: int = 2,
    ) -> None:
        super().__init__()
        self.radius = radius
        self.embed = nn.Sequential(
            nn.Conv2d(in_channels, embed_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(embed_channels),
        )
        self.reduce = nn.Sequential(
            nn.Conv2d((2 * radius + 1) ** 2, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, bevs: Sequence[Tensor]) -> Tensor:  # S x [B, C, Y, X]
        """``[B, S * C + (S - 1) * out_channels, Y, X]``."""
        key, *past = (functional.normalize(self.embed(bev), dim=1) for bev in bevs)
        size = bevs[0].shape[-2:]
        fits = [
            functional.interpolate(self.reduce(correlation(key, moved, self.radius)), size)
            for moved in past
        ]
        return torch.cat([*bevs, *fits], dim=1)


def correlation(
    key: Tensor,  # [B, C, Y, X]
    past: Tensor,  # [B, C, Y, X]
    radius: int,
) -> Tensor:
    """Scalar products of each cell with the past cells around it, ``[B, (2 r + 1)^2, Y, X]``.

    Channel ``(dy + r) * (2 r + 1) + dx + r`` compares ``key[y, x]`` with ``past[y + dy, x + dx]``;
    outside the map the past is zero.
    """
    side = 2 * radius + 1
    around = functional.unfold(past, side, padding=radius).unflatten(1, (key.shape[1], side**2))
    return (key.flatten(2)[:, :, None] * around).sum(1).unflatten(-1, key.shape[-2:])
