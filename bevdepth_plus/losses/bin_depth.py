"""Depth supervision of the bin distribution. Source: BEVDepth (AAAI 2023), Sec. 3.2."""

from __future__ import annotations

import torch
from mmdet.utils import reduce_mean
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.geometry.depth_bins import DepthBins


def bin_depth_loss(
    probabilities: Tensor,  # [B, N, D, H, W]
    depth: Tensor,  # [B, N, H, W], metres, 0 = none
    bins: DepthBins,
) -> Tensor:
    """Binary cross-entropy against the one-hot bin, summed over bins, mean over labelled cells.

    Cells without a label, or with one outside the bins, do not count. Without any labelled cell
    the loss is 0 (with gradient). In distributed training the sum is divided by the mean number of
    labelled cells of a rank, so that every cell of the whole batch has the same weight.
    """
    index = bins.index(depth)
    labelled = index >= 0
    # A probability of 0 for a bin that is not the target costs nothing and has no gradient. To
    # select the labelled cells instead, the host would have to wait for their number.
    predicted = torch.where(labelled[:, :, None], probabilities.float(), 0.0)  # [B, N, D, H, W]
    each_bin = torch.arange(bins.num_bins, device=index.device).view(-1, 1, 1)
    target = (index[:, :, None] == each_bin).to(predicted)
    with torch.autocast(predicted.device.type, enabled=False):
        total = functional.binary_cross_entropy(predicted, target, reduction="sum")
    return total / reduce_mean(labelled.sum().float()).clamp(min=1)


@MODELS.register_module()
class BinDepthLoss(nn.Module):
    """:func:`bin_depth_loss` times a weight (3.0 in the paper's recipe)."""

    def __init__(self, loss_weight: float = 3.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, probabilities: Tensor, depth: Tensor, bins: DepthBins) -> Tensor:
        return self.loss_weight * bin_depth_loss(probabilities, depth, bins)
