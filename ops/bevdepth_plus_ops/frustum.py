"""BEV cell indices of camera frustums, straight from the matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .checks import check_frustum_inputs
from .native import has_kernels, warn_once_about_fallback
from .reference import frustum_cells_reference


def frustum_cells(
    ego_T_cam: Tensor,  # [B, N, 4, 4]
    intrinsics: Tensor,  # [B, N, 3, 3]
    image_aug: Tensor,  # [B, N, 3, 3]
    bev_aug: Tensor,  # [B, 4, 4]
    *,
    u: Tensor,  # [W]
    v: Tensor,  # [H]
    depths: Tensor,  # [D]
    lower: Sequence[float],  # (x, y, z)
    cell_size: Sequence[float],  # (x, y, z)
    grid_size: Sequence[int],  # (X, Y, Z)
    rounding: str = "floor",
) -> Tensor:
    """The BEV cell `y * X + x` of every frustum point, -1 where it lies outside the grid.

    Point (d, h, w) of a camera is
    `bev_aug @ ego_T_cam @ (K^-1 @ image_aug^-1 @ (u[w], v[h], 1) * depths[d])`.

    Args:
        ego_T_cam: Maps camera points to ego, metres.
        intrinsics: Maps camera rays to pixels of the image as loaded.
        image_aug: Affine map from pixels as loaded to pixels of the network image.
        bev_aug: Maps ego points to augmented ego points.
        u, v: Pixel coordinates of the feature columns and rows in the network image.
        depths: Metric depth (z in the camera frame) of each bin.
        lower: Lower corner of the grid, metres.
        cell_size: Extent of one cell, metres.
        grid_size: Number of cells along x, y and z. All z layers share one BEV cell.
        rounding: "floor", or "truncate" for checkpoints of the public BEVDepth code, whose
            `((point - lower) / size).int()` takes points up to one cell below the grid into cell 0.

    The four matrices of a camera are folded in float64 into one float32 map from (u, v, depth) to
    coordinates counted in cells; a point nearer than about 1e-4 cells to a cell's border may
    therefore fall on either side of it. CPU and CUDA kernels agree to the last bit.

    Returns:
        [B, N, D, H, W] int32. There is no gradient.

    Raises:
        ValueError, TypeError: a shape, device, dtype or option does not fit.
    """
    matrices = dict(
        ego_T_cam=ego_T_cam, intrinsics=intrinsics, image_aug=image_aug, bev_aug=bev_aug
    )
    axes = dict(u=u, v=v, depths=depths)
    check_frustum_inputs(matrices, axes, lower, cell_size, grid_size, rounding)
    if not has_kernels(ego_T_cam.device):
        warn_once_about_fallback(ego_T_cam.device)
        return frustum_cells_reference(
            **matrices, **axes, lower=lower, cell_size=cell_size, grid_size=grid_size,
            rounding=rounding,
        )  # fmt: skip
    return torch.ops.bevdepth_plus_ops.frustum_cells(
        **matrices, **axes, lower=list(map(float, lower)), cell_size=list(map(float, cell_size)),
        grid_size=list(grid_size), truncate=rounding == "truncate",
    )  # fmt: skip
