"""What teaches matches and triangulated points: their true places.

After DELTAS (Sinha et al., ECCV 2020): the distance of a match to the true reprojection, and the
error of the point. The latter is taken over inverse depth here, since a point near infinity has no
useful distance in metres.

Our match is the mean over the best peak's neighbourhood, so that distance teaches nothing about a
peak elsewhere: a wrong match would stay wrong. :func:`match_likelihood_loss` teaches all samples.
"""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.losses.masking import masked_mean


def match_loss(
    matches: Tensor,  # [B, V, P, 2], pixels
    target: Tensor,  # [B, V, P, 2], true reprojections
    mask: Tensor,  # [B, V, P], bool: the view sees the point and searched for it
) -> Tensor:
    """Mean distance between match and true reprojection over what counts, pixels.

    Returns:
        A float32 scalar; 0 with gradient where the mask is empty.
    """
    difference = torch.where(mask[..., None], matches.float() - target.float(), 1.0)
    return masked_mean(difference.norm(dim=-1), mask)


def match_likelihood_loss(
    logits: Tensor,  # [B, V, P, S + 1], the last is "none of the samples"
    places: Tensor,  # [B, V, P, S, 2], pixels
    target: Tensor,  # [B, V, P, 2], true reprojections
    seen: Tensor,  # [B, V, P], bool: the true place lies in the image
    mask: Tensor,  # [B, V, P], bool: the true depth is known and the view searched
    sigma: float = 1.0,
) -> Tensor:
    """Cross-entropy of the samples against the true place; a place outside must be "none".

    The target is a Gaussian round the true place: ``sigma`` pixels, or half the distance of two
    samples where that is more.

    Returns:
        A float32 scalar; 0 with gradient where the mask is empty.
    """
    places = places.float()
    target = torch.where((seen & mask)[..., None], target.float(), 0.0)
    spacing = (places[..., 1, :] - places[..., 0, :]).norm(dim=-1)  # [B, V, P]
    width = (spacing / 2).clamp(min=sigma)[..., None]
    square = (places - target[..., None, :]).square().sum(-1) / width.square()  # [B, V, P, S]
    share = torch.softmax(-0.5 * square, dim=-1)
    log = logits.float().log_softmax(-1)
    found = -(share.detach() * log[..., :-1]).sum(-1)
    return masked_mean(torch.where(seen, found, -log[..., -1]), mask)


def triangulated_point_loss(
    inverse_depth: Tensor,  # [B, P], 1/m, of any sign
    variance: Tensor,  # [B, P], 1/m^2
    target: Tensor,  # [B, P], metres, 0 = unknown
    half_trusted: float = 0.1,
) -> Tensor:
    """Mean ``|w Z - 1|`` over points of known depth Z, weighted by how well motion can tell it.

    A point whose relative standard deviation is ``half_trusted`` counts half; one without parallax
    counts next to nothing: its error is noise.

    Returns:
        A float32 scalar; 0 with gradient where no target is known.
    """
    known = (target > 0) & target.isfinite()
    depth = torch.where(known, target, 1.0).float()
    error = (inverse_depth.float() * depth - 1).abs()
    relative = variance.detach().float().sqrt() * depth
    return masked_mean(error / (1 + (relative / half_trusted).square()), known)


@MODELS.register_module()
class MatchLoss(nn.Module):
    """:func:`match_loss` times a weight."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, matches: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return self.loss_weight * match_loss(matches, target, mask)


@MODELS.register_module()
class TriangulatedPointLoss(nn.Module):
    """:func:`triangulated_point_loss` times a weight."""

    def __init__(self, loss_weight: float = 2.0, half_trusted: float = 0.1) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.half_trusted = half_trusted

    def forward(self, inverse_depth: Tensor, variance: Tensor, target: Tensor) -> Tensor:
        return self.loss_weight * triangulated_point_loss(
            inverse_depth, variance, target, self.half_trusted
        )


@MODELS.register_module()
class MatchLikelihoodLoss(nn.Module):
    """:func:`match_likelihood_loss` times a weight."""

    def __init__(self, loss_weight: float = 1.0, sigma: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.sigma = sigma

    def forward(
        self, logits: Tensor, places: Tensor, target: Tensor, seen: Tensor, mask: Tensor
    ) -> Tensor:
        loss = match_likelihood_loss(logits, places, target, seen, mask, self.sigma)
        return self.loss_weight * loss
