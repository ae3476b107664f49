"""Order of depths: of two pixels, the one truly farther is predicted farther.

Source: Liu et al., "MoDGS: Dynamic Gaussian splatting from casually-captured monocular videos with
depth priors" (ICLR 2025).
"""

from __future__ import annotations

from typing import Any

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.losses.masking import at_pixels, masked_depth, masked_mean, sample_pixels
from bevdepth_plus.losses.triplets import flat_index


def ordinal_depth_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    pairs: Tensor | None = None,  # [B, P, 2, 2], (y, x); None: drawn
    *,
    alpha: float = 100.0,
    num_pairs: int = 200_000,
    min_gap: float = 0.1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean of ``|tanh(alpha * (D1 - D2)) - sign(D1* - D2*)|`` over pairs of one image.

    Args:
        alpha: Steepness, per unit of predicted depth. MoDGS's 100 suits depth of about 0 to 1;
            a pair in the wrong order by more than about 3 / alpha gets no gradient any more, so
            metric depth of a street wants a value below 1.
        num_pairs: Pairs drawn for each image, with replacement.
        min_gap: Pairs nearer than this share of the image's true depth range are left out.

    Returns:
        A float32 scalar; 0 with gradient where no pair counts.
    """
    pred, target, valid = masked_depth(pred, target, mask)
    if pairs is None:
        index = sample_pixels(valid, 2 * num_pairs, generator).reshape(-1, num_pairs, 2)
    else:
        index = flat_index(pairs, pred.shape, corners=2)
    predicted, true, usable = (
        at_pixels(values.flatten(1)[..., None], index)[..., 0] for values in (pred, target, valid)
    )
    farthest = torch.where(valid, target, -torch.inf).flatten(1).amax(1, keepdim=True)
    nearest = torch.where(valid, target, torch.inf).flatten(1).amin(1, keepdim=True)
    gap = true[..., 0] - true[..., 1]  # [B, P]
    used = usable.all(-1) & (gap != 0) & (gap.abs() >= min_gap * (farthest - nearest))
    terms = (torch.tanh(alpha * (predicted[..., 0] - predicted[..., 1])) - gap.sign()).abs()
    return masked_mean(terms, used)


@MODELS.register_module()
class OrdinalDepthLoss(nn.Module):
    """:func:`ordinal_depth_loss` times a weight."""

    def __init__(
        self,
        loss_weight: float = 1.0,
        alpha: float = 100.0,
        num_pairs: int = 200_000,
        min_gap: float = 0.1,
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.options: dict[str, Any] = dict(alpha=alpha, num_pairs=num_pairs, min_gap=min_gap)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        intrinsics: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        loss = ordinal_depth_loss(pred, target, mask, generator=generator, **self.options)
        return self.loss_weight * loss
