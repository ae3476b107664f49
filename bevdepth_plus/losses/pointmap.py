"""Pointmap regression, and its weighting by the confidence the network states.

Source: DUSt3R (CVPR 2024), Sec. 3.2; metric items: MASt3R (ECCV 2024), Sec. 3.1.

The points of both views lie in the camera frame of view 1. A depth network has no scale, so
prediction and target are divided each by their own mean distance; items known in metres are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from bevdepth_plus.losses.masking import masked_mean

Pair = tuple[Tensor, Tensor]  # of view 1 and of view 2


@dataclass(frozen=True)
class PointmapErrors:
    """Distance of each predicted point from the true one.

    Attributes:
        errors: per view ``[B, H, W]``, 0 where it does not count.
        counted: which pixels count, per view ``[B, H, W]``, bool.
    """

    errors: Pair
    counted: Pair


def pointmap_errors(
    predicted: Pair,  # [B, H, W, 3] each
    target: Pair,  # [B, H, W, 3] each
    valid: Pair,  # [B, H, W], bool, each
    *,
    normalise: str | None = "mean",
    target_in_metres: bool = False,
    metric: Tensor | None = None,  # [B], bool
    max_metric_distance: float = torch.inf,
    max_distance: float = torch.inf,
    compress: str | None = None,
    sky: Pair | None = None,  # [B, H, W], bool, each
    sky_error: float = 2.0,
) -> PointmapErrors:
    """How far each predicted point is from the true one, after both are brought to one scale.

    What stands outside the masks never matters, NaN included. No argument is written to.

    Args:
        normalise: what prediction and target are divided by, see :func:`scale_of`; None: nothing.
        target_in_metres: the target stays as it is; the prediction is divided all the same.
        metric: items known in metres: their prediction is divided by the target's scale (by
            nothing where ``target_in_metres``), so that a wrong scale costs.
        max_metric_distance: an item with a valid point farther than this is not metric after all.
        max_distance: target points farther from the origin do not count.
        compress: "both": after normalising, distances d from the origin become log(1 + d);
            "target": the target's do so before, for a network that predicts in that space.
        sky: pixels that have no depth, but are known to be sky: they count with ``sky_error``, so
            that only the confidence learns there.

    Raises:
        ValueError: shapes disagree, or an option is not known.
    """
    _check(predicted, target, valid)
    if compress not in (None, "both", "target"):
        raise ValueError(f"compress must be None, 'both' or 'target', got {compress!r}")
    valid = _pair(
        mask.bool() & (_distance(points) <= max_distance) & points.isfinite().all(-1)
        for points, mask in zip(target, valid, strict=True)
    )
    predicted, target = (
        _pair(
            torch.where(mask[..., None], points.float(), 0)
            for points, mask in zip(pair, valid, strict=True)
        )
        for pair in (predicted, target)
    )
    is_metric = _metric_items(metric, target, max_metric_distance)
    if compress == "target":
        target = _compressed(target)
    if normalise is not None:
        predicted, target = _normalised(
            predicted, target, valid, normalise, target_in_metres, is_metric
        )
    if compress == "both":
        predicted, target = _compressed(predicted), _compressed(target)

    errors = _pair(_distance(p - t) for p, t in zip(predicted, target, strict=True))
    if sky is not None:
        only_sky = _pair(s.bool() & ~mask for s, mask in zip(sky, valid, strict=True))
        errors = _pair(
            torch.where(s, sky_error, error) for s, error in zip(only_sky, errors, strict=True)
        )
        valid = _pair(s | mask for s, mask in zip(only_sky, valid, strict=True))
    return PointmapErrors(errors, valid)


def pointmap_loss(errors: PointmapErrors) -> Tensor:
    """Mean error of view 1 plus that of view 2; 0 with a gradient of 0 where no pixel counts."""
    first, second = (masked_mean(*view) for view in zip(errors.errors, errors.counted, strict=True))
    return first + second


def confident_pointmap_loss(
    errors: PointmapErrors,
    confidence: Pair,  # [B, H, W] each, above 0
    alpha: float = 0.2,
) -> Tensor:
    """Errors weighted by the stated confidence, which costs ``-alpha * log(confidence)``.

    Mean of view 1 plus that of view 2; 0 with a gradient of 0 where no pixel counts.
    """
    total = errors.errors[0].new_zeros(())
    for error, stated, counted in zip(errors.errors, confidence, errors.counted, strict=True):
        if stated.shape != error.shape:
            raise ValueError(f"confidence must be {tuple(error.shape)}, got {tuple(stated.shape)}")
        stated = torch.where(counted, stated.float(), 1)
        total = total + masked_mean(stated * error - alpha * stated.log(), counted)
    return total


def scale_of(
    points: Pair,  # [B, H, W, 3] each, 0 where not valid
    valid: Pair,  # [B, H, W], bool, each
    mode: str = "mean",
) -> Tensor:
    """One scale for both views of each item, from the points' distances d to the origin, ``[B]``.

    Args:
        mode: "mean": of d; "median": of d, without a gradient; "sqrt": square of the mean of
            sqrt(d); "log": mean of log(1 + d).

    Raises:
        ValueError: the mode is not known.
    """
    mask = torch.cat([part.flatten(1) for part in valid], dim=1)  # [B, P]
    distance = torch.cat([_distance(part).flatten(1) for part in points], dim=1)
    if mode == "median":
        # One pixel's gradient would move the whole scale: it is taken as a constant.
        scale = torch.where(mask, distance, torch.nan).nanmedian(dim=1).values.detach()
        scale = torch.where(mask.any(1), scale, 1)
    elif mode == "mean":
        scale = _mean(distance, mask)
    elif mode == "log":
        scale = _mean(distance.log1p(), mask)
    elif mode == "sqrt":
        scale = _mean(torch.where(mask & (distance > 0), distance, 1).sqrt(), mask).square()
    else:
        raise ValueError(f"mode must be mean, median, sqrt or log, got {mode!r}")
    return scale.clamp(min=1e-8)


def _normalised(
    predicted: Pair,
    target: Pair,
    valid: Pair,
    mode: str,
    target_in_metres: bool,
    is_metric: Tensor | None,  # [B]
) -> tuple[Pair, Pair]:
    if mode == "log_warp":  # the points themselves are compressed, too
        scale = scale_of(predicted, valid, "log")
        target_scale = scale_of(target, valid, "log")
        predicted = _compressed(predicted)
        target = target if target_in_metres else _compressed(target)
    else:
        scale, target_scale = scale_of(predicted, valid, mode), scale_of(target, valid, mode)
    if target_in_metres:
        target_scale = torch.ones_like(target_scale)
    if is_metric is not None:
        scale = torch.where(is_metric, target_scale, scale)
    return _divided(predicted, scale), _divided(target, target_scale)


def _metric_items(metric: Tensor | None, target: Pair, max_distance: float) -> Tensor | None:
    if metric is None:
        return None
    farthest = torch.stack([_distance(points).flatten(1).amax(1) for points in target]).amax(0)
    return metric.bool() & (farthest < max_distance)


def _pair(parts: Iterable[Tensor]) -> Pair:
    first, second = parts
    return first, second


def _divided(points: Pair, scale: Tensor) -> Pair:
    return _pair(part / scale[:, None, None, None] for part in points)


def _compressed(points: Pair) -> Pair:
    """Distances d from the origin become log(1 + d)."""

    def one(part: Tensor) -> Tensor:
        distance = _distance(part)[..., None]
        return part * (distance.log1p() / distance.clamp(min=1e-8))

    return _pair(one(part) for part in points)


def _mean(values: Tensor, mask: Tensor) -> Tensor:  # [B, P] -> [B]
    return torch.where(mask, values, 0).sum(1) / (mask.sum(1) + 1e-8)


def _distance(points: Tensor) -> Tensor:  # [..., 3] -> [...]
    return torch.linalg.vector_norm(points, dim=-1)


def _check(predicted: Pair, target: Pair, valid: Pair) -> None:
    for view in (0, 1):
        shape = predicted[view].shape
        if (
            len(shape) != 4
            or shape[-1] != 3
            or target[view].shape != shape
            or valid[view].shape != shape[:-1]
        ):
            raise ValueError(
                f"view {view + 1}: predicted and target must be [B, H, W, 3] and valid [B, H, W], "
                f"got {tuple(shape)}, {tuple(target[view].shape)} and {tuple(valid[view].shape)}"
            )
