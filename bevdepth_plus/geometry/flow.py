"""Where the pixels of one frame lie in another frame, and which correspondences to trust.

Rigid flow is computed from depth and poses and is right for static points. Observed flow (optical
flow, matching) covers moving objects, too, but contains errors. A correspondence ``[B, 2, H, W]``
holds the (u, v) in the other frame; ``warping`` samples maps at it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.depth_maps import depth_map_points
from bevdepth_plus.geometry.pinhole import in_image, project, rays, scaled_intrinsics
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.geometry.warping import (
    own_pixels,
    sample_depth,
    sample_nearest,
)

MIN_DEPTH = 1e-3  # metres; nothing nearer to the other camera's plane is projected


@dataclass(frozen=True)
class RigidFlow:
    """Where another camera sees the points of a depth map, if they are static.

    Attributes:
        correspondence: pixels of the other image, ``[B, 2, H, W]``; finite everywhere.
        depth: along the other camera's axis, metres, ``[B, 1, H, W]``; 0 where not valid.
        valid: depth is known and the point lies in the other image, bool ``[B, 1, H, W]``.
    """

    correspondence: Tensor
    depth: Tensor
    valid: Tensor


@dataclass(frozen=True)
class StaticFit:
    """How well a static point explains an observed correspondence.

    Attributes:
        inverse_depth: in the first camera, 1/m, 0 (infinity) or more, ``[B, 1, H, W]``.
        residual: distance from that point's projection, pixels, ``[B, 1, H, W]``; infinite where
            it would lie behind the other camera.
        parallax: pixels per 1/m of inverse depth, ``[B, 1, H, W]``; 0 if the camera only rotates.
    """

    inverse_depth: Tensor
    residual: Tensor
    parallax: Tensor


def rigid_flow(
    depth: Tensor,  # [B, 1, H, W], metres, 0 = none
    intrinsics: Tensor,  # [B, 3, 3], pixels of this depth map
    other_intrinsics: Tensor,  # [B, 3, 3]
    other_T_this: Tensor,  # [B, 4, 4], this camera -> the other camera
    other_size: tuple[int, int] | None = None,  # height, width; None: that of the depth map
) -> RigidFlow:
    """Unproject a depth map, move the points into the other camera and project them.

    Gradients reach the depth through both the correspondence and the moved depth.
    """
    known = (depth > 0) & depth.isfinite()
    points = depth_map_points(torch.where(known, depth.float(), 1.0), intrinsics)  # [B, H, W, 3]
    with torch.autocast(depth.device.type, enabled=False):
        moved = transform_points(other_T_this[:, None], points)
    pixels, moved_depth = project(moved, other_intrinsics[:, None])  # [B, H, W, 2], [B, H, W]
    size = depth.shape[-2:] if other_size is None else other_size
    valid = known & ((moved_depth > MIN_DEPTH) & in_image(pixels, size))[:, None]
    return RigidFlow(pixels.movedim(-1, 1), torch.where(valid, moved_depth[:, None], 0.0), valid)


def rigid_flow_between(
    depth: Tensor,  # [B, N, H, W], metres, 0 = none, of cells
    cameras: Cameras,
    others: Cameras,
    stride: int = 1,
) -> RigidFlow:
    """:func:`rigid_flow` from each camera at one moment to the same camera at another.

    Args:
        cameras, others: both with poses in the key frame's ego, as the moments of a rig have.
        stride: Network pixels a cell; the correspondence is in cells.

    Returns:
        Batch and cameras folded: ``[B * N, ...]``.
    """
    return rigid_flow(
        depth.flatten(0, 1)[:, None],
        scaled_intrinsics(cameras.network_intrinsics, stride).flatten(0, 1),
        scaled_intrinsics(others.network_intrinsics, stride).flatten(0, 1),
        motion_between(cameras, others).flatten(0, 1),
    )


def motion_between(cameras: Cameras, others: Cameras) -> Tensor:
    """Points of each camera -> points of the same camera of ``others``, ``[B, N, 4, 4]``."""
    with torch.autocast(cameras.ego_T_cam.device.type, enabled=False):
        return invert_rigid(others.ego_T_cam) @ cameras.ego_T_cam


def came_back(
    start: Tensor,  # [B, 2, H, W], pixels of this frame
    there: Tensor,  # [B, 2, H, W], where they lie in the other frame
    back: Tensor,  # [B, 2, H, W], where those lie in this frame
    share: float = 0.01,
    constant: float = 0.5,
) -> Tensor:
    """Which pixels return to their start, bool ``[B, 1, H, W]``: forward-backward check.

    ``error^2 < share (|forward|^2 + |backward|^2) + constant``, pixels. Source: Sundaram et al.,
    "Dense point trajectories by GPU-accelerated large displacement optical flow" (ECCV 2010).
    """
    lengths = (there - start).square().sum(1) + (back - there).square().sum(1)
    error = (back - start).square().sum(1)
    return (error < share * lengths + constant)[:, None]


def visible_in_other(
    flow: RigidFlow,
    other_depth: Tensor,  # [B, 1, H, W], metres, 0 = unknown, of the other frame
    tolerance: float = 0.05,
    same_surface: bool = False,
) -> Tensor:
    """Which points are not occluded in the other frame, bool ``[B, 1, H, W]``: a z-test.

    Where the other frame's depth is unknown, the point does not count as visible.

    Args:
        tolerance: Share of depth by which the other frame may be nearer.
        same_surface: The other frame must not be farther by more than that, either. This excludes
            an object that moved away and an edge missed by half a pixel.
    """
    # On coarse cells a road's depth changes by more than the tolerance from cell to cell, so depth
    # is interpolated, except beside holes.
    interpolated = sample_depth(other_depth, flow.correspondence)
    nearest, inside = sample_nearest(other_depth, flow.correspondence)
    surface = torch.where(interpolated > 0, interpolated, nearest)  # [B, 1, H, W], metres
    visible = flow.valid & inside & (surface > 0) & (flow.depth <= (1 + tolerance) * surface)
    return visible & (flow.depth * (1 + tolerance) >= surface) if same_surface else visible


def follows_rigid_flow(
    observed: Tensor,  # [B, 2, H, W], correspondence
    flow: RigidFlow,
    tolerance: float = 1.5,
    share: float = 0.1,
) -> Tensor:
    """Which observed correspondences agree with the rigid flow, bool ``[B, 1, H, W]``.

    The other pixels move, or their depth or their correspondence is wrong. False where the rigid
    flow is not valid.

    Args:
        tolerance: Pixels.
        share: Of the rigid flow's length, for errors of depth; added to the tolerance.
    """
    start = own_pixels(observed.shape[-2:], device=observed.device)
    length = (flow.correspondence - start).norm(dim=1, keepdim=True)
    error = (observed - flow.correspondence).norm(dim=1, keepdim=True)
    return flow.valid & (error <= tolerance + share * length)


def fit_static_point(
    pixels: Tensor,  # [B, 2, H, W], of this frame
    correspondence: Tensor,  # [B, 2, H, W], of the other frame
    intrinsics: Tensor,  # [B, 3, 3]
    other_intrinsics: Tensor,  # [B, 3, 3]
    other_T_this: Tensor,  # [B, 4, 4]
    min_depth: float = 1.0,
) -> StaticFit:
    """The static point that best explains an observed correspondence; no depth is needed.

    A pixel with ray r (z = 1) at inverse depth w projects to the homogeneous ``K' (R r + w t)``, so
    a correspondence gives two equations linear in w. The solution is clamped to 0 and
    ``1 / min_depth``. A large residual shows that the pixel moves. Motion along the epipolar line,
    such as a car ahead, leaves no residual and looks like another depth.
    """
    observed = correspondence.flatten(2).transpose(1, 2)  # [B, P, 2]
    directions = rays(pixels.flatten(2).transpose(1, 2), intrinsics)  # [B, P, 3]
    with torch.autocast(pixels.device.type, enabled=False):
        at_infinity = directions @ (other_intrinsics @ other_T_this[:, :3, :3]).transpose(1, 2)
        slope = (other_intrinsics @ other_T_this[:, :3, 3:]).transpose(1, 2)  # [B, 1, 3]
    # Least squares in w of the two equations w * lever = error, each times the depth factor.
    error = observed * at_infinity[..., 2:] - at_infinity[..., :2]  # [B, P, 2]
    lever = slope[..., :2] - observed * slope[..., 2:]
    # Without a baseline the lever is 0: then infinity is as good as any depth.
    inverse_depth = (error * lever).sum(-1) / (lever.square().sum(-1) + 1e-9)
    inverse_depth = inverse_depth.clamp(0, 1 / min_depth)
    homogeneous = at_infinity + inverse_depth[..., None] * slope
    ahead = homogeneous[..., 2] > MIN_DEPTH
    factor = torch.where(ahead, homogeneous[..., 2], 1.0)
    residual = (homogeneous[..., :2] / factor[..., None] - observed).norm(dim=-1)
    parts = (
        inverse_depth,
        torch.where(ahead, residual, torch.inf),
        torch.where(ahead, lever.norm(dim=-1) / factor, 0.0),
    )
    return StaticFit(*(part.reshape(len(pixels), 1, *pixels.shape[-2:]) for part in parts))


def is_far(fit: StaticFit, max_depth: float, min_parallax: float = 0.5) -> Tensor:
    """Which correspondences show a point beyond ``max_depth``, bool ``[B, 1, H, W]``.

    False where a point at ``max_depth`` would move by less than ``min_parallax`` pixels between
    the frames: the vehicle stands, or the pixel lies near the epipole.
    """
    measurable = fit.parallax / max_depth >= min_parallax
    return measurable & (fit.inverse_depth < 1 / max_depth)
