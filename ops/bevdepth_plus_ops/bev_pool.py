"""Lift-splat pooling: depth-weighted image features summed into BEV cells."""

from __future__ import annotations

from torch import Tensor

from .reference import bev_pool_reference


def bev_pool(
    depth: Tensor,  # [B, N, D, H, W]
    context: Tensor,  # [B, N, C, H, W]
    cells: Tensor,  # [B, N, D, H, W] int32
    bev_size: tuple[int, int],  # (Y, X)
) -> Tensor:
    """Sums depth * context over the frustum points of each BEV cell; [B, C, Y, X]."""
    return bev_pool_reference(depth, context, cells, bev_size)
