"""Depth bins in canonical camera space: DepthNet learns one focal length and serves all."""

from __future__ import annotations

import torch
from torch import Tensor

from bevdepth_plus.geometry.depth_bins import DepthBins


class CanonicalBins:
    """Bins of canonical depth, read out at each camera's own metric bins.

    A metric depth ``d`` of a camera with focal length ``f`` is the canonical depth ``d * f_c / f``;
    so the logit of a metric bin is the logit of the canonical bins at that place. Source of the
    space: Metric3D (ICCV 2023); that it is applied to bins is this project's.

    Args:
        focal: canonical focal length ``f_c``, network pixels.
        bins: start, stop, step of the canonical bins, canonical metres. They should reach from
            ``start * f_c / f`` of the longest lens to ``stop * f_c / f`` of the shortest; beyond
            them the border bin's logit holds.
        metric: the bins that are lifted into the BEV.
    """

    def __init__(self, focal: float, bins: dict, metric: DepthBins) -> None:
        if focal <= 0:
            raise ValueError(f"the canonical focal length must be positive, got {focal}")
        self.focal = focal
        self.bins = DepthBins(**bins)
        self.metric = metric

    def to_metric(
        self,
        logits: Tensor,  # [B, N, K, H, W], canonical bins
        focal: Tensor,  # [B, N], network pixels
    ) -> Tensor:
        """Logits of the metric bins ``[B, N, D, H, W]``, linear between canonical bin centres."""
        canonical = self.metric.centres(focal.device) * (self.focal / focal)[..., None]
        place = (canonical - self.bins.start) / self.bins.step - 0.5
        place = place.clamp(0, self.bins.num_bins - 1)  # [B, N, D]
        lower = place.floor().clamp(max=self.bins.num_bins - 2)
        share = (place - lower)[..., None, None]
        index = lower.long()[..., None, None].expand(-1, -1, -1, *logits.shape[-2:])
        return torch.lerp(
            logits.float().gather(2, index), logits.float().gather(2, index + 1), share
        )
