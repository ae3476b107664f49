"""The other ways to pool, written for the comparison in `bev_pool.py`.

Each is a class made for one geometry (`cells`, `bev_size`), so that index work is done before the
clock starts wherever its public original does it once; calling it pools `depth` and `context`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bevdepth_plus_ops import bev_pool_reference


class MaterialisedIndexAdd:
    """BEVDepth's training op in PyTorch: every point's feature, then one index_add."""

    def __init__(self, cells: Tensor, bev_size: tuple[int, int]) -> None:
        self.cells, self.bev_size = cells, bev_size

    def __call__(self, depth: Tensor, context: Tensor) -> Tensor:
        return bev_pool_reference(depth, context, self.cells, self.bev_size)


class InsideIndexAdd:
    """The same without the points outside, and with all indices made beforehand."""

    def __init__(self, cells: Tensor, bev_size: tuple[int, int]) -> None:
        batch, cameras, bins, height, width = cells.shape
        self.bev_size, self.batch = bev_size, batch
        grid = bev_size[0] * bev_size[1]
        flat = cells.flatten().long()
        inside = (flat >= 0) & (flat < grid)
        self.point = inside.nonzero().flatten()
        item = self.point // (cameras * bins * height * width)
        self.row = flat[self.point] + item * grid
        pixels = height * width
        image = self.point // (bins * pixels)
        self.pixel = image * pixels + self.point % pixels

    def __call__(self, depth: Tensor, context: Tensor) -> Tensor:
        channels = context.shape[2]
        features = context.movedim(2, -1).reshape(-1, channels)
        points = depth.flatten()[self.point].unsqueeze(1) * features[self.pixel]
        out = points.new_zeros(self.batch * self.bev_size[0] * self.bev_size[1], channels)
        out = out.index_add(0, self.row, points)
        return out.view(self.batch, *self.bev_size, channels).permute(0, 3, 1, 2).contiguous()


class SortAndIntervals(InsideIndexAdd):
    """BEVFusion's way: points sorted by cell at every call, then sums over intervals."""

    def __call__(self, depth: Tensor, context: Tensor) -> Tensor:
        channels = context.shape[2]
        features = context.movedim(2, -1).reshape(-1, channels)
        points = depth.flatten()[self.point].unsqueeze(1) * features[self.pixel]
        rows, order = self.row.sort()
        rows, counts = rows.unique_consecutive(return_counts=True)
        sums = torch.segment_reduce(points[order], "sum", lengths=counts, axis=0)
        out = points.new_zeros(self.batch * self.bev_size[0] * self.bev_size[1], channels)
        out = out.index_copy(0, rows, sums)
        return out.view(self.batch, *self.bev_size, channels).permute(0, 3, 1, 2).contiguous()


class SparseProduct(InsideIndexAdd):
    """A sparse matrix (cells x pixels) of depths times the context rows, by torch.sparse."""

    def __init__(self, cells: Tensor, bev_size: tuple[int, int]) -> None:
        super().__init__(cells, bev_size)
        self.rows = self.batch * bev_size[0] * bev_size[1]
        self.columns = cells.shape[0] * cells.shape[1] * cells.shape[3] * cells.shape[4]
        order = (self.row * self.columns + self.pixel).argsort(stable=True)
        self.point, self.row, self.pixel = (
            index[order] for index in (self.point, self.row, self.pixel)
        )
        self.row_start = torch.searchsorted(
            self.row, torch.arange(self.rows + 1, device=cells.device)
        )

    def matrix(self, depth: Tensor) -> Tensor:
        values = depth.flatten()[self.point]
        return torch.sparse_csr_tensor(
            self.row_start, self.pixel, values, (self.rows, self.columns)
        )

    def __call__(self, depth: Tensor, context: Tensor) -> Tensor:
        channels = context.shape[2]
        features = context.movedim(2, -1).reshape(-1, channels)
        out = self.matrix(depth) @ features
        return out.view(self.batch, *self.bev_size, channels).permute(0, 3, 1, 2).contiguous()


class ScipyProduct(SparseProduct):
    """The same product by scipy's CSR code: one thread, without gradients.

    `product_only` leaves out filling the matrix and both transpositions, which flatters it.
    """

    def __init__(self, cells: Tensor, bev_size: tuple[int, int], product_only: bool) -> None:
        super().__init__(cells, bev_size)
        import scipy.sparse  # here, because the GPU comparison does without it

        self.product_only = product_only
        self.csr = scipy.sparse.csr_matrix(
            (torch.ones(len(self.point)).numpy(), self.pixel.int().numpy(),
             self.row_start.int().numpy()),
            shape=(self.rows, self.columns),
        )  # fmt: skip
        self.features: Tensor | None = None

    def __call__(self, depth: Tensor, context: Tensor) -> Tensor:
        channels = context.shape[2]
        if not self.product_only or self.features is None:
            self.csr.data[:] = depth.flatten()[self.point].numpy()
            self.features = context.movedim(2, -1).reshape(-1, channels)
        out = torch.from_numpy(self.csr @ self.features.numpy())
        out = out.view(self.batch, *self.bev_size, channels).permute(0, 3, 1, 2)
        return out if self.product_only else out.contiguous()
