"""Argument checks of every op; each error says what was expected and what it got.

They run before any C++ does: a user's mistake then raises an ordinary Python exception whatever
compiler built the library.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

FLOAT_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
INTEGERS = (int, numbers.Integral, torch.SymInt)
# The kernels number points with 32-bit integers; offsets into features are 64-bit.
MAX_POINTS = 2**31 - 1
# A run of the plan counts bins and rows with 16 bits.
MAX_BINS_AND_ROWS = 2**15 - 1
ROUNDINGS = ("floor", "truncate")


def check_pool_inputs(
    depth: Tensor, context: Tensor, cells: Tensor, bev_size: tuple[int, int]
) -> None:
    """Raises ValueError or TypeError unless the arguments of `bev_pool` fit together."""
    check_features(depth, context)
    check_cells(cells, bev_size)
    if cells.shape != depth.shape:
        raise ValueError(
            f"cells must have depth's shape {tuple(depth.shape)}, got {tuple(cells.shape)}"
        )
    if cells.device != depth.device:
        raise ValueError(f"cells must be on depth's device {depth.device}, got {cells.device}")


def check_features(depth: Tensor, context: Tensor) -> None:
    """Raises ValueError or TypeError unless depth and context fit together."""
    check_dense("depth", depth)
    check_dense("context", context)
    shape, context_shape = depth.shape, context.shape
    if len(shape) != 5:
        raise ValueError(f"depth must be [B, N, D, H, W], got {tuple(shape)}")
    if len(context_shape) != 5:
        raise ValueError(f"context must be [B, N, C, H, W], got {tuple(context_shape)}")
    if context_shape[:2] != shape[:2] or context_shape[3:] != shape[3:]:
        expected = (*shape[:2], context_shape[2], *shape[3:])
        raise ValueError(
            f"context must be [B, N, C, H, W] = {expected} to fit depth {tuple(shape)}, "
            f"got {tuple(context_shape)}"
        )
    dtype, device = depth.dtype, depth.device
    if dtype not in FLOAT_DTYPES:
        raise TypeError(f"depth must be one of {FLOAT_DTYPES}, got {dtype}")
    if context.dtype != dtype:
        raise TypeError(f"context must have depth's dtype {dtype}, got {context.dtype}")
    if context.device != device:
        raise ValueError(f"context must be on depth's device {device}, got {context.device}")


def check_cells(cells: Tensor, bev_size: tuple[int, int]) -> None:
    """Raises ValueError or TypeError unless cells and bev_size are usable."""
    check_dense("cells", cells)
    shape = cells.shape
    if len(shape) != 5:
        raise ValueError(f"cells must be [B, N, D, H, W], got {tuple(shape)}")
    if cells.dtype != torch.int32:
        raise TypeError(f"cells must be torch.int32, got {cells.dtype}")
    check_numbers("bev_size", bev_size, "(Y, X)", INTEGERS)
    if min(bev_size) < 1:
        raise ValueError(f"bev_size must be (Y, X), both at least 1, got {tuple(bev_size)}")
    if max(shape[2], shape[3]) > MAX_BINS_AND_ROWS:
        raise ValueError(
            f"cells may have at most {MAX_BINS_AND_ROWS} bins and rows, got {tuple(shape)}"
        )
    grid = shape[0] * bev_size[0] * bev_size[1]
    if cells.numel() > MAX_POINTS or grid > MAX_POINTS:
        raise ValueError(
            f"cells may hold at most {MAX_POINTS} points and as many BEV cells, "
            f"got {cells.numel()} and {grid}"
        )


def check_plan_inputs(depth: Tensor, context: Tensor, cells: Tensor) -> None:
    """Raises ValueError or TypeError unless a plan with these (checked) cells is for them."""
    check_features(depth, context)
    if depth.shape != cells.shape:
        raise ValueError(
            f"the plan was made for the shape [B, N, D, H, W] = {tuple(cells.shape)}, "
            f"got depth {tuple(depth.shape)}: make a plan for it with BEVPoolPlan.from_cells"
        )
    if depth.device != cells.device:
        raise ValueError(
            f"the plan is on device {cells.device}, got depth on {depth.device}: "
            f"move it with plan.to({str(depth.device)!r})"
        )


def check_frustum_inputs(
    matrices: dict[str, Tensor],  # ego_T_cam, intrinsics, image_aug, bev_aug
    axes: dict[str, Tensor],  # u, v, depths
    lower: Sequence[float],
    cell_size: Sequence[float],
    grid_size: Sequence[int],
    rounding: str,
) -> None:
    """Raises ValueError or TypeError unless the arguments of `frustum_cells` fit together."""
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding must be one of {ROUNDINGS}, got {rounding!r}")
    check_grid(lower, cell_size, grid_size)
    tensors = {**matrices, **axes}
    for name, value in tensors.items():
        check_dense(name, value)
        if value.dtype.is_complex or value.dtype == torch.bool:
            raise TypeError(f"{name} must hold real numbers, got {value.dtype}")
    ego_T_cam = matrices["ego_T_cam"]
    if ego_T_cam.dim() != 4:
        raise ValueError(f"ego_T_cam must be [B, N, 4, 4], got {tuple(ego_T_cam.shape)}")
    batch, cameras = ego_T_cam.shape[:2]
    shapes = (batch, cameras, 4, 4), (batch, cameras, 3, 3), (batch, cameras, 3, 3), (batch, 4, 4)
    for (name, value), expected in zip(matrices.items(), shapes, strict=True):
        if tuple(value.shape) != expected:
            raise ValueError(f"{name} must be {expected}, got {tuple(value.shape)}")
    for name, value in axes.items():
        if value.dim() != 1:
            raise ValueError(f"{name} must have one axis, got {tuple(value.shape)}")
    for name, value in tensors.items():
        if value.device != ego_T_cam.device:
            raise ValueError(
                f"{name} must be on ego_T_cam's device {ego_T_cam.device}, got {value.device}"
            )


def check_grid(
    lower: Sequence[float], cell_size: Sequence[float], grid_size: Sequence[int]
) -> None:
    """Raises ValueError or TypeError unless the grid is valid and its cells fit 32-bit indices."""
    check_numbers("lower", lower, "(x, y, z)", numbers.Real)
    check_numbers("cell_size", cell_size, "(x, y, z)", numbers.Real)
    check_numbers("grid_size", grid_size, "(X, Y, Z)", INTEGERS)
    if not all(map(math.isfinite, (*lower, *cell_size))):
        raise ValueError(
            f"lower and cell_size must be finite, got {tuple(lower)}, {tuple(cell_size)}"
        )
    if min(*cell_size, *grid_size) <= 0:
        raise ValueError(
            f"cell_size and grid_size must be positive, got {tuple(cell_size)}, {tuple(grid_size)}"
        )
    size_x, size_y, size_z = map(int, grid_size)  # numpy's integers would overflow
    if max(size_x * size_y, size_z) > MAX_POINTS:
        raise ValueError(
            f"grid_size may make at most {MAX_POINTS} BEV cells and layers, got {tuple(grid_size)}"
        )


def check_dense(name: str, value: Tensor) -> None:
    """Raises TypeError unless value is an ordinary tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {value.layout}")


def check_numbers(name: str, values: Sequence, axes: str, kind: type | tuple) -> None:
    """Raises ValueError or TypeError unless values are one number of `kind` for each of `axes`."""
    if not hasattr(values, "__len__") or len(values) != axes.count(",") + 1:
        raise ValueError(f"{name} must hold {axes}, got {values!r}")
    if not all(isinstance(value, kind) for value in values):
        integer = "an integer" if kind is INTEGERS else "a number"
        raise TypeError(f"{name} must hold {integer} for each of {axes}, got {values!r}")
