"""What PyTorch asks of an operator: schema, fake, autograd, compilation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bevdepth_plus_ops import BEVPoolPlan, bev_pool, frustum_cells
from bevdepth_plus_ops.bev_pool import INDEX
from bevdepth_plus_ops.native import MISSING_REASON
from bevdepth_plus_ops.testing import random_case

needs_library = pytest.mark.skipif(
    MISSING_REASON is not None, reason=f"compiled library not in use: {MISSING_REASON}"
)


@needs_library
@pytest.mark.parametrize("planned", [False, True])
def test_bev_pool_passes_opcheck(planned, device):
    case = random_case(device=device)
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    index = [getattr(plan, name) if planned else None for name in INDEX]
    inputs = (case.depth.requires_grad_(), case.context.requires_grad_(), case.cells)
    torch.library.opcheck(
        torch.ops.bevdepth_plus_ops.bev_pool.default, (*inputs, *index, *case.bev_size)
    )


@needs_library
def test_the_other_operators_pass_opcheck(device):
    case = random_case(device=device)
    ops = torch.ops.bevdepth_plus_ops
    grad = torch.randn(2, 20, *case.bev_size).to(device)
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    for columns in ((None, None), (plan.column_offsets, plan.column_runs)):
        torch.library.opcheck(
            ops.bev_pool_backward.default, (grad, case.depth, case.context, case.cells, *columns)
        )
    for for_gpu in (False, True):
        torch.library.opcheck(
            ops.bev_pool_plan.default, (case.cells.cpu(), *case.bev_size, for_gpu)
        )
    eye3, eye4 = torch.eye(3).view(1, 1, 3, 3), torch.eye(4).view(1, 1, 4, 4)
    matrices = [m.to(device) for m in (eye4, eye3, eye3, eye4[0])]
    axes = [torch.arange(1.0, n).to(device) for n in (4, 3, 6)]
    options = ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [4, 4, 4], False)
    torch.library.opcheck(ops.frustum_cells.default, (*matrices, *axes, *options))


def test_training_step_compiles_as_one_graph(device):
    case = random_case(device=device, batch=1)
    eye3, eye4 = torch.eye(3).view(1, 1, 3, 3), torch.eye(4).view(1, 1, 4, 4)
    matrices = [m.expand(1, 3, -1, -1).to(device) for m in (eye4, eye3, eye3)]
    axes = dict(u=torch.arange(5.0), v=torch.arange(4.0), depths=torch.linspace(0.1, 1, 7))
    axes = {name: value.to(device) for name, value in axes.items()}
    grid = dict(lower=(-0.5, -0.5, 0.0), cell_size=(0.3, 0.3, 2.0), grid_size=(9, 6, 1))

    def step(depth, context):
        cells = frustum_cells(*matrices, eye4[0].to(device), **axes, **grid)
        return (bev_pool(depth.softmax(2), context, cells, (6, 9)) ** 2).sum()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    gradients = []
    for function in (step, compiled):
        inputs = [x.detach().requires_grad_() for x in (case.depth, case.context)]
        gradients.append(torch.autograd.grad(function(*inputs), inputs))
    for eager, graph in zip(*gradients, strict=True):
        torch.testing.assert_close(graph, eager)


def test_pooling_under_autocast_compiles_as_one_graph(device):
    case = random_case(device=device)

    def pool(depth, context):
        with torch.autocast(device, torch.bfloat16):
            return bev_pool(depth, context, case.cells, case.bev_size)

    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    out = compiled(case.depth, case.context)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, pool(case.depth, case.context))


def test_a_plan_compiles_as_one_graph(device):
    case = random_case(device=device)
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    compiled = torch.compile(plan, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(case.depth, case.context), plan(case.depth, case.context))


@needs_library
def test_shapes_are_known_without_running():
    case = random_case(device="meta")
    out = bev_pool(case.depth, case.context, case.cells, case.bev_size)
    assert out.shape == (2, 20, 6, 9)
    assert out.device.type == "meta"


COUNT_THREADS = """
import os, torch
from bevdepth_plus_ops import bev_pool
from bevdepth_plus_ops.testing import random_case
torch.set_num_threads(1)  # PyTorch's own functions start no threads
case = random_case(bins=40, channels=33, height=8, width=35)
torch.set_num_threads(3)
before = len(os.listdir("/proc/self/task"))
bev_pool(*case.arguments)
print(len(os.listdir("/proc/self/task")) - before)
"""


@needs_library
def test_the_cpu_kernels_share_their_work_among_threads():
    # A build without OpenMP computes the same on one thread, and says nothing.
    if not Path("/proc/self/task").exists():
        pytest.skip("threads are counted through /proc")
    command = [sys.executable, "-c", COUNT_THREADS]
    counted = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(counted.stdout) == 2
