"""Where a camera sees the horizon: the rows at which the ego frame's level plane vanishes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A camera whose image columns are within about 6 degrees of level has no row for the horizon.
LEAST_UPRIGHT = 0.1


def horizon_row(
    intrinsics: ArrayLike,  # [..., 3, 3], pixels
    ego_T_cam: ArrayLike,  # [..., 4, 4]
    column: ArrayLike,  # [...], pixels
) -> NDArray[np.float64]:
    """The row at which a column of the image meets the horizon.

    All directions that are level in the ego frame lie on one line of the image, whatever the
    camera's yaw, pitch and roll: ``up^T K^-1 (u, v, 1) = 0``, with ``up`` the ego's z axis in the
    camera's frame.

    Returns:
        ``[...]``, pixels, rows growing downwards; it may lie outside the image. NaN where the
        camera lies on its side or looks straight up or down, so that no row is the horizon's.
    """
    up = np.asarray(ego_T_cam)[..., 2, :3]  # the ego's z axis in the camera's frame
    line = (up[..., None, :] @ np.linalg.inv(np.asarray(intrinsics, dtype=np.float64)))[..., 0, :]
    upright = np.abs(up[..., 1]) > LEAST_UPRIGHT
    slope = np.where(upright, line[..., 1], 1.0)
    row = -(line[..., 0] * np.asarray(column) + line[..., 2]) / slope
    return np.where(upright, row, np.nan)
