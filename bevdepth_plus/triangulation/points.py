"""Points of an anchor image, triangulated from their matches in the sources."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bevdepth_plus.geometry.epipolar import pixel_lines
from bevdepth_plus.geometry.pinhole import unproject
from bevdepth_plus.geometry.triangulation import (
    InverseDepth,
    projection_matrices,
    triangulate_inverse_depth,
    triangulate_svd,
)
from bevdepth_plus.triangulation.epipolar_matching import Matches
from bevdepth_plus.triangulation.keypoints import Keypoints
from bevdepth_plus.triangulation.static_check import agreement

# Relative standard deviation of depth at which a point counts half.
HALF_TRUSTED = 0.1


class Views(NamedTuple):
    """The images of one depth map.

    Attributes:
        images: anchor first, normalised, ``[B, 1 + V, 3, H, W]``; with ``compat="deltas"`` from -1
            to 1.
        intrinsics: of these images, ``[B, 1 + V, 3, 3]``.
        source_T_anchor: ``[B, V, 4, 4]``, metres.
    """

    images: Tensor
    intrinsics: Tensor
    source_T_anchor: Tensor


class Points(NamedTuple):
    """What motion says about the anchor's points.

    Attributes:
        keypoints: P of the anchor.
        matches: in the V sources.
        inverse_depth: with variance, ``[B, P]``; None with ``compat="deltas"``.
        depth: metres, 0 = not told, ``[B, P]``.
        agreement: of the sources on one depth, 0 to 1, ``[B, P]``.
        confidence: 0 to 1, ``[B, P]``.
        xyz: in the anchor's camera frame, ``[B, P, 3]``; of the SVD with ``compat="deltas"``.
    """

    keypoints: Keypoints
    matches: Matches
    inverse_depth: InverseDepth | None
    depth: Tensor
    agreement: Tensor
    confidence: Tensor
    xyz: Tensor


def triangulate_points(
    keypoints: Keypoints, matches: Matches, views: Views, depth_range: tuple[float, float]
) -> Points:
    """In closed form over inverse depth; a depth outside the range is none."""
    anchor = views.intrinsics[:, 0]
    found = triangulate_inverse_depth(
        keypoints.pixels,
        anchor,
        matches.pixels,
        matches.information,
        views.intrinsics[:, 1:],
        views.source_T_anchor,
    )
    depth = found.depth(*depth_range)
    relative = found.variance.sqrt() * depth.detach()  # of depth, as of inverse depth
    exact = 1 / (1 + (relative / HALF_TRUSTED).square())
    # A wrong match looks exact, most of all a near one: sources must be sure, and agree.
    lines = pixel_lines(keypoints.pixels, anchor, views.intrinsics[:, 1:], views.source_T_anchor)
    told = matches.pixels.detach(), matches.variance.detach(), matches.confidence.detach()
    agreed = agreement(*told, lines, found.mean.detach())
    sure = matches.confidence.mean(1)
    confidence = torch.where(depth > 0, exact * agreed * sure, 0.0)
    xyz = unproject(keypoints.pixels, depth, anchor)
    return Points(keypoints, matches, found, depth, agreed, confidence, xyz)


def triangulate_points_as_deltas(
    keypoints: Keypoints, matches: Matches, views: Views, depth_range: tuple[float, float]
) -> Points:
    """By SVD in pixels; a point counts if one view has it in range, and between both depths."""
    identity = torch.eye(4, device=views.intrinsics.device, dtype=views.intrinsics.dtype)
    poses = torch.cat([identity.expand(len(views.images), 1, 4, 4), views.source_T_anchor], dim=1)
    pixels = torch.cat([keypoints.pixels[:, None], matches.pixels], dim=1)
    confidence = torch.cat([torch.ones_like(keypoints.scores)[:, None], matches.confidence], dim=1)
    xyz = triangulate_svd(projection_matrices(views.intrinsics, poses), pixels, confidence)
    near, far = depth_range
    depth = xyz[..., 2]
    counts = matches.usable.any(1) & (depth > near) & (depth < far)
    depth = torch.where(counts, depth, 0.0)
    ones = torch.ones_like(depth)
    return Points(keypoints, matches, None, depth, ones, counts.to(depth.dtype), xyz)
