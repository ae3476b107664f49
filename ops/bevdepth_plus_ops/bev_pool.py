"""Lift-splat pooling: depth-weighted image features summed into BEV cells."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .checks import (
    FLOAT_DTYPES,
    check_cells,
    check_dense,
    check_plan_inputs,
    check_pool_inputs,
)
from .native import has_kernels, warn_once_about_fallback
from .reference import bev_pool_reference

# What autocast casts; float64 stays as it is.
AUTOCAST_DTYPES = tuple(dtype for dtype in FLOAT_DTYPES if dtype != torch.float64)
INDEX = ("offsets", "runs", "column_offsets", "column_runs")


def bev_pool(
    depth: Tensor,  # [B, N, D, H, W]
    context: Tensor,  # [B, N, C, H, W]
    cells: Tensor,  # [B, N, D, H, W] int32
    bev_size: tuple[int, int],  # (Y, X)
) -> Tensor:
    """Sums depth * context over the frustum points of each BEV cell.

    `out[b, :, cell] = sum of depth[b, n, d, h, w] * context[b, n, :, h, w]` over all points whose
    `cells[b, n, d, h, w] == cell`. Points with a cell outside `0 <= cell < Y * X` take no part:
    neither their values (NaN and inf included) nor their gradients reach anything.

    Two runs give the same bits, forward and backward, whatever the number of threads. Under
    autocast both floating inputs are cast to the autocast dtype.

    Args:
        depth: Weight of each point, in float32, float64, bfloat16 or float16. Read in place when
            each camera's [D, H, W] is contiguous.
        context: Features of each pixel, same dtype and device. Read in place when contiguous or
            channels_last within each camera.
        cells: BEV cell `y * X + x` of each point, from `frustum_cells`.
        bev_size: Rows and columns of the BEV grid.

    Returns:
        [B, C, Y, X] in the dtype of depth; bfloat16 and float16 are summed in float32.

    Raises:
        ValueError, TypeError: shapes, devices or dtypes do not fit together.
    """
    depth, context = cast_for_autocast(depth, context)
    check_pool_inputs(depth, context, cells, bev_size)
    return _pool(depth, context, cells, (None,) * 4, bev_size)


class BEVPoolPlan(nn.Module):
    """`bev_pool` for a fixed rig: all index work is done once, when the plan is made.

    Moves with `.to(device)`. Its state dict holds the cells and the grid's size; the sorted index
    is rebuilt on loading, and for each kind of device.

    Example:
        plan = BEVPoolPlan.from_cells(frustum_cells(...), bev_size=(128, 128))
        bev = plan(depth, context)
    """

    cells: Tensor  # [B, N, D, H, W] int32
    # Runs ([R, 4] int32, see Run in csrc/shared_math.h) and where each group of them begins; what
    # the groups are on each kind of device, csrc/cpu/plan.h says.
    offsets: Tensor | None
    runs: Tensor | None
    column_offsets: Tensor | None
    column_runs: Tensor | None

    def __init__(self, cells: Tensor, bev_size: tuple[int, int]) -> None:
        super().__init__()
        check_cells(cells, bev_size)
        self.bev_size = (int(bev_size[0]), int(bev_size[1]))
        self.register_buffer("cells", cells.detach().clone())
        for name in INDEX:
            self.register_buffer(name, None, persistent=False)
        self._make_index()

    @classmethod
    def from_cells(cls, cells: Tensor, bev_size: tuple[int, int]) -> BEVPoolPlan:
        """Makes the plan for cells [B, N, D, H, W] int32 on any device."""
        return cls(cells, bev_size)

    def forward(
        self,
        depth: Tensor,  # [B, N, D, H, W]
        context: Tensor,  # [B, N, C, H, W]
    ) -> Tensor:
        """The same sums as `bev_pool(depth, context, cells, bev_size)`: [B, C, Y, X]."""
        depth, context = cast_for_autocast(depth, context)
        check_plan_inputs(depth, context, self.cells)
        index = (self.offsets, self.runs, self.column_offsets, self.column_runs)
        return _pool(depth, context, self.cells, index, self.bev_size)

    def get_extra_state(self) -> tuple[int, int]:
        return self.bev_size

    def set_extra_state(self, state: tuple[int, int]) -> None:
        if tuple(state) != self.bev_size:
            raise ValueError(
                f"the saved plan is for a BEV grid of (Y, X) = {tuple(state)}, "
                f"this one is for {self.bev_size}: make it with the saved size"
            )

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._make_index()

    def _apply(self, *args, **kwargs) -> BEVPoolPlan:  # called by .to(), .cuda() and .cpu()
        before = self.cells.device.type
        super()._apply(*args, **kwargs)
        if self.cells.device.type != before:
            self._make_index()
        return self

    def _make_index(self) -> None:
        device = self.cells.device
        if device.type == "meta" or not has_kernels(device):
            index = (None,) * len(INDEX)
        else:
            tensors = torch.ops.bevdepth_plus_ops.bev_pool_plan(
                self.cells.cpu(), *self.bev_size, device.type != "cpu"
            )
            index = tuple(tensor.to(device) for tensor in tensors)
        for name, tensor in zip(INDEX, index, strict=True):
            setattr(self, name, tensor)


def _pool(
    depth: Tensor,
    context: Tensor,
    cells: Tensor,
    index: tuple[Tensor | None, ...],  # see BEVPoolPlan
    bev_size: tuple[int, int],
) -> Tensor:
    if has_kernels(depth.device):
        bev_y, bev_x = bev_size
        return torch.ops.bevdepth_plus_ops.bev_pool(depth, context, cells, *index, bev_y, bev_x)
    warn_once_about_fallback(depth.device)
    return bev_pool_reference(depth, context, cells, bev_size)


def cast_for_autocast(depth: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """Both inputs in autocast's dtype where it is on; float64 and integers stay as they are."""
    check_dense("depth", depth)
    check_dense("context", context)
    device = depth.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return depth, context
    dtype = torch.get_autocast_dtype(device)
    depth, context = (x.to(dtype) if x.dtype in AUTOCAST_DTYPES else x for x in (depth, context))
    return depth, context
