"""Virtual normals: the planes through far-apart triplets of points agree.

Source: Yin et al., "Enforcing geometric constraints of virtual normal for depth prediction"
(ICCV 2019); used by Metric3D (ICCV 2023).
"""

from __future__ import annotations

from typing import Any

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.geometry.depth_maps import depth_map_points
from bevdepth_plus.losses.masking import at_pixels, masked_depth, masked_mean
from bevdepth_plus.losses.triplets import (
    flat_index,
    kept_triplets,
    sample_triplets,
    triplet_normals,
    triplet_points,
)


def virtual_normal_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    intrinsics: Tensor,  # [B, 3, 3], pixels of this depth map
    triplets: Tensor | None = None,  # [B, T, 3, 2], (y, x); None: drawn
    *,
    sample_ratio: float = 0.15,
    max_cos: float = 0.867,
    min_distance: float = 0.005,
    drop_smallest: float = 0.25,
    pixel_centre: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean L1 distance between the unit normals of predicted and of true triplets.

    The target alone decides which triplets count, see :func:`virtual_triplets`.

    Args:
        sample_ratio: Triplets to draw, as a share of the image's pixels.
        max_cos: Triplets with two edges closer in direction than this cosine are dropped.
        min_distance: Triplets with two corners this near in x, y and z are dropped, metres.
        drop_smallest: Share of the smallest terms (of the whole batch) left out of the mean.
        pixel_centre: Where a pixel's centre lies: 0.5 for the matrices of this project, 0.0 to
            reproduce the numbers of Metric3D's code.

    Returns:
        A float32 scalar; 0 with gradient where no triplet counts.

    Raises:
        ValueError: a shape is wrong, or ``drop_smallest`` is not in [0, 1).
    """
    if not 0 <= drop_smallest < 1:
        raise ValueError(f"drop_smallest must be in [0, 1), got {drop_smallest}")
    filled_pred, filled_target, valid = masked_depth(pred, target, mask)
    if triplets is None:
        height, width = valid.shape[-2:]
        triplets = sample_triplets(valid, int(sample_ratio * height * width), generator)
    index = flat_index(triplets, pred.shape, corners=3)
    true = triplet_points(depth_map_points(filled_target, intrinsics, pixel_centre), index)
    predicted = triplet_points(depth_map_points(filled_pred, intrinsics, pixel_centre), index)
    kept = _kept(true, valid, index, max_cos, min_distance)
    terms = (triplet_normals(predicted) - triplet_normals(true)).abs().sum(-1)
    return _mean_without_smallest(terms, kept, drop_smallest)


def virtual_triplets(
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    intrinsics: Tensor,  # [B, 3, 3]
    triplets: Tensor,  # [B, T, 3, 2], (y, x)
    *,
    max_cos: float = 0.867,
    min_distance: float = 0.005,
    pixel_centre: float = 0.5,
) -> Tensor:
    """Which triplets :func:`virtual_normal_loss` uses: of valid depth, and spanning a plane.

    Returns:
        bool ``[B, T]``.
    """
    _, filled, valid = masked_depth(target, target, mask)
    index = flat_index(triplets, target.shape, corners=3)
    points = triplet_points(depth_map_points(filled, intrinsics, pixel_centre), index)
    return _kept(points, valid, index, max_cos, min_distance)


@MODELS.register_module()
class VirtualNormalLoss(nn.Module):
    """:func:`virtual_normal_loss` times a weight, for the matrices of a camera rig."""

    def __init__(
        self,
        loss_weight: float = 1.0,
        sample_ratio: float = 0.15,
        max_cos: float = 0.867,
        min_distance: float = 0.005,
        drop_smallest: float = 0.25,
        pixel_centre: float = 0.5,
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.options: dict[str, Any] = dict(
            sample_ratio=sample_ratio,
            max_cos=max_cos,
            min_distance=min_distance,
            drop_smallest=drop_smallest,
            pixel_centre=pixel_centre,
        )

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        intrinsics: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        loss = virtual_normal_loss(
            pred, target, mask, intrinsics, generator=generator, **self.options
        )
        return self.loss_weight * loss


def _kept(
    points: Tensor, valid: Tensor, index: Tensor, max_cos: float, min_distance: float
) -> Tensor:
    """Which triplets have valid corners and span a plane, bool ``[B, T]``."""
    labelled = at_pixels(valid.flatten(1)[..., None], index)[..., 0].all(-1)
    return labelled & kept_triplets(points, max_cos, min_distance)


def _mean_without_smallest(terms: Tensor, kept: Tensor, drop: float) -> Tensor:
    if drop == 0:
        return masked_mean(terms, kept)
    # Terms that do not count sort to the front, so that no count has to reach the host.
    ordered = torch.where(kept, terms, -torch.inf).flatten().sort().values
    num_kept = kept.sum()
    first = kept.numel() - num_kept + (num_kept.double() * drop).long()
    return masked_mean(ordered, torch.arange(kept.numel(), device=kept.device) >= first)
