"""Rigid and affine transforms. ``a_T_b`` maps points of frame ``b`` to frame ``a``.

Both keep their precision under autocast, which would round metres to half precision.
"""

from __future__ import annotations

import torch
from torch import Tensor


def transform_points(
    a_T_b: Tensor,  # [..., 4, 4]
    points: Tensor,  # [..., P, 3]
) -> Tensor:
    """Map points of frame ``b`` into frame ``a``.

    Returns:
        Points in frame ``a``, metres, ``[..., P, 3]``.
    """
    rotation, translation = a_T_b[..., :3, :3], a_T_b[..., :3, 3]
    with torch.autocast(points.device.type, enabled=False):
        return points @ rotation.transpose(-1, -2) + translation[..., None, :]


def invert_rigid(
    a_T_b: Tensor,  # [..., 4, 4]
) -> Tensor:
    """Invert a rotation-and-translation matrix by its transpose: exact, and cheap in any dtype."""
    rotation = a_T_b[..., :3, :3].transpose(-1, -2)
    with torch.autocast(a_T_b.device.type, enabled=False):
        translation = -(rotation @ a_T_b[..., :3, 3:])
    # The last row is 0 0 0 1, also of the inverse. Writing the 1 would make a GPU wait.
    return torch.cat([torch.cat([rotation, translation], dim=-1), a_T_b[..., 3:, :]], dim=-2)
