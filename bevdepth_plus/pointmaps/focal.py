"""Focal length (and principal point) from a pointmap in its own camera frame.

Source: DUSt3R (CVPR 2024), Sec. 3.3 (Weiszfeld); the median of per-pixel focal lengths.

Which pixels count is the caller's mask: the foreground, the background (``~mask``) or both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Limits are given as multiples of the focal length that sees 60 degrees along the longer side.
_HALF_VIEW = math.radians(30)


def estimate_focal(
    points: Tensor,  # [B, H, W, 3]
    valid: Tensor | None = None,  # [B, H, W], bool
    principal_point: Tensor | None = None,  # [B, 2] or [2], pixels
    *,
    method: str = "weiszfeld",
    limits: tuple[float, float] = (0.5, 3.5),
    pixel_centre: float = 0.5,
    robust: bool = True,
) -> tuple[Tensor, Tensor]:
    """One focal length an image.

    Args:
        principal_point: default: the image's centre.
        method: "weiszfeld": least sum of pixel distances; "median": median of what each pixel
            and axis says alone, which needs an exact principal point.
        limits: smallest and largest, in focal lengths of a 60 degree view.
        pixel_centre: 0.5 in this project, 0.0 to reproduce the public code.
        robust: leave out points with depth <= 0, and rays far steeper than ``limits`` allow: a
            point with a depth near 0 would outweigh all others.

    Returns:
        ``focal [B]``, pixels, and ``support [B]``: how many pixels it is from. Without any the
        focal length is that of a 60 degree view.

    Raises:
        ValueError: a shape is wrong, or the method is not known.
    """
    if method not in ("weiszfeld", "median"):
        raise ValueError(f"method must be 'weiszfeld' or 'median', got {method!r}")
    pixels, slopes, usable = _measurements(points, valid, pixel_centre)
    height, width = points.shape[1:3]
    middle = points.new_tensor([width / 2, height / 2])
    centre = middle if principal_point is None else principal_point.to(points)
    pixels = pixels - centre.reshape(-1, 1, 2)  # [B, P, 2]
    typical = max(height, width) / 2 / math.tan(_HALF_VIEW)
    lowest, highest = (limit * typical for limit in limits)
    if robust:
        usable = usable & (points[..., 2].flatten(1) > 0) & _plausible(pixels, slopes, lowest)
    estimate = _weiszfeld if method == "weiszfeld" else _median
    focal = estimate(pixels, slopes, usable)
    focal = torch.where(usable.any(1) & focal.isfinite(), focal, typical)
    return focal.clamp(lowest, highest), usable.sum(1)


def estimate_focal_and_principal_point(
    points: Tensor,  # [B, H, W, 3]
    valid: Tensor | None = None,  # [B, H, W], bool
    *,
    limits: tuple[float, float] = (0.5, 3.5),
    pixel_centre: float = 0.5,
    iterations: int = 20,
) -> tuple[Tensor, Tensor, Tensor]:
    """Focal length and principal point together, least sum of pixel distances.

    Returns:
        ``focal [B]``, ``principal_point [B, 2]``, ``support [B]``. With fewer than 3 pixels they
        are those of a 60 degree view and of the image's centre.
    """
    pixels, slopes, usable = _measurements(points, valid, pixel_centre)
    height, width = points.shape[1:3]
    middle = points.new_tensor([width / 2, height / 2])
    typical = max(height, width) / 2 / math.tan(_HALF_VIEW)
    usable = usable & (points[..., 2].flatten(1) > 0)
    usable = usable & _plausible(pixels - middle, slopes, limits[0] * typical)
    focal, centre = points.new_full((len(points),), typical), middle.expand(len(points), 2)
    weight = usable.to(pixels.dtype)
    for _ in range(iterations):
        # Weighted least squares of u = f * x / z + c, with one f and a c for each axis.
        total = weight.sum(1)[:, None].clamp(min=1e-12)  # [B, 1]
        mean_slope = (weight[..., None] * slopes).sum(1) / total
        mean_pixel = (weight[..., None] * pixels).sum(1) / total
        centred = slopes - mean_slope[:, None]
        spread = (weight[..., None] * centred.square()).sum((1, 2))
        product = (weight[..., None] * centred * (pixels - mean_pixel[:, None])).sum((1, 2))
        focal = torch.where(spread > 0, product / torch.where(spread > 0, spread, 1), typical)
        centre = mean_pixel - focal[:, None] * mean_slope
        residual = pixels - focal[:, None, None] * slopes - centre[:, None]
        weight = torch.where(usable, 1 / residual.norm(dim=-1).clamp(min=1e-8), 0)
    enough = usable.sum(1) >= 3
    focal = torch.where(enough, focal, typical).clamp(limits[0] * typical, limits[1] * typical)
    return focal, torch.where(enough[:, None], centre, middle), usable.sum(1)


def _measurements(
    points: Tensor, valid: Tensor | None, pixel_centre: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels ``[1, P, 2]``, slopes (x / z, y / z) ``[B, P, 2]``, usable ``[B, P]``."""
    if points.ndim != 4 or points.shape[-1] != 3:
        raise ValueError(f"points must be [B, H, W, 3], got {tuple(points.shape)}")
    if valid is not None and valid.shape != points.shape[:3]:
        raise ValueError(f"valid must be {tuple(points.shape[:3])}, got {tuple(valid.shape)}")
    height, width = points.shape[1:3]
    u = torch.arange(width, device=points.device) + pixel_centre
    v = torch.arange(height, device=points.device) + pixel_centre
    pixels = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=-1).flatten(0, 1)
    slopes = (points[..., :2] / points[..., 2:]).flatten(1, 2)
    usable = slopes.isfinite().all(-1)
    if valid is not None:
        usable = usable & valid.bool().flatten(1)
    return pixels[None].to(points), torch.where(usable[..., None], slopes, 0), usable


def _plausible(pixels: Tensor, slopes: Tensor, lowest: float) -> Tensor:
    """Rays at most twice as steep as the widest view allowed shows at the image's corner."""
    steepest = pixels.norm(dim=-1).amax(-1, keepdim=True)
    return slopes.norm(dim=-1) * lowest <= 2 * steepest


def _median(pixels: Tensor, slopes: Tensor, usable: Tensor) -> Tensor:
    votes = torch.where(usable[..., None], pixels / slopes, torch.nan)
    return votes.flatten(1).nanmedian(dim=1).values


def _weiszfeld(pixels: Tensor, slopes: Tensor, usable: Tensor, iterations: int = 10) -> Tensor:
    product = torch.where(usable, (pixels * slopes).sum(-1), 0)  # [B, P]
    square = torch.where(usable, slopes.square().sum(-1), 0)

    def weighted(weight: Tensor) -> Tensor:
        below = (weight * square).mean(1)
        return (weight * product).mean(1) / torch.where(below > 0, below, 1)

    focal = weighted(torch.ones_like(square))
    for _ in range(iterations):
        residual = (pixels - focal[:, None, None] * slopes).norm(dim=-1)
        focal = weighted(1 / residual.clamp(min=1e-8))
    return focal
