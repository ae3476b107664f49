"""The compiled library: loading it, and what PyTorch has to know about its operators."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from .checks import check_cells, check_pool_inputs

PACKAGE = Path(__file__).parent


def _load() -> str | None:
    """Loads the compiled library; returns why that was impossible, or None."""
    libraries = sorted(PACKAGE.glob("_C*.so"))
    if not libraries:
        failure = PACKAGE / "build_failure.txt"
        return failure.read_text().strip() if failure.exists() else "it was not compiled"
    try:
        torch.ops.load_library(str(libraries[0]))
    except OSError as error:  # built against another PyTorch, most often
        return f"{libraries[0].name} does not load: {str(error).splitlines()[0]}"
    return None


MISSING_REASON = _load()
"""Why the compiled library is not in use, or None where it is."""


def has_kernels(device: torch.device) -> bool:
    """Whether the compiled library can run on `device`."""
    if MISSING_REASON is not None:
        return False
    if device.type == "cuda":
        return torch._C._dispatch_has_kernel_for_dispatch_key("bevdepth_plus_ops::bev_pool", "CUDA")
    return device.type in ("cpu", "meta")


_warned_devices: set[str] = set()


def warn_once_about_fallback(device: torch.device) -> None:
    """Says, once a process and device type, that plain PyTorch does the work, and why."""
    if device.type in _warned_devices:
        return
    _warned_devices.add(device.type)
    reason = MISSING_REASON or f"it was built without {device.type} kernels"
    warnings.warn(
        f"bevdepth_plus_ops runs in plain PyTorch on {device.type}, slowly: the compiled library "
        f"is not in use ({reason}). Reinstall with a C++ compiler at hand: "
        "pip install --no-build-isolation --force-reinstall --no-deps ./ops",
        stacklevel=3,
    )


def _fake_bev_pool(
    depth: Tensor,
    context: Tensor,
    cells: Tensor,
    offsets: Tensor | None,
    runs: Tensor | None,
    column_offsets: Tensor | None,
    column_runs: Tensor | None,
    bev_y: int,
    bev_x: int,
) -> Tensor:
    check_pool_inputs(depth, context, cells, (bev_y, bev_x))
    return depth.new_empty(depth.shape[0], context.shape[2], bev_y, bev_x)


def _fake_bev_pool_backward(
    grad: Tensor,
    depth: Tensor,
    context: Tensor,
    cells: Tensor,
    column_offsets: Tensor | None,
    column_runs: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return depth.new_empty(depth.shape), context.new_empty(context.shape)


def _fake_bev_pool_plan(
    cells: Tensor, bev_y: int, bev_x: int, by_cell: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    check_cells(cells, (bev_y, bev_x))
    batch, cameras, _, _, width = cells.shape
    context = torch.library.get_ctx()
    groups = batch * bev_y * bev_x + 1 if by_cell else context.new_dynamic_size()
    runs = context.new_dynamic_size()
    return (
        cells.new_empty(groups),
        cells.new_empty(runs, 4),
        cells.new_empty(batch * cameras * width + 1),
        cells.new_empty(runs, 4),
    )


def _fake_frustum_cells(
    ego_T_cam: Tensor,
    intrinsics: Tensor,
    image_aug: Tensor,
    bev_aug: Tensor,
    u: Tensor,
    v: Tensor,
    depths: Tensor,
    lower: list[float],
    cell_size: list[float],
    grid_size: list[int],
    truncate: bool,
) -> Tensor:
    shape = (*ego_T_cam.shape[:2], depths.shape[0], v.shape[0], u.shape[0])
    return u.new_empty(shape, dtype=torch.int32)


def _save_for_backward(ctx, inputs, output) -> None:
    depth, context, cells, _, _, column_offsets, column_runs = inputs[:7]
    ctx.save_for_backward(depth, context, cells, column_offsets, column_runs)


def _backward(ctx, grad: Tensor):
    depth_grad, context_grad = torch.ops.bevdepth_plus_ops.bev_pool_backward(
        grad, *ctx.saved_tensors
    )
    return depth_grad, context_grad, *(None,) * 7


def _save_for_second_backward(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _second_backward(ctx, depth_tangent: Tensor, context_tangent: Tensor):
    # Pooling is linear in depth and in context, so its derivatives are made of itself.
    grad, depth, context, cells, *columns = ctx.saved_tensors
    ops = torch.ops.bevdepth_plus_ops
    index_and_size = (None, None, *columns, *grad.shape[2:])
    grad_grad = ops.bev_pool(depth_tangent, context, cells, *index_and_size) + ops.bev_pool(
        depth, context_tangent, cells, *index_and_size
    )
    depth_grad, context_grad = ops.bev_pool_backward(
        grad, depth_tangent, context_tangent, cells, *columns
    )
    return grad_grad, depth_grad, context_grad, None, None, None


if MISSING_REASON is None:
    torch.library.register_fake("bevdepth_plus_ops::bev_pool", _fake_bev_pool)
    torch.library.register_fake("bevdepth_plus_ops::bev_pool_backward", _fake_bev_pool_backward)
    torch.library.register_fake("bevdepth_plus_ops::bev_pool_plan", _fake_bev_pool_plan)
    torch.library.register_fake("bevdepth_plus_ops::frustum_cells", _fake_frustum_cells)
    torch.library.register_autograd(
        "bevdepth_plus_ops::bev_pool", _backward, setup_context=_save_for_backward
    )
    torch.library.register_autograd(
        "bevdepth_plus_ops::bev_pool_backward",
        _second_backward,
        setup_context=_save_for_second_backward,
    )
