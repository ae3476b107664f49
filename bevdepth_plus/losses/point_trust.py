"""What teaches how wrong a triangulated point may be: how wrong it is.

The likelihood of a Laplace distribution over the error of log depth, as of Kendall and Gal ("What
Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?", NeurIPS 2017) for absolute
errors.
"""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.losses.masking import masked_mean


def point_trust_loss(
    sigma: Tensor,  # [B, P], of log depth, above 0
    depth: Tensor,  # [B, P], metres, 0 = none
    target: Tensor,  # [B, P], metres, 0 = unknown
) -> Tensor:
    """Mean ``|log depth - log target| / sigma + log sigma`` over points that have both.

    Returns:
        A float32 scalar; 0 with gradient where no point has both.
    """
    known = (depth > 0) & (target > 0) & target.isfinite()
    log_depth, log_target = (
        torch.where(known, values, 1.0).float().log() for values in (depth, target)
    )
    error = (log_depth - log_target).abs()
    return masked_mean(error / sigma.float() + sigma.float().log(), known)


@MODELS.register_module()
class PointTrustLoss(nn.Module):
    """:func:`point_trust_loss` times a weight."""

    def __init__(self, loss_weight: float = 0.1) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, sigma: Tensor, depth: Tensor, target: Tensor) -> Tensor:
        return self.loss_weight * point_trust_loss(sigma, depth, target)
