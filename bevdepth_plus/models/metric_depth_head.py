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
from bevdepth_plus.geometry.canonical import effective_focal, from_canonical_depth
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.losses.bin_depth import nearest_depth
from bevdepth_plus.losses.masking import masked_mean

_SPREAD_RANGE = (0.01, 1.0)  # of the logarithm of depth: 1 % to a factor of e
_D1 = math.log(1.25)


class MetricDepth(NamedTuple):
    """What the head says about each of its cells.

    Attributes:
        depth: metres along the optical axis, ``[B, N, H, W]``.
        spread: mean absolute error of its logarithm that the head expects of itself (the scale of
            a Laplace distribution), ``[B, N, H, W]``.
        log_focal_ratio: logarithm of the estimated focal length over ``f_c``, ``[B, N]``; None
            without a focal branch.
    """

    depth: Tensor
    spread: Tensor
    log_focal_ratio: Tensor | None

    @property
    def confidence(self) -> Tensor:
        """Probability that the depth is right within 25 %, the d1 criterion, ``[B, N, H, W]``."""
        return 1 - torch.exp(-_D1 / self.spread)


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
        likelihood_weight: weight of :func:`laplace_loss`, which teaches the spread, and the depth
            by its error relative to that.
        fuse: the depth sharpens DepthNet's bins, see :func:`bin_log_prior`.
        focal_weight: weight of the loss of a branch that estimates the focal length, for images
            without calibration; None leaves the branch out.
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
        likelihood_weight: float = 1.0,
        fuse: bool = False,
        focal_weight: float | None = None,
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
        self.log_range = tuple(math.log(depth) for depth in depth_range)
        self.likelihood_weight = likelihood_weight
        self.focal_weight = focal_weight
        self.fuse = fuse
        self.trunk = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
            BasicBlock(mid_channels, mid_channels),
            BasicBlock(mid_channels, mid_channels),
        )
        # Two numbers for each of the finer cells.
        self.out = nn.Sequential(
            nn.Conv2d(mid_channels, 2 * upsample**2, 1), nn.PixelShuffle(upsample)
        )
        self.focal_mlp = None
        if focal_weight is not None:
            self.focal_mlp = nn.Sequential(
                nn.Linear(in_channels, mid_channels), nn.ReLU(), nn.Linear(mid_channels, 1)
            )
        self.losses = nn.ModuleDict({name: MODELS.build(loss) for name, loss in losses.items()})

    def forward(
        self,
        features: Tensor,  # [B, N, C, H, W]
        focal: Tensor | None,  # [B, N], network pixels; None: unknown, estimate it
    ) -> MetricDepth:
        """Metric depth, ``upsample`` times as fine as the features.

        Raises:
            ValueError: the focal length is unknown and there is no branch to estimate it.
        """
        batch_shape = features.shape[:2]
        features = features.flatten(0, 1)
        log_ratio = None
        if self.focal_mlp is not None:
            log_ratio = self.focal_mlp(features.mean(dim=(2, 3))).float().view(batch_shape)
        if focal is None:
            if log_ratio is None:
                raise ValueError(
                    "focal is None, and the head has no focal branch; give the focal length or "
                    "train with focal_weight"
                )
            focal = self.canonical_focal * log_ratio.exp()

        position, spread = self.out(self.trunk(features)).float().sigmoid().unbind(1)
        depth = _between(position, *self.log_range).exp().unflatten(0, batch_shape)
        low, high = (math.log(spread) for spread in _SPREAD_RANGE)
        return MetricDepth(
            depth=from_canonical_depth(depth, focal, self.canonical_focal),
            spread=_between(spread, low, high).exp().unflatten(0, batch_shape),
            log_focal_ratio=log_ratio,
        )

    def loss(
        self,
        metric: MetricDepth,
        depth: Tensor,  # [B, N, H, W], metres, network pixels, 0 = none
        rig: CameraRig,  # one frame
    ) -> dict[str, Tensor]:
        """The chosen losses, the likelihood, and the focal branch's if there is one."""
        target = nearest_depth(depth, self.stride)
        maps = [x.flatten(0, 1)[:, None] for x in (metric.depth, target, target > 0)]
        intrinsics = self._cell_intrinsics(rig).flatten(0, 1)
        losses = {
            f"loss_metric_{name}": loss(*maps, intrinsics) for name, loss in self.losses.items()
        }
        losses["loss_metric_likelihood"] = self.likelihood_weight * laplace_loss(metric, target)
        if metric.log_focal_ratio is not None:
            true = (key_focal(rig) / self.canonical_focal).log()
            error = (metric.log_focal_ratio - true).abs().mean()
            losses["loss_metric_focal"] = self.focal_weight * error
        return losses

    def _cell_intrinsics(self, rig: CameraRig) -> Tensor:
        """Pinhole matrices in cells of the predicted depth, ``[B, N, 3, 3]``."""
        cells = rig.image_aug.new_tensor([1 / self.stride, 1 / self.stride, 1.0])[:, None]
        return cells * (rig.image_aug[:, 0] @ rig.intrinsics[:, 0])


def key_focal(rig: CameraRig) -> Tensor:
    """Focal lengths of the first frame's cameras in network pixels, ``[B, N]``."""
    return effective_focal(rig.intrinsics[:, 0], rig.image_aug[:, 0])


def laplace_loss(
    metric: MetricDepth,
    target: Tensor,  # [B, N, H, W], metres, 0 = none
) -> Tensor:
    """Negative log-likelihood of log depth under a Laplace distribution of the head's spread.

    For depth it is an absolute logarithmic error that counts more where the head is sure; for the
    spread it is least where that is the mean error.

    Returns:
        A float32 scalar, less than 0 for small errors; 0 with gradient without any target.
    """
    valid = target > 0
    error = (metric.depth.log() - torch.where(valid, target, 1.0).log()).abs()
    return masked_mean(error / metric.spread + metric.spread.log(), valid)


def bin_log_prior(
    metric: MetricDepth,
    bins: DepthBins,
    cells: tuple[int, int],  # rows and columns of the features
    floor: float = 0.01,
) -> Tensor:
    """Logarithm of the probability that each bin holds the depth, ``[B, N, D, H, W]``.

    A Laplace distribution of log depth around the head's depth, with its spread, integrated over
    each bin; ``floor`` of the mass is spread evenly, so that the prior cannot rule a bin out and
    says nothing where the depth lies beyond the bins. Added to DepthNet's logits it is Bayes' rule;
    gradients reach depth and spread. Of finer depth the nearest in a cell counts, as in the labels.
    """
    depth, spread = metric.depth, metric.spread
    finer = depth.shape[-1] // cells[1]
    if finer > 1:
        depth, nearest = functional.max_pool2d(-depth, finer, return_indices=True)
        depth = -depth
        spread = spread.flatten(2).gather(2, nearest.flatten(2)).view_as(depth)
    edges = bins.start + bins.step * torch.arange(bins.num_bins + 1, device=depth.device)
    distance = edges.log().view(-1, 1, 1) - depth.log()[:, :, None]
    distance = distance / spread[:, :, None]
    below = 0.5 + 0.5 * distance.sign() * -torch.expm1(-distance.abs())
    mass = below[:, :, 1:] - below[:, :, :-1]
    return ((1 - floor) * mass + floor / bins.num_bins).log()


def _between(share: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * share
