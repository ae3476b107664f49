"""Argument checks that every way into the ops shares; each says what it expected and got."""

from __future__ import annotations

import torch
from torch import Tensor

FLOAT_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
# The kernels number points with 32-bit integers; offsets into features are 64-bit.
MAX_POINTS = 2**31 - 1
# A run of the plan counts bins and rows with 16 bits.
MAX_BINS_AND_ROWS = 2**15 - 1


def check_pool_inputs(
    depth: Tensor, context: Tensor, cells: Tensor, bev_size: tuple[int, int]
) -> None:
    """Raises ValueError or TypeError unless the arguments of `bev_pool` fit together."""
    if depth.dim() != 5:
        raise ValueError(f"depth must be [B, N, D, H, W], got {tuple(depth.shape)}")
    if context.dim() != 5:
        raise ValueError(f"context must be [B, N, C, H, W], got {tuple(context.shape)}")
    batch, cameras, _, height, width = depth.shape
    expected = (batch, cameras, context.shape[2], height, width)
    if tuple(context.shape) != expected:
        raise ValueError(
            f"context must be [B, N, C, H, W] = {expected} to fit depth {tuple(depth.shape)}, "
            f"got {tuple(context.shape)}"
        )
    if depth.dtype not in FLOAT_DTYPES:
        raise TypeError(f"depth must be one of {FLOAT_DTYPES}, got {depth.dtype}")
    if context.dtype != depth.dtype:
        raise TypeError(f"context must have depth's dtype {depth.dtype}, got {context.dtype}")
    if context.device != depth.device:
        raise ValueError(f"context must be on depth's device {depth.device}, got {context.device}")
    if tuple(cells.shape) != tuple(depth.shape):
        raise ValueError(
            f"cells must have depth's shape {tuple(depth.shape)}, got {tuple(cells.shape)}"
        )
    if cells.device != depth.device:
        raise ValueError(f"cells must be on depth's device {depth.device}, got {cells.device}")
    check_cells(cells, bev_size)


def check_cells(cells: Tensor, bev_size: tuple[int, int]) -> None:
    """Raises ValueError or TypeError unless cells and bev_size are usable."""
    if cells.dim() != 5:
        raise ValueError(f"cells must be [B, N, D, H, W], got {tuple(cells.shape)}")
    if cells.dtype != torch.int32:
        raise TypeError(f"cells must be torch.int32, got {cells.dtype}")
    if len(bev_size) != 2 or min(bev_size) < 1:
        raise ValueError(f"bev_size must be (Y, X), both at least 1, got {tuple(bev_size)}")
    if max(cells.shape[2:4]) > MAX_BINS_AND_ROWS:
        raise ValueError(
            f"cells may have at most {MAX_BINS_AND_ROWS} bins and rows, got {tuple(cells.shape)}"
        )
    grid = cells.shape[0] * bev_size[0] * bev_size[1]
    if cells.numel() > MAX_POINTS or grid > MAX_POINTS:
        raise ValueError(
            f"cells may hold at most {MAX_POINTS} points and as many BEV cells, "
            f"got {cells.numel()} and {grid}"
        )
