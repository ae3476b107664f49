"""A detection head that finds velocities by comparing the encoded BEV maps of several moments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import cast

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.losses.velocity import velocity_loss
from bevdepth_plus.models.heads.center_head import (
    BEVCenterHead,
    HeadOutputs,
    boxes_and_labels,
)


@MODELS.register_module()
class MotionCenterHead(BEVCenterHead):
    """A :class:`BEVCenterHead` whose velocities also look at the past; its boxes do not.

    Takes the encoded BEV maps of all moments beside each other, newest first: a temporal encoder
    with ``fuse_encoded=True`` and :class:`ConcatFusion`. The newest alone gives the boxes, as
    without a past. Dilated convolutions over all maps match each object with itself in the past.
    Their output is added to the velocity and is zero at first, so the weights of a one-frame
    detector keep their results, and ``motion`` can be trained alone (``frozen`` of the detector).

    A detection may lie some cells off its object, so ``loss_velocity`` (beside the losses of
    BEVCenterHead) covers all cells near an object's centre, not only the one that holds it.

    Args:
        args, kwargs: as in BEVCenterHead; ``in_channels`` of one map.
        num_frames: moments, the key frame among them.
        motion_channels: of the convolutions.
        dilations: of one 3 x 3 convolution each; they reach as many cells to every side as their
            sum: 16 of 0.8 m are 12.8 m in half a second.
        velocity_radius: how near, metres; nuScenes accepts detections up to 2 m off.
        velocity_weight: of ``loss_velocity``.
    """

    cell_centres: Tensor  # [Y, X, 2], metres

    def __init__(
        self,
        *args,
        grid: dict,
        num_frames: int = 2,
        motion_channels: int = 64,
        dilations: Sequence[int] = (1, 2, 4, 8, 1),
        velocity_radius: float = 2.0,
        velocity_weight: float = 0.25,
        **kwargs,
    ) -> None:
        super().__init__(*args, grid=grid, **kwargs)
        if "vel" not in self.box_parts:
            raise DataError(
                "MotionCenterHead gives velocities: model.heads.boxes.common_heads needs vel"
            )
        self.num_frames = num_frames
        self.velocity_radius = velocity_radius
        self.velocity_weight = velocity_weight
        self.register_buffer("cell_centres", BEVGrid(**grid).cell_centres(), persistent=False)
        channels = [cast(int, self.shared_conv.out_channels) * num_frames]
        channels += [motion_channels] * len(dilations)
        last = nn.Conv2d(motion_channels, 2 * len(self.task_heads), 1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.motion = nn.Sequential(
            *(
                ConvModule(
                    before, after, 3, padding=dilation, dilation=dilation, norm_cfg=dict(type="BN")
                )
                for before, after, dilation in zip(channels, channels[1:], dilations, strict=False)
            ),
            last,
        )

    def forward_single(
        self,
        x: Tensor,  # [B, S * C, Y, X]
    ) -> list[dict[str, Tensor]]:
        """Outputs of each task."""
        maps = self.shared_maps(x)
        outputs = self.task_maps(maps[0])
        for output, change in zip(outputs, self.velocity_changes(maps), strict=True):
            output["vel"] = output["vel"] + change
        return outputs

    def shared_maps(
        self,
        x: Tensor,  # [B, S * C, Y, X]
    ) -> list[Tensor]:
        """The head's first convolution applied to each moment, ``S x [B, C', Y, X]``."""
        if x.shape[1] != self.num_frames * self.in_channels:
            raise ValueError(
                f"the head needs {self.num_frames} maps of {self.in_channels} channels, newest "
                f"first, got {x.shape[1]} channels; set fuse_encoded=True and "
                "num_frames of model.temporal"
            )
        key, *past = x.split(self.in_channels, dim=1)
        with torch.no_grad():  # as for the rest of the past
            past = [self.shared_conv(moment) for moment in past]
        return [self.shared_conv(key), *past]

    def velocities(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Velocities alone, of each task ``[B, 2, Y, X]``, from :meth:`shared_maps`."""
        changes = self.velocity_changes(maps)
        return [
            task.vel(maps[0]) + change
            for task, change in zip(self.task_heads, changes, strict=True)
        ]

    def velocity_changes(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """The motion branch's change of each task's velocities, ``[B, 2, Y, X]``, m/s."""
        return self.motion(torch.cat(list(maps), dim=1)).split(2, dim=1)

    def loss_by_feat(
        self,
        preds_dicts: HeadOutputs,
        batch_gt_instances_3d: list[InstanceData],
        *args,
        **kwargs,
    ) -> dict[str, Tensor]:
        """Losses of BEVCenterHead, and ``loss_velocity``."""
        losses = super().loss_by_feat(preds_dicts, batch_gt_instances_3d, *args, **kwargs)
        velocities = [predicted[0]["vel"] for predicted in preds_dicts]
        losses["loss_velocity"] = self.velocity_loss(velocities, batch_gt_instances_3d)
        return losses

    def velocity_loss(
        self,
        velocities: Sequence[Tensor],  # of each task, [B, 2, Y, X]
        batch_gt_instances_3d: Sequence[InstanceData],
    ) -> Tensor:
        """Mean L1 error, m/s, near all objects of a task; summed over tasks, weighted."""
        gt = [self._in_task_order(instances) for instances in batch_gt_instances_3d]
        targets = zip(*(self._velocity_maps(instances) for instances in gt), strict=True)
        losses = [
            velocity_loss(predicted, torch.stack(target))
            for predicted, target in zip(velocities, targets, strict=True)
        ]
        return self.velocity_weight * reduce(torch.add, losses)

    def _velocity_maps(self, gt: InstanceData) -> list[Tensor]:
        """Velocity of each task's nearest object, ``[2, Y, X]`` each; NaN where none is near."""
        all_boxes, label = boxes_and_labels(gt)
        boxes = all_boxes.tensor.to(self.cell_centres)
        if not len(boxes):
            unknown = self.cell_centres.new_full((2, *self.cell_centres.shape[:2]), torch.nan)
            return [unknown] * len(self.class_names)
        distances = (self.cell_centres[:, :, None] - boxes[:, :2]).norm(dim=-1)  # [Y, X, M]
        maps, first_label = [], 0
        for names in self.class_names:
            of_task = (label >= first_label) & (label < first_label + len(names))
            first_label += len(names)
            # Distance of every cell's centre to the nearest box, [Y, X], and which box that is.
            distance, nearest = distances.where(of_task, torch.inf).min(dim=-1)
            velocity = boxes[nearest, 7:9].permute(2, 0, 1)
            maps.append(velocity.where(distance <= self.velocity_radius, torch.nan))
        return maps
