"""The BEV backbone and neck."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from bevdepth_plus.models.channels import build_neck, neck_channels


@MODELS.register_module()
class BEVEncoder(BaseModule):
    """A ResNet over the BEV map; a neck merges its levels with the map itself.

    Args:
        in_channels: of the BEV map.
        backbone: config of a ResNet; its stem halves the resolution, its max pooling is left out.
        neck: config of a neck that takes the map itself and the backbone's levels.
    """

    def __init__(self, in_channels: int, backbone: dict, neck: dict) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone, default_args=dict(in_channels=in_channels))
        self.backbone.maxpool = nn.Identity()
        self.neck = build_neck(neck, self.backbone, before=[in_channels])
        self.out_channels = neck_channels(self.neck)

    def forward(
        self,
        bev: Tensor,  # [B, C, Y, X]
    ) -> Tensor:
        """The encoded map, ``[B, C', Y, X]``."""
        bev = bev.contiguous(memory_format=torch.channels_last)  # convolutions' fast layout
        return self.neck([bev, *self.backbone(bev)])[0]
