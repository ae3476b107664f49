"""Contrastive loss of local descriptors at known matches.

Source: MASt3R (ECCV 2024), Sec. 3.2 (InfoNCE).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bevdepth_plus.losses.masking import at_pixels, masked_mean

Pair = tuple[Tensor, Tensor]  # of view 1 and of view 2


def info_nce(
    descriptors: Pair,  # [B, H, W, C] each, unit vectors
    pixels: Pair,  # [B, M, 2] each, (column, row), int64
    valid: Tensor,  # [B, M], bool
    temperature: float = 0.05,
) -> Tensor:
    """Minus the log probabilities that a descriptor picks its match among all M, both ways.

    A match that is not valid stays as a wrong answer for the others, unless its descriptor is not
    finite; what :func:`descriptor_matching_loss` averages are the valid ones.

    Returns:
        ``[B, M]``, 0 where not valid.

    Raises:
        ValueError: shapes disagree.
    """
    if not pixels[0].shape == pixels[1].shape == (*valid.shape, 2):
        raise ValueError(
            f"pixels must be [B, M, 2] and valid [B, M], got {tuple(pixels[0].shape)}, "
            f"{tuple(pixels[1].shape)} and {tuple(valid.shape)}"
        )
    first, second = (
        _at(view.float(), where) for view, where in zip(descriptors, pixels, strict=True)
    )
    usable1, usable2 = first.isfinite().all(-1), second.isfinite().all(-1)
    first = torch.where(usable1[..., None], first, 0)
    second = torch.where(usable2[..., None], second, 0)
    similarity = first @ second.mT / temperature  # [B, M, M]
    # A descriptor that is not finite is nobody's answer, and its own match does not count.
    valid = valid.bool() & usable1 & usable2
    rows = similarity.masked_fill(~usable2[:, None], -torch.inf)
    columns = similarity.mT.masked_fill(~usable1[:, None], -torch.inf)
    answer = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    answer = torch.where(valid, answer, -100)  # cross_entropy leaves these out
    by_row, by_column = (
        cross_entropy(logits.flatten(0, 1), answer.flatten(), reduction="none").view(valid.shape)
        for logits in (rows, columns)
    )
    return by_row + by_column


def descriptor_matching_loss(
    descriptors: Pair,  # [B, H, W, C] each, unit vectors
    pixels: Pair,  # [B, M, 2] each, (column, row), int64
    valid: Tensor,  # [B, M], bool
    confidence: Pair | None = None,  # [B, H, W] each, above 0
    temperature: float = 0.05,
    alpha: float = 10.0,
) -> Tensor:
    """Mean of :func:`info_nce` over valid matches; 0 with a gradient of 0 where there is none.

    With ``confidence``, each match is weighted by the mean confidence of its two descriptors, which
    costs ``-alpha * log(confidence)``.
    """
    terms = info_nce(descriptors, pixels, valid, temperature)
    counted = valid.bool()
    for view, where in zip(descriptors, pixels, strict=True):
        counted = counted & _at(view, where).isfinite().all(-1)
    if confidence is not None:
        stated = [
            _at(view.float()[..., None], where)[..., 0]
            for view, where in zip(confidence, pixels, strict=True)
        ]
        mean = torch.where(counted, (stated[0] + stated[1]) / 2, 1)
        terms = mean * terms - alpha * mean.log()
    return masked_mean(terms, counted)


def _at(maps: Tensor, pixels: Tensor) -> Tensor:  # [B, H, W, C], [B, M, 2] -> [B, M, C]
    index = pixels[..., 1] * maps.shape[2] + pixels[..., 0]
    return at_pixels(maps.flatten(1, 2), index)
