"""The BEV backbone and neck."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class BEVEncoder(BaseModule):
    """A ResNet over the BEV map, its levels and the map itself brought together by a neck.

    Args:
        backbone: config of a ResNet; its stem halves the resolution, its max pooling is left out.
        neck: config of a neck that takes the map itself and the backbone's levels.
    """

    def __init__(self, backbone: dict, neck: dict) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.backbone.maxpool = nn.Identity()
        self.neck = MODELS.build(neck)

    def forward(self, bev: Tensor) -> Tensor:
        """``[B, C, Y, X] -> [B, C', Y, X]``."""
        bev = bev.contiguous(memory_format=torch.channels_last)  # what convolutions run best on
        return self.neck([bev, *self.backbone(bev)])[0]
