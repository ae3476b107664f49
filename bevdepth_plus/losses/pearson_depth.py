"""Correlation of depths. Source: Liu et al., "MoDGS" (ICLR 2025)."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.losses.masking import masked_depth, masked_mean

MIN_VARIANCE = 1e-6  # square metres; flatter depth correlates with nothing


def pearson_depth_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    patch: int | None = None,
) -> Tensor:
    """``1 - rho`` of predicted and true depth in each image or patch, mean over all of them.

    Those whose target is flat (or has fewer than two valid pixels) do not count.

    Args:
        patch: Side of the square patches, pixels; those at the right and lower border may be
            smaller. None: whole images. With patches, near and far regions may differ in scale.

    Returns:
        A float32 scalar; 0 with gradient where no image or patch counts.

    Raises:
        ValueError: a shape is wrong, or patches have fewer than two pixels.
    """
    if patch is not None and patch < 2:
        raise ValueError(f"patch must be 2 pixels or more, got {patch}")
    pred, target, valid = (_rows(part, patch) for part in masked_depth(pred, target, mask))
    predicted, true = _centred(pred, valid), _centred(target, valid)
    # Covariance and variances of each image or patch, [rows].
    count = valid.sum(1).clamp(min=1)
    covariance = (predicted * true).sum(1) / count
    variance = predicted.square().sum(1) / count
    true_variance = true.square().sum(1) / count
    scale = (variance.clamp(min=MIN_VARIANCE) * true_variance.clamp(min=MIN_VARIANCE)).rsqrt()
    return masked_mean(1 - covariance * scale, true_variance > MIN_VARIANCE)


@MODELS.register_module()
class PearsonDepthLoss(nn.Module):
    """:func:`pearson_depth_loss` times a weight."""

    def __init__(self, loss_weight: float = 1.0, patch: int | None = None) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.patch = patch

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        intrinsics: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return self.loss_weight * pearson_depth_loss(pred, target, mask, self.patch)


def _rows(
    values: Tensor,  # [B, 1, H, W]
    patch: int | None,
) -> Tensor:
    """One row for each image or patch, ``[rows, pixels]``; padding is 0 or False."""
    if patch is None:
        return values.flatten(1)
    height, width = values.shape[-2:]
    values = functional.pad(values, (0, -width % patch, 0, -height % patch))
    values = values.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # [B, 1, h, p, w, p]
    return values.transpose(3, 4).flatten(0, 3).flatten(1)


def _centred(values: Tensor, valid: Tensor) -> Tensor:
    """Values minus their mean over valid pixels, 0 elsewhere."""
    mean = torch.where(valid, values, 0.0).sum(1, keepdim=True)
    mean = mean / valid.sum(1, keepdim=True).clamp(min=1)
    return torch.where(valid, values - mean, 0.0)
