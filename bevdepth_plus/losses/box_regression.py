"""L1 of the numbers of boxes at their centres. An unknown velocity (NaN) is masked here."""

from __future__ import annotations

from torch import Tensor, nn


def box_weights(
    boxes: Tensor,  # [B, M, 10]: offset, height, size, sin, cos, velocity; NaN = unknown
    mask: Tensor,  # [B, M], which of the M slots hold a box
    code_weights: Tensor,  # [10]
) -> Tensor:
    """How much each number of each box counts, ``[B, M, 10]``; unknown ones do not."""
    known = mask[..., None] * boxes.isfinite()
    return known * code_weights


def box_regression_loss(
    predicted: Tensor,  # [B, M, 10]
    boxes: Tensor,  # [B, M, 10], NaN = unknown
    mask: Tensor,  # [B, M]
    code_weights: Tensor,  # [10]
    criterion: nn.Module,  # mmdet's, called with weights and avg_factor
    num_boxes: float,
) -> Tensor:
    """The criterion over all known numbers of all boxes, per box."""
    weights = box_weights(boxes, mask, code_weights)
    return criterion(predicted, boxes.nan_to_num(), weights, avg_factor=num_boxes)
