"""Scale-invariant logarithmic error.

Source: Eigen et al., "Depth map prediction from a single image using a multi-scale deep network"
(NeurIPS 2014), Sec. 3.2; in the form of Metric3D (ICCV 2023), without a square root.
"""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.losses.masking import masked_depth, masked_mean

MIN_DEPTH = 1e-6  # metres; predictions below it are raised to it, so that their logarithm exists


def silog_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    variance_focus: float = 0.5,
) -> Tensor:
    """``mean(d^2) - variance_focus * mean(d)^2`` with ``d = log pred - log target``.

    Means run over all valid pixels of the batch. At ``variance_focus`` 1 a common factor costs
    nothing, at 0 this is the plain squared logarithmic error.

    Returns:
        A float32 scalar; 0 with gradient where the mask is empty.
    """
    pred, target, valid = masked_depth(pred, target, mask)
    difference = pred.clamp(min=MIN_DEPTH).log() - target.log()
    mean = masked_mean(difference, valid)
    return masked_mean(difference.square(), valid) - variance_focus * mean.square()


@MODELS.register_module()
class SILogLoss(nn.Module):
    """:func:`silog_loss` times a weight."""

    def __init__(self, loss_weight: float = 1.0, variance_focus: float = 0.5) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.variance_focus = variance_focus

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        intrinsics: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return self.loss_weight * silog_loss(pred, target, mask, self.variance_focus)
