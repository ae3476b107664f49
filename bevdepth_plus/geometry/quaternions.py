"""Unit quaternions (x, y, z, w), for rotations that an optimiser moves."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def quaternion_to_rotation(
    quaternion: Tensor,  # [..., 4], (x, y, z, w), any length but 0
) -> Tensor:
    """Rotation matrices ``[..., 3, 3]``."""
    x, y, z, w = normalize(quaternion, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def rotation_to_quaternion(
    rotation: Tensor,  # [..., 3, 3]
) -> Tensor:
    """Unit quaternions ``[..., 4]`` with w >= 0; not made to be differentiated."""
    m = rotation
    diagonal = m.diagonal(dim1=-2, dim2=-1)
    trace = diagonal.sum(-1, keepdim=True)
    # Squares of x, y, z, w times 4; the largest decides, so that nothing is divided by 0.
    squares = torch.cat([1 + 2 * diagonal - trace, 1 + trace], dim=-1)
    xy, xz, yz = (m[..., i, j] + m[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    xw, yw, zw = (m[..., i, j] - m[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    x2, y2, z2, w2 = squares.unbind(-1)
    table = torch.stack(
        [
            torch.stack(row, dim=-1)
            for row in ((x2, xy, xz, xw), (xy, y2, yz, yw), (xz, yz, z2, zw), (xw, yw, zw, w2))
        ],
        dim=-2,
    )
    largest = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = normalize(table.gather(-2, largest)[..., 0, :], dim=-1)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
