"""bev_pool against its definition: values, gradients, layouts and edges."""

from __future__ import annotations

import itertools

import pytest
import torch

from bevdepth_plus_ops import BEVPoolPlan, bev_pool
from bevdepth_plus_ops.testing import (
    PoolCase,
    assert_matches_reference,
    gradients,
    layouts,
    random_case,
)

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SHAPES = {
    "plain": {},
    "one camera": dict(cameras=1),
    "one pixel": dict(height=1, width=1),
    "one bin": dict(bins=1),
    "one channel": dict(channels=1),
    "channels fill vectors": dict(channels=80),
    "more channels than one block": dict(channels=150),
    "width above a column block": dict(width=37, height=3),
    "bins above a vector": dict(bins=45),
    "one cell": dict(bev_size=(1, 1)),
    "long rows": dict(bev_size=(2, 131), batch=3),
    "nothing inside": dict(cells="none"),
    "all points in one cell": dict(cells="one", bins=33, height=9, width=18),
    "several tiles": dict(bev_size=(19, 70)),
    "rows above a machine word": dict(height=70, bins=3, width=3, cells="columns"),
    "upright columns": dict(cells="columns", bins=24, height=12, width=20),
}
EMPTY = {
    "no item": dict(batch=0),
    "no camera": dict(cameras=0),
    "no bin": dict(bins=0),
    "no channel": dict(channels=0),
    "no row": dict(height=0),
    "no column": dict(width=0),
}


def planned_pool(depth, context, cells, bev_size):
    return BEVPoolPlan.from_cells(cells, bev_size)(depth, context)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_output_and_gradients_match_the_reference(shape, dtype, device):
    case = random_case(dtype=dtype, device=device, **SHAPES[shape])
    assert_matches_reference(bev_pool, case)
    assert_matches_reference(planned_pool, case)


@pytest.mark.parametrize("shape", EMPTY)
def test_an_empty_axis_gives_zeros_of_the_right_shape(shape, device):
    assert_matches_reference(bev_pool, random_case(device=device, **EMPTY[shape]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_memory_layout_gives_the_same_sums(dtype, device):
    case = random_case(dtype=dtype, device=device, channels=19, width=18)
    for strided in layouts(case).values():
        assert_matches_reference(bev_pool, strided)


def crowded_case(device: str) -> PoolCase:
    """Two cells share all points like a chequerboard, so that no points are merged."""
    case = random_case(batch=1, bins=40, channels=9, height=8, width=35, cells="one", device=device)
    steps = sum(torch.arange(n).view(-1, *[1] * k) for k, n in enumerate(case.cells.shape[::-1]))
    case.cells -= (steps % 2).to(device, torch.int32)
    return case


def test_a_crowded_cell_is_summed_in_parts(device):
    assert_matches_reference(bev_pool, crowded_case(device))


@pytest.mark.parametrize("crowded", [False, True])
def test_two_runs_are_bit_identical_whatever_the_number_of_threads(crowded, device):
    case = random_case(batch=2, bins=40, channels=33, height=8, width=35, device=device)
    if crowded:
        case = crowded_case(device)
    batch, channels = case.depth.shape[0], case.context.shape[2]
    generator = torch.Generator().manual_seed(2)
    grad = torch.randn(batch, channels, *case.bev_size, generator=generator)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3, 1):
            torch.set_num_threads(count)
            results.append(gradients(bev_pool, case, grad.to(device)))
    finally:
        torch.set_num_threads(threads)
    for other, k in itertools.product(results[1:], range(3)):
        assert torch.equal(results[0][k], other[k])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_of_unused_points_never_leak(value, device):
    case = random_case(cells="columns", width=18, device=device)
    case.cells[..., 3] = -1  # pixels without any use
    expected = gradients(bev_pool, case, torch.ones(2, 20, *case.bev_size, device=device))
    grid = case.bev_size[0] * case.bev_size[1]
    unused = (case.cells < 0) | (case.cells >= grid)
    assert unused.any() and not unused.all()
    dead_pixel = unused.all(dim=2, keepdim=True).expand_as(case.context)
    assert dead_pixel.any()
    poisoned = PoolCase(
        case.depth.masked_fill(unused, value),
        case.context.masked_fill(dead_pixel, value),
        case.cells,
        case.bev_size,
    )
    got = gradients(bev_pool, poisoned, torch.ones(2, 20, *case.bev_size, device=device))
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)


