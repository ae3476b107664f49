"""Absolute depth error, metres."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.losses.masking import masked_depth, masked_mean


def depth_l1_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
) -> Tensor:
    """``mean |pred - target|`` over all valid pixels of the batch.

    Returns:
        A float32 scalar, metres; 0 with gradient where the mask is empty.
    """
    pred, target, valid = masked_depth(pred, target, mask)
    return masked_mean((pred - target).abs(), valid)


@MODELS.register_module()
class DepthL1Loss(nn.Module):
    """:func:`depth_l1_loss` times a weight."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        intrinsics: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return self.loss_weight * depth_l1_loss(pred, target, mask)
