"""Triplets of pixels and the planes through their points."""

from __future__ import annotations

import torch
from torch import Tensor

from bevdepth_plus.geometry.depth_maps import unit
from bevdepth_plus.losses.masking import at_pixels, sample_pixels


def sample_triplets(
    valid: Tensor,  # [B, 1, H, W], bool
    num: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random triplets of valid pixels as (y, x), int64 ``[B, num, 3, 2]``.

    An image gets no more triplets than it has valid pixels, so that one with a few LiDAR returns
    does not weigh as much as a dense one. The rest is pixel (0, 0) three times, which
    :func:`kept_triplets` drops.
    """
    width = valid.shape[-1]
    index = sample_pixels(valid, 3 * num, generator).reshape(-1, num, 3)
    surplus = torch.arange(num, device=valid.device) >= valid.flatten(1).sum(1, keepdim=True)
    index = torch.where(surplus[..., None], 0, index)
    return torch.stack([index // width, index % width], dim=-1)


def flat_index(
    pixels: Tensor,  # [B, T, K, 2], (y, x)
    shape: torch.Size,  # [B, 1, H, W]
    corners: int,
) -> Tensor:
    """Flat pixel indices ``[B, T, K]``.

    Raises:
        ValueError: the pixels are not integers ``[B, T, corners, 2]``.
    """
    batch, width = shape[0], shape[-1]
    expected = (batch, pixels.shape[1] if pixels.ndim == 4 else "T", corners, 2)
    if tuple(pixels.shape) != expected or pixels.is_floating_point():
        raise ValueError(
            f"pixels must be integers [{batch}, T, {corners}, 2] as (y, x), "
            f"got {pixels.dtype} {tuple(pixels.shape)}"
        )
    return pixels[..., 0].long() * width + pixels[..., 1].long()


def kept_triplets(
    points: Tensor,  # [B, T, 3 corners, 3]
    max_cos: float,
    min_distance: float,  # metres
) -> Tensor:
    """Which triplets span a plane: no two edges nearly parallel, no two corners too close.

    Corners are too close if they differ by at most ``min_distance`` in x, in y and in z.

    Returns:
        bool ``[B, T]``.
    """
    # Edge k leads from corner k to the next one; each is compared with the edge after it.
    edges = points.roll(-1, dims=-2) - points  # [B, T, 3 edges, 3]
    following = edges.roll(-1, dims=-2)
    dot = (edges * following).sum(-1)
    length = edges.square().sum(-1).sqrt()
    parallel = dot.abs() > max_cos * length * length.roll(-1, dims=-1)
    near = (edges.abs() <= min_distance).all(-1)
    return ~(parallel | near).any(-1)


def triplet_points(
    points: Tensor,  # [B, H, W, 3]
    index: Tensor,  # [B, T, 3], flat pixels
) -> Tensor:
    """The three points of each triplet, ``[B, T, 3, 3]``."""
    return at_pixels(points.flatten(1, 2), index)


def triplet_normals(
    points: Tensor,  # [B, T, 3 corners, 3]
) -> Tensor:
    """Unit normals ``[B, T, 3]``, their sign given by the order of the corners."""
    first, second, third = points.unbind(-2)
    return unit(torch.cross(second - first, third - first, dim=-1))
