"""Lift image features along their depth distributions and splat them into the BEV grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.geometry.camera import CameraRig
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.models.depth_refinement import lift_rows, pool_rows
from bevdepth_plus_ops import bev_pool, frustum_cells


@MODELS.register_module()
class LiftSplat(nn.Module):
    """Depth x context, pooled into BEV cells. Source: Lift, Splat, Shoot (ECCV 2020).

    Args:
        grid: the :class:`BEVGrid`'s x, y, z as ``(lower, upper, cell)``, metres.
        depth_bins: the :class:`DepthBins`' start, stop, step (and plane), metres.
        image_size: ``(H, W)`` of the network's input, pixels.
        stride: of the image features.
        frustum: where a feature cell's ray starts. ``"centres"``: at the cell's centre.
            ``"corners"``: evenly from the first pixel to the last, as in the public BEVDepth code
            (up to half a stride off; only for converted checkpoints).
        rounding: ``"floor"``, or ``"truncate"`` toward zero as in the public code, which pulls
            points up to one cell outside the grid into its border cells.
        refinement: config of a :class:`DepthRefinement` of the lifted features before pooling.
    """

    def __init__(
        self,
        grid: dict,
        depth_bins: dict,
        image_size: Sequence[int],
        stride: int = 16,
        frustum: str = "centres",
        rounding: str = "floor",
        refinement: dict | None = None,
    ) -> None:
        super().__init__()
        if frustum not in ("centres", "corners"):
            raise ValueError(f"frustum must be 'centres' or 'corners', got {frustum!r}")
        self.grid = BEVGrid(**grid)
        self.depth_bins = DepthBins(**depth_bins)
        self.stride = stride
        self.rounding = rounding
        self.refinement = MODELS.build(refinement) if refinement else None
        height, width = image_size
        rows, columns = height // stride, width // stride
        if frustum == "centres":
            u = (torch.arange(columns) + 0.5) * stride
            v = (torch.arange(rows) + 0.5) * stride
        else:
            u, v = torch.linspace(0, width - 1, columns), torch.linspace(0, height - 1, rows)
        self.register_buffer("u", u, persistent=False)
        self.register_buffer("v", v, persistent=False)
        self.register_buffer("planes", self.depth_bins.planes(), persistent=False)

    def forward(
        self,
        depth: Tensor,  # [B, N, D, H, W], probabilities
        context: Tensor,  # [B, N, C, H, W]
        rig: CameraRig,  # one frame
    ) -> Tensor:
        """BEV features ``[B, C, Y, X]`` in the (augmented) key ego frame."""
        cells = self.cells(rig)
        if self.refinement is None:
            return bev_pool(depth, context, cells, self.grid.bev_size)
        return pool_rows(self.refinement(lift_rows(depth, context)), cells, self.grid.bev_size)

    @torch.no_grad()
    def cells(self, rig: CameraRig) -> Tensor:
        """Flat BEV cell of each frustum point, int32 ``[B, N, D, H, W]``.

        -1 for points outside the grid and all points of a camera that is out.
        """
        cells = frustum_cells(
            rig.ego_T_cam[:, 0],
            rig.intrinsics[:, 0],
            rig.image_aug[:, 0],
            rig.bev_aug,
            u=self.u,
            v=self.v,
            depths=self.planes,
            lower=self.grid.lower,
            cell_size=self.grid.cell,
            grid_size=self.grid.size,
            rounding=self.rounding,
        )
        if rig.camera_mask is None:
            return cells
        return cells.masked_fill(~rig.camera_mask[:, 0, :, None, None, None], -1)
