"""L1 of box parameters at the boxes' centres. An unknown velocity (NaN) is masked here."""

from __future__ import annotations

from mmdet.models.losses.smooth_l1_loss import L1Loss, l1_loss
from torch import Tensor, nn


def box_weights(
    boxes: Tensor,  # [B, M, 10]: offset, height, size, sin, cos, velocity; NaN = unknown
    mask: Tensor,  # [B, M], which of the M slots hold a box
    code_weights: Tensor,  # [10]
) -> Tensor:
    """Weight of each parameter of each box, ``[B, M, 10]``; 0 where it is unknown."""
    known = mask[..., None] * boxes.isfinite()
    return known * code_weights


def box_regression_loss(
    predicted: Tensor,  # [B, M, 10]
    boxes: Tensor,  # [B, M, 10], NaN = unknown
    mask: Tensor,  # [B, M]
    code_weights: Tensor,  # [10]
    criterion: nn.Module,  # mmdet's, called with weights and avg_factor
    num_boxes: Tensor,  # scalar; a tensor, so that the host does not wait for it
) -> Tensor:
    """The criterion over all known parameters of all boxes, divided by ``num_boxes``."""
    weights = box_weights(boxes, mask, code_weights)
    target = boxes.nan_to_num()
    if type(criterion) is L1Loss:
        # The same numbers; the class would read back whether any weight is above 0.
        loss = l1_loss(
            predicted, target, weights, reduction=criterion.reduction, avg_factor=num_boxes
        )
        return criterion.loss_weight * loss
    return criterion(predicted, target, weights, avg_factor=num_boxes)
