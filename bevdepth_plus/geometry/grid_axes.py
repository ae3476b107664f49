"""The numbers of the bird's-eye grid, without tensors: what runs without torch needs them, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GridAxes:
    """Cells of a box around the ego: each axis is ``(lower, upper, cell)``, metres.

    Cell ``(iy, ix)`` of a BEV map covers ``x`` in ``[lower + ix*cell, lower + (ix+1)*cell)`` and
    ``y`` likewise. Rows are y, columns x: BEV maps are ``[B, C, Y, X]``.
    """

    x: Sequence[float]
    y: Sequence[float]
    z: Sequence[float]

    def __post_init__(self) -> None:
        for name, (lower, upper, cell) in zip("xyz", self.axes, strict=True):
            if not lower < upper or cell <= 0:
                raise ValueError(
                    f"BEV grid axis {name} needs lower < upper and cell > 0, got "
                    f"{(lower, upper, cell)}"
                )
            cells = (upper - lower) / cell
            if abs(cells - round(cells)) > 1e-3:
                raise ValueError(
                    f"BEV grid axis {name} from {lower} to {upper} m is {cells:.2f} cells of "
                    f"{cell} m; choose limits a whole number of cells apart"
                )

    @property
    def axes(self) -> tuple[Sequence[float], ...]:
        return self.x, self.y, self.z

    @property
    def lower(self) -> tuple[float, float, float]:
        return self.x[0], self.y[0], self.z[0]

    @property
    def cell(self) -> tuple[float, float, float]:
        return self.x[2], self.y[2], self.z[2]

    @property
    def size(self) -> tuple[int, int, int]:
        """Cells along (x, y, z)."""
        x, y, z = (round((upper - lower) / cell) for lower, upper, cell in self.axes)
        return x, y, z

    @property
    def bev_size(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.size[1], self.size[0]

    @property
    def half_size(self) -> float:
        """Half of the longer side on the ground, metres."""
        return max(upper - lower for lower, upper, _ in (self.x, self.y)) / 2

    @property
    def reach(self) -> float:
        """Distance of the farthest side from the vehicle, metres."""
        return max(abs(limit) for axis in (self.x, self.y) for limit in axis[:2])
