"""Grey patches: they match before a network has learnt anything."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_NOISE = 0.02  # of normalised images; a patch of less contrast tells little
_TINY = 1e-6


@torch.no_grad()
def patch_correlation(
    images: Tensor,  # [B, 1 + V, 3, H, W], normalised, the anchor first
    pixels: Tensor,  # [B, P, 2], of the anchor
    places: Tensor,  # [B, V, P, S, 2], where to look in each source
    radius: int,  # pixels
) -> Tensor:
    """Cosine of a point's patch with those at its S places in each view, ``[B, V, P, S]``.

    The same whatever the brightness and the contrast, but less for a point with little contrast.
    No gradient.
    """
    grey = images.float().mean(2)
    queries = sample_patches(grey[:, 0], pixels, radius).flatten(-2)  # [B, P, K]
    queries = queries - queries.mean(-1, keepdim=True)
    noise = (2 * radius + 1) * _NOISE
    queries = queries / (queries.norm(dim=-1, keepdim=True) + noise)
    found = sample_patches(
        grey[:, 1:].flatten(0, 1), places.flatten(0, 1).flatten(1, 2), radius
    ).view(*places.shape[:4], -1)  # [B, V, P, S, K]
    # The mean of what is found need not be taken off: that of the query is 0.
    products = (found @ queries[:, None, :, :, None])[..., 0]
    mean = found.mean(-1)
    square = found.square().mean(-1) - mean.square()
    return products * (square.clamp(min=0) * found.shape[-1] + _TINY).rsqrt()


def sample_patches(
    images: Tensor,  # [B, H, W]
    pixels: Tensor,  # [B, N, 2], (u, v), centres at integers + 0.5
    radius: int,
) -> Tensor:
    """The square round each place, between pixels bilinear, ``[B, N, 2 r + 1, 2 r + 1]``.

    Beyond the image its border goes on.
    """
    height, width = images.shape[-2:]
    last = pixels.new_tensor([width, height]) - 1
    place = torch.minimum((pixels - 0.5).clamp(min=0), last)
    corner = place.floor()
    x, y = (place - corner).unbind(-1)
    side = 2 * radius + 2  # one more, to interpolate
    padded = functional.pad(
        images[:, None], (radius, radius + 1, radius, radius + 1), mode="replicate"
    )[:, 0]
    windows = padded.unfold(1, side, 1).unfold(2, side, 1)  # [B, H, W, side, side], no copy
    column, row = corner.long().unbind(-1)
    sample = torch.arange(len(images), device=images.device)[:, None]
    found = windows[sample, row, column]  # [B, N, side, side]
    found = torch.lerp(found[..., :-1, :], found[..., 1:, :], y[..., None, None])
    return torch.lerp(found[..., :-1], found[..., 1:], x[..., None, None])
