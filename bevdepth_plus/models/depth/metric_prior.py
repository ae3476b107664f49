"""Continuous metric depth beside the bins, learnt in canonical camera space.

Source of the space: Yin et al., "Metric3D: Towards zero-shot metric 3D prediction from a single
image" (ICCV 2023). The confidence and the prior on DepthNet's bins are this project's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from mmdet.models.backbones.resnet import BasicBlock
from mmdet3d.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.canonical import from_canonical_depth, network_focal
from bevdepth_plus.geometry.depth_bins import DepthBins, mass_below
from bevdepth_plus.geometry.pinhole import scaled_intrinsics
from bevdepth_plus.geometry.z_buffer import nearest_depth
from bevdepth_plus.losses.masking import masked_mean
from bevdepth_plus.models.depth.prior import DepthPrior, View

_LOG_D1 = math.log(1.25)


class MetricDepth(NamedTuple):
    """The prior's prediction for each of its cells.

    Attributes:
        depth: metres along the optical axis, ``[B, N, H, W]``.
        logits: of the prior's logarithmic bins of canonical depth, ``[B, N, K, H, W]``.
        log_focal: logarithm of the focal length over ``f_c``, ``[B, N]``.
    """

    depth: Tensor
    logits: Tensor
    log_focal: Tensor


@MODELS.register_module()
class MetricDepthPrior(DepthPrior):
    """Predict canonical depth from image features, give metric depth.

    The network gets no camera parameters: the focal length only scales its output. Without ``fuse``
    the prior only trains the features, and can be left out of the config at inference.

    Args:
        in_channels: channels of the image features.
        mid_channels: hidden channels.
        canonical_focal: ``f_c``, network pixels; a usual focal length of the training cameras.
        stride: of the image features, network pixels.
        upsample: resolution of the depth relative to the features (1, 2, 4).
        depth_range: canonical depths that can be predicted, metres.
        losses: name -> config of a loss called ``loss(pred, target, mask, intrinsics)``; they
            compare metric depth in the true camera.
        num_bins: logarithmic bins of canonical depth, whose mean is the depth.
        likelihood_weight: weight of the bins' cross-entropy.
        fuse: combine the depth with DepthNet's bins, see :meth:`log_bins`.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        canonical_focal: float,
        losses: Mapping[str, dict],
        stride: int = 16,
        upsample: int = 1,
        depth_range: tuple[float, float] = (0.5, 200.0),
        num_bins: int = 64,
        likelihood_weight: float = 0.5,
        fuse: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < depth_range[0] < depth_range[1]:
            raise ValueError(f"depth_range must be 0 < nearest < farthest, got {depth_range}")
        if upsample not in (1, 2, 4):
            raise ValueError(f"upsample must be 1, 2 or 4, got {upsample}")
        if canonical_focal <= 0:
            raise ValueError(f"canonical_focal must be positive, got {canonical_focal}")
        self.canonical_focal = canonical_focal
        self.stride = stride // upsample
        self.log_start = math.log(depth_range[0])
        self.log_step = math.log(depth_range[1] / depth_range[0]) / num_bins
        self.num_bins = num_bins
        self.likelihood_weight = likelihood_weight
        self.fuse = fuse
        self.trunk = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
            BasicBlock(mid_channels, mid_channels),
            BasicBlock(mid_channels, mid_channels),
        )
        self.out = nn.Sequential(
            nn.Conv2d(mid_channels, num_bins * upsample**2, 1), nn.PixelShuffle(upsample)
        )
        self.losses = nn.ModuleDict({name: MODELS.build(loss) for name, loss in losses.items()})

    def forward(self, view: View) -> MetricDepth:
        """Metric depth at ``upsample`` times the resolution of the features."""
        features, focal = view.features, network_focal(view.cameras)
        logits = self.out(self.trunk(features.flatten(0, 1))).float()  # [B * N, K, H, W]
        logits = logits.unflatten(0, features.shape[:2])  # [B, N, K, H, W]
        # The mean of the logarithmic bins, then back to metres of this camera.
        bin_coordinate = torch.arange(self.num_bins, device=logits.device) + 0.5
        mean = torch.einsum("bnkhw,k->bnhw", logits.softmax(dim=2), bin_coordinate)
        canonical = (self.log_start + self.log_step * mean).exp()  # [B, N, H, W], canonical metres
        depth = from_canonical_depth(canonical, focal, self.canonical_focal)
        return MetricDepth(depth, logits, (focal / self.canonical_focal).log())

    def log_bins(
        self,
        prediction: MetricDepth,
        bins: DepthBins,
        cells: tuple[int, int],
        floor: float = 0.01,
    ) -> Tensor | None:
        """Logarithm of the probability that each metric bin holds the depth; None without fuse.

        A share ``floor`` of the mass is spread evenly, so the prior excludes no bin and is uniform
        where the depth lies beyond the bins. Gradients reach the prior. If the prior is finer than
        the cells, the nearest depth in each cell is used, as in the labels.
        """
        if not self.fuse:
            return None
        if prediction.depth.shape[-1] > cells[1]:
            prediction = _nearest(prediction, prediction.depth.shape[-1] // cells[1])
        log_edges = bins.edges(prediction.depth.device).log()[:, None, None]
        below = self._mass_below(prediction, log_edges[None, None])  # [B, N, D + 1, H, W]
        mass = below.diff(dim=2).clamp(min=0)
        return ((1 - floor) * mass + floor / bins.num_bins).log()

    def loss(
        self,
        prediction: MetricDepth,
        labels: Tensor,  # [B, N, H, W], metres, network pixels, 0 = none
        cameras: Cameras,
    ) -> dict[str, Tensor]:
        """The chosen losses and the bins' cross-entropy."""
        target = nearest_depth(labels, self.stride)
        maps = [x.flatten(0, 1)[:, None] for x in (prediction.depth, target, target > 0)]
        intrinsics = scaled_intrinsics(cameras.network_intrinsics, self.stride).flatten(0, 1)
        losses = {name: loss(*maps, intrinsics) for name, loss in self.losses.items()}
        losses["bins"] = self.likelihood_weight * self._cross_entropy(prediction, target)
        return losses

    def maps(self, prediction: MetricDepth, cells: tuple[int, int]) -> Tensor:
        """Metric depth, the nearest in each feature cell, ``[B, N, H, W]``."""
        return nearest_depth(prediction.depth, prediction.depth.shape[-1] // cells[1])

    def confidence(self, prediction: MetricDepth) -> Tensor:
        """Probability that the depth is right within 25 %, the d1 criterion, ``[B, N, H, W]``."""
        log_depth = prediction.depth.log()[:, :, None]
        around = torch.cat([log_depth - _LOG_D1, log_depth + _LOG_D1], dim=2)
        below, above = self._mass_below(prediction, around).unbind(dim=2)
        return above - below

    def _mass_below(
        self,
        prediction: MetricDepth,
        log_depth: Tensor,  # [B or 1, N or 1, M, H or 1, W or 1], log metres
    ) -> Tensor:
        """Probability that the depth is below each given one, ``[B, N, M, H, W]``."""
        log_canonical = log_depth - prediction.log_focal[..., None, None, None]
        bin_coordinate = (log_canonical - self.log_start) / self.log_step
        return mass_below(prediction.logits.softmax(dim=2), bin_coordinate)

    def _cross_entropy(self, prediction: MetricDepth, target: Tensor) -> Tensor:
        """With the two bins whose centres enclose the target, weighted by nearness."""
        valid = target > 0
        log_target = torch.where(valid, target, 1.0).log() - prediction.log_focal[..., None, None]
        bin_coordinate = (log_target - self.log_start) / self.log_step - 0.5  # 0: first centre
        bin_coordinate = bin_coordinate.clamp(0, self.num_bins - 1)[:, :, None]
        lower = bin_coordinate.long().clamp(max=self.num_bins - 2)
        log_probabilities = prediction.logits.log_softmax(dim=2)
        below, above = (log_probabilities.gather(2, index) for index in (lower, lower + 1))
        expected = torch.lerp(below, above, bin_coordinate - lower)[:, :, 0]  # [B, N, H, W]
        return masked_mean(-expected, valid)


def _nearest(prediction: MetricDepth, factor: int) -> MetricDepth:
    """The nearest prediction in each block of ``factor x factor`` cells."""
    depth, position = functional.max_pool2d(-prediction.depth, factor, return_indices=True)
    index = position.flatten(2)[:, :, None].expand(-1, -1, prediction.logits.shape[2], -1)
    logits = prediction.logits.flatten(3).gather(3, index).unflatten(3, depth.shape[-2:])
    return prediction._replace(depth=-depth, logits=logits)
