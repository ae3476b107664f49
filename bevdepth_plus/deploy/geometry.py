"""From calibration to BEV cells in numpy: the same numbers as the pooling op's, bit for bit.

An exported graph gets its geometry as one 3x4 matrix for each camera, folded here in float64, and
computes cells from it in float32. A vehicle whose cameras have moved hands over other matrices;
nothing is built again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bevdepth_plus.deploy.description import FrustumAxes
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.grid_axes import GridAxes


def pixel_to_grid(
    intrinsics: ArrayLike,  # [..., N, 3, 3]
    ego_T_cam: ArrayLike,  # [..., N, 4, 4]
    image_aug: ArrayLike,  # [..., N, 3, 3]
    grid: GridAxes,
) -> NDArray[np.float32]:
    """The map from ``(u * depth, v * depth, depth, 1)`` to coordinates counted in cells.

    ``u`` and ``v`` are network pixels, ``depth`` is in metres. Source: ``fold_camera`` in
    ``ops/csrc/shared_math.h``: products and sums in float64 and in the same order. The matrices are
    rounded to float32 first, as the detector gets them. A camera that gives no image may have NaN
    matrices: all of its points lie outside the grid then.

    Returns:
        float32 ``[..., N, 3, 4]``.

    Raises:
        DataError: shapes do not fit together.
    """
    matrices = {"intrinsics": intrinsics, "ego_T_cam": ego_T_cam, "image_aug": image_aug}
    K, pose, aug = (
        _float64(name, matrix, size)
        for (name, matrix), size in zip(matrices.items(), (3, 4, 3), strict=True)
    )
    if not K.shape[:-2] == pose.shape[:-2] == aug.shape[:-2]:
        raise DataError(
            f"intrinsics are of {K.shape[:-2]} cameras, ego_T_cam of {pose.shape[:-2]} and "
            f"image_aug of {aug.shape[:-2]}; give one of each for every camera"
        )
    with np.errstate(all="ignore"):  # a singular matrix gives NaN: outside the grid
        ray_from_pixel = _inverse(_product(aug, K))
        linear = _product(pose[..., :3, :3], ray_from_pixel)  # [..., N, 3, 3]
        offset = pose[..., :3, 3] - np.array(grid.lower)
        folded = np.concatenate([linear, offset[..., None]], axis=-1)
        return (folded / np.array(grid.cell)[:, None]).astype(np.float32)


def frustum_cells(
    pixel_to_grid: NDArray[np.float32],  # [..., N, 3, 4]
    axes: FrustumAxes,
    grid: GridAxes,
) -> NDArray[np.int32]:
    """The BEV cell ``y * X + x`` of each point of the frustum, -1 outside the grid.

    The reference of what the exported graph computes: float32, without fused multiply-add.

    Returns:
        int32 ``[..., N, D, h, w]``.
    """
    u, v, depths = (np.array(axis, np.float32) for axis in (axes.u, axes.v, axes.depths))
    matrix = np.asarray(pixel_to_grid, np.float32)
    with np.errstate(all="ignore"):
        coordinates = [_coordinate(matrix[..., axis, :], u, v, depths) for axis in range(3)]
        inside = np.ones(coordinates[0].shape, bool)
        for coordinate, size in zip(coordinates, grid.size, strict=True):
            lower = coordinate > -1 if axes.rounding == "truncate" else coordinate >= 0
            inside &= lower & (coordinate < size)
    x, y = (np.where(inside, one, 0).astype(np.int32) for one in coordinates[:2])
    return np.where(inside, y * grid.size[0] + x, -1).astype(np.int32)


def _coordinate(
    row: NDArray[np.float32],  # [..., N, 4], of the map
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    depths: NDArray[np.float32],
) -> NDArray[np.float32]:
    """One coordinate of each point, ``[..., N, D, h, w]``."""
    a, b, c, t = (row[..., i, None, None] for i in range(4))
    ray = a * u + (b * v[:, None] + c)  # [..., N, h, w]
    return ray[..., None, :, :] * depths[:, None, None] + t[..., None]


def _float64(name: str, matrix: ArrayLike, size: int) -> NDArray[np.float64]:
    array = np.asarray(matrix, np.float32)
    if array.ndim < 3 or array.shape[-2:] != (size, size):
        raise DataError(f"{name} must be [..., N, {size}, {size}], got {array.shape}")
    return array.astype(np.float64)


def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """3x3 products, terms added from left to right: ``@`` may fuse or reorder them."""
    terms = [a[..., :, i, None] * b[..., None, i, :] for i in range(3)]
    return (terms[0] + terms[1]) + terms[2]


def _inverse(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """The adjugate over the determinant."""
    inverse = np.empty_like(a)
    for i in range(3):
        for j in range(3):
            r0, r1, c0, c1 = (j + 1) % 3, (j + 2) % 3, (i + 1) % 3, (i + 2) % 3
            inverse[..., i, j] = a[..., r0, c0] * a[..., r1, c1] - a[..., r0, c1] * a[..., r1, c0]
    terms = [a[..., 0, i] * inverse[..., i, 0] for i in range(3)]
    determinant = (terms[0] + terms[1]) + terms[2]
    return inverse / determinant[..., None, None]
