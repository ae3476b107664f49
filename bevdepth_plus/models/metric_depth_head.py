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

from bevdepth_plus.geometry.camera import CameraRig
from bevdepth_plus.geometry.canonical import from_canonical_depth
from bevdepth_plus.geometry.depth_bins import DepthBins, mass_below
from bevdepth_plus.losses.bin_depth import nearest_depth
from bevdepth_plus.losses.masking import masked_mean

_LOG_D1 = math.log(1.25)


class MetricDepth(NamedTuple):
    """What the head says about each of its cells.

    Attributes:
        depth: metres along the optical axis, ``[B, N, H, W]``.
        logits: of the head's logarithmic bins of canonical depth, ``[B, N, K, H, W]``.
        log_focal: logarithm of the focal length over ``f_c``, ``[B, N]``.
    """

    depth: Tensor
    logits: Tensor
    log_focal: Tensor


@MODELS.register_module()
class MetricDepthHead(nn.Module):
    """Predict canonical depth from image features, give metric depth.

    No camera parameter goes in: what it learns of one focal length holds for all. Without
    ``fuse`` it only teaches the features, and ``metric_depth_head=None`` drops it at inference.

    Args:
        in_channels: channels of the image features.
        mid_channels: channels inside.
        canonical_focal: ``f_c``, network pixels; a usual focal length of the training cameras.
        stride: of the image features, network pixels.
        upsample: how much finer than the features depth is predicted (1, 2, 4).
        depth_range: canonical depths that can be predicted, metres.
        losses: name -> config of a loss called ``loss(pred, target, mask, intrinsics)``; they
            compare metric depth in the true camera.
        num_bins: logarithmic bins of canonical depth, whose mean is the depth.
        likelihood_weight: weight of the bins' cross-entropy.
        fuse: the depth sharpens DepthNet's bins, see :meth:`bin_prior`.
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

    def forward(
        self,
        features: Tensor,  # [B, N, C, H, W]
        focal: Tensor,  # [B, N], network pixels
    ) -> MetricDepth:
        """Metric depth, ``upsample`` times as fine as the features."""
        logits = self.out(self.trunk(features.flatten(0, 1))).float()
        logits = logits.unflatten(0, features.shape[:2])
        place = torch.arange(self.num_bins, device=logits.device) + 0.5
        mean = torch.einsum("bnkhw,k->bnhw", logits.softmax(dim=2), place)
        canonical = (self.log_start + self.log_step * mean).exp()
        depth = from_canonical_depth(canonical, focal, self.canonical_focal)
        return MetricDepth(depth, logits, (focal / self.canonical_focal).log())

    def loss(
        self,
        metric: MetricDepth,
        depth: Tensor,  # [B, N, H, W], metres, network pixels, 0 = none
        rig: CameraRig,  # one frame
    ) -> dict[str, Tensor]:
        """The chosen losses and the bins' cross-entropy."""
        target = nearest_depth(depth, self.stride)
        maps = [x.flatten(0, 1)[:, None] for x in (metric.depth, target, target > 0)]
        intrinsics = self._cell_intrinsics(rig).flatten(0, 1)
        losses = {
            f"loss_metric_{name}": loss(*maps, intrinsics) for name, loss in self.losses.items()
        }
        losses["loss_metric_bins"] = self.likelihood_weight * self._cross_entropy(metric, target)
        return losses

    def confidence(self, metric: MetricDepth) -> Tensor:
        """Probability that the depth is right within 25 %, the d1 criterion, ``[B, N, H, W]``."""
        log_depth = metric.depth.log()[:, :, None]
        around = torch.cat([log_depth - _LOG_D1, log_depth + _LOG_D1], dim=2)
        below, above = self._mass_below(metric, around).unbind(dim=2)
        return above - below

    def bin_prior(
        self,
        metric: MetricDepth,
        bins: DepthBins,
        cells: tuple[int, int],  # rows and columns of the features
        floor: float = 0.01,
    ) -> Tensor:
        """Probability that each metric bin holds the depth, ``[B, N, D, H, W]``.

        ``floor`` of the mass is spread evenly, so that the prior cannot rule a bin out and says
        nothing where the depth lies beyond the bins. Times DepthNet's distribution it is Bayes'
        rule; gradients reach the head. Of finer depth the nearest in a cell counts, as in the
        labels.
        """
        if metric.depth.shape[-1] > cells[1]:
            metric = _nearest(metric, metric.depth.shape[-1] // cells[1])
        log_edges = bins.edges(metric.depth.device).log()[:, None, None]
        mass = self._mass_below(metric, log_edges[None, None]).diff(dim=2).clamp(min=0)
        return (1 - floor) * mass + floor / bins.num_bins

    def _mass_below(
        self,
        metric: MetricDepth,
        log_depth: Tensor,  # [B or 1, N or 1, M, H or 1, W or 1], log metres
    ) -> Tensor:
        log_canonical = log_depth - metric.log_focal[..., None, None, None]
        place = (log_canonical - self.log_start) / self.log_step
        return mass_below(metric.logits.softmax(dim=2), place)

    def _cross_entropy(self, metric: MetricDepth, target: Tensor) -> Tensor:
        """Against the two bins whose centres lie about the target, by their nearness to it."""
        valid = target > 0
        log_target = torch.where(valid, target, 1.0).log() - metric.log_focal[..., None, None]
        place = (log_target - self.log_start) / self.log_step - 0.5
        place = place.clamp(0, self.num_bins - 1)[:, :, None]
        index = place.long().clamp(max=self.num_bins - 2)
        log_probabilities = metric.logits.log_softmax(dim=2)
        near, far = (log_probabilities.gather(2, i) for i in (index, index + 1))
        return masked_mean(-torch.lerp(near, far, place - index)[:, :, 0], valid)

    def _cell_intrinsics(self, rig: CameraRig) -> Tensor:
        """Pinhole matrices in cells of the predicted depth, ``[B, N, 3, 3]``."""
        cells = rig.image_aug.new_tensor([1 / self.stride, 1 / self.stride, 1.0])[:, None]
        return cells * (rig.image_aug[:, 0] @ rig.intrinsics[:, 0])


def _nearest(metric: MetricDepth, finer: int) -> MetricDepth:
    """What is nearest in each ``finer x finer`` cells."""
    depth, place = functional.max_pool2d(-metric.depth, finer, return_indices=True)
    index = place.flatten(2)[:, :, None].expand(-1, -1, metric.logits.shape[2], -1)
    logits = metric.logits.flatten(3).gather(3, index).unflatten(3, depth.shape[-2:])
    return metric._replace(depth=-depth, logits=logits)
