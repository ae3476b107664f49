"""Lift-splat pooling for PyTorch: exact, deterministic, on CPU and CUDA. Needs torch alone."""

from __future__ import annotations

from .bev_pool import BEVPoolPlan, bev_pool
from .frustum import frustum_cells
from .reference import bev_pool_reference, frustum_cells_reference, frustum_points

__all__ = [
    "BEVPoolPlan",
    "bev_pool",
    "bev_pool_reference",
    "frustum_cells",
    "frustum_cells_reference",
    "frustum_points",
]
