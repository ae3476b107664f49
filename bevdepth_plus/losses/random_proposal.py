"""Random proposal normalisation: local shape agrees up to offset and scale.

Source: Yin et al., "Metric3D: Towards zero-shot metric 3D prediction from a single image"
(ICCV 2023), RPNL.
"""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.losses.masking import masked_depth, uniform

CROP_SHARE = (0.125, 0.5)  # of each side of the image (Metric3D)
MIN_SCALE = 1e-3  # metres; a flatter crop has no shape to compare


def random_proposal_normalization_loss(
    pred: Tensor,  # [B, 1, H, W], metres
    target: Tensor,  # [B, 1, H, W], metres, 0 = none
    mask: Tensor,  # [B, 1, H, W], bool
    crops: Tensor | None = None,  # [K, 4], (top, left, bottom, right); None: drawn
    num_crops: int = 32,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean over crops' valid pixels of ``|norm(pred) - norm(target)|``.

    ``norm(d) = (d - median) / mean |d - median|``, over the valid pixels of one crop of one image.
    All images of a batch share the crops. Crops whose target is flat are left out.

    Args:
        crops: Half-open pixel ranges, integers. On another device than the CPU they cost a host
            sync; drawn ones (with a CPU generator, or none) do not.

    Returns:
        A float32 scalar; 0 with gradient where no crop holds valid pixels.

    Raises:
        ValueError: a shape is wrong, or a crop is empty or leaves the image.
    """
    pred, target, valid = masked_depth(pred, target, mask)
    height, width = valid.shape[-2:]
    if crops is None:
        crops = sample_crops(height, width, num_crops, generator)
    total, count = pred.sum() * 0, valid.new_zeros((), dtype=torch.int64)
    for top, left, bottom, right in _checked(crops, height, width):
        inside = (..., slice(top, bottom), slice(left, right))
        terms, used = _crop_terms(pred[inside], target[inside], valid[inside])
        total = total + torch.where(used, terms, 0.0).sum()
        count = count + used.sum()
    return total / count.clamp(min=1)


def sample_crops(
    height: int, width: int, num: int, generator: torch.Generator | None = None
) -> Tensor:
    """Crops of 12.5 to 50 % of each side that lie within the image, int64 ``[num, 4]``.

    Drawn with replacement, so any image is large enough for any number of crops.
    """
    shares = uniform((4, num), torch.device("cpu"), generator)
    top, bottom = _ranges(height, shares[0], shares[1])
    left, right = _ranges(width, shares[2], shares[3])
    return torch.stack([top, left, bottom, right], dim=1)


@MODELS.register_module()
class RandomProposalNormalizationLoss(nn.Module):
    """:func:`random_proposal_normalization_loss` times a weight."""

    def __init__(self, loss_weight: float = 1.0, num_crops: int = 32) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.num_crops = num_crops

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor,
        intrinsics: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        loss = random_proposal_normalization_loss(
            pred, target, mask, num_crops=self.num_crops, generator=generator
        )
        return self.loss_weight * loss


def _crop_terms(pred: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of the normalised crops ``[B, P]``, and which of them count."""
    valid = valid.flatten(1)
    pred_normal, _ = _normalized(pred.flatten(1), valid)
    target_normal, scale = _normalized(target.flatten(1), valid)
    return (pred_normal - target_normal).abs(), valid & (scale > MIN_SCALE)


def _normalized(
    depth: Tensor,  # [B, P]
    valid: Tensor,  # [B, P]
) -> tuple[Tensor, Tensor]:
    """``(depth - median) / mean absolute deviation``, and that deviation ``[B, 1]``."""
    count = valid.sum(1, keepdim=True)
    # The lower median. torch.median picks any of several equal values on a GPU; sort does not.
    ordered = torch.where(valid, depth, torch.inf).sort(dim=1, stable=True).values
    median = ordered.gather(1, (count - 1).clamp(min=0) // 2)
    centred = depth - torch.where(count > 0, median, 0.0)
    deviation = torch.where(valid, centred.abs(), 0.0).sum(1, keepdim=True) / count.clamp(min=1)
    return centred / deviation.clamp(min=MIN_SCALE), deviation


def _ranges(side: int, size_share: Tensor, start_share: Tensor) -> tuple[Tensor, Tensor]:
    """Start and stop of random ranges in ``[0, side)``, from numbers in [0, 1)."""
    low, high = (max(1, int(share * side)) for share in CROP_SHARE)
    size = low + (size_share * (high - low + 1)).long()
    start = (start_share * (side - size + 1)).long()
    return start, start + size


def _checked(crops: Tensor, height: int, width: int) -> list[list[int]]:
    if crops.ndim != 2 or crops.shape[1] != 4 or crops.is_floating_point():
        raise ValueError(
            "crops must be integers [K, 4] as (top, left, bottom, right), "
            f"got {crops.dtype} {tuple(crops.shape)}"
        )
    listed = crops.tolist()
    for crop in listed:
        top, left, bottom, right = crop
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(f"crop {crop} is empty or leaves the image of {height} x {width}")
    return listed
