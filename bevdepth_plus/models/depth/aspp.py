"""Atrous spatial pyramid pooling, for DepthNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (DeepLabv3): four dilations and the image's mean.

    Args:
        channels: channels in and out.
        pool_norm: BatchNorm on the image's mean, as the public BEVDepth code has it. It has one
            value an image, so it cannot train on a single image.
    """

    def __init__(self, channels: int, pool_norm: bool, dilations=(1, 6, 12, 18)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_atrous(channels, dilation) for dilation in dilations)
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels, 1, bias=not pool_norm),
            nn.BatchNorm2d(channels) if pool_norm else nn.Identity(),
            nn.ReLU(),
        )
        self.merge = nn.Sequential(
            nn.Conv2d(channels * (len(dilations) + 1), channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout(0.5),
        )

    def forward(self, x: Tensor) -> Tensor:  # [M, C, H, W]
        levels = [branch(x) for branch in self.branches]  # [M, C, H, W] each
        levels.append(self.pool(x).expand_as(x))
        return self.merge(torch.cat(levels, dim=1))


def _atrous(channels: int, dilation: int) -> nn.Sequential:
    kernel, padding = (1, 0) if dilation == 1 else (3, dilation)
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )
