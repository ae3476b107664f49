"""The compiled library: loading it, and what PyTorch has to know about its operators."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import torch
from torch import Tensor

from .checks import check_cells, check_pool_inputs

PACKAGE = Path(__file__).parent
ROW_TILE = 16  # kRowTile in csrc/shared_math.h


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


@torch.compiler.assume_constant_result  # or torch.compile would trace into it
def has_kernels(device: torch.device) -> bool:
    """Whether the compiled library can run on `device`."""
    return missing_reason(device) is None


@functools.cache
def missing_reason(device: torch.device) -> str | None:
    """Why the compiled library cannot run on `device`, or None where it can."""
    if MISSING_REASON is not None:
        return MISSING_REASON
    if device.type in ("cpu", "meta"):
        return None
    if device.type != "cuda" or not _was_built_for_cuda():
        return f"it was built without {device.type} kernels"
    if torch.cuda.is_available() and not _has_code_for(device):
        major, minor = torch.cuda.get_device_capability(device)
        return (
            f"it was not compiled for this GPU, {torch.cuda.get_device_name(device)}: set "
            f"TORCH_CUDA_ARCH_LIST={major}.{minor} when it is built"
        )
    return None


def _was_built_for_cuda() -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key("bevdepth_plus_ops::bev_pool", "CUDA")


def _has_code_for(device: torch.device) -> bool:
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.ops.bevdepth_plus_ops.runs_on_gpu(index)


_warned_devices: set[torch.device] = set()


def warn_once_about_fallback(device: torch.device) -> None:
    """Warns, once per process and device, that plain PyTorch is used, and why."""
    if device in _warned_devices:
        return
    _warned_devices.add(device)
    warnings.warn(
        f"bevdepth_plus_ops runs in plain PyTorch on {device}, slowly: the compiled library "
        f"is not in use ({missing_reason(device)}). Reinstall with a C++ compiler at hand: "
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
    cells: Tensor, bev_y: int, bev_x: int, for_gpu: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    check_cells(cells, (bev_y, bev_x))
    batch, cameras, _, height, width = cells.shape
    context = torch.library.get_ctx()
    groups = batch * bev_y * bev_x + 1 if for_gpu else context.new_dynamic_size()
    row_tiles = -(-height // ROW_TILE) if for_gpu else 1
    runs = context.new_dynamic_size()
    return (
        cells.new_empty(groups),
        cells.new_empty(runs, 4),
        cells.new_empty(batch * cameras * width * row_tiles + 1),
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
    # Pooling is linear in depth and in context, so its second derivatives call the same ops.
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
