"""Where a camera sees the horizon: the rows at which the ego frame's level plane vanishes."""

from __future__ import annotations

import torch
from torch import Tensor

# A camera whose image columns are within about 6 degrees of level has no row for the horizon.
LEAST_UPRIGHT = 0.1


def horizon_row(
    intrinsics: Tensor,  # [..., 3, 3], pixels
    ego_T_cam: Tensor,  # [..., 4, 4]
    column: Tensor | float,  # [...], pixels
) -> Tensor:
    """The row at which a column of the image meets the horizon.

    All directions that are level in the ego frame lie on one line of the image, whatever the
    camera's yaw, pitch and roll: ``up^T K^-1 (u, v, 1) = 0``, with ``up`` the ego's z axis in the
    camera's frame.

    Returns:
        ``[...]``, pixels, rows growing downwards; it may lie outside the image. NaN where the
        camera lies on its side or looks straight up or down, so that no row is the horizon's.
    """
    up = ego_T_cam[..., 2, :3]  # the ego's z axis in the camera's frame
    line = (up[..., None, :] @ torch.linalg.inv(intrinsics))[..., 0, :]
    upright = up[..., 1].abs() > LEAST_UPRIGHT
    slope = torch.where(upright, line[..., 1], torch.ones_like(line[..., 1]))
    row = -(line[..., 0] * column + line[..., 2]) / slope
    return torch.where(upright, row, torch.full_like(row, torch.nan))
