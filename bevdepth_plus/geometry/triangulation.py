"""Depth of a pixel from its matches in other views: closed form over inverse depth, and by SVD.

The closed form is the one to use: the anchor pixel is fixed, so there is one unknown. It has no
singular values that can coincide, it gives a variance, and a camera that stands still leads to a
large variance instead of a wrong depth. The SVD is that of DELTAS (Sinha et al., "DELTAS: Depth
Estimation by Learning Triangulation And densification of Sparse points", ECCV 2020).

Shapes: B samples, V source views, P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bevdepth_plus.geometry.epipolar import pixel_lines

# Of a weak prior at infinity: 1/m^2, a standard deviation of 30000 1/m. It matters only where no
# match does.
_PRIOR_INFORMATION = 1e-9
_REWEIGHTINGS = 3
# Closer to the plane of a source camera than this, a point's weight grows no more.
_MIN_DEPTH_FACTOR = 1e-3
# Gradients of the SVD fade where two singular values coincide, see _null_vector_gradient.
_MEETING = 1e-3
_SMALLEST_GAP = 1e-10
_MIN_HOMOGENEOUS = 1e-6  # of a unit vector: points farther than 1000 km are put there


@dataclass(frozen=True)
class InverseDepth:
    """Estimate from all views for each anchor pixel.

    Attributes:
        mean: inverse depth, 1/m, ``[B, P]``; 0 is infinity, below 0 the rays diverge.
        variance: of the mean, 1/m^2, ``[B, P]``; huge where no view constrains it.
    """

    mean: Tensor
    variance: Tensor

    def depth(self, min_depth: float, max_depth: float) -> Tensor:
        """Metres ``[B, P]`` where the mean lies in that range of depth, else 0 (no depth)."""
        inside = (self.mean > 1 / max_depth) & (self.mean < 1 / min_depth)
        return torch.where(inside, 1 / torch.where(inside, self.mean, 1.0), 0.0)


def triangulate_inverse_depth(
    pixels: Tensor,  # [B, P, 2], of the anchor
    intrinsics: Tensor,  # [B, 3, 3], of the anchor
    matches: Tensor,  # [B, V, P, 2], pixels of the sources
    information: Tensor,  # [B, V, P], inverse variance of each match, 1/pixel^2
    source_intrinsics: Tensor,  # [B, V, 3, 3]
    source_T_anchor: Tensor,  # [B, V, 4, 4]
) -> InverseDepth:
    """Weighted least squares over inverse depth, in pixels of the sources.

    With the line ``h = a + w b`` of a pixel, a match (u, v) asks ``u h_z = h_u`` and ``v h_z =
    h_v``: linear in w. Divided by ``h_z`` they are errors in pixels; ``h_z`` is that of the
    previous solution. A match of information 0 is ignored, even if it is NaN, and so is a view
    whose pose is not finite.

    Raises:
        ValueError: a shape is wrong.
    """
    if matches.shape[:3] != information.shape or matches.shape[-1:] != (2,):
        raise ValueError(
            "matches must be [B, V, P, 2] and information [B, V, P], got "
            f"{tuple(matches.shape)} and {tuple(information.shape)}"
        )
    lines = pixel_lines(pixels, intrinsics, source_intrinsics, source_T_anchor)
    if lines.offset.shape[:3] != information.shape:
        raise ValueError(
            f"matches must be [B, V, P, 2] = {(*lines.offset.shape[:3], 2)}, "
            f"got {tuple(matches.shape)}"
        )
    used = (information > 0) & lines.usable[..., None]
    matches = torch.where(used[..., None], matches, 0.0)
    information = torch.where(used, information, 0.0)
    # Each match gives two equations: error = w * lever, here still times the depth factor.
    error = matches * lines.offset[..., 2:] - lines.offset[..., :2]  # [B, V, P, 2]
    lever = lines.slope[..., :2] - matches * lines.slope[..., 2:]
    products = (error * lever).sum(-1), lever.square().sum(-1)  # [B, V, P] each

    inverse_depth = torch.zeros_like(pixels[..., 0])
    total = inverse_depth
    for _ in range(_REWEIGHTINGS + 1):
        factor = lines.at(inverse_depth[:, None].expand_as(information))[..., 2]
        weight = information / factor.clamp(min=_MIN_DEPTH_FACTOR).square()
        total = (weight * products[1]).sum(1) + _PRIOR_INFORMATION  # [B, P]
        inverse_depth = (weight * products[0]).sum(1) / total
    return InverseDepth(inverse_depth, 1 / total)


def triangulate_svd(
    projections: Tensor,  # [..., V, 3, 4], anchor frame -> pixels, the anchor's among them
    pixels: Tensor,  # [..., V, P, 2]
    confidence: Tensor | None = None,  # [..., V, P]; None: all 1
) -> Tensor:
    """Points of the anchor frame from all views by the smallest right singular vector.

    Every view gives the rows ``(u P3 - P1, v P3 - P2)`` times its confidence. The result and its
    gradients are finite always: points at infinity are put 1e6 times farther than the unit, and
    where two singular values coincide (no baseline) the gradient fades to 0. No row is rescaled.

    Returns:
        Metres ``[..., P, 3]``.

    Raises:
        ValueError: a shape is wrong, or there are fewer than two views.
    """
    if projections.shape[-2:] != (3, 4) or pixels.shape[-1:] != (2,):
        raise ValueError(
            "projections must be [..., V, 3, 4] and pixels [..., V, P, 2], got "
            f"{tuple(projections.shape)} and {tuple(pixels.shape)}"
        )
    views = projections.shape[-3]
    if views < 2 or pixels.shape[-3] != views:
        raise ValueError(
            f"triangulation needs 2 views or more, each with pixels; got {views} projections and "
            f"pixels of {pixels.shape[-3]} views"
        )
    matrix = projections.unsqueeze(-3)  # [..., V, 1, 3, 4]
    rows = pixels[..., None] * matrix[..., 2:, :] - matrix[..., :2, :]  # [..., V, P, 2, 4]
    if confidence is not None:
        rows = rows * confidence[..., None, None]
    # All rows of a point together; float64, since the condition number is in the hundreds already
    # at a baseline of a centimetre.
    system = rows.movedim(-4, -3).flatten(-3, -2).double()  # [..., P, 2V, 4]
    point = _NullVector.apply(system)  # [..., P, 4], of length 1
    return dehomogenise(point).to(pixels.dtype)


def dehomogenise(points: Tensor) -> Tensor:  # [..., 4], of about length 1
    """Points ``[..., 3]``; those at infinity are put 1e6 times as far as their direction says."""
    scale = points[..., 3:]
    smallest = torch.where(scale < 0, -_MIN_HOMOGENEOUS, _MIN_HOMOGENEOUS)
    scale = torch.where(scale.abs() > _MIN_HOMOGENEOUS, scale, smallest)
    return points[..., :3] / scale


def projection_matrices(
    intrinsics: Tensor,  # [..., 3, 3]
    cam_T_anchor: Tensor,  # [..., 4, 4]
) -> Tensor:
    """``K [R | t]``: points of the anchor frame -> homogeneous pixels, ``[..., 3, 4]``."""
    with torch.autocast(intrinsics.device.type, enabled=False):
        return intrinsics @ cam_T_anchor[..., :3, :]


class _NullVector(torch.autograd.Function):
    """The right singular vector of the smallest singular value, ``[..., M, 4] -> [..., 4]``.

    torch's gradient of an SVD needs every gap between singular values; this vector's own gradient
    needs only those to the smallest one, and survives where they close.
    """

    @staticmethod
    def forward(ctx, matrix: Tensor) -> Tensor:
        _, values, vectors = torch.linalg.svd(matrix, full_matrices=False)
        ctx.save_for_backward(matrix, values, vectors)
        return vectors[..., -1, :]

    @staticmethod
    @once_differentiable
    # once_differentiable has types of its own
    def backward(ctx, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        matrix, values, vectors = ctx.saved_tensors
        return _null_vector_gradient(matrix, values, vectors, gradient)


def _null_vector_gradient(
    matrix: Tensor,  # A, [..., M, 4]
    values: Tensor,  # [..., 4], falling
    vectors: Tensor,  # [..., 4, 4], rows
    gradient: Tensor,  # [..., 4]
) -> Tensor:
    """Gradient with respect to A of its last right singular vector v, ``[..., M, 4]``.

    dv = -(A^T A - s^2 I)^+ (dA^T A + A^T dA) v, where the pseudo-inverse has the factors 1 / gap
    along the other singular vectors. They become gap / (gap^2 + b^2): 0 where the gap closes. b is
    small beside the second smallest squared singular value, so that only a meeting pair is
    touched, and beside the largest, so that a pair of zeros is.
    """
    square = values.square()
    gap = square[..., :3] - square[..., 3:]  # [..., 3]
    broad = (_MEETING * square[..., 2:3]).square() + (_SMALLEST_GAP * square[..., :1]).square()
    factor = gap / (gap.square() + broad).clamp(min=torch.finfo(gap.dtype).tiny)
    others, last = vectors[..., :3, :], vectors[..., 3, :]
    along = factor * (others @ gradient[..., None])[..., 0]  # [..., 3]
    change = (along[..., None] * others).sum(-2)  # [..., 4]
    image_of_last = matrix @ last[..., None]  # [..., M, 1]
    image_of_change = matrix @ change[..., None]
    return -(image_of_last * change[..., None, :] + image_of_change * last[..., None, :])
