"""The only z-buffer: of several depths in one cell the nearest counts. 0 means no depth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from bevdepth_plus.geometry.pinhole import in_image


def nearest_depth_map(
    pixels: Tensor,  # [P, 2], (u, v), centres at integers + 0.5
    depth: Tensor,  # [P], metres
    size: tuple[int, int],  # height, width
) -> Tensor:
    """Write points into an image; where several meet in one pixel the nearest wins (z-buffer).

    Returns:
        float32 ``[H, W]``, metres, 0 where there is no point.
    """
    height, width = size
    inside = in_image(pixels, size) & (depth > 0)
    column, row = pixels[inside].floor().long().unbind(-1)
    image = torch.full((height * width,), torch.inf, device=depth.device)
    image.scatter_reduce_(0, row * width + column, depth[inside].float(), reduce="amin")
    return torch.where(image.isinf(), 0.0, image).reshape(size)


def nearest_depth(
    depth: Tensor,  # [..., H, W], metres, 0 = none
    stride: int,
) -> Tensor:
    """The nearest valid depth of each ``stride x stride`` cell, 0 = none, ``[..., H/s, W/s]``."""
    far = torch.where(depth > 0, depth, torch.inf)
    pooled = -functional.max_pool2d(-far.flatten(0, -3), stride)
    return torch.where(pooled.isinf(), 0.0, pooled).reshape(*depth.shape[:-2], *pooled.shape[-2:])
