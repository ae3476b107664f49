"""The detector: from images and calibration to boxes, told by one ``forward_bev``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from mmdet3d.models.detectors import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from torch import Tensor, nn

from bevdepth_plus.geometry.camera import CameraRig
from bevdepth_plus.geometry.canonical import canonical_rig, key_focal, with_focal
from bevdepth_plus.geometry.ground import ground_scale
from bevdepth_plus.losses.bin_depth import nearest_depth
from bevdepth_plus.models.canonical_bins import CanonicalBins
from bevdepth_plus.models.depth_net import camera_parameters
from bevdepth_plus.models.flip_average import FlipAverage, HeadOutputs
from bevdepth_plus.models.metric_depth_head import MetricDepth

_COARSEST_STRIDE = 32  # of the image backbone's last level
_PIXELS_PER_METRE = 32.0  # brings the ground cue to about one


class Depths(NamedTuple):
    """Depth of one moment's cameras, as each part of the model knows it.

    Attributes:
        bins: DepthNet's distribution, ``[B, N, D, H, W]``.
        metric: the metric depth head's, or None.
        fused: both together, ``[B, N, D, H, W]``, or None.
        focal: focal lengths as the focal branch sees them, network pixels, ``[B, N]``, or None.
    """

    bins: Tensor
    metric: MetricDepth | None = None
    fused: Tensor | None = None
    focal: Tensor | None = None

    @property
    def lifted(self) -> Tensor:
        """The distribution that goes into the BEV map."""
        return self.bins if self.fused is None else self.fused


@MODELS.register_module()
class BEVDepth(Base3DDetector):
    """Camera-only 3D detection in the bird's-eye view. Source: BEVDepth (AAAI 2023).

    Args:
        grid: x, y, z of the :class:`BEVGrid`, each ``(lower, upper, cell)``, metres.
        depth_bins: start, stop, step (and plane) of the :class:`DepthBins`, metres.
        image_size: ``(H, W)`` of the network's input, pixels.
        img_backbone, img_neck: configs of an image backbone and neck; the neck's first output is
            used, at ``view_transform``'s stride.
        depth_net: config of a :class:`DepthNet`.
        view_transform: config of a :class:`LiftSplat`.
        bev_encoder: config of a :class:`BEVEncoder`.
        bbox_head: config of a :class:`BEVCenterHead`.
        depth_loss: config of the depth supervision; none trains by boxes alone.
        metric_depth_head: config of a :class:`MetricDepthHead`.
        canonical_bins: ``focal`` and ``bins`` of :class:`CanonicalBins`: DepthNet predicts bins of
            canonical depth and is told all of the cameras but their focal length.
        focal_branch: config of a :class:`FocalBranch`.
        estimate_focal: for images without calibration: the focal branch's focal lengths take the
            place of those in the info file, whose principal points and poses still count.
        ground_cue: one more channel for DepthNet and the metric depth head (their ``in_channels``
            count it): how large a metre of road looks at each cell, see :func:`ground_scale`.
        temporal_fusion: config of what joins the BEV maps of several moments; needed when samples
            hold more than one frame.
        fuse_encoded: the BEV encoder sees each moment's map by itself, and the temporal fusion
            joins what it makes of them; otherwise it sees the joined maps.
        depth_net_sees_key_rig: past frames go through DepthNet with all of the key frame's camera
            parameters, as in the public code; only for converted checkpoints. Otherwise with the
            key frame's poses and their own intrinsics and augmentation.
        frozen: names of parts that do not train, ``bev_encoder`` or ``bbox_head.task_heads``;
            their normalisation keeps its statistics.
        test_time_flips: mirrors to predict with, ``image``, ``x``, ``y`` of :class:`FlipAverage`.
    """

    def __init__(
        self,
        grid: dict,
        depth_bins: dict,
        image_size: Sequence[int],
        img_backbone: dict,
        img_neck: dict,
        depth_net: dict,
        view_transform: dict,
        bev_encoder: dict,
        bbox_head: dict,
        depth_loss: dict | None = None,
        metric_depth_head: dict | None = None,
        canonical_bins: dict | None = None,
        focal_branch: dict | None = None,
        estimate_focal: bool = False,
        ground_cue: bool = False,
        temporal_fusion: dict | None = None,
        fuse_encoded: bool = False,
        depth_net_sees_key_rig: bool = False,
        frozen: Sequence[str] = (),
        test_time_flips: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if any(side % _COARSEST_STRIDE for side in image_size):
            raise ValueError(
                f"image_size must be multiples of {_COARSEST_STRIDE} pixels, got {image_size}"
            )
        self.image_size = tuple(image_size)
        self.img_backbone = MODELS.build(img_backbone)
        self.img_neck = MODELS.build(img_neck)
        self.view_transform = MODELS.build(
            view_transform,
            default_args=dict(grid=grid, depth_bins=depth_bins, image_size=image_size),
        )
        self.bins = self.view_transform.depth_bins
        self.canonical = (
            CanonicalBins(**canonical_bins, metric=self.bins) if canonical_bins else None
        )
        predicted = self.canonical.bins if self.canonical else self.bins
        self.depth_net = MODELS.build(depth_net, default_args=dict(num_bins=predicted.num_bins))
        self.metric_depth_head = (
            MODELS.build(metric_depth_head, default_args=dict(stride=self.view_transform.stride))
            if metric_depth_head
            else None
        )
        self.focal_branch = MODELS.build(focal_branch) if focal_branch else None
        if estimate_focal and self.focal_branch is None:
            raise ValueError("estimate_focal=True needs a focal_branch that was trained")
        self.estimate_focal = estimate_focal
        self.ground_cue = ground_cue
        self.bev_encoder = MODELS.build(bev_encoder)
        self.bbox_head = MODELS.build(bbox_head, default_args=dict(grid=grid))
        self.depth_loss = MODELS.build(depth_loss) if depth_loss else None
        self.temporal_fusion = MODELS.build(temporal_fusion) if temporal_fusion else None
        if fuse_encoded and temporal_fusion is None:
            raise ValueError("fuse_encoded=True needs a temporal_fusion")
        self.fuse_encoded = fuse_encoded
        self.depth_net_sees_key_rig = depth_net_sees_key_rig
        self.flip_average = FlipAverage(grid, **(test_time_flips or {}))
        self.frozen = tuple(frozen)
        for part in self._frozen_parts():
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> BEVDepth:
        """Training or not; what is frozen never is."""
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        return self

    def _frozen_parts(self) -> list[nn.Module]:
        try:
            return [self.get_submodule(name) for name in self.frozen]
        except AttributeError as error:
            raise ValueError(
                f"frozen={self.frozen}: the detector has no such part: {error}"
            ) from None

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]) -> dict:
        """Detection and depth losses of a batch."""
        rig = self._rig(batch_data_samples)
        bev, depths = self.forward_bev(self._frames(batch_inputs_dict["img"], rig), rig)
        losses = self.bbox_head.loss([bev], batch_data_samples)
        if self.depth_loss is not None:
            target = self._cell_depth(batch_inputs_dict["depth"])
            losses["loss_depth"] = self.depth_loss(depths.bins, target, self.bins)
            if depths.fused is not None:
                losses["loss_depth_fused"] = self.depth_loss(depths.fused, target, self.bins)
        if depths.metric is not None:
            labels = batch_inputs_dict["depth"]
            losses |= self.metric_depth_head.loss(depths.metric, labels, rig.frame(0))
        if depths.focal is not None:
            losses["loss_focal"] = self.focal_branch.loss(depths.focal, rig.frame(0))
        return losses

    def predict(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> list[Det3DDataSample]:
        """Boxes in the key ego frame (``pred_instances_3d``) and metric depth (``pred_depths``).

        ``pred_depths`` is a dict of ``[N, H, W]`` in metres on the feature cells: ``bin`` and,
        where the model has them, ``metric`` and ``fused``. ``depth_confidence`` is the probability
        that the metric depth is right within 25 %. Where the inputs hold depth labels, ``gt_depth``
        is the nearest depth of each feature cell.
        """
        rig = self._rig(batch_data_samples)
        images = self._frames(batch_inputs_dict["img"], rig)
        bev, depths = self.forward_bev(images, rig)
        maps = self.flip_average(self.bbox_head([bev]), self._head_maps, images, rig)
        boxes = self.bbox_head.predict_by_feat(maps, [s.metainfo for s in batch_data_samples])
        samples = self.add_pred_to_datasample(batch_data_samples, boxes)
        depth_maps, confidence = self._depth_maps(depths), None
        if depths.metric is not None:
            confidence = self.metric_depth_head.confidence(depths.metric)
        if "depth" in batch_inputs_dict:
            labels = self._cell_depth(batch_inputs_dict["depth"])
        for index, sample in enumerate(samples):
            sample.pred_depths = {name: depth[index] for name, depth in depth_maps.items()}
            if confidence is not None:
                sample.depth_confidence = confidence[index]
            if "depth" in batch_inputs_dict:
                sample.gt_depth = labels[index]
        return samples

    def _forward(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]):
        rig = self._rig(batch_data_samples)
        return self._head_maps(self._frames(batch_inputs_dict["img"], rig), rig)

    def extract_feat(self, batch_inputs: Tensor) -> Tensor:
        """Image features ``[B, N, C, H/s, W/s]`` of images ``[B, N, 3, H, W]``."""
        images = batch_inputs.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.img_neck(self.img_backbone(images))[0]
        return features.unflatten(0, batch_inputs.shape[:2])

    def forward_bev(
        self,
        images: Tensor,  # [B, S, N, 3, H, W]
        rig: CameraRig,
    ) -> tuple[Tensor, Depths]:
        """BEV features ``[B, C, Y, X]`` and the key frame's depths."""
        key = rig.frame(0)
        bev, depths = self.lift_splat(images[:, 0], key, key)
        # The past is context, not something to train on. BEVDepth (AAAI 2023), Sec. 4.1.
        with torch.no_grad():
            past = [
                self.lift_splat(images[:, t], rig.frame(t), key)[0]
                for t in range(1, rig.num_frames if self.temporal_fusion else 1)
            ]
        return self.encode([bev, *past]), depths

    def encode(
        self,
        bevs: Sequence[Tensor],  # S x [B, C, Y, X], newest first
    ) -> Tensor:
        """What the head gets, ``[B, C', Y, X]``."""
        if self.temporal_fusion is None:
            return self.bev_encoder(bevs[0])
        if not self.fuse_encoded:
            return self.bev_encoder(self.temporal_fusion(bevs))
        key, *past = bevs
        with torch.no_grad():
            past = [self.bev_encoder(bev) for bev in past]
        return self.temporal_fusion([self.bev_encoder(key), *past])

    def lift_splat(
        self,
        images: Tensor,  # [B, N, 3, H, W]
        rig: CameraRig,  # that moment's
        key: CameraRig,  # the key frame's
    ) -> tuple[Tensor, Depths]:
        """One moment's BEV map ``[B, C, Y, X]`` and its depths."""
        features = self.extract_feat(images)
        focal = self.focal_branch(features) if self.focal_branch else None
        if self.estimate_focal:
            rig = with_focal(rig, focal)
        # The past's own poses hold the drive since then, and depth does not depend on that.
        mounted = replace(rig, ego_T_cam=key.ego_T_cam)
        if self.ground_cue:
            features = torch.cat([features, self._ground(mounted).to(features.dtype)], dim=2)
        seen = key if self.depth_net_sees_key_rig else mounted
        logits, context = self.depth_net(features, self._camera_numbers(seen))
        depths = self.estimate_depths(logits.float(), features, rig)
        bev = self.view_transform(depths.lifted, context.float(), rig)
        return bev, depths._replace(focal=focal)

    def estimate_depths(
        self,
        logits: Tensor,  # [B, N, K, H, W], DepthNet's
        features: Tensor,  # [B, N, C, H, W]
        rig: CameraRig,  # one frame
    ) -> Depths:
        """What DepthNet and the metric depth head say, apart and together."""
        focal = key_focal(rig)
        if self.canonical is None:
            bins = logits.softmax(dim=2)
        else:
            bins = self.canonical.to_metric(logits, focal)
        if self.metric_depth_head is None:
            return Depths(bins)
        metric = self.metric_depth_head(features, focal)
        if not self.metric_depth_head.fuse:
            return Depths(bins, metric)
        fused = bins * self.metric_depth_head.bin_prior(metric, self.bins, features.shape[-2:])
        return Depths(bins, metric, fused / fused.sum(dim=2, keepdim=True).clamp(min=1e-9))

    def _head_maps(self, images: Tensor, rig: CameraRig) -> HeadOutputs:
        return self.bbox_head([self.forward_bev(images, rig)[0]])

    def _rig(self, samples: list[Det3DDataSample]) -> CameraRig:
        metas = [sample.metainfo for sample in samples]
        return CameraRig.from_metainfo(metas, device=self.view_transform.u.device)

    def _frames(self, images: Tensor, rig: CameraRig) -> Tensor:
        if images.shape[-2:] != self.image_size:
            raise ValueError(
                f"images are {tuple(images.shape[-2:])}, the model's image_size is "
                f"{self.image_size}; ImageAugmentation.final_dim must be the same"
            )
        return images.unflatten(1, (rig.num_frames, rig.num_cameras))

    def _camera_numbers(self, rig: CameraRig) -> Tensor:
        if self.canonical is not None:
            rig = canonical_rig(rig, self.canonical.focal)
        return camera_parameters(rig)[:, 0]

    def _ground(self, rig: CameraRig) -> Tensor:
        view = self.view_transform
        return ground_scale(rig, view.u, view.v)[:, :, None] / _PIXELS_PER_METRE

    def _cell_depth(self, depth: Tensor) -> Tensor:
        return nearest_depth(depth, self.view_transform.stride)

    def _depth_maps(self, depths: Depths) -> dict[str, Tensor]:
        """Metres on the feature cells, ``[B, N, H, W]`` each."""
        maps = {"bin": self.bins.expectation(depths.bins.float())}
        if depths.metric is not None:
            finer = self.view_transform.stride // self.metric_depth_head.stride
            maps["metric"] = nearest_depth(depths.metric.depth, finer)
        if depths.fused is not None:
            maps["fused"] = self.bins.expectation(depths.fused.float())
        return maps
