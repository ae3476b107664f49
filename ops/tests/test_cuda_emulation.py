"""The CUDA kernels' own source, compiled for the host and run thread by thread.

This holds their indexing, merging, carrying and rounding to the definition on machines without a
GPU. It says nothing about speed or races; `pytest -m gpu` and gpu_check.py do that on a GPU.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from bevdepth_plus_ops import bev_pool_reference, frustum_cells
from bevdepth_plus_ops.native import MISSING_REASON
from bevdepth_plus_ops.testing import (
    PoolCase,
    assert_matches_reference,
    gradients,
    random_case,
)

OPS = Path(__file__).resolve().parent.parent
COMPILER = shutil.which(os.environ.get("CXX", "g++"))
DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("emulation") / "kernels.so"
    command = [COMPILER, "-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-w",
               "-DBEVPOOL_EMULATE", f"-I{OPS / 'tests/emulation'}",
               str(OPS / "tests/emulation/api.cpp"), "-o", str(library)]  # fmt: skip
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def pointer(tensor: torch.Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def sizes(case: PoolCase):
    batch, cameras, bins, height, width = case.depth.shape
    grid = case.bev_size[0] * case.bev_size[1]
    values = (batch, cameras, bins, case.context.shape[2], height, width, grid)
    return (ctypes.c_int64 * 7)(*values)


def emulated_pool(kernels: ctypes.CDLL, planned: bool):
    """The emulated kernels as a differentiable function with the signature of bev_pool."""

    class Pool(torch.autograd.Function):
        @staticmethod
        def forward(ctx, depth, context, cells, bev_size):
            ctx.case = PoolCase(depth.contiguous(), context.contiguous(), cells, bev_size)
            out = torch.full(
                (depth.shape[0], context.shape[2], *bev_size), float("nan"), dtype=depth.dtype
            )
            inputs = (DTYPES[depth.dtype], sizes(ctx.case), *map(pointer, ctx.case.arguments[:2]))
            if planned:
                make_plan = torch.ops.bevdepth_plus_ops.bev_pool_plan
                offsets, runs, column_offsets, _ = make_plan(cells, *bev_size, for_gpu=True)
                kernels.emulate_planned_forward(
                    *inputs, pointer(offsets), pointer(runs), ctypes.c_int64(len(runs)),
                    pointer(column_offsets), pointer(out),
                )  # fmt: skip
            else:
                kernels.emulate_forward(*inputs, pointer(cells), pointer(out))
            return out

        @staticmethod
        def backward(ctx, grad):
            case = ctx.case
            grad = grad.contiguous()
            results = [torch.full_like(x, float("nan")) for x in (case.depth, case.context)]
            kernels.emulate_backward(
                DTYPES[grad.dtype], sizes(case), pointer(grad), pointer(case.depth),
                pointer(case.context), pointer(case.cells), *map(pointer, results),
            )  # fmt: skip
            return *results, None, None

    return Pool.apply


SHAPES = {
    "plain": {},
    "tail tiles and pixels": dict(height=5, width=9, bev_size=(5, 7)),
    "bins above one stage": dict(bins=70, cells="columns", height=3),
    "crowded cell": dict(cells="one", bins=40, height=4, width=8),
    "channels of a model": dict(channels=80, batch=1, cells="columns"),
    "many channels": dict(channels=150, batch=1, cameras=1),
    "one channel": dict(channels=1),
    "nothing inside": dict(cells="none"),
    "rows above a tile": dict(height=37, width=11, cells="columns", channels=6),
    "runs above a batch": dict(bins=30, height=3, width=10, batch=1, cameras=1),
}


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_emulated_cuda_kernels_match_the_reference(kernels, shape, dtype, planned):
    case = random_case(dtype=dtype, **SHAPES[shape])
    if planned and MISSING_REASON is not None:
        pytest.skip("the compiled library is not in use")
    if dtype == torch.float64 and case.context.shape[2] > 128:
        case.context = case.context[:, :, :128]  # more are sliced before the launch
    assert_matches_reference(emulated_pool(kernels, planned), case)


@pytest.mark.parametrize("planned", [False, True])
def test_emulated_cuda_kernels_keep_hostile_cells_outside(kernels, planned):
    if planned and MISSING_REASON is not None:
        pytest.skip("the compiled library is not in use")
    case = random_case(bins=6, width=9)
    values = torch.tensor([-(2**31), 2**31 - 1, -2, 54, 55, 0, 53], dtype=torch.int32)
    case.cells = values[torch.arange(case.cells.numel()) % 7].view(case.cells.shape)
    out = emulated_pool(kernels, planned)(*case.arguments)
    torch.testing.assert_close(out, bev_pool_reference(*case.arguments))


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_emulated_cuda_kernels_let_no_value_of_unused_points_leak(kernels, value, planned):
    if planned and MISSING_REASON is not None:
        pytest.skip("the compiled library is not in use")
    case = random_case(cells="columns", height=5, width=9)
    case.cells[..., 3] = -1  # pixels without any use, beside used ones
    case.cells[..., 2, :] = -1  # and between rows of used ones
    unused = (case.cells < 0) | (case.cells >= case.bev_size[0] * case.bev_size[1])
    dead_pixel = unused.all(dim=2, keepdim=True).expand_as(case.context)
    poisoned = PoolCase(
        case.depth.masked_fill(unused, value),
        case.context.masked_fill(dead_pixel, value),
        case.cells,
        case.bev_size,
    )
    grad = torch.ones(2, 20, *case.bev_size)
    pool = emulated_pool(kernels, planned)
    for got, expected in zip(
        gradients(pool, poisoned, grad), gradients(pool, case, grad), strict=True
    ):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("truncate", [False, True])
def test_emulated_cuda_frustum_has_the_bits_of_the_cpu(kernels, truncate):
    generator = torch.Generator().manual_seed(0)
    ego_T_cam = torch.eye(4, dtype=torch.float64).repeat(2, 3, 1, 1)
    ego_T_cam[..., :3, :] += 0.3 * torch.randn(2, 3, 3, 4, generator=generator).double()
    intrinsics = torch.tensor([[300.0, 0, 80], [0, 300, 40], [0, 0, 1]]).double()
    intrinsics = intrinsics.repeat(2, 3, 1, 1)
    image_aug = torch.eye(3, dtype=torch.float64).repeat(2, 3, 1, 1)
    image_aug[..., :2, :] += 0.1 * torch.randn(2, 3, 2, 3, generator=generator).double()
    bev_aug = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    bev_aug[1, 0, 0] = -1
    u, v = torch.arange(0, 160, 8.0), torch.arange(0, 80, 8.0)
    depths = torch.linspace(0.5, 30, 50)
    lower, cell_size, grid_size = [-8.0, -8.0, -1.0], [0.4, 0.4, 20.0], [40, 40, 1]
    cells = torch.empty(2, 3, 50, 10, 20, dtype=torch.int32)
    kernels.emulate_frustum(
        (ctypes.c_int64 * 7)(2, 3, 50, 1, 10, 20, 1600),
        *map(pointer, (ego_T_cam, intrinsics, image_aug, bev_aug, u, v, depths)),
        (ctypes.c_double * 3)(*lower), (ctypes.c_double * 3)(*cell_size),
        (ctypes.c_int32 * 3)(*grid_size), ctypes.c_int(truncate), pointer(cells),
    )  # fmt: skip
    on_cpu = frustum_cells(
        ego_T_cam, intrinsics, image_aug, bev_aug, u=u, v=v, depths=depths,
        lower=lower, cell_size=cell_size, grid_size=grid_size,
        rounding="truncate" if truncate else "floor",
    )  # fmt: skip
    assert (cells >= 0).any() and (cells < 0).any()
    assert torch.equal(cells, on_cpu)
