"""The whole CUDA side, compiled for the host: kernels thread by thread, and the code around them.

This holds indexing, merging, sorting, carrying and rounding to the definition on machines without a
GPU. It says nothing about speed or races; `pytest -m gpu` and gpu_check.py do that on a GPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

from bevdepth_plus_ops import bev_pool_reference, frustum_cells
from bevdepth_plus_ops.native import MISSING_REASON
from bevdepth_plus_ops.testing import (
    PoolCase,
    assert_matches_reference,
    gradients,
    layouts,
    random_case,
)

OPS = Path(__file__).resolve().parent.parent
COMPILER = shutil.which(os.environ.get("CXX", "g++"))
ROW_TILE = 16  # kRowTile in csrc/shared_math.h
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler"),
    pytest.mark.skipif(MISSING_REASON is not None, reason="the compiled library is not in use"),
]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """The emulated operators."""
    library = tmp_path_factory.mktemp("emulation") / "operators.so"
    # The stand-ins for PyTorch's CUDA headers go before its own.
    folders = [OPS / "tests/emulation", OPS / "csrc/cuda", *cpp_extension.include_paths()]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    command = [COMPILER, abi, "-std=c++20", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-w",
               "-DBEVPOOL_EMULATE", *(f"-I{folder}" for folder in folders),
               str(OPS / "tests/emulation/operators.cpp"), "-o", str(library),
               *(f"-L{folder}" for folder in cpp_extension.library_paths()), "-lc10",
               "-ltorch_cpu"]  # fmt: skip
    subprocess.run(command, check=True)
    torch.ops.load_library(str(library))
    return torch.ops.bevdepth_plus_ops_emulated


def index_of(cells: torch.Tensor, bev_size: tuple[int, int], planned: bool):
    if not planned:
        return (None,) * 4
    return torch.ops.bevdepth_plus_ops.bev_pool_plan(cells, *bev_size, for_gpu=True)


def emulated_pool(emulated, planned: bool):
    """The emulated operators as a differentiable function with the signature of bev_pool."""

    class Pool(torch.autograd.Function):
        @staticmethod
        def forward(ctx, depth, context, cells, bev_size):
            ctx.save_for_backward(depth, context, cells)
            index = index_of(cells, bev_size, planned)
            ctx.columns = index[2:]
            return emulated.bev_pool(depth, context, cells, *index, *bev_size)

        @staticmethod
        def backward(ctx, grad):
            results = emulated.bev_pool_backward(grad, *ctx.saved_tensors, *ctx.columns)
            return *results, None, None

    return Pool.apply


SHAPES = {
    "plain": {},
    "tail tiles and pixels": dict(height=5, width=9, bev_size=(5, 7)),
    "bins above one stage": dict(bins=70, cells="columns", height=3),
    "rows above a tile": dict(height=37, width=11, cells="columns", channels=6),
    "runs above a batch": dict(bins=30, height=3, width=10, batch=1, cameras=1),
    "crowded cell": dict(cells="one", bins=40, height=4, width=8),
    "channels of a model": dict(channels=80, batch=1, cells="columns"),
    "many channels": dict(channels=150, batch=1, cameras=1),
    "one channel": dict(channels=1),
    "one pixel": dict(height=1, width=1),
    "nothing inside": dict(cells="none"),
    "no item": dict(batch=0),
    "no camera": dict(cameras=0),
    "no bin": dict(bins=0),
    "no channel": dict(channels=0),
}


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_emulated_cuda_side_matches_the_reference(emulated, shape, dtype, planned):
    case = random_case(dtype=dtype, **SHAPES[shape])
    assert_matches_reference(emulated_pool(emulated, planned), case)


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_emulated_cuda_side_reads_every_memory_layout(emulated, dtype, planned):
    case = random_case(dtype=dtype, channels=16, width=18)
    for strided in layouts(case).values():
        assert_matches_reference(emulated_pool(emulated, planned), strided)


@pytest.mark.parametrize("planned", [False, True])
def test_hostile_cells_are_outside_in_emulated_kernels(emulated, planned):
    case = random_case(bins=6, width=9)
    values = torch.tensor([-(2**31), 2**31 - 1, -2, 54, 55, 0, 53], dtype=torch.int32)
    case.cells = values[torch.arange(case.cells.numel()) % 7].view(case.cells.shape)
    out = emulated_pool(emulated, planned)(*case.arguments)
    torch.testing.assert_close(out, bev_pool_reference(*case.arguments))


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_of_unused_points_never_leak_in_emulated_kernels(emulated, value, planned):
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
    pool = emulated_pool(emulated, planned)
    for got, expected in zip(
        gradients(pool, poisoned, grad), gradients(pool, case, grad), strict=True
    ):
        assert torch.equal(got, expected)


def test_emulated_kernels_read_no_uninitialised_memory(emulated, monkeypatch):
    # A training in the same process turns it off (engine/launch.py).
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    case = random_case(cells="columns", height=18, channels=13, width=19)
    grad = torch.ones(2, 13, *case.bev_size)
    plain = gradients(emulated_pool(emulated, False), case, grad)
    torch.use_deterministic_algorithms(True)  # fills every new tensor with NaN or INT_MAX
    try:
        assert torch.empty(3).isnan().all()
        poisoned = gradients(emulated_pool(emulated, False), case, grad)
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip(plain, poisoned, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("cells", ["columns", "random"])
def test_the_order_of_blocks_and_threads_changes_no_bit(emulated, planned, cells):
    case = random_case(cells=cells, bins=70, height=18, width=9, channels=12)
    grad = torch.randn(2, 12, *case.bev_size, generator=torch.Generator().manual_seed(5))
    pool = emulated_pool(emulated, planned)
    first = gradients(pool, case, grad)
    emulated.run_last_first(True)
    try:
        backwards = gradients(pool, case, grad)
    finally:
        emulated.run_last_first(False)
    for a, b in zip(first, backwards, strict=True):
        assert torch.equal(a, b)


def test_with_and_without_a_plan_a_gpu_gives_the_same_bits(emulated):
    case = random_case(cells="columns", bins=40, height=12, width=20)  # one stage, one row tile
    planned, unplanned = (emulated_pool(emulated, p)(*case.arguments) for p in (True, False))
    assert torch.equal(planned, unplanned)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("planned", [False, True])
def test_runs_without_room_for_their_sums_give_the_same_bits(emulated, planned, dtype):
    case = random_case(cells="columns", height=18, width=9, dtype=dtype)
    index = index_of(case.cells, case.bev_size, planned)
    arguments = (case.depth, case.context, case.cells, *index, *case.bev_size)
    expected = emulated.bev_pool_with_sums(*arguments, case.cells.numel())
    assert_matches_reference(emulated_pool(emulated, planned), case)
    for sum_rows in (1, 40):
        assert torch.equal(emulated.bev_pool_with_sums(*arguments, sum_rows), expected)


@pytest.mark.parametrize("cells", ["random", "columns", "one", "none"])
def test_a_gpu_finds_the_runs_of_the_plan(emulated, cells):
    case = random_case(cells=cells, bins=60, height=14, width=11, bev_size=(5, 7))
    _, planned_by_cell, offsets, planned_by_column = index_of(case.cells, (5, 7), planned=True)
    counts, by_column, order = emulated.find_runs(case.cells, 35)
    assert torch.equal(counts, offsets.diff())
    found = torch.cat([runs[:count] for runs, count in zip(by_column, counts, strict=True)])
    assert torch.equal(found, planned_by_column)
    by_cell = by_column.flatten(0, 1)[order[: len(found)].long()]
    assert torch.equal(by_cell[:, 1:], planned_by_cell[:, 1:])
    assert by_cell[:, 0].tolist() == list(range(len(found)))


def test_runs_found_on_a_gpu_end_with_a_stage_of_bins_and_a_tile_of_rows(emulated):
    case = random_case(cells="one", bins=150, height=20, width=3, batch=1, cameras=1)
    counts, by_column, _ = emulated.find_runs(case.cells, case.bev_size[0] * case.bev_size[1])
    assert counts.tolist() == [3] * 6  # 64 + 64 + 22 bins, in two tiles of three columns
    bins_and_rows = by_column[:2, :3, 2:].contiguous().view(torch.int16)
    assert bins_and_rows[0].tolist() == [[0, 64, 0, 16], [64, 64, 0, 16], [128, 22, 0, 16]]
    assert bins_and_rows[1].tolist() == [[0, 64, 16, 4], [64, 64, 16, 4], [128, 22, 16, 4]]


@pytest.mark.parametrize("truncate", [False, True])
def test_emulated_frustum_cells_have_the_bits_of_the_cpu(emulated, truncate):
    generator = torch.Generator().manual_seed(0)
    ego_T_cam = torch.eye(4, dtype=torch.float64).repeat(2, 3, 1, 1)
    ego_T_cam[..., :3, :] += 0.3 * torch.randn(2, 3, 3, 4, generator=generator).double()
    intrinsics = torch.tensor([[300.0, 0, 80], [0, 300, 40], [0, 0, 1]]).double()
    intrinsics = intrinsics.repeat(2, 3, 1, 1)
    image_aug = torch.eye(3, dtype=torch.float64).repeat(2, 3, 1, 1)
    image_aug[..., :2, :] += 0.1 * torch.randn(2, 3, 2, 3, generator=generator).double()
    bev_aug = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    bev_aug[1, 0, 0] = -1
    matrices = (ego_T_cam, intrinsics, image_aug, bev_aug)
    axes = dict(
        u=torch.arange(0, 160, 8.0), v=torch.arange(0, 80, 8.0), depths=torch.linspace(0.5, 30, 50)
    )
    grid = dict(lower=[-8.0, -8.0, -1.0], cell_size=[0.4, 0.4, 20.0], grid_size=[40, 40, 1])
    on_gpu = emulated.frustum_cells(*matrices, *axes.values(), *grid.values(), truncate)
    rounding = "truncate" if truncate else "floor"
    on_cpu = frustum_cells(*matrices, **axes, **grid, rounding=rounding)
    assert (on_gpu >= 0).any() and (on_gpu < 0).any()
    assert torch.equal(on_gpu, on_cpu)
