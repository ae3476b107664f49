"""Random inputs and comparisons for the tests, the GPU check and the benchmark."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .reference import bev_pool_reference


@dataclass
class PoolCase:
    """The arguments of one `bev_pool` call."""

    depth: Tensor  # [B, N, D, H, W]
    context: Tensor  # [B, N, C, H, W]
    cells: Tensor  # [B, N, D, H, W] int32
    bev_size: tuple[int, int]

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
        return self.depth, self.context, self.cells, self.bev_size


def random_case(
    *,
    batch: int = 2,
    cameras: int = 3,
    bins: int = 7,
    channels: int = 20,
    height: int = 4,
    width: int = 5,
    bev_size: tuple[int, int] = (6, 9),
    cells: str = "random",
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    seed: int = 0,
) -> PoolCase:
    """Seeded inputs.

    Args:
        cells: "random" (a third outside), "columns" (constant down each image column, as under an
            upright camera), "one" (all points in one cell), or "none" (all outside).
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, cameras, bins, height, width)
    grid = bev_size[0] * bev_size[1]
    if cells == "random":
        index = torch.randint(-grid // 2, grid, shape, generator=generator)
    elif cells == "columns":
        start = torch.randint(-3, grid, (batch, cameras, 1, 1, width), generator=generator)
        index = (start + torch.arange(bins).view(-1, 1, 1) // 2).expand(shape)
    else:
        index = torch.full(shape, grid - 1 if cells == "one" else -1)
    depth = torch.rand(shape, generator=generator, dtype=torch.float64)
    context = torch.randn(
        (batch, cameras, channels, height, width), generator=generator, dtype=torch.float64
    )
    return PoolCase(
        depth.to(device, dtype),
        context.to(device, dtype),
        index.clamp(max=grid + 3).to(device, torch.int32),
        bev_size,
    )


def layouts(case: PoolCase) -> dict[str, PoolCase]:
    """The same values in the memory layouts that callers have."""
    depth, context = case.depth, case.context
    joint = torch.cat([depth, context], dim=2)
    bins = depth.shape[2]
    # As a channels_last network hands it over: channels next to each other.
    last = context.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    inner = depth.movedim(2, 4).contiguous().movedim(4, 2)
    cells = case.cells.movedim(2, 4).contiguous().movedim(4, 2)
    swapped = context.transpose(0, 1).contiguous().transpose(0, 1)
    return {
        "slices of one tensor": PoolCase(
            joint[:, :, :bins], joint[:, :, bins:], case.cells, case.bev_size
        ),
        "channels_last": PoolCase(depth, last.view_as(context), case.cells, case.bev_size),
        "bins last": PoolCase(inner, context, cells, case.bev_size),
        "cameras first": PoolCase(depth, swapped, case.cells, case.bev_size),
        "expanded": PoolCase(depth, context[:1, :1].expand_as(context), case.cells, case.bev_size),
        "every other column": PoolCase(
            depth[..., ::2], context[..., ::2], case.cells[..., ::2], case.bev_size
        ),
    }


def gradients(pool, case: PoolCase, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`pool(*case.arguments)` and the gradients of depth and context under `grad`."""
    depth, context = case.depth.detach(), case.context.detach()
    depth.requires_grad_()
    context.requires_grad_()
    out = pool(depth, context, case.cells, case.bev_size)
    depth_grad, context_grad = torch.autograd.grad(out, (depth, context), grad)
    return out.detach(), depth_grad, context_grad


def assert_matches_reference(pool, case: PoolCase) -> None:
    """Compares output and both gradients with the float64 reference on the same values.

    The tolerance is a few units of the dtype's precision times the largest sum of absolute
    products, which bounds what any order of summation can lose.
    """
    exact = PoolCase(case.depth.double(), case.context.double(), case.cells, case.bev_size)
    magnitude = PoolCase(exact.depth.abs(), exact.context.abs(), case.cells, case.bev_size)
    shape = (case.depth.shape[0], case.context.shape[2], *case.bev_size)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(shape, generator=generator, dtype=torch.float64)
    grad = grad.to(case.depth.device, case.depth.dtype)

    got = gradients(pool, case, grad)
    expected = gradients(bev_pool_reference, exact, grad.double())
    bound = gradients(bev_pool_reference, magnitude, grad.double().abs())
    precision = 8 * torch.finfo(case.depth.dtype).eps
    for name, value, reference, size in zip(
        ("output", "depth gradient", "context gradient"), got, expected, bound, strict=True
    ):
        if value.dtype != case.depth.dtype or value.shape != reference.shape:
            raise AssertionError(
                f"{name}: expected {case.depth.dtype} {tuple(reference.shape)}, "
                f"got {value.dtype} {tuple(value.shape)}"
            )
        if value.numel() == 0:
            continue
        excess = (value.double() - reference).abs() - precision * size.clamp(min=1e-6)
        worst = excess.max().item()
        if not worst <= 0:
            raise AssertionError(f"{name} misses the reference by {worst:.3g} more than allowed")
