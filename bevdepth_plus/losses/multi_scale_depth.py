"""Depth at several scales, and its smoothness where the image is smooth.

Weights of the scales are those of DELTAS (Sinha et al., ECCV 2020), the finest scale included.
Smoothness is that of Monodepth (Godard et al., CVPR 2017), over normalised inverse depth as in
Monodepth2 (ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.geometry.z_buffer import nearest_depth
from bevdepth_plus.losses.masking import masked_depth, masked_mean


def multi_scale_depth_loss(
    depths: Sequence[Tensor],  # finest first, [B, 1, H / s, W / s], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    first_weight: float = 2.0,
    decay: float = 0.7,
    log: bool = False,
) -> Tensor:
    """Absolute error at each scale; a coarse cell's target is the nearest depth in it.

    Args:
        depths, target: see above.
        first_weight: of the finest scale.
        decay: from the weight of one scale to the next coarser one's.
        log: of the logarithm of depth (which must be above 0), not of metres: in a street, metres
            are all about what is far.

    Returns:
        A float32 scalar; 0 with gradient where no target is known.
    """
    total = depths[0].new_zeros((), dtype=torch.float32)
    for index, depth in enumerate(depths):
        stride = target.shape[-1] // depth.shape[-1]
        label = nearest_depth(target, stride) if stride > 1 else target
        pred, label, known = masked_depth(depth, label, label > 0)
        if log:
            pred, label = pred.log(), label.log()
        total = total + first_weight * decay**index * masked_mean((pred - label).abs(), known)
    return total


def edge_aware_smoothness_loss(
    depth: Tensor,  # [B, 1, H, W], metres, above 0
    images: Tensor,  # [B, 3, H, W], of unit deviation or so
) -> Tensor:
    """Mean change of normalised inverse depth between neighbours, less across the image's edges.

    Returns:
        A float32 scalar.
    """
    inverse = 1 / depth.float()
    inverse = inverse / inverse.mean((-2, -1), keepdim=True)
    total = inverse.new_zeros(())
    for dim in (-2, -1):
        edge = images.float().diff(dim=dim).abs().mean(1, keepdim=True)
        total = total + (inverse.diff(dim=dim).abs() * (-edge).exp()).mean()
    return total


@MODELS.register_module()
class MultiScaleDepthLoss(nn.Module):
    """:func:`multi_scale_depth_loss` with its weights."""

    def __init__(self, first_weight: float = 2.0, decay: float = 0.7, log: bool = False) -> None:
        super().__init__()
        self.first_weight = first_weight
        self.decay = decay
        self.log = log

    def forward(self, depths: Sequence[Tensor], target: Tensor) -> Tensor:
        return multi_scale_depth_loss(depths, target, self.first_weight, self.decay, self.log)


@MODELS.register_module()
class EdgeAwareSmoothnessLoss(nn.Module):
    """:func:`edge_aware_smoothness_loss` times a weight."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, depth: Tensor, images: Tensor) -> Tensor:
        return self.loss_weight * edge_aware_smoothness_loss(depth, images)
