"""Correlation of depths. Source: Liu et al., "MoDGS" (ICLR 2025)."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.losses.masking import masked_depth, masked_mean

MIN_VARIANCE = 1e-6  # square metres; flatter depth correlates with nothing


def pearson_depth_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
) -> Tensor:
    """``1 - rho`` of predicted and true depth in each image, mean over the images.

    Images whose target is flat (or has fewer than two valid pixels) do not count.

    Returns:
        A float32 scalar; 0 with gradient where no image counts.
    """
    pred, target, valid = (part.flatten(1) for part in masked_depth(pred, target, mask))
    predicted, true = _centred(pred, valid), _centred(target, valid)
    count = valid.sum(1).clamp(min=1)
    covariance = (predicted * true).sum(1) / count
    variance = predicted.square().sum(1) / count
    true_variance = true.square().sum(1) / count
    scale = (variance.clamp(min=MIN_VARIANCE) * true_variance.clamp(min=MIN_VARIANCE)).rsqrt()
    return masked_mean(1 - covariance * scale, true_variance > MIN_VARIANCE)


@MODELS.register_module()
class PearsonDepthLoss(nn.Module):
    """:func:`pearson_depth_loss` times a weight."""

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
        return self.loss_weight * pearson_depth_loss(pred, target, mask)


def _centred(values: Tensor, valid: Tensor) -> Tensor:
    """Values less their mean over what counts, 0 elsewhere."""
    mean = torch.where(valid, values, 0.0).sum(1, keepdim=True)
    mean = mean / valid.sum(1, keepdim=True).clamp(min=1)
    return torch.where(valid, values - mean, 0.0)
