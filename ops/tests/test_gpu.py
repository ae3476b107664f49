"""What only a GPU can show: streams, graph capture, no waiting, sizes beyond 32 bits."""

from __future__ import annotations

import pytest
import torch

from bevdepth_plus_ops import BEVPoolPlan, bev_pool
from bevdepth_plus_ops.native import has_kernels
from bevdepth_plus_ops.testing import PoolCase, gradients, random_case

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_the_cuda_kernels_are_in_use():
    assert has_kernels(torch.device("cuda"))


def full_size_case(cells: str):
    return random_case(batch=2, cameras=6, bins=112, channels=80, height=16, width=44,
                       bev_size=(128, 128), cells=cells, device="cuda")  # fmt: skip


def planned_pool(depth, context, cells, bev_size):
    return BEVPoolPlan.from_cells(cells, bev_size)(depth, context)


# Random cells make a run of every point: more than there is room for sums.
@pytest.mark.parametrize("cells", ["columns", "random"])
@pytest.mark.parametrize("pool", [bev_pool, planned_pool])
def test_two_runs_give_the_same_bits_at_full_size(pool, cells):
    case = full_size_case(cells)
    grad = torch.randn(2, 80, 128, 128, device="cuda")
    first = gradients(pool, case, grad)
    for _ in range(5):
        for a, b in zip(first, gradients(pool, case, grad), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("cells", ["columns", "random"])
@pytest.mark.parametrize("pool", [bev_pool, planned_pool])
def test_full_size_matches_the_cpu(pool, cells):
    case = full_size_case(cells)
    grad = torch.randn(2, 80, 128, 128, device="cuda")
    on_cpu = PoolCase(case.depth.cpu(), case.context.cpu(), case.cells.cpu(), case.bev_size)
    expected = gradients(bev_pool, on_cpu, grad.cpu())
    for got, value in zip(gradients(pool, case, grad), expected, strict=True):
        torch.testing.assert_close(got.cpu(), value, rtol=1e-4, atol=1e-3)


def test_nothing_waits_for_the_device():
    case = random_case(device="cuda")
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)
    grad = torch.ones(2, 20, *case.bev_size, device="cuda")
    depth, context = case.depth.requires_grad_(), case.context.requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for out in (plan(depth, context), bev_pool(depth, context, case.cells, case.bev_size)):
            torch.autograd.grad(out, (depth, context), grad)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("planned", [False, True])
def test_a_cuda_graph_replays_with_new_values(planned):
    case = random_case(device="cuda")
    plan = BEVPoolPlan.from_cells(case.cells, case.bev_size)

    def pool():
        return plan(case.depth, case.context) if planned else bev_pool(*case.arguments)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        pool()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = pool()
    case.depth.mul_(2)
    graph.replay()
    assert torch.equal(out, pool())


def test_work_goes_to_the_current_stream():
    case = random_case(batch=4, bins=60, height=12, width=40, channels=64, device="cuda")
    expected = bev_pool(*case.arguments)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late = case.depth.clone()
        out = bev_pool(late, case.context, case.cells, case.bev_size)
    stream.synchronize()
    assert torch.equal(out, expected)


def test_outputs_beyond_two_to_the_31_values_are_right():
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GB of GPU memory")
    batch = 57  # 57 * 2400 * 128 * 128 values
    case = random_case(batch=batch, cameras=1, bins=4, channels=2400, height=2, width=8,
                       bev_size=(128, 128), dtype=torch.bfloat16, device="cuda")  # fmt: skip
    out = bev_pool(*case.arguments)
    assert out.numel() > 2**31
    last = random_case(batch=1)  # only the last item, computed by itself
    last.depth, last.context, last.cells = (x[-1:] for x in (case.depth, case.context, case.cells))
    assert torch.equal(out[-1:], bev_pool(last.depth, last.context, last.cells, case.bev_size))
