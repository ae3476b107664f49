"""Order over time: of two points, the one farther in one frame is farther in the next, too.

Absolute depth drifts from frame to frame; the order of points rarely changes. The losses here need
no LiDAR, only correspondences from frame t to frame t + 1 (see ``geometry.flow``).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.geometry.warping import sample_nearest
from bevdepth_plus.losses.masking import at_pixels, masked_mean, sample_pixels
from bevdepth_plus.losses.triplets import flat_index

FORMS = ("summed", "pairwise", "sign")


def temporal_order_loss(
    depth_t: Tensor,  # [B, 1, H, W], metres, 0 = none
    depth_t1: Tensor,  # [B, 1, H, W], metres, 0 = none
    correspondence: Tensor,  # [B, 2, H, W], (u, v) in frame t + 1 of each pixel of frame t
    valid: Tensor,  # [B, 1, H, W], bool: the correspondence can be trusted
    margin: float = 0.0,
    form: str = "summed",
    *,
    relative: bool = False,
    min_gap: float = 0.0,
    symmetric: bool = False,
    pairs: Tensor | None = None,  # [B, P, 2, 2], (y, x) in frame t; None: drawn
    num_pairs: int = 20_000,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Hinge loss: pairs of points must have the same depth order in frame t + 1 as in frame t.

    For a pair with depths ``D1, D2`` in frame t and ``D1', D2'`` at the matched pixels of t + 1::

        m = sign(D1 - D2) * (D1' - D2')      > 0: the order is kept
        cost = relu(margin - m)

    **Sign of the margin.** With ``margin > 0`` a pair must stay in order by the margin; with
    ``margin = -eps`` reversals up to eps cost nothing. The note this loss comes from writes
    ``|min(0, eps + m)|``, which reads like a margin but is that dead zone: it equals
    ``relu(-eps - m)``. Without the absolute value, ``min(0, eps + m)`` falls as the order is
    reversed, so minimising it rewards reversal. Here a larger margin is always stricter.

    **Motion.** The order along the optical axis truly changes when the vehicle turns, and when
    something overtakes. Give as ``depth_t`` the depth that frame t's points have *in the camera of
    t + 1* (``RigidFlow.depth``), and leave out pixels that move by themselves.

    Frame t is the reference and gets no gradient. Pairs of equal depth in the reference have no
    order and do not count. Depth in t + 1 is that of the pixel hit, not interpolated.

    Args:
        margin: Metres, or a share of depth if ``relative``.
        form: ``"summed"``: mean cost of the pairs. ``"pairwise"``: root mean square, the Euclidean
            norm of the vector of pairs, in which the worst pairs count most. ``"sign"``: m is
            ``sign(D1 - D2) * sign(D1' - D2')``; the gradient is 0 everywhere, so it is a metric
            (with margin 0 the share of reversed pairs) and no loss.
        relative: Compare ratios instead of differences: the farther must be farther by the factor
            ``1 + margin``. One margin then fits near and far.
        min_gap: Pairs whose gap in the reference is smaller do not count; the unit of the margin.
            A pair nearer than the margin would otherwise be pushed apart.
        symmetric: Also compare frame t with t + 1 as the reference; the mean of both.
        pairs: Pixels of frame t, integers.
        num_pairs: Pairs drawn for each image, with replacement.

    Returns:
        A float32 scalar; 0 with gradient where no pair counts.

    Raises:
        ValueError: a shape, the form or the margin is wrong.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if relative and min(margin, min_gap) <= -1:
        raise ValueError(f"a relative margin or gap must be above -1, got {margin} and {min_gap}")
    reference, matched, usable = matched_depths(depth_t, depth_t1, correspondence, valid)
    if pairs is None:
        index = sample_pixels(usable, 2 * num_pairs, generator).reshape(-1, num_pairs, 2)
    else:
        index = flat_index(pairs, usable.shape, corners=2)
    first, second, used = (
        at_pixels(values.flatten(1)[..., None], index)[..., 0]  # [B, P, 2]
        for values in (reference, matched, usable)
    )
    if relative:
        first, second, min_gap = first.log(), second.log(), math.log1p(min_gap)
        margin = margin if form == "sign" else math.log1p(margin)
    cost = partial(_order_cost, used=used.all(-1), margin=margin, min_gap=min_gap, form=form)
    if symmetric:
        return (cost(first, second) + cost(second, first)) / 2
    return cost(first, second)


def matched_depths(
    depth_t: Tensor,  # [B, 1, H, W], metres, 0 = none
    depth_t1: Tensor,  # [B, 1, H, W], metres, 0 = none
    correspondence: Tensor,  # [B, 2, H, W]
    valid: Tensor,  # [B, 1, H, W], bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Both frames' depths on the pixels of frame t, 1 m wherever a pixel does not count.

    A pixel counts if it is valid, its correspondence lies in the image, and both depths are
    positive finite numbers.

    Returns:
        ``reference``, ``matched`` (float32) and ``usable`` (bool), ``[B, 1, H, W]`` each.

    Raises:
        ValueError: the frames are not of one size, or a shape disagrees.
    """
    shape = tuple(depth_t.shape)
    expected = (shape[0], 2, *shape[2:])
    if depth_t.ndim != 4 or shape[1] != 1 or not shape == depth_t1.shape == valid.shape:
        raise ValueError(
            "depth_t, depth_t1 and valid must all be [B, 1, H, W], got "
            f"{shape}, {tuple(depth_t1.shape)} and {tuple(valid.shape)}"
        )
    if tuple(correspondence.shape) != expected:
        raise ValueError(
            f"correspondence must be {expected}, (u, v) for each pixel of depth_t, "
            f"got {tuple(correspondence.shape)}"
        )
    reference = depth_t.float()
    matched, inside = sample_nearest(depth_t1.float(), correspondence)
    usable = valid.bool() & inside & _is_depth(reference) & _is_depth(matched)
    return torch.where(usable, reference, 1.0), torch.where(usable, matched, 1.0), usable


