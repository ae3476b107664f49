"""A detection head that sees how things move: velocities by comparing encoded BEV maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.models.center_head import BEVCenterHead


@MODELS.register_module()
class MotionCenterHead(BEVCenterHead):
    """A :class:`BEVCenterHead` whose velocities also look at the past; its boxes do not.

    Takes the encoded BEV maps of all moments beside each other, newest first: a detector with
    ``fuse_encoded=True`` and :class:`ConcatFusion`. The newest alone gives the boxes, as without a
    past. In each, objects are found already; what is left is to find the same one again, which
    dilated convolutions over all maps look far enough for. What they add to the velocities is zero
    at first, so the weights of a one-frame detector go on as they were, and ``motion`` can be
    trained alone (``frozen`` of the detector).

    Args:
        args, kwargs: as in BEVCenterHead; ``in_channels`` of one map.
        num_frames: moments, the key frame among them.
        motion_channels: of the convolutions.
        dilations: of one 3 x 3 convolution each; together they see as many cells to every side as
            their sum.
    """

    def __init__(
        self,
        *args,
        num_frames: int = 2,
        motion_channels: int = 64,
        dilations: Sequence[int] = (1, 1, 2, 4, 1),
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.num_frames = num_frames
        channels = [self.shared_conv.out_channels * num_frames]
        channels += [motion_channels] * len(dilations)
        last = nn.Conv2d(motion_channels, 2 * len(self.task_heads), 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.motion = nn.Sequential(
            *(
                ConvModule(*sides, 3, padding=step, dilation=step, norm_cfg=dict(type="BN"))
                for *sides, step in zip(channels, channels[1:], dilations, strict=False)
            ),
            last,
        )

    def forward_single(
        self,
        x: Tensor,  # [B, S * C, Y, X]
    ) -> list[dict[str, Tensor]]:
        """Outputs of each task."""
        if x.shape[1] != self.num_frames * self.in_channels:
            raise ValueError(
                f"the head needs {self.num_frames} maps of {self.in_channels} channels, newest "
                f"first, got {x.shape[1]} channels; set fuse_encoded and num_frames"
            )
        key, *past = x.split(self.in_channels, dim=1)
        shared = [self.shared_conv(key)]
        outputs = [task(shared[0]) for task in self.task_heads]
        with torch.no_grad():  # as for the rest of the past
            shared += [self.shared_conv(moment) for moment in past]
        changes = self.motion(torch.cat(shared, dim=1)).split(2, dim=1)
        for output, change in zip(outputs, changes, strict=True):
            output["vel"] = output["vel"] + change
        return outputs
