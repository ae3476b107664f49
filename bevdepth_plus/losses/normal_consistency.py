"""Depth-normal consistency: the surface of the predicted depth has the given normals.

Source: Hu et al., "Metric3D v2: A versatile monocular geometric foundation model for zero-shot
metric depth and surface normal estimation" (TPAMI 2024).
"""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.geometry.depth_maps import depth_map_points, normal_map, unit
from bevdepth_plus.losses.masking import masked_depth, masked_mean


def depth_normal_consistency_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    intrinsics: Tensor,  # [B, 3, 3], pixels of this depth map
    normals: Tensor | None = None,  # [B, 3, H, W], camera frame, towards the camera
    *,
    pixel_centre: float = 0.5,
) -> Tensor:
    """Mean of ``1 - cos`` between the predicted depth's normals and the given ones.

    Given normals need not have length 1 (0 = none); without any, those of the target are used.
    They may be a network's: the gradient reaches both. A pixel counts if it and its four
    neighbours are valid, so of sparse depth nothing counts.

    Args:
        pixel_centre: See :func:`bevdepth_plus.losses.virtual_normal_loss`.

    Returns:
        A float32 scalar; 0 with gradient where no pixel counts.
    """
    pred, target, valid = masked_depth(pred, target, mask)
    predicted, exists = normal_map(depth_map_points(pred, intrinsics, pixel_centre), valid)
    if normals is None:
        expected, _ = normal_map(depth_map_points(target, intrinsics, pixel_centre), valid)
    else:
        given = normals.float().movedim(1, -1)
        exists = exists & (given != 0).any(-1) & given.isfinite().all(-1)
        expected = unit(torch.where(exists[..., None], given, 0.0))
    return masked_mean(1 - (predicted * expected).sum(-1), exists)


@MODELS.register_module()
class DepthNormalConsistencyLoss(nn.Module):
    """:func:`depth_normal_consistency_loss` times a weight, for the matrices of a camera rig."""

    def __init__(self, loss_weight: float = 1.0, pixel_centre: float = 0.5) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.pixel_centre = pixel_centre

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        intrinsics: Tensor,
        generator: torch.Generator | None = None,
        normals: Tensor | None = None,
    ) -> Tensor:
        loss = depth_normal_consistency_loss(
            pred, target, mask, intrinsics, normals, pixel_centre=self.pixel_centre
        )
        return self.loss_weight * loss
