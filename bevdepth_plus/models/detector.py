"""The detector: from images and calibration to boxes, told by one ``forward_bev``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet3d.models.detectors import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from torch import Tensor

from bevdepth_plus.geometry.camera import CameraRig
from bevdepth_plus.losses.bin_depth import nearest_depth
from bevdepth_plus.models.depth_net import camera_parameters

_COARSEST_STRIDE = 32  # of the image backbone's last level


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
        temporal_fusion: config of what joins the BEV maps of several moments; needed when samples
            hold more than one frame.
        depth_net_sees_key_rig: past frames go through DepthNet with the key frame's camera
            parameters, as in the public code; only for converted checkpoints.
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
        temporal_fusion: dict | None = None,
        depth_net_sees_key_rig: bool = False,
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
        self.depth_net = MODELS.build(
            depth_net, default_args=dict(num_bins=self.view_transform.depth_bins.num_bins)
        )
        self.bev_encoder = MODELS.build(bev_encoder)
        self.bbox_head = MODELS.build(bbox_head, default_args=dict(grid=grid))
        self.depth_loss = MODELS.build(depth_loss) if depth_loss else None
        self.temporal_fusion = MODELS.build(temporal_fusion) if temporal_fusion else None
        self.depth_net_sees_key_rig = depth_net_sees_key_rig

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]) -> dict:
        """Detection and depth losses of a batch."""
        rig = self._rig(batch_data_samples)
        bev, depth = self.forward_bev(self._frames(batch_inputs_dict["img"], rig), rig)
        losses = self.bbox_head.loss([bev], batch_data_samples)
        if self.depth_loss is not None:
            target = self._cell_depth(batch_inputs_dict["depth"], depth)
            losses["loss_depth"] = self.depth_loss(depth, target, self.view_transform.depth_bins)
        return losses

    def predict(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> list[Det3DDataSample]:
        """Boxes in the key ego frame (``pred_instances_3d``) and metric depth (``pred_depth``).

        Where the inputs hold LiDAR depth, ``gt_depth`` is the nearest depth of each feature cell.
        """
        rig = self._rig(batch_data_samples)
        bev, depth = self.forward_bev(self._frames(batch_inputs_dict["img"], rig), rig)
        boxes = self.bbox_head.predict([bev], batch_data_samples)
        samples = self.add_pred_to_datasample(batch_data_samples, boxes)
        metric_depth = self.view_transform.depth_bins.expectation(depth.float())
        for sample, cell_depth in zip(samples, metric_depth, strict=True):
            sample.pred_depth = cell_depth
        if "depth" in batch_inputs_dict:
            for sample, cell_depth in zip(
                samples, self._cell_depth(batch_inputs_dict["depth"], depth), strict=True
            ):
                sample.gt_depth = cell_depth
        return samples

    def _forward(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]):
        rig = self._rig(batch_data_samples)
        bev, _ = self.forward_bev(self._frames(batch_inputs_dict["img"], rig), rig)
        return self.bbox_head([bev])

    def extract_feat(self, batch_inputs: Tensor) -> Tensor:
        """Image features ``[B, N, C, H/s, W/s]`` of images ``[B, N, 3, H, W]``."""
        images = batch_inputs.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        features = self.img_neck(self.img_backbone(images))[0]
        return features.unflatten(0, batch_inputs.shape[:2])

    def forward_bev(
        self,
        images: Tensor,  # [B, S, N, 3, H, W]
        rig: CameraRig,
    ) -> tuple[Tensor, Tensor]:
        """BEV features ``[B, C, Y, X]`` and the key frame's depth bins ``[B, N, D, H, W]``."""
        key = rig.frame(0)
        bev, depth = self.lift_splat(images[:, 0], key, key)
        if self.temporal_fusion is not None:
            # The past is context, not something to train on. BEVDepth (AAAI 2023), Sec. 4.1.
            with torch.no_grad():
                past = [
                    self.lift_splat(images[:, t], rig.frame(t), key)[0]
                    for t in range(1, rig.num_frames)
                ]
            bev = self.temporal_fusion([bev, *past])
        return self.bev_encoder(bev), depth

    def lift_splat(
        self,
        images: Tensor,  # [B, N, 3, H, W]
        rig: CameraRig,  # that moment's
        key: CameraRig,  # the key frame's
    ) -> tuple[Tensor, Tensor]:
        """One moment's BEV map ``[B, C, Y, X]`` and its depth bins ``[B, N, D, H, W]``."""
        features = self.extract_feat(images)
        seen = key if self.depth_net_sees_key_rig else rig
        logits, context = self.depth_net(features, camera_parameters(seen)[:, 0])
        depth = logits.float().softmax(dim=2)
        return self.view_transform(depth, context.float(), rig), depth

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

    def _cell_depth(self, depth: Tensor, bins: Tensor) -> Tensor:
        return nearest_depth(depth, stride=depth.shape[-1] // bins.shape[-1])
