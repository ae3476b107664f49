"""Binary cross-entropy of BEV layers, one yes or no for each layer of each cell."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.losses.masking import masked_mean


def bev_segmentation_loss(
    logits: Tensor,  # [B, L, Y, X]
    target: Tensor,  # [B, L, Y, X], 0 or 1; anything else is unknown
    positive_weight: Tensor | None = None,  # [L]
) -> Tensor:
    """Mean over all known cells of all layers.

    Args:
        positive_weight: Weight of a cell that holds a layer, relative to one that does not; thin
            layers (lane markings) need it.

    Returns:
        A float32 scalar; 0 with gradient where no cell is known.

    Raises:
        ValueError: shapes disagree.
    """
    if logits.shape != target.shape:
        raise ValueError(
            f"logits and target must both be [B, L, Y, X], got {tuple(logits.shape)} and "
            f"{tuple(target.shape)}"
        )
    known = (target == 0) | (target == 1)
    weight = None if positive_weight is None else positive_weight[:, None, None]
    with torch.autocast(logits.device.type, enabled=False):
        terms = functional.binary_cross_entropy_with_logits(
            logits.float(),
            torch.where(known, target, 0).float(),
            pos_weight=weight,
            reduction="none",
        )
    return masked_mean(terms, known)


@MODELS.register_module()
class BEVSegmentationLoss(nn.Module):
    """:func:`bev_segmentation_loss` times a weight."""

    positive_weight: Tensor | None  # [L]

    def __init__(
        self, loss_weight: float = 1.0, positive_weight: list[float] | None = None
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        weight = None if positive_weight is None else torch.tensor(positive_weight)
        self.register_buffer("positive_weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.loss_weight * bev_segmentation_loss(logits, target, self.positive_weight)
