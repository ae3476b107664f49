"""Boxes as tensors: gravity centre, (length, width, height), yaw, velocity."""

from __future__ import annotations

import torch
from torch import Tensor

from bevdepth_plus.geometry.rigid import transform_points

# Corner i of a box, in units of its size; 0..3 the front face, 4..7 the rear one, each
# starting at the lower left (seen along +x) and going round.
_CORNERS = (
    (0.5, 0.5, -0.5),
    (0.5, -0.5, -0.5),
    (0.5, -0.5, 0.5),
    (0.5, 0.5, 0.5),
    (-0.5, 0.5, -0.5),
    (-0.5, -0.5, -0.5),
    (-0.5, -0.5, 0.5),
    (-0.5, 0.5, 0.5),
)

# Pairs of corners: front face, rear face, and what joins them.
_EDGES = (
    *((0, 1), (1, 2), (2, 3), (3, 0)),
    *((4, 5), (5, 6), (6, 7), (7, 4)),
    *((0, 4), (1, 5), (2, 6), (3, 7)),
)


def transform_boxes(
    boxes: Tensor,  # [M, 7 or 9]: x, y, z (gravity centre), l, w, h, yaw[, vx, vy]
    a_T_b: Tensor,  # [4, 4], rotation, uniform scale and mirrors allowed
) -> Tensor:
    """Move boxes of frame ``b`` into frame ``a``.

    A box stays upright: its heading and velocity are rotated in three dimensions, then
    projected onto the ground plane. The (uniform) scale of ``a_T_b`` scales sizes and velocity.

    Raises:
        ValueError: ``boxes`` has neither 7 nor 9 columns.
    """
    if boxes.ndim != 2 or boxes.shape[1] not in (7, 9):
        raise ValueError(f"boxes must be [M, 7] or [M, 9], got {tuple(boxes.shape)}")
    linear = a_T_b[:3, :3].to(boxes)
    scale = torch.linalg.det(linear).abs().pow(1 / 3)
    yaw = boxes[:, 6]
    heading = torch.stack([yaw.cos(), yaw.sin(), torch.zeros_like(yaw)], dim=-1) @ linear.T
    moved = [
        transform_points(a_T_b.to(boxes), boxes[:, :3]),
        boxes[:, 3:6] * scale,
        torch.atan2(heading[:, 1], heading[:, 0])[:, None],
    ]
    if boxes.shape[1] == 9:
        moved.append(boxes[:, 7:9] @ linear[:2, :2].T)
    return torch.cat(moved, dim=1)


def box_corners(
    boxes: Tensor,  # [M, >=7], gravity centre
) -> Tensor:
    """The eight corners, ``[M, 8, 3]``: 0..3 the front face, 4..7 the rear one."""
    unit = boxes.new_tensor(_CORNERS)
    corners = unit * boxes[:, None, 3:6]
    cos, sin = boxes[:, 6].cos()[:, None], boxes[:, 6].sin()[:, None]
    # The corners turned by yaw about z, then moved to the centre.
    x = corners[..., 0] * cos - corners[..., 1] * sin
    y = corners[..., 0] * sin + corners[..., 1] * cos
    return torch.stack([x, y, corners[..., 2]], dim=-1) + boxes[:, None, :3]


def edges_before_camera(
    corners: Tensor,  # [8, 3], of one box of `box_corners`, camera frame
    near: float,
) -> Tensor:
    """The parts of a box's edges beyond a depth of ``near`` metres: ends ``[E, 2, 3]``, E <= 12."""
    edges = corners[torch.tensor(_EDGES, device=corners.device)]  # [12, 2, 3]
    edges = edges[(edges[..., 2] > near).any(dim=1)]
    depth = edges[..., 2]
    # Where along the edge the near plane lies; an end that is nearer moves there.
    span = depth[:, 1] - depth[:, 0]
    share = (near - depth[:, 0]) / torch.where(span == 0, 1, span)
    crossing = edges[:, 0] + share[:, None] * (edges[:, 1] - edges[:, 0])
    return torch.where((depth > near)[..., None], edges, crossing[:, None])


def points_in_boxes(
    points: Tensor,  # [P, 3]
    boxes: Tensor,  # [M, >=7], gravity centre, same frame
) -> Tensor:
    """Which point lies in which box, bool ``[M, P]``."""
    offset = points[None] - boxes[:, None, :3]
    cos, sin = boxes[:, 6].cos()[:, None], boxes[:, 6].sin()[:, None]
    # The points in each box's own axes, [M, P, 3]: turned by -yaw about its centre.
    along = offset[..., 0] * cos + offset[..., 1] * sin
    across = offset[..., 1] * cos - offset[..., 0] * sin
    local = torch.stack([along, across, offset[..., 2]], dim=-1)
    return (local.abs() <= boxes[:, None, 3:6] / 2).all(-1)
