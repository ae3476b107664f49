"""From images to image features: backbone and neck, both exchangeable."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor

from bevdepth_plus.models.channels import build_neck, neck_channels


@MODELS.register_module()
class ImageEncoder(BaseModule):
    """An image backbone and a neck that merges its levels into one map.

    Args:
        backbone: config of any backbone that returns a sequence of feature levels.
        neck: config of a neck; its first output is used. ``in_channels`` may be left out if the
            backbone is one of mmdet's ResNets.
        stride: of the neck's first output, network pixels.
        coarsest_stride: of the backbone's last level; sides of images must be multiples of it.
    """

    def __init__(
        self, backbone: dict, neck: dict, stride: int = 16, coarsest_stride: int = 32
    ) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.neck = build_neck(neck, self.backbone)
        self.out_channels = neck_channels(self.neck)
        self.stride = stride
        self.coarsest_stride = coarsest_stride

    def forward(
        self,
        images: Tensor,  # [B, N, 3, H, W], normalised
    ) -> Tensor:
        """Image features ``[B, N, C, H / stride, W / stride]``."""
        # channels_last: convolutions' fast layout.
        flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.neck(self.backbone(flat))[0]  # [B * N, C, H / stride, W / stride]
        return features.unflatten(0, images.shape[:2])
