"""What all depth losses share: masks, means over valid pixels, seeded random samples."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_depth(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction and target in float32, with 1 m at invalid pixels, and which pixels are valid.

    The 1 m keeps every later logarithm, division and gradient finite. A pixel is valid if it is in
    the mask and its target is a positive finite number.

    Returns:
        ``pred``, ``target`` and ``valid`` (bool), ``[B, 1, H, W]`` each.

    Raises:
        ValueError: shapes are not ``[B, 1, H, W]`` or disagree.
    """
    if pred.ndim != 4 or pred.shape[1] != 1 or not pred.shape == target.shape == mask.shape:
        raise ValueError(
            "pred, target and mask must all be [B, 1, H, W], got "
            f"{tuple(pred.shape)}, {tuple(target.shape)} and {tuple(mask.shape)}"
        )
    pred, target = pred.float(), target.float()
    valid = mask.bool() & (target > 0) & target.isfinite()
    return torch.where(valid, pred, 1.0), torch.where(valid, target, 1.0), valid


def masked_mean(
    values: Tensor,  # any shape
    valid: Tensor,  # bool, the same shape
) -> Tensor:
    """Mean of the valid values; 0 with a gradient of 0 where none is. No host sync."""
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def uniform(
    shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Numbers in [0, 1), drawn where the generator lives: one seed, one result on every device."""
    source = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=source).to(device, non_blocking=True)


def sample_pixels(
    valid: Tensor,  # [B, ...], bool
    num: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw valid pixels uniformly and with replacement, without a host sync.

    Returns:
        Flat pixel indices ``[B, num]``; all 0 for an image without valid pixels.
    """
    # Valid pixel number k is the first at which the running count of valid pixels reaches k + 1.
    running_count = valid.flatten(1).cumsum(1)  # [B, P]
    count = running_count[:, -1:]
    number = (uniform((len(valid), num), valid.device, generator) * count).long()
    number = torch.minimum(number, count - 1)  # float32 may round up to the count itself
    return torch.searchsorted(running_count, number + 1)


def at_pixels(
    values: Tensor,  # [B, P, C]
    index: Tensor,  # [B, ...], int64, in [0, P)
) -> Tensor:
    """Values at flat pixel indices, ``[B, ..., C]``."""
    batch = torch.arange(len(values), device=values.device)
    return values[batch.reshape(-1, *[1] * (index.ndim - 1)), index]
