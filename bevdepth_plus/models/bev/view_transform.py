"""Lift image features along their depth distributions and splat them into the BEV grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.models.bev.depth_refinement import lift_rows, pool_rows
from bevdepth_plus.models.bev.plan_cache import PlanCache
from bevdepth_plus_ops import bev_pool


@MODELS.register_module()
class LiftSplat(nn.Module):
    """Depth x context, pooled into BEV cells. Source: Lift, Splat, Shoot (ECCV 2020).

    Args:
        grid: the :class:`BEVGrid`'s x, y, z as ``(lower, upper, cell)``, metres.
        depth_bins: the :class:`DepthBins`' start, stop, step (and plane), metres.
        image_size: ``(H, W)`` of the network's input, pixels.
        stride: of the image features.
        frustum: config of a :class:`Frustum` (its ``type`` may be left out); the public code's
            options are ``rays="corners"`` and ``rounding="truncate"``.
        refinement: config of a :class:`DepthRefinement` of the lifted features before pooling.
    """

    def __init__(
        self,
        grid: Mapping,
        depth_bins: Mapping,
        image_size: Sequence[int],
        stride: int,
        frustum: Mapping | None = None,
        refinement: dict | None = None,
    ) -> None:
        super().__init__()
        geometry = dict(grid=grid, depth_bins=depth_bins, image_size=image_size, stride=stride)
        self.frustum = MODELS.build({"type": "Frustum", **(frustum or {})}, default_args=geometry)
        self.refinement = MODELS.build(refinement) if refinement else None
        self.bev_size = self.frustum.grid.bev_size
        self.plans = PlanCache(self.bev_size)

    def forward(
        self,
        depth: Tensor,  # [B, N, D, H, W], probabilities
        context: Tensor,  # [B, N, C, H, W]
        cameras: Cameras,
    ) -> Tensor:
        """BEV features ``[B, C, Y, X]`` in the (augmented) key ego frame."""
        if self.refinement is not None:
            volume = self.refinement(lift_rows(depth, context))  # [B * N * H, C, W, D]
            return pool_rows(volume, self.frustum.cells(cameras), self.bev_size)
        if self.training:  # augmentation changes the cameras at every step
            return bev_pool(depth, context, self.frustum.cells(cameras), self.bev_size)
        return self.plans.pool(depth, context, cameras, self.frustum.cells)