@MODELS.register_module()
class TemporalOrderLoss(nn.Module):
    """:func:`temporal_order_loss` times a weight, with a relative margin by default.

    Called as ``loss(depth_t, depth_t1, correspondence, valid, generator)``.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        margin: float = 0.05,
        form: str = "summed",
        relative: bool = True,
        min_gap: float = 0.1,
        symmetric: bool = False,
        num_pairs: int = 20_000,
    ) -> None:
        super().__init__()
        if form == "sign":
            raise ValueError(
                'form="sign" has no gradient and cannot be trained with; '
                'take "summed" or "pairwise"'
            )
        self.loss_weight = loss_weight
        self.options: dict[str, Any] = dict(
            margin=margin,
            form=form,
            relative=relative,
            min_gap=min_gap,
            symmetric=symmetric,
            num_pairs=num_pairs,
        )

    def forward(
        self,
        depth_t: Tensor,
        depth_t1: Tensor,
        correspondence: Tensor,
        valid: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        loss = temporal_order_loss(
            depth_t, depth_t1, correspondence, valid, generator=generator, **self.options
        )
        return self.loss_weight * loss


@MODELS.register_module()
class MatchedDepthLoss(nn.Module):
    """Apply a loss of depth maps between two frames: frame t is the target at the matched pixels.

    For losses that need no camera: ``PearsonDepthLoss`` (whole images or patches),
    ``OrdinalDepthLoss`` (``depth_t`` may be a teacher's, whose order is learnt), ``DepthL1Loss``,
    ``SILogLoss``. Called as :class:`TemporalOrderLoss`; frame t gets no gradient.

    Args:
        loss: Config of the loss.
    """

    def __init__(self, loss: dict) -> None:
        super().__init__()
        self.loss = MODELS.build(loss)

    def forward(
        self,
        depth_t: Tensor,
        depth_t1: Tensor,
        correspondence: Tensor,
        valid: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        reference, matched, usable = matched_depths(depth_t, depth_t1, correspondence, valid)
        return self.loss(matched, reference.detach(), usable, None, generator)


def _order_cost(
    reference: Tensor,  # [B, P, 2], depth or its logarithm
    other: Tensor,  # [B, P, 2]
    used: Tensor,  # [B, P], bool
    margin: float,
    min_gap: float,
    form: str,
) -> Tensor:
    gap = (reference[..., 0] - reference[..., 1]).detach()
    other_gap = other[..., 0] - other[..., 1]
    m = gap.sign() * (other_gap.sign() if form == "sign" else other_gap)  # above 0: order kept
    cost = functional.relu(margin - m)
    used = used & (gap != 0) & (gap.abs() >= min_gap)
    if form != "pairwise":
        return masked_mean(cost, used)
    square = masked_mean(cost.square(), used)
    # The root's gradient at 0 is infinite: if all costs are 0, the root is left out.
    return torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), square)


def _is_depth(values: Tensor) -> Tensor:
    return (values > 0) & values.isfinite()
