"""Rotary position embedding in two dimensions.

Source: RoFormer (2021) for the rotation; CroCo v2 (ICCV 2023) for rows and columns, base 100.
"""

from __future__ import annotations

import torch
from torch import Tensor

BASE = 100.0


def grid_positions(
    size: tuple[int, int],  # rows, columns of tokens
    device: torch.device | None = None,
) -> Tensor:
    """(row, column) of each token, row by row from 0, int64 ``[T, 2]``."""
    rows, columns = (torch.arange(side, device=device) for side in size)
    return torch.cartesian_prod(rows, columns)


def rotation(
    positions: Tensor,  # [B, T, 2], (row, column)
    head_dim: int,
) -> tuple[Tensor, Tensor]:
    """Cosine and sine that :func:`rotate` turns channels by, float32 ``[B, 1, T, 2, 1, D / 4]``.

    The first half of a head's channels turns with the row, the second with the column. Channel
    k of a half turns by ``position * BASE ** (-4 k / D)`` and is paired with channel k + D / 4.

    Raises:
        ValueError: ``head_dim`` is not a multiple of 4.
    """
    if head_dim % 4:
        raise ValueError(f"channels of a head must be a multiple of 4, got {head_dim}")
    index = torch.arange(head_dim // 4, device=positions.device, dtype=torch.float32)
    frequencies = BASE ** (-4 * index / head_dim)
    angles = positions[:, None, :, :, None, None].float() * frequencies
    return angles.cos(), angles.sin()


def rotate(
    x: Tensor,  # [B, K, T, D], queries or keys
    rotation: tuple[Tensor, Tensor],  # [B or 1, 1, T, 2, 1, D / 4] each
) -> Tensor:
    """Turn the channels of each head by its token's position, ``[B, K, T, D]``."""
    cosine, sine = (part.to(x.dtype) for part in rotation)
    first, second = x.unflatten(-1, (2, 2, -1)).split(1, dim=-2)  # [B, K, T, 2, 1, D / 4] each
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-2)
    return turned.flatten(-3)
