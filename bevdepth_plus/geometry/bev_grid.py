"""The bird's-eye grid in the ego frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bevdepth_plus.geometry.grid_axes import GridAxes


@dataclass(frozen=True)
class BEVGrid(GridAxes):
    """:class:`GridAxes`, and tensors of its cells."""

    def flat_index(
        self,
        points: Tensor,  # [..., 3], metres
    ) -> Tensor:
        """The cell ``y * X + x`` of each point, int32 ``[...]``, -1 outside the grid."""
        lower, cell = points.new_tensor(self.lower), points.new_tensor(self.cell)
        x, y, z = ((points - lower) / cell).floor().long().unbind(-1)
        size_x, size_y, size_z = self.size
        inside = (x >= 0) & (x < size_x) & (y >= 0) & (y < size_y) & (z >= 0) & (z < size_z)
        return torch.where(inside, y * size_x + x, -1).int()

    def lower_corners(self) -> Tensor:
        """The corner of least x and y of each cell, metres, float64 ``[Y, X, 2]``."""
        x, y = (
            lower + cell * torch.arange(size, dtype=torch.float64)
            for lower, cell, size in zip(self.lower[:2], self.cell[:2], self.size[:2], strict=True)
        )
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)

    def cell_centres(self) -> Tensor:
        """The middle of each cell, metres, float32 ``[Y, X, 2]``."""
        return (self.lower_corners() + torch.tensor(self.cell[:2]) / 2).float()