def test_hostile_cells_are_outside(device):
    case = random_case(bins=6, width=17, device=device)
    values = [-(2**31), 2**31 - 1, 2**31 - 2, -2, 6 * 9, 6 * 9 + 1, 10**9, 0, 6 * 9 - 1]
    picks = torch.randint(len(values), case.cells.shape, generator=torch.Generator().manual_seed(3))
    case.cells = torch.tensor(values, dtype=torch.int32)[picks].to(device)
    assert_matches_reference(bev_pool, case)
    assert_matches_reference(planned_pool, case)


@pytest.mark.parametrize("cells", ["random", "none"])
def test_no_uninitialised_memory_is_read(cells, device, monkeypatch):
    # A training in the same process turns it off (engine/launch.py).
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    case = random_case(cells=cells, channels=13, width=19, bev_size=(5, 7), device=device)
    grad = torch.ones(2, 13, 5, 7, device=device)
    plain = gradients(bev_pool, case, grad)
    torch.use_deterministic_algorithms(True)  # also fills every new tensor with NaN
    try:
        assert torch.empty(3, device=device).isnan().all()
        poisoned = gradients(bev_pool, case, grad)
    finally:
        torch.use_deterministic_algorithms(False)
    for a, b in zip(plain, poisoned, strict=True):
        assert torch.equal(a, b)


def test_gradcheck_in_float64(device):
    case = random_case(bins=3, channels=3, height=2, width=3, dtype=torch.float64, device=device)
    inputs = (case.depth.requires_grad_(), case.context.requires_grad_())
    for pool in (bev_pool, planned_pool):
        assert torch.autograd.gradcheck(
            lambda d, c, p=pool: p(d, c, case.cells, case.bev_size), inputs
        )


def test_second_derivatives_pass_gradgradcheck(device):
    case = random_case(
        batch=1, cameras=1, bins=3, channels=2, height=2, width=2, dtype=torch.float64,
        device=device,
    )  # fmt: skip
    inputs = (case.depth.requires_grad_(), case.context.requires_grad_())
    assert torch.autograd.gradgradcheck(
        lambda d, c: bev_pool(d, c, case.cells, case.bev_size), inputs
    )


def test_a_gradient_that_is_not_contiguous_is_read_right(device):
    case = random_case(device=device)
    grad = torch.randn(6, 9, 20, 2, generator=torch.Generator().manual_seed(4)).to(device)
    strided = grad.permute(3, 2, 0, 1)
    for a, b in zip(
        gradients(bev_pool, case, strided),
        gradients(bev_pool, case, strided.contiguous()),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_autocast_pools_in_the_autocast_dtype(device):
    case = random_case(device=device)
    with torch.autocast(device, torch.bfloat16):
        mixed = bev_pool(case.depth, case.context.bfloat16(), case.cells, case.bev_size)
    direct = bev_pool(case.depth.bfloat16(), case.context.bfloat16(), case.cells, case.bev_size)
    assert mixed.dtype == torch.bfloat16
    assert torch.equal(mixed, direct)


def test_gradients_under_autocast_have_the_dtypes_of_the_inputs(device):
    case = random_case(device=device)
    depth, context = case.depth.requires_grad_(), case.context.bfloat16().requires_grad_()
    with torch.autocast(device, torch.bfloat16):
        bev_pool(depth, context, case.cells, case.bev_size).float().sum().backward()
    assert depth.grad.dtype == torch.float32
    assert context.grad.dtype == torch.bfloat16
