"""Where a pixel of one image can lie in another one: its epipolar segment.

A pixel of the *anchor* image at inverse depth ``w`` (1/m, along the optical axis) has in a *source*
camera the homogeneous pixel ``K_s (R r + w t)``, where ``r`` is its ray with z = 1. That is a
straight line in ``w``, through ``w`` = 0 (infinity) too, so each border of the image and the plane
of the camera cut it at one ``w`` in closed form.

Shapes: B samples, V source views, P points. Each view has intrinsics of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bevdepth_plus.geometry.pinhole import in_image, rays

# The smallest depth factor of a visible point: seen from the source, a point at inverse depth w
# lies at (depth factor / w) metres. It excludes the plane of the camera itself.
_MIN_DEPTH_FACTOR = 1e-4


@dataclass(frozen=True)
class PixelLines:
    """Homogeneous source pixels ``offset + w slope`` of each anchor pixel, over inverse depth w.

    Attributes:
        offset: the pixel at infinity, ``[B, V, P, 3]``; its third entry is the depth factor.
        slope: change per 1/m, ``[B, V, P, 3]``, metres times pixels.
        usable: False for views whose pose or intrinsics are not finite, ``[B, V]``; their lines
            are 0.
    """

    offset: Tensor
    slope: Tensor
    usable: Tensor

    def at(self, inverse_depth: Tensor) -> Tensor:  # [B, V, P]
        """Homogeneous pixels ``[B, V, P, 3]`` at one inverse depth a view and point."""
        return self.offset + inverse_depth[..., None] * self.slope

    def pixels_at(self, inverse_depth: Tensor) -> tuple[Tensor, Tensor]:  # [B, V, P]
        """Pixels ``[B, V, P, 2]``, and which lie before the camera; the others mean nothing."""
        homogeneous = self.at(inverse_depth)
        before = homogeneous[..., 2] > _MIN_DEPTH_FACTOR
        scale = torch.where(before, homogeneous[..., 2], 1.0)
        return homogeneous[..., :2] / scale[..., None], before


@dataclass(frozen=True)
class EpipolarSegments:
    """The visible part of each anchor pixel's epipolar line.

    Attributes:
        start, end: pixels of the far and of the near end, ``[B, V, P, 2]``; 0 where not visible.
        inverse_depth: of the far and of the near end, 1/m, ``[B, V, P, 2]``.
        depth_factor: third homogeneous entry of both ends, ``[B, V, P, 2]``, 1 where not visible.
        length: pixels, ``[B, V, P]``; 0 where not visible, and where the camera stands still.
        visible: whether some part of the depth range lies in the image, bool ``[B, V, P]``.
    """

    start: Tensor
    end: Tensor
    inverse_depth: Tensor
    depth_factor: Tensor
    length: Tensor
    visible: Tensor


def pixel_lines(
    pixels: Tensor,  # [B, P, 2], of the anchor
    intrinsics: Tensor,  # [B, 3, 3], of the anchor
    source_intrinsics: Tensor,  # [B, V, 3, 3]
    source_T_anchor: Tensor,  # [B, V, 4, 4]
) -> PixelLines:
    """The line that each anchor pixel can lie on in each source view.

    A view whose pose or matrix holds NaN or infinity (a lost pose) counts as not usable.

    Raises:
        ValueError: a shape is wrong.
    """
    _check_shapes(pixels, intrinsics, source_intrinsics, source_T_anchor)
    usable = source_T_anchor.isfinite().all(-1).all(-1)
    usable = usable & source_intrinsics.isfinite().all(-1).all(-1)
    # Lost poses become 0 before any product: 0 * NaN is NaN, in gradients too.
    pose = torch.where(usable[..., None, None], source_T_anchor, 0.0)
    matrix = torch.where(usable[..., None, None], source_intrinsics, 0.0)
    # K_s (R r + w t): the offset is the part without w, the slope the part with it.
    directions = rays(pixels, intrinsics)[:, None]  # [B, 1, P, 3]
    with torch.autocast(pixels.device.type, enabled=False):
        offset = directions @ (matrix @ pose[..., :3, :3]).transpose(-1, -2)
        slope = (matrix @ pose[..., :3, 3:])[..., 0]
    return PixelLines(offset, slope[..., None, :].expand_as(offset), usable)


def epipolar_segments(
    pixels: Tensor,  # [B, P, 2], of the anchor
    intrinsics: Tensor,  # [B, 3, 3], of the anchor
    source_intrinsics: Tensor,  # [B, V, 3, 3]
    source_T_anchor: Tensor,  # [B, V, 4, 4]
    size: tuple[int, int],  # height, width of the source images
    inverse_depth_range: tuple[float, float],  # far, near, 1/m
) -> EpipolarSegments:
    """The part of each line over a range of inverse depth that lies in the source image.

    Parts outside the image or behind the source camera are cut off. ``far`` may be 0 (infinity) or
    less: a match of a point at infinity is then not the segment's last pixel.

    Raises:
        ValueError: a shape is wrong, or the range is empty.
    """
    far, near = inverse_depth_range
    if not far < near:
        raise ValueError(
            f"inverse_depth_range must be (far, near) with far < near in 1/m, got {(far, near)}"
        )
    lines = pixel_lines(pixels, intrinsics, source_intrinsics, source_T_anchor)
    low, high, visible = _clip(lines, size, far, near)
    ends = torch.stack([low, high], dim=-1)  # [B, V, P, 2]
    ends = torch.where(visible[..., None], ends, 0.5 * (far + near))
    homogeneous = lines.offset[..., None, :] + ends[..., None] * lines.slope[..., None, :]
    factor = torch.where(visible[..., None], homogeneous[..., 2], 1.0)
    end_pixels = homogeneous[..., :2] / factor[..., None]  # [B, V, P, far and near, 2]
    end_pixels = torch.where(visible[..., None, None], end_pixels, 0.0)
    start, end = end_pixels.unbind(-2)
    return EpipolarSegments(start, end, ends, factor, _length(end - start), visible)


def seen_at_depth(
    lines: PixelLines,
    depth: Tensor,  # [B, P], metres, 0 = unknown
    size: tuple[int, int],  # height, width of the source images
) -> tuple[Tensor, Tensor]:
    """Where each source sees the points, ``[B, V, P, 2]``, and whether it does, ``[B, V, P]``.

    What stands before a point is not looked at. Places of points that are not seen mean nothing.
    """
    known = depth > 0
    inverse = 1 / torch.where(known, depth, 1.0)[:, None].expand(lines.offset.shape[:3])
    found, before = lines.pixels_at(inverse)
    return found, in_image(found, size) & before & known[:, None]


def sample_segments(
    segments: EpipolarSegments,
    num: int,
    across: Sequence[float] = (0.0,),
) -> tuple[Tensor, Tensor]:
    """Samples at equal distances along each segment, both ends included.

    Args:
        segments: of :func:`epipolar_segments`.
        num: L, samples along a segment, at least 2.
        across: R distances from the line in pixels, to the right of far -> near (with v down).

    Returns:
        ``pixels [B, V, P, R, L, 2]``, and the exact ``inverse_depth [B, V, P, L]`` of a point
        that projects to that position along the line.
    """
    if num < 2:
        raise ValueError(f"a segment needs at least 2 samples, got {num}")
    share = torch.linspace(0, 1, num, device=segments.start.device, dtype=segments.start.dtype)
    along = segments.end - segments.start
    line = segments.start[..., None, :] + share[:, None] * along[..., None, :]  # [B, V, P, L, 2]
    unit = along / segments.length.clamp(min=1e-12)[..., None]
    # A segment of length 0 has no direction: take that of u, so `right` is down.
    unit = torch.where(segments.length[..., None] > 0, unit, unit.new_tensor([1.0, 0.0]))
    right = torch.stack([-unit[..., 1], unit[..., 0]], dim=-1)
    offsets = torch.as_tensor(tuple(across), device=right.device, dtype=right.dtype)
    pixels = line[..., None, :, :] + (offsets[:, None] * right[..., None, :])[..., None, :]
    return pixels, inverse_depth_along(segments, share.expand(*segments.length.shape, num))


def inverse_depth_along(
    segments: EpipolarSegments,
    share: Tensor,  # [B, V, P, L], 0 = far end, 1 = near end
) -> Tensor:
    """The inverse depth at a share of a segment's length, 1/m, ``[B, V, P, L]``.

    Equal steps in the image are not equal steps of inverse depth unless the camera moves sideways;
    this is the perspective-correct rule, exact near an epipole, too.
    """
    far_factor, near_factor = segments.depth_factor[..., None].unbind(-2)
    step = share * far_factor / (share * far_factor + (1 - share) * near_factor)
    far, near = segments.inverse_depth[..., None].unbind(-2)
    return far + step * (near - far)


def _clip(
    lines: PixelLines, size: tuple[int, int], far: float, near: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The interval of w inside the image and before the camera: low, high and visible, [B, V, P].

    Each condition is ``p + w q >= 0``, linear in w: it bounds w from below where q > 0 and from
    above where q < 0.
    """
    p, q = (_distances_inside(line, size) for line in (lines.offset, lines.slope))  # [B, V, P, 5]
    p = p - p.new_tensor([0, 0, 0, 0, _MIN_DEPTH_FACTOR])
    flat = q == 0
    bound = -p / torch.where(flat, 1.0, q)
    low = torch.where(q > 0, bound, far).amax(-1).clamp(min=far)
    high = torch.where(q < 0, bound, near).amin(-1).clamp(max=near)
    possible = ~(flat & (p < 0)).any(-1) & lines.usable[..., None]
    return low, high, possible & (low <= high)


