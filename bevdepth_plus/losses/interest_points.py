"""What teaches an interest point detector: a teacher's map, or the same point found in two views.

Sources: distillation as in DELTAS (Sinha et al., ECCV 2020), which uses SuperPoint's cells and
dustbin; repeatability after R2D2 (Revaud et al., NeurIPS 2019), Sec. 3.2.
"""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.losses.masking import masked_mean


def interest_point_loss(
    logits: Tensor,  # [B, c * c + 1, H / c, W / c], the last is "no point"
    teacher: Tensor,  # [B, H, W], probability of each pixel
) -> Tensor:
    """Cross-entropy between the detector's blocks and the teacher's.

    What the pixels of a block leave of 1 is its probability of no point.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: logits and map do not fit.
    """
    cell = round((logits.shape[1] - 1) ** 0.5)
    expected = (len(logits), cell * logits.shape[2], cell * logits.shape[3])
    if teacher.shape != expected or cell * cell + 1 != logits.shape[1]:
        raise ValueError(
            f"teacher must be [B, H, W] = {expected} for logits {tuple(logits.shape)}, "
            f"got {tuple(teacher.shape)}"
        )
    blocks = functional.pixel_unshuffle(teacher.float()[:, None], cell)  # [B, c * c, H/c, W/c]
    total = blocks.sum(1, keepdim=True)
    blocks = blocks / total.clamp(min=1)  # a teacher that is not a distribution
    target = torch.cat([blocks, (1 - total).clamp(min=0)], dim=1)
    return -(target * logits.float().log_softmax(1)).sum(1).mean()


def repeatability_loss(
    scores: Tensor,  # [B, H, W], of the anchor
    warped: Tensor,  # [B, H, W], of another view, at the anchor's pixels
    valid: Tensor,  # [B, H, W], bool: the other view sees the pixel
    patch: int = 16,
) -> Tensor:
    """Score maps shall look alike, and have peaks: without the second a flat map would be best.

    One minus the cosine of each patch of both maps, plus one minus the mean rise of its highest
    score above its mean, in both.

    Returns:
        A float32 scalar, 0 to 2; 0 with gradient where no patch is wholly seen.
    """
    maps = torch.stack([scores.float(), warped.float()], dim=1)  # [B, 2, H, W]
    maps = torch.where(valid[:, None], maps, 0.0)
    patches = functional.unfold(maps, patch, stride=patch).unflatten(1, (2, patch * patch))
    seen = functional.unfold(valid[:, None].float(), patch, stride=patch).amin(1) > 0  # [B, M]
    one, other = patches.unbind(1)  # [B, patch^2, M]
    cosine = functional.cosine_similarity(one, other, dim=1, eps=1e-6)
    rise = (patches.amax(2) - patches.mean(2)).mean(1)  # [B, M]
    return masked_mean(1 - cosine, seen) + masked_mean(1 - rise, seen)


@MODELS.register_module()
class InterestPointLoss(nn.Module):
    """:func:`interest_point_loss` times a weight."""

    def __init__(self, loss_weight: float = 0.1) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, teacher: Tensor) -> Tensor:
        return self.loss_weight * interest_point_loss(logits, teacher)


@MODELS.register_module()
class RepeatabilityLoss(nn.Module):
    """:func:`repeatability_loss` times a weight."""

    def __init__(self, loss_weight: float = 0.1, patch: int = 16) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.patch = patch

    def forward(self, scores: Tensor, warped: Tensor, valid: Tensor) -> Tensor:
        return self.loss_weight * repeatability_loss(scores, warped, valid, self.patch)
