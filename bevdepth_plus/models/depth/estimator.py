"""Depth of one moment: DepthNet's bins, combined with the priors that a config names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, cast

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.model import BaseModule
from torch import Tensor, nn

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import Cameras, with_poses_of
from bevdepth_plus.geometry.canonical import canonical_cameras, network_focal, with_focal
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.geometry.ground import ground_scale
from bevdepth_plus.geometry.pinhole import cell_centres
from bevdepth_plus.geometry.z_buffer import nearest_depth
from bevdepth_plus.models.depth.canonical_bins import CanonicalBins
from bevdepth_plus.models.depth.depth_net import camera_parameters
from bevdepth_plus.models.depth.map_losses import DepthMapLosses
from bevdepth_plus.models.depth.prior import DepthPrior, View

_PIXELS_PER_METRE = 32.0  # scales the ground cue to about one


@dataclass(frozen=True)
class Perception:
    """Depth and context of one moment: everything that its BEV map is made from.

    Attributes:
        cameras: they may have estimated focal lengths.
        context: features to lift, ``[B, N, C, H, W]``.
        bins: DepthNet's distribution over the metric bins, ``[B, N, D, H, W]``.
        fused: that distribution with the priors', ``[B, N, D, H, W]``; None without such priors.
        priors: prediction of each prior, by its name.
        focal: the focal branch's focal lengths, network pixels, ``[B, N]``, or None.
    """

    cameras: Cameras
    context: Tensor
    bins: Tensor
    fused: Tensor | None = None
    priors: Mapping[str, Any] = field(default_factory=dict)
    focal: Tensor | None = None

    @property
    def lifted(self) -> Tensor:
        """The distribution that goes into the BEV map, ``[B, N, D, H, W]``."""
        return self.bins if self.fused is None else self.fused


@MODELS.register_module()
class DepthEstimator(BaseModule):
    """DepthNet's log-bins plus those of the priors, normalised; and their losses.

    Args:
        bins: start, stop, step (and plane) of the :class:`DepthBins`, metres.
        in_channels: of the image features.
        stride: of the image features, network pixels.
        depth_net: config of a :class:`DepthNet`; ``in_channels`` and ``num_bins`` are filled in.
        loss: config of the bins' supervision; None trains by boxes (and priors) alone.
        priors: name -> config of a :class:`DepthPrior`.
        canonical_bins: ``focal`` and ``bins`` of :class:`CanonicalBins`: DepthNet predicts bins of
            canonical depth and gets all camera parameters but the focal length.
        ground_cue: one more channel for DepthNet and the priors: pixels per metre of road at each
            cell, see :func:`ground_scale`.
        focal_branch: config of a :class:`FocalBranch`.
        estimate_focal: for images without calibration: the focal branch's focal lengths take the
            place of those in the info file, whose principal points and poses still count.
        key_cameras_for_past: past frames go through DepthNet with *all* of the key frame's camera
            parameters, as in the public code; only for converted checkpoints. Otherwise with the
            key frame's poses and their own intrinsics and augmentation.
        map_losses: name -> config of a :class:`DepthMapLoss`: what teaches depth maps beside the
            labels, such as the past.

    Raises:
        ValueError: options contradict each other.
    """

    priors: Mapping[str, DepthPrior]  # torch's ModuleDict does not tell the type of its values

    def __init__(
        self,
        bins: Mapping,
        in_channels: int,
        stride: int,
        depth_net: dict,
        loss: dict | None = None,
        priors: Mapping[str, dict] | None = None,
        canonical_bins: Mapping | None = None,
        ground_cue: bool = False,
        focal_branch: dict | None = None,
        estimate_focal: bool = False,
        key_cameras_for_past: bool = False,
        map_losses: Mapping[str, dict] | None = None,
    ) -> None:
        super().__init__()
        if estimate_focal and focal_branch is None:
            raise ValueError("estimate_focal=True needs a focal_branch that was trained")
        self.bins = DepthBins(**bins)
        self.stride = stride
        self.canonical = (
            CanonicalBins(**canonical_bins, metric=self.bins) if canonical_bins else None
        )
        self.ground_cue = ground_cue
        self.estimate_focal = estimate_focal
        self.key_cameras_for_past = key_cameras_for_past
        channels = in_channels + ground_cue
        predicted = self.canonical.bins if self.canonical else self.bins
        self.depth_net = MODELS.build(
            depth_net, default_args=dict(in_channels=channels, num_bins=predicted.num_bins)
        )
        self.context_channels = self.depth_net.context_channels
        built = {
            name: MODELS.build(prior, default_args=dict(in_channels=channels, stride=stride))
            for name, prior in (priors or {}).items()
        }
        self.priors = cast(Mapping[str, DepthPrior], nn.ModuleDict(built))
        self.focal_branch = (
            MODELS.build(focal_branch, default_args=dict(in_channels=in_channels))
            if focal_branch
            else None
        )
        self.bin_loss = MODELS.build(loss) if loss else None
        maps = ["bin", "fused", *self.priors]
        self.map_losses = DepthMapLosses(map_losses, stride, maps) if map_losses else None

    def forward(self, view: View) -> Perception:
        """Depth and context of one moment."""
        return self.look_around(self.look_alone(view), view)

    def look_alone(self, view: View) -> Perception:
        """What follows from each image by itself: all but the priors that look at others."""
        focal = self.focal_branch(view.features) if self.focal_branch else None  # [B, N]
        cameras = view.cameras
        if self.estimate_focal and focal is not None:
            cameras = with_focal(cameras, focal)
        view = self._with_ground_cue(replace(view, cameras=cameras))
        depth_net_cameras = view.key if self.key_cameras_for_past else _as_key(view)
        parameters = self._camera_parameters(depth_net_cameras)  # [B, N, 27]
        # [B, N, K, H, W] and [B, N, C, H, W]
        logits, context = self.depth_net(view.features, parameters)
        bins = self._metric_bins(logits.float(), cameras)  # [B, N, D, H, W], probabilities
        predictions = {n: prior(view) for n, prior in self.priors.items() if prior.single_image}
        fused = self._fuse(bins, predictions)
        return Perception(cameras, context.float(), bins, fused, predictions, focal)

    def look_around(self, alone: Perception, view: View) -> Perception:
        """What priors add that look at other images: of the past, or of neighbouring cameras.

        Args:
            alone: what :meth:`look_alone` found in this view.
            view: with its past; models without such priors leave ``alone`` as it is.
        """
        around = {n: prior for n, prior in self.priors.items() if not prior.single_image}
        if not around:
            return alone
        view = self._with_ground_cue(replace(view, cameras=alone.cameras))
        predictions = {name: prior(view) for name, prior in around.items()}
        fused = self._fuse(alone.lifted, predictions)
        fused = alone.fused if fused is None else fused
        return replace(alone, fused=fused, priors={**alone.priors, **predictions})

    def loss(
        self, moments: Sequence[Perception], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Losses of the depth.

        Args:
            moments: S perceptions, key frame first.
            inputs: of the batch; ``depth`` holds the labels ``[B, N, H, W]``, metres, 0 = none.

        Raises:
            DataError: there are no labels, but a loss needs them.
        """
        key, losses = moments[0], {}
        if self.bin_loss is not None:
            # [B, N, H / stride, W / stride]
            target = nearest_depth(self._labels(inputs), self.stride)
            losses["loss_depth"] = self.bin_loss(key.bins, target, self.bins)
            if key.fused is not None:
                losses["loss_depth_fused"] = self.bin_loss(key.fused, target, self.bins)
        for name, prior in self.priors.items():
            labels = self._labels(inputs)
            if prior.static_only and "moving" in inputs:
                labels = torch.where(inputs["moving"], 0.0, labels)
            parts = prior.loss(key.priors[name], labels, key.cameras)
            losses |= {f"loss_{name}_{part}": value for part, value in parts.items()}
        if self.focal_branch is not None and key.focal is not None:
            losses["loss_focal"] = self.focal_branch.loss(key.focal, key.cameras)
        if self.map_losses is not None:
            maps = [self.maps(moment) for moment in moments]
            losses |= self.map_losses(maps, [moment.cameras for moment in moments], inputs)
        return losses

    def add_predictions(
        self,
        moments: Sequence[Perception],
        inputs: Mapping[str, Tensor],
        samples: Sequence[Det3DDataSample],
    ) -> None:
        """Write the depth of S moments, key frame first, into the samples.

        ``pred_depths``: dict of ``[N, H, W]`` in metres on the feature cells, see :meth:`maps`.
        ``depth_confidence``: by prior, the probability that its depth is right within 25 %.
        ``gt_depth``: the nearest label of each cell, where the inputs have labels.
        ``pred_depths_over_time`` (dict of ``[S, N, H, W]``) and ``gt_depth_over_time`` (the same
        shape): the maps and labels of all S moments, where the inputs have ``past_depth``, too.
        """
        maps, confidences = self.maps(moments[0]), self.confidences(moments[0])
        for index, sample in enumerate(samples):
            sample.pred_depths = {name: depth[index] for name, depth in maps.items()}
            sample.depth_confidence = {name: value[index] for name, value in confidences.items()}
        if "depth" in inputs:
            labels = nearest_depth(inputs["depth"], self.stride)
            for sample, label in zip(samples, labels, strict=True):
                sample.gt_depth = label
            if "past_depth" in inputs and len(moments) > 1:
                past = nearest_depth(inputs["past_depth"][:, : len(moments) - 1], self.stride)
                labels = torch.cat([labels[:, None], past], dim=1)  # [B, S, N, H, W]
                past_maps = [self.maps(perception) for perception in moments[1:]]
                _add_over_time([maps, *past_maps], labels, samples)

    def maps(self, perception: Perception) -> dict[str, Tensor]:
        """Depth on the feature cells, metres, ``[B, N, H, W]`` each: ``bin``, priors, ``fused``."""
        maps = {"bin": self.bins.expectation(perception.bins.float())}
        cells = perception.bins.shape[-2], perception.bins.shape[-1]
        for name, prior in self.priors.items():
            depth = prior.maps(perception.priors[name], cells)
            if depth is not None:
                maps[name] = depth
        if perception.fused is not None:
            maps["fused"] = self.bins.expectation(perception.fused.float())
        return maps

    def confidences(self, perception: Perception) -> dict[str, Tensor]:
        """Confidence of each prior that has one, by name."""
        confidences = {
            name: prior.confidence(perception.priors[name]) for name, prior in self.priors.items()
        }
        return {name: value for name, value in confidences.items() if value is not None}

    def _with_ground_cue(self, view: View) -> View:
        """The view as priors and DepthNet get it."""
        if not self.ground_cue:
            return view
        features = view.features
        u, v = cell_centres(features.shape[-2:], self.stride, features.device)
        cue = ground_scale(_as_key(view), u, v)[:, :, None] / _PIXELS_PER_METRE  # [B, N, 1, H, W]
        return replace(view, features=torch.cat([features, cue.to(features.dtype)], dim=2))

    def _camera_parameters(self, cameras: Cameras) -> Tensor:
        if self.canonical is not None:
            cameras = canonical_cameras(cameras, self.canonical.focal)
        return camera_parameters(cameras)

    def _metric_bins(self, logits: Tensor, cameras: Cameras) -> Tensor:
        if self.canonical is None:
            return logits.softmax(dim=2)
        return self.canonical.to_metric(logits, network_focal(cameras))

    def _fuse(self, bins: Tensor, predictions: Mapping[str, Any]) -> Tensor | None:
        """Bayes' rule: probabilities of the bins times the priors' weights, normalised."""
        cells = bins.shape[-2], bins.shape[-1]
        shifts = [
            self.priors[name].log_bins(prediction, self.bins, cells)  # [B, N, D, H, W] or None
            for name, prediction in predictions.items()
        ]
        shifts = [shift for shift in shifts if shift is not None]
        if not shifts:
            return None
        shift = reduce(torch.add, shifts)  # [B, N, D, H, W]
        # Only differences between bins matter; the largest becomes 0, against underflow.
        weighted = bins * (shift - shift.detach().amax(dim=2, keepdim=True)).exp()
        return weighted / weighted.sum(dim=2, keepdim=True).clamp(min=1e-9)

    @staticmethod
    def _labels(inputs: Mapping[str, Tensor]) -> Tensor:
        if "depth" not in inputs:
            raise DataError(
                "the depth loss has no depth labels: add LoadLidarPoints and LidarDepthMaps (or "
                "LoadDenseDepth) to the training pipeline, or set model.depth.loss=None and remove "
                "model.depth.priors"
            )
        return inputs["depth"]


def _as_key(view: View) -> Cameras:
    """With the key frame's poses: those of the past contain the ego motion since then."""
    return with_poses_of(view.cameras, view.key)


def _add_over_time(
    maps: Sequence[Mapping[str, Tensor]],  # of S moments, [B, N, H, W] each
    labels: Tensor,  # [B, S, N, H, W]
    samples: Sequence[Det3DDataSample],
) -> None:
    # A prior that needs the past may have no map at the oldest moment.
    names = [name for name in maps[0] if all(name in each for each in maps)]
    over_time = {name: torch.stack([each[name] for each in maps], dim=1) for name in names}
    for index, sample in enumerate(samples):
        sample.pred_depths_over_time = {name: depth[index] for name, depth in over_time.items()}
        sample.gt_depth_over_time = labels[index]
