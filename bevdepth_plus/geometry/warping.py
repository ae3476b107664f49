"""Sample one frame's map at the pixels that correspond to another frame's pixels.

A correspondence ``[B, 2, h, w]`` holds, for each pixel of the first frame, its (u, v) in
the second.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from bevdepth_plus.geometry.pinhole import in_image, pixel_centres


def own_pixels(
    size: Sequence[int],  # height, width
    stride: int = 1,
    device: torch.device | None = None,
) -> Tensor:
    """The correspondence of a frame with itself, ``[1, 2, H/s, W/s]``: its own pixel centres."""
    return pixel_centres(size, stride, device).movedim(-1, 0)[None]


def sample_nearest(
    values: Tensor,  # [B, C, H, W]
    correspondence: Tensor,  # [B, 2, h, w], pixels of ``values``
) -> tuple[Tensor, Tensor]:
    """The value of the pixel in which each correspondence lies; nothing is interpolated.

    Use it for depth at edges: a mean of a car's depth and the wall's is wrong for both.

    Returns:
        ``values [B, C, h, w]`` (0 outside) and ``inside [B, 1, h, w]``, bool. A correspondence that
        is not finite lies outside.
    """
    pixels, inside = _inside(values, correspondence)
    column, row = pixels.floor().long().unbind(1)  # [B, h, w] each
    index = (row * values.shape[-1] + column).flatten(1)[:, None]  # [B, 1, h * w]
    picked = values.flatten(2).gather(2, index.expand(-1, values.shape[1], -1))
    picked = picked.reshape(*values.shape[:2], *correspondence.shape[-2:])
    return torch.where(inside, picked, 0), inside


def sample_bilinear(
    values: Tensor,  # [B, C, H, W], finite
    correspondence: Tensor,  # [B, 2, h, w], pixels of ``values``
) -> tuple[Tensor, Tensor]:
    """Bilinear interpolation, with a gradient to the correspondence, too.

    Within half a pixel of the border it takes the border pixel's value.

    Returns:
        ``values [B, C, h, w]``, float32 (0 outside), and ``inside [B, 1, h, w]``, bool.
    """
    pixels, inside = _inside(values, correspondence)
    u, v = pixels.unbind(1)  # [B, h, w] each
    # align_corners=False is this project's convention: 0 and W are the image's borders.
    grid = torch.stack([u / values.shape[-1], v / values.shape[-2]], dim=-1) * 2 - 1
    sampled = functional.grid_sample(
        values.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return torch.where(inside, sampled, 0), inside


def sample_depth(
    depth: Tensor,  # [B, 1, H, W], metres, 0 = none
    correspondence: Tensor,  # [B, 2, h, w]
) -> Tensor:
    """Interpolated depth ``[B, 1, h, w]``, 0 unless all pixels that take part have one."""
    known = (depth > 0) & depth.isfinite()
    share, _ = sample_bilinear(known.float(), correspondence)
    sampled, _ = sample_bilinear(torch.where(known, depth, 0), correspondence)
    return torch.where(share > 1 - 1e-4, sampled, 0)


def _inside(values: Tensor, correspondence: Tensor) -> tuple[Tensor, Tensor]:
    """Float32 pixels ``[B, 2, h, w]``, those outside at the first centre, and which lie inside."""
    if correspondence.ndim != 4 or correspondence.shape[:2] != (len(values), 2):
        raise ValueError(
            f"correspondence must be [{len(values)}, 2, H, W] as (u, v), "
            f"got {tuple(correspondence.shape)}"
        )
    pixels = correspondence.float()
    inside = in_image(pixels.movedim(1, -1), values.shape[-2:])[:, None]
    return torch.where(inside, pixels, 0.5), inside
