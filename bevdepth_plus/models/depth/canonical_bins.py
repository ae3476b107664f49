"""Depth bins in canonical camera space: DepthNet predicts as for one focal length."""

from __future__ import annotations

from torch import Tensor

from bevdepth_plus.geometry.depth_bins import DepthBins, mass_below


class CanonicalBins:
    """Bins of canonical depth, converted to each camera's metric bins.

    A metric depth ``d`` of a camera with focal length ``f`` is the canonical depth ``d * f_c / f``;
    so a metric bin holds the canonical mass between its scaled edges. Mass beyond the metric bins
    is dropped and not renormalised, so every canonical bin gets a gradient. Source of the space:
    Metric3D (ICCV 2023); its use for bins is this project's.

    Args:
        focal: canonical focal length ``f_c``, network pixels.
        bins: start, stop, step of the canonical bins, canonical metres. They should reach from
            ``start * f_c / f`` of the longest lens to ``stop * f_c / f`` of the shortest.
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
        """Probabilities of the metric bins ``[B, N, D, H, W]``; they sum to 1 or less."""
        # The edges of the metric bins, counted in canonical bins.
        edges = self.metric.edges(focal.device) * (self.focal / focal)[..., None]  # [B, N, D + 1]
        bin_coordinate = (edges - self.bins.start) / self.bins.step
        probabilities = logits.float().softmax(dim=2)  # [B, N, K, H, W]
        below = mass_below(probabilities, bin_coordinate[..., None, None])  # [B, N, D + 1, H, W]
        return below.diff(dim=2).clamp(0, 1)  # rounding may leave less than nothing
