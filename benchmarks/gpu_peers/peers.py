"""The GPU peers as differentiable functions; built on first use with torch.utils.cpp_extension."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from pool_peers import InsideIndexAdd
from torch import Tensor


@cache
def kernels():
    from torch.utils.cpp_extension import load  # slow to import, and only needed here

    return load("bev_pool_gpu_peers", [str(Path(__file__).with_name("peers.cu"))])


def starts_of(sorted_values: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct values of a sorted tensor, and where each begins (and the last ends)."""
    values, counts = sorted_values.unique_consecutive(return_counts=True)
    start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return values.int(), start.int()


class SortedPoints(InsideIndexAdd):
    """The points inside, sorted by cell."""

    def __init__(self, cells: Tensor, bev_size: tuple[int, int]) -> None:
        super().__init__(cells, bev_size)
        order = self.row.argsort(stable=True)
        self.by_cell = tuple(x[order].int() for x in (self.point, self.pixel, self.row))
        by_pixel = self.by_cell[1].argsort(stable=True)
        self.by_pixel = tuple(x[by_pixel].contiguous() for x in self.by_cell)
        self.cells_of_intervals = starts_of(self.by_cell[2])
        self.pixels_of_intervals = starts_of(self.by_pixel[1])

    def __call__(self, depth: Tensor, context: Tensor) -> Tensor:
        features = context.movedim(2, -1).reshape(-1, context.shape[2])
        out = Pool.apply(depth, features, self)
        out = out.view(self.batch, *self.bev_size, -1)
        return out.permute(0, 3, 1, 2).contiguous().to(depth.dtype)

    def empty(self, like: Tensor) -> Tensor:
        rows = self.batch * self.bev_size[0] * self.bev_size[1]
        return torch.zeros(rows, like.shape[1], dtype=torch.float32, device=like.device)


class AtomicsKernel(SortedPoints):
    """A thread a point and channel, adding atomically."""

    def forward(self, depth: Tensor, features: Tensor) -> Tensor:
        out = self.empty(features)
        kernels().atomics_forward(depth, features, *self.by_cell, out)
        return out

    def backward(self, depth: Tensor, features: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        depth_grad = torch.zeros_like(depth, dtype=torch.float32)
        features_grad = torch.zeros_like(features, dtype=torch.float32)
        kernels().atomics_backward(depth, features, grad, *self.by_cell, depth_grad, features_grad)
        return depth_grad, features_grad


class IntervalKernel(SortedPoints):
    """A thread an interval and channel, adding in order; presorted in both directions."""

    def forward(self, depth: Tensor, features: Tensor) -> Tensor:
        point, pixel, _ = self.by_cell
        cell, start = self.cells_of_intervals
        out = self.empty(features)
        kernels().interval_sums(depth, features, point, pixel, start, cell, out)
        return out

    def backward(self, depth: Tensor, features: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        point, _, cell = self.by_pixel
        pixel, start = self.pixels_of_intervals
        depth_grad = torch.zeros_like(depth, dtype=torch.float32)
        features_grad = torch.zeros_like(features, dtype=torch.float32)
        kernels().interval_sums(depth, grad, point, cell, start, pixel, features_grad)
        kernels().depth_gradient(features, grad, *self.by_cell, depth_grad)
        return depth_grad, features_grad


class Pool(torch.autograd.Function):
    """Joins a peer's two directions; sums are float32 as in ours."""

    @staticmethod
    def forward(ctx, depth: Tensor, features: Tensor, peer: SortedPoints) -> Tensor:
        ctx.save_for_backward(depth, features)
        ctx.peer = peer
        return peer.forward(depth.contiguous(), features.contiguous())

    @staticmethod
    def backward(ctx, grad: Tensor):
        depth, features = ctx.saved_tensors
        grads = ctx.peer.backward(
            depth.contiguous(), features.contiguous(), grad.to(features.dtype).contiguous()
        )
        return grads[0].to(depth.dtype), grads[1].to(features.dtype), None