def _distances_inside(homogeneous: Tensor, size: tuple[int, int]) -> Tensor:
    """How far inside the left, right, upper and lower border, and before the camera, [..., 5]."""
    u, v, factor = homogeneous.unbind(-1)
    height, width = size
    return torch.stack([u, width * factor - u, v, height * factor - v, factor], dim=-1)


def _length(vectors: Tensor) -> Tensor:
    """Length with a gradient of 0 at 0."""
    square = vectors.square().sum(-1)
    return torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)


def _check_shapes(
    pixels: Tensor, intrinsics: Tensor, source_intrinsics: Tensor, source_T_anchor: Tensor
) -> None:
    if pixels.ndim != 3 or pixels.shape[-1] != 2:
        raise ValueError(f"pixels must be [B, P, 2], got {tuple(pixels.shape)}")
    batch = len(pixels)
    if source_T_anchor.ndim != 4 or source_T_anchor.shape != (batch, len(source_T_anchor[0]), 4, 4):
        raise ValueError(
            f"source_T_anchor must be [{batch}, V, 4, 4], got {tuple(source_T_anchor.shape)}"
        )
    views = source_T_anchor.shape[1]
    if views == 0:
        raise ValueError("depth from motion needs at least one source view, got none")
    if intrinsics.shape != (batch, 3, 3):
        raise ValueError(f"intrinsics must be [{batch}, 3, 3], got {tuple(intrinsics.shape)}")
    if source_intrinsics.shape != (batch, views, 3, 3):
        raise ValueError(
            f"source_intrinsics must be [{batch}, {views}, 3, 3], "
            f"got {tuple(source_intrinsics.shape)}"
        )
