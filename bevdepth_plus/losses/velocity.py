"""L1 of velocity maps. Cells of unknown velocity (NaN) are masked."""

from __future__ import annotations

from mmdet.utils import reduce_mean
from torch import Tensor


def velocity_loss(
    predicted: Tensor,  # [B, 2, Y, X], m/s
    target: Tensor,  # [B, 2, Y, X], m/s, NaN = unknown
) -> Tensor:
    """Mean absolute error of the known components of the whole batch (all ranks), or 0."""
    known = target.isfinite()
    error = (predicted.float() - target.nan_to_num()).abs() * known
    return error.sum() / reduce_mean(known.sum().float()).clamp(min=1)
