"""Exact pointmaps, matches and cameras of a wavy wall seen from several places."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bevdepth_plus.geometry.pinhole import in_image, pixel_centres, project, rays
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.pointmaps.matching import Matches

SIZE = (48, 64)
FOCAL = 60.0


def intrinsics(focal: float = FOCAL) -> Tensor:
    return torch.tensor([[focal, 0, SIZE[1] / 2], [0, focal, SIZE[0] / 2], [0, 0, 1]])


def camera_poses(count: int) -> Tensor:
    """Cameras on an arc before the wall, turned a little, ``[V, 4, 4]``."""
    poses = torch.eye(4).repeat(count, 1, 1)
    for i in range(count):
        angle = 0.06 * (i - (count - 1) / 2)
        cosine, sine = math.cos(angle), math.sin(angle)
        poses[i, :3, :3] = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        poses[i, :3, 3] = torch.tensor([-0.8 * (i - (count - 1) / 2), 0.1 * (i % 2), 0.05 * i])
    return poses


def depth_of(pose: Tensor, pixels: Tensor) -> Tensor:
    """Depth of the wall z = 8 + waves along each pixel's ray, ``[P]``, by fixed-point steps."""
    directions = rays(pixels, intrinsics())
    depth = torch.full((len(pixels),), 8.0)
    for _ in range(60):
        points = transform_points(pose, directions * depth[:, None])
        wall = 8 + 0.5 * torch.sin(points[:, 0]) + 0.4 * torch.cos(1.3 * points[:, 1])
        depth = depth + (wall - points[:, 2])
    return depth


def pointmaps(poses: Tensor) -> Tensor:
    """Points of each image in its own camera frame, ``[V, H, W, 3]``."""
    pixels = pixel_centres(SIZE).flatten(0, 1)
    return torch.stack(
        [
            (rays(pixels, intrinsics()) * depth_of(pose, pixels)[:, None]).reshape(*SIZE, 3)
            for pose in poses
        ]
    )


def matches_between(poses: Tensor, a: int, b: int) -> Matches:
    """Pixels of image a that are seen within 0.15 pixels of a pixel's centre of image b."""
    centres = pixel_centres(SIZE).flatten(0, 1)
    points = rays(centres, intrinsics()) * depth_of(poses[a], centres)[:, None]
    world = transform_points(poses[a], points)
    there, _ = project(transform_points(invert_rigid(poses[b]), world), intrinsics())
    near = (there - there.floor() - 0.5).abs().amax(1) < 0.15
    kept = near & in_image(there, SIZE)
    return Matches(centres[kept].long(), there[kept].floor().long(), torch.ones(int(kept.sum())))
