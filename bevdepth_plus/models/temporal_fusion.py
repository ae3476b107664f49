"""Fuse the BEV maps of several moments, which already lie in the key frame's ego."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ConcatFusion(nn.Module):
    """Concatenate channels, newest first, as in BEVDepth and BEVDet4D."""

    def forward(self, bevs: Sequence[Tensor]) -> Tensor:  # S x [B, C, Y, X]
        return torch.cat(list(bevs), dim=1)
