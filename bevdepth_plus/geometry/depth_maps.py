"""Depth maps as points in the camera's frame, and the normals of those points."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bevdepth_plus.geometry.pinhole import inverse_intrinsics


def depth_map_points(
    depth: Tensor,  # [B, 1, H, W], metres
    intrinsics: Tensor,  # [B, 3, 3], pixels of this depth map
    pixel_centre: float = 0.5,
) -> Tensor:
    """Points in the camera's frame (x right, y down, z forward), metres, ``[B, H, W, 3]``.

    The centre of column ``j`` lies at ``j + pixel_centre``: 0.5 for this project's matrices, 0.0 to
    reproduce public codes that follow OpenCV.

    Raises:
        ValueError: there are not as many matrices as depth maps.
    """
    height, width = depth.shape[-2:]
    if intrinsics.shape != (len(depth), 3, 3):
        raise ValueError(f"intrinsics must be [{len(depth)}, 3, 3], got {tuple(intrinsics.shape)}")
    inverse = inverse_intrinsics(intrinsics.float())[:, None, None]  # [B, 1, 1, 3, 3]
    # The rays of all pixels, [B, H, W, 3], with z = 1.
    u = torch.arange(width, device=depth.device)[:, None] + pixel_centre
    v = torch.arange(height, device=depth.device)[:, None, None] + pixel_centre
    # Products and sums of columns: autocast would run a matrix product in half precision.
    rays = inverse[..., 0] * u + inverse[..., 1] * v + inverse[..., 2]
    return rays * depth[:, 0, :, :, None]


def unit(
    vectors: Tensor,  # [..., 3]
) -> Tensor:
    """Vectors of length 1; those too short to have a direction become 0, with a gradient of 0."""
    square = vectors.square().sum(-1, keepdim=True)
    has_direction = square > 1e-16
    return torch.where(has_direction, vectors * torch.where(has_direction, square, 1).rsqrt(), 0)


def normal_map(
    points: Tensor,  # [B, H, W, 3], camera frame
    valid: Tensor,  # [B, 1, H, W], bool
) -> tuple[Tensor, Tensor]:
    """Unit normals by central differences, towards the camera, and where they exist.

    Returns:
        ``normals [B, H, W, 3]`` (0 on the border) and ``exists [B, H, W]``: the pixel and its four
        neighbours are valid.
    """
    # Central differences of the inner pixels, [B, H - 2, W - 2, 3].
    along_u = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    along_v = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    normals = unit(torch.cross(along_v, along_u, dim=-1))
    known = valid[:, 0]
    exists = known[:, 1:-1, 1:-1] & known[:, 1:-1, 2:] & known[:, 1:-1, :-2]
    exists = exists & known[:, 2:, 1:-1] & known[:, :-2, 1:-1]
    return functional.pad(normals, (0, 0, 1, 1, 1, 1)), functional.pad(exists, (1, 1, 1, 1))
