"""Where the sources of an anchor truly see its points, by true depth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bevdepth_plus.geometry.epipolar import pixel_lines, seen_at_depth
from bevdepth_plus.geometry.pinhole import pixel_centres, unproject
from bevdepth_plus.geometry.rigid import transform_points
from bevdepth_plus.triangulation.keypoints import score_map
from bevdepth_plus.triangulation.points import Views

_SAME_SURFACE = 0.05  # share of depth by which two views of one surface may differ


def depth_at(
    depth: Tensor,  # [B, 1, H, W], metres, 0 = none
    pixels: Tensor,  # [B, P, 2], inside the image, centres at integers + 0.5
) -> Tensor:
    """The depth of each point's own pixel, ``[B, P]``: nothing is mixed across an edge."""
    column, row = pixels.floor().long().unbind(-1)
    return depth.flatten(1).gather(1, row * depth.shape[-1] + column)


def reproject(
    pixels: Tensor,  # [B, P, 2], of the anchor
    depth: Tensor,  # [B, P], metres, 0 = unknown
    views: Views,
    source_depths: Tensor | None = None,  # [B, V, H, W], metres, 0 = unknown
) -> tuple[Tensor, Tensor]:
    """Where each source sees the points, ``[B, V, P, 2]``, and whether it does, ``[B, V, P]``.

    A source whose own depth says that it sees another surface there does not see the point: it is
    hidden, or it has moved. Without ``source_depths``, or where they are unknown, nothing tells.
    """
    lines = pixel_lines(
        pixels, views.intrinsics[:, 0], views.intrinsics[:, 1:], views.source_T_anchor
    )
    where, seen = seen_at_depth(lines, depth, views.images.shape[-2:])
    if source_depths is None:
        return where, seen
    points = unproject(pixels, depth, views.intrinsics[:, 0])  # [B, P, 3]
    expected = transform_points(views.source_T_anchor, points[:, None])[..., 2]  # [B, V, P]
    inside = torch.where(seen[..., None], where, 0.0)
    found = depth_at(source_depths.flatten(0, 1)[:, None], inside.flatten(0, 1)).view_as(expected)
    other = (found > 0) & ((found - expected).abs() > _SAME_SURFACE * expected)
    return where, seen & ~other


def warped_scores(
    logits: Tensor,  # [B, 1 + V, 65, H/8, W/8]
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    views: Views,
    source_depths: Tensor | None = None,  # [B, V, H, W], metres, 0 = unknown
) -> tuple[Tensor, Tensor, Tensor]:
    """The anchor's scores, the first source's at the same points, and where both see: [B, H, W]."""
    height, width = target.shape[-2:]
    own, other = score_map(logits[:, 0]), score_map(logits[:, 1])
    centres = pixel_centres((height, width), device=target.device).to(target.dtype)
    pixels = centres.flatten(0, 1).expand(len(target), -1, -1)
    where, seen = reproject(pixels, target.flatten(1), views, source_depths)
    grid = where[:, 0] / where.new_tensor([width, height]) * 2 - 1
    warped = functional.grid_sample(other[:, None], grid[:, None], align_corners=False)
    return own, warped.reshape_as(own), seen[:, 0].reshape(own.shape)
