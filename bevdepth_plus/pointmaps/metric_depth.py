"""Metric depth from one pair of images whose cameras are known: the baseline gives the scale.

A two-view network leaves the scale of a pair open. The cameras do not: a pixel of view 2 lies on
its ray from the centre of camera 2, and where that centre is, is known in metres.

Shapes: B pairs, P pixels, H and W rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bevdepth_plus.geometry.depth_maps import unit
from bevdepth_plus.geometry.pinhole import pixel_centres, rays
from bevdepth_plus.pointmaps.heads import Pointmap

SCALES = ("motion", "network")  # where metres come from
_TINY = 1e-12


@dataclass(frozen=True)
class ScaleRules:
    """When a pair says something.

    Attributes:
        min_baseline: between the two cameras, metres; a vehicle that stands has less.
        min_confidence: of a pixel's point, as the network gives it (above 1).
        max_spread: of the scale, relative: the median deviation of what single pixels say. A pair
            whose pixels disagree more has no scale, and so no depth.
        scale: "motion": the baseline between the cameras gives it. "network": the network's points
            are metres already, as of a network that was trained so; then no baseline is needed.

    Raises:
        ValueError: the scale is another one.
    """

    min_baseline: float = 0.2
    min_confidence: float = 1.5
    max_spread: float = 0.3
    scale: str = "motion"

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, got {self.scale!r}")


@dataclass(frozen=True)
class PairDepth:
    """What a pair says about its first view.

    Attributes:
        depth: metres along the optical axis, 0 where unknown, ``[B, H, W]``.
        confidence: of the network, 0 where unknown, ``[B, H, W]``.
        spread: of the scale, relative, ``[B]``; infinite where there is no scale.
    """

    depth: Tensor
    confidence: Tensor
    spread: Tensor


def pair_depth(
    first: Pointmap,  # of view 1
    second: Pointmap,  # of view 2, in the frame of view 1
    intrinsics: tuple[Tensor, Tensor],  # of both views, network pixels, [B, 3, 3] each
    first_T_second: Tensor,  # [B, 4, 4], metres
    masks: tuple[Tensor, Tensor] | None = None,  # True is valid, [B, H, W] each; None: all
    rules: ScaleRules | None = None,
) -> PairDepth:
    """Depth of the first view in metres; differentiable with respect to its points.

    Both images may be mirrored or rotated (image augmentation); the intrinsics say so. Where one
    is mirrored and the other is not, nothing is said.
    """
    rules = rules or ScaleRules()
    with torch.autocast(first.points.device.type, enabled=False):
        turn, other_turn = (image_axes(matrix.float()) for matrix in intrinsics)  # [B, 3, 3]
        # Rows are points: p @ turn is turn^T p, from the image's axes to the camera's.
        points = first.points.float().flatten(1, 2) @ turn  # [B, P, 3]
        others = second.points.float().flatten(1, 2) @ turn
        own_rays, other_rays = (
            _rays(pointmap, matrix)
            for pointmap, matrix in zip((first, second), intrinsics, strict=True)
        )
        pose = first_T_second.float()
        confident, others_confident = (
            _confident(pointmap, mask, rules.min_confidence)
            for pointmap, mask in zip((first, second), masks or (None, None), strict=True)
        )
        with torch.no_grad():
            units, spread = units_per_metre(
                others,
                other_rays @ pose[:, :3, :3].mT,
                pose[:, :3, 3],
                torch.where(others_confident, second.confidence.float().flatten(1), 0.0),
            )
        if rules.scale == "network":
            units, spread = torch.ones_like(units), torch.zeros_like(spread)
            usable = torch.ones_like(units, dtype=torch.bool)
        else:
            usable = (pose[:, :3, 3].norm(dim=-1) >= rules.min_baseline) & (units > 0)
            usable &= spread <= rules.max_spread
        usable &= torch.linalg.det(turn) * torch.linalg.det(other_turn) > 0
        # The point of the pixel's own ray that is nearest to the network's.
        along = (points * own_rays).sum(-1) / own_rays.square().sum(-1)  # [B, P]
        depth = along / torch.where(usable, units, 1.0)[:, None]
        known = confident & usable[:, None] & (depth > 0) & depth.isfinite()
        shape = first.confidence.shape
        return PairDepth(
            torch.where(known, depth, 0.0).view(shape),
            torch.where(known, first.confidence.float().flatten(1), 0.0).view(shape),
            torch.where(usable, spread, torch.inf),
        )


def units_per_metre(
    points: Tensor,  # [B, P, 3], of view 2 in the frame of camera 1, network units
    directions: Tensor,  # [B, P, 3], of their rays, in the axes of camera 1
    baseline: Tensor,  # [B, 3], from camera 1 to camera 2, metres
    confidence: Tensor,  # [B, P], 0: left out
) -> tuple[Tensor, Tensor]:
    """How long a metre is in the network's unit, and the relative spread; both ``[B]``.

    A point X lies on its ray from camera 2, ``X = w b + t d``, with the baseline b in metres: so
    ``d x X = w (d x b)``, one equation for w from each pixel. The result is their weighted median.
    A weight is the inverse of the error that a relative error of X causes: near points that move
    across the image count most, those in the direction of travel nothing.

    Returns:
        0 and infinity where no pixel tells.
    """
    directions = unit(directions)
    lever = torch.linalg.cross(directions, baseline[:, None].expand_as(directions))
    error = torch.linalg.cross(directions, points)
    square = lever.square().sum(-1)  # [B, P]
    votes = (error * lever).sum(-1) / square.clamp(min=_TINY)
    weights = confidence * square.sqrt() / points.norm(dim=-1).clamp(min=_TINY)
    tells = (square > _TINY) & votes.isfinite() & weights.isfinite()
    votes, weights = torch.where(tells, votes, 0.0), torch.where(tells, weights, 0.0)
    units = weighted_median(votes, weights)
    deviation = (votes / torch.where(units > 0, units, 1.0)[:, None] - 1).abs()
    spread = weighted_median(deviation, weights)
    found = (weights.sum(-1) > 0) & (units > 0)
    return torch.where(found, units, 0.0), torch.where(found, spread, torch.inf)


def weighted_median(
    values: Tensor,  # [B, P], finite
    weights: Tensor,  # [B, P], >= 0
) -> Tensor:
    """The smallest value up to which half of the weight lies, ``[B]``."""
    values, order = values.sort(dim=-1)
    below = weights.gather(-1, order).double().cumsum(-1)
    index = torch.searchsorted(below, below[:, -1:] / 2).clamp(max=values.shape[-1] - 1)
    return values.gather(-1, index)[:, 0]


def image_axes(
    intrinsics: Tensor,  # [..., 3, 3]
) -> Tensor:
    """The camera's axes -> axes along the image's columns and rows, orthogonal ``[..., 3, 3]``.

    The identity for an upright image. Augmentation may rotate the image about the optical axis or
    mirror it, and the network then sees a camera that is rotated or a world that is mirrored.
    """
    (a, b), (c, d) = (intrinsics[..., row, :2].unbind(-1) for row in (0, 1))
    # The nearest orthogonal 2 x 2 matrix, in closed form.
    sign = torch.where(a * d - b * c < 0, -1.0, 1.0)
    cosine, sine = a + sign * d, c - sign * b
    length = torch.hypot(cosine, sine).clamp(min=_TINY)
    cosine, sine = cosine / length, sine / length
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    rows = ((cosine, -sign * sine, zero), (sine, sign * cosine, zero), (zero, zero, one))
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _rays(pointmap: Pointmap, intrinsics: Tensor) -> Tensor:
    """Of all pixels of a view, in its camera's axes, z = 1, ``[B, P, 3]``."""
    size = pointmap.confidence.shape[1:]
    pixels = pixel_centres(size, device=intrinsics.device).flatten(0, 1)
    return rays(pixels.expand(len(intrinsics), -1, -1), intrinsics.float())


def _confident(pointmap: Pointmap, mask: Tensor | None, least: float) -> Tensor:
    """Pixels whose point counts, ``[B, P]``."""
    confident = (pointmap.confidence >= least) & pointmap.points.isfinite().all(-1)
    return (confident if mask is None else confident & mask).flatten(1)
