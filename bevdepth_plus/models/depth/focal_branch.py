"""The focal length estimated from the image, for images without calibration."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.canonical import network_focal


@MODELS.register_module()
class FocalBranch(nn.Module):
    """Estimate each camera's focal length from its image features; calibrated cameras train it.

    Args:
        in_channels: channels of the image features.
        mid_channels: hidden channels.
        typical_focal: estimates start near it, network pixels.
        loss_weight: of the mean absolute error of its logarithm.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        typical_focal: float,
        loss_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.typical_focal = typical_focal
        self.loss_weight = loss_weight
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, mid_channels), nn.ReLU(), nn.Linear(mid_channels, 1)
        )

    def forward(
        self,
        features: Tensor,  # [B, N, C, H, W]
    ) -> Tensor:
        """Focal lengths in network pixels, ``[B, N]``."""
        pooled = features.mean(dim=(3, 4))  # [B, N, C]
        return self.typical_focal * torch.exp(self.mlp(pooled)[..., 0].float())

    def loss(
        self,
        focal: Tensor,  # [B, N], estimated
        cameras: Cameras,  # calibrated
    ) -> Tensor:
        """Mean absolute error of the logarithm, weighted."""
        return self.loss_weight * (focal / network_focal(cameras)).log().abs().mean()
