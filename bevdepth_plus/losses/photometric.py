"""Photometric reprojection: a correct depth leads to the same colour in the other frame.

Sources: Godard et al., "Unsupervised monocular depth estimation with left-right consistency" (CVPR
2017), the mix of SSIM and L1; Godard et al., "Digging into self-supervised monocular depth
estimation" (ICCV 2019), the auto-mask; Wang et al., "Image quality assessment: from error
visibility to structural similarity" (IEEE TIP 2004), SSIM.
"""

from __future__ import annotations

from typing import Any

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.geometry.warping import sample_bilinear
from bevdepth_plus.losses.masking import masked_mean

C1, C2 = 0.01**2, 0.03**2  # SSIM's constants for values of 0 to 1


def photometric_loss(
    image_t: Tensor,  # [B, C, H, W], 0 to 1
    image_t1: Tensor,  # [B, C, H, W], 0 to 1
    correspondence: Tensor,  # [B, 2, H, W], (u, v) in frame t + 1 of each pixel of frame t
    valid: Tensor,  # [B, 1, H, W], bool
    *,
    ssim_weight: float = 0.85,
    auto_mask: bool = False,
) -> Tensor:
    """Mean of ``w (1 - SSIM) / 2 + (1 - w) L1`` between frame t and frame t + 1 warped onto it.

    The gradient reaches depth through the correspondence (of ``geometry.flow.rigid_flow``).
    A pixel counts if its whole 3x3 window is valid and lies in frame t + 1, so nothing outside the
    mask reaches the loss.

    Args:
        auto_mask: Leave out pixels that match as well or better without warping: objects that move
            with the vehicle, and everything while it stands.

    Returns:
        A float32 scalar; 0 with gradient where no pixel counts.

    Raises:
        ValueError: the frames are not of one size, or a shape disagrees.
    """
    _check_shapes(image_t, image_t1, correspondence, valid)
    # Masked pixels may be NaN, also those that interpolation reads.
    image_t1 = torch.where(image_t1.isfinite(), image_t1.float(), 0.0)
    warped, inside = sample_bilinear(image_t1, correspondence)
    usable = valid.bool() & inside & image_t.isfinite().all(1, keepdim=True)
    image_t = torch.where(usable, image_t.float(), 0.0)
    error = _difference(image_t, torch.where(usable, warped, 0.0), ssim_weight)
    if auto_mask:
        unwarped = _difference(image_t, torch.where(usable, image_t1, 0.0), ssim_weight)
        whole = _whole_window(usable) & (error < unwarped).detach()
    else:
        whole = _whole_window(usable)
    return masked_mean(error, whole)


@MODELS.register_module()
class PhotometricLoss(nn.Module):
    """:func:`photometric_loss` times a weight, with the auto-mask."""

    def __init__(
        self, loss_weight: float = 1.0, ssim_weight: float = 0.85, auto_mask: bool = True
    ) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.options: dict[str, Any] = dict(ssim_weight=ssim_weight, auto_mask=auto_mask)

    def forward(
        self, image_t: Tensor, image_t1: Tensor, correspondence: Tensor, valid: Tensor
    ) -> Tensor:
        loss = photometric_loss(image_t, image_t1, correspondence, valid, **self.options)
        return self.loss_weight * loss


def structural_similarity(
    first: Tensor,  # [B, C, H, W], 0 to 1
    second: Tensor,  # [B, C, H, W], 0 to 1
) -> Tensor:
    """SSIM of the 3x3 windows, the border repeated, ``[B, C, H, W]``, -1 to 1."""
    first = functional.pad(first, (1, 1, 1, 1), mode="replicate")
    second = functional.pad(second, (1, 1, 1, 1), mode="replicate")
    mean_1, mean_2 = _mean(first), _mean(second)
    variance_1 = _mean(first * first) - mean_1 * mean_1
    variance_2 = _mean(second * second) - mean_2 * mean_2
    covariance = _mean(first * second) - mean_1 * mean_2
    numerator = (2 * mean_1 * mean_2 + C1) * (2 * covariance + C2)
    denominator = (mean_1.square() + mean_2.square() + C1) * (variance_1 + variance_2 + C2)
    return numerator / denominator


def _difference(first: Tensor, second: Tensor, ssim_weight: float) -> Tensor:
    """``[B, 1, H, W]``, 0 for equal windows."""
    ssim = ((1 - structural_similarity(first, second)) / 2).clamp(0, 1)
    absolute = (first - second).abs()
    return (ssim_weight * ssim + (1 - ssim_weight) * absolute).mean(1, keepdim=True)


def _mean(padded: Tensor) -> Tensor:
    return functional.avg_pool2d(padded, 3, stride=1)


def _whole_window(usable: Tensor) -> Tensor:
    """Pixels whose whole 3x3 window is usable; pixels beyond the border are ignored."""
    missing = functional.max_pool2d((~usable).float(), 3, stride=1, padding=1)
    return missing == 0


def _check_shapes(image_t: Tensor, image_t1: Tensor, correspondence: Tensor, valid: Tensor) -> None:
    if image_t.ndim != 4 or image_t.shape != image_t1.shape:
        raise ValueError(
            "image_t and image_t1 must both be [B, C, H, W], got "
            f"{tuple(image_t.shape)} and {tuple(image_t1.shape)}"
        )
    if not (image_t.is_floating_point() and image_t1.is_floating_point()):
        raise ValueError(
            f"images must be floats from 0 to 1, got {image_t.dtype} and {image_t1.dtype}; "
            "divide bytes by 255"
        )
    batch, _, height, width = image_t.shape
    shapes = tuple(correspondence.shape), tuple(valid.shape)
    if shapes != ((batch, 2, height, width), (batch, 1, height, width)):
        raise ValueError(
            f"correspondence must be [{batch}, 2, {height}, {width}] and valid "
            f"[{batch}, 1, {height}, {width}], got {shapes[0]} and {shapes[1]}"
        )
