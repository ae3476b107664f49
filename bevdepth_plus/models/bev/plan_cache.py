"""Pooling plans for rigs that do not change: made when the same cameras come a second time."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus_ops import BEVPoolPlan, bev_pool


class PlanCache:
    """Keeps the pooling plan of the last cameras; making one costs more than a single use saves.

    Cameras are compared by their ``fingerprint``, which is computed on the CPU from the meta dicts,
    so nothing waits for a GPU. Cameras without one are pooled without a plan.
    """

    def __init__(self, bev_size: tuple[int, int]) -> None:
        self.bev_size = bev_size
        self._key: object = None
        self._plan: BEVPoolPlan | None = None

    def pool(
        self,
        depth: Tensor,  # [B, N, D, H, W]
        context: Tensor,  # [B, N, C, H, W]
        cameras: Cameras,
        cells_of: Callable[[Cameras], Tensor],
    ) -> Tensor:
        """``bev_pool`` of the cameras' cells, ``[B, C, Y, X]``, with a plan where there is one."""
        key = None if cameras.fingerprint is None else (cameras.fingerprint, depth.device)
        if key is None or key != self._key:
            self._key, self._plan = key, None
            return bev_pool(depth, context, cells_of(cameras), self.bev_size)
        if self._plan is None:
            self._plan = BEVPoolPlan.from_cells(cells_of(cameras), self.bev_size)
        return self._plan(depth, context)
