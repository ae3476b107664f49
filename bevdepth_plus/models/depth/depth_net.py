"""The camera-aware depth network. Source: BEVDepth (AAAI 2023), Sec. 3.3."""

from __future__ import annotations

import torch
from mmcv.ops import DeformConv2dPack
from mmdet.models.backbones.resnet import BasicBlock
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.models.depth.aspp import ASPP
from bevdepth_plus.models.depth.se_gate import Mlp, SqueezeExcitation

NUM_CAMERA_PARAMETERS = 27
# Scales pixels to about one; rotations and metres are of that size already.
_PIXEL_SCALE = 1e-3


def camera_parameters(cameras: Cameras) -> Tensor:
    """DepthNet's 27 parameters of each camera, in the public code's order.

    fx, fy, cx, cy; the image augmentation's 2x3 part; the BEV augmentation's rotation about z,
    scale and mirrors (5); the camera's pose in the ego frame (12). Raw units.

    Returns:
        float32 ``[B, N, 27]``.
    """
    intrinsics, image_aug = cameras.intrinsics, cameras.image_aug
    turn = cameras.bev_aug[:, :2, :2].flatten(-2)
    bev_numbers = torch.cat([turn, cameras.bev_aug[:, 2:3, 2]], dim=-1)  # [B, 5]
    focal = intrinsics.diagonal(dim1=-2, dim2=-1)[..., :2]
    return torch.cat(
        [
            focal,
            intrinsics[..., :2, 2],
            image_aug[..., :2, :].flatten(-2),
            bev_numbers[:, None].expand(*intrinsics.shape[:2], 5),
            cameras.ego_T_cam[..., :3, :].flatten(-2),
        ],
        dim=-1,
    )


@MODELS.register_module()
class DepthNet(nn.Module):
    """Predict depth bins and context features from image features and camera parameters.

    Args:
        in_channels: channels of the image features.
        mid_channels: hidden channels.
        context_channels: channels of the context features.
        num_bins: predicted depth bins.
        camera_aware: the camera parameters gate the features; False is the plain lift-splat, and
            ignores them.
        use_aspp: atrous pyramid after the residual blocks.
        use_dcn: deformable convolution after that.
        image_level_norm: what normalises vectors that hold one value an image, that is the camera
            parameters and ASPP's image mean. ``"fixed"`` scales the camera parameters by constants
            and leaves the mean alone, so batch 1 and a single camera train as any other batch.
            ``"batch"`` is the public code's BatchNorm over both.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        context_channels: int,
        num_bins: int,
        camera_aware: bool = True,
        use_aspp: bool = True,
        use_dcn: bool = True,
        image_level_norm: str = "fixed",
    ) -> None:
        super().__init__()
        if image_level_norm not in ("fixed", "batch"):
            raise ValueError(
                f"image_level_norm must be 'fixed' or 'batch', got {image_level_norm!r}"
            )
        batch_norm = image_level_norm == "batch"
        self.reduce = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, 3, padding=1),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
        )
        self.context_channels = context_channels
        self.camera_aware = camera_aware
        if camera_aware:
            self.camera_norm = (
                nn.BatchNorm1d(NUM_CAMERA_PARAMETERS) if batch_norm else FixedCameraScale()
            )
            self.context_mlp = Mlp(NUM_CAMERA_PARAMETERS, mid_channels, mid_channels)
            self.context_gate = SqueezeExcitation(mid_channels)
            self.depth_mlp = Mlp(NUM_CAMERA_PARAMETERS, mid_channels, mid_channels)
            self.depth_gate = SqueezeExcitation(mid_channels)
        self.context_out = nn.Conv2d(mid_channels, context_channels, 1)
        self.depth_blocks = nn.Sequential(
            *(BasicBlock(mid_channels, mid_channels) for _ in range(3)),
            ASPP(mid_channels, pool_norm=batch_norm) if use_aspp else nn.Identity(),
            DeformableConv(mid_channels) if use_dcn else nn.Identity(),
        )
        self.depth_out = nn.Conv2d(mid_channels, num_bins, 1)

    def forward(
        self,
        features: Tensor,  # [B, N, C, H, W]
        parameters: Tensor,  # [B, N, 27]
    ) -> tuple[Tensor, Tensor]:
        """Depth logits ``[B, N, D, H, W]`` and context ``[B, N, C', H, W]``."""
        batch_shape = features.shape[:2]
        context = depth = self.reduce(features.flatten(0, 1))  # [B * N, C, H, W]
        if self.camera_aware:
            camera = self.camera_norm(parameters.flatten(0, 1))  # [B * N, 27]
            context = self.context_gate(context, self.context_mlp(camera))
            depth = self.depth_gate(depth, self.depth_mlp(camera))
        context = self.context_out(context)  # [B * N, C', H, W]
        depth = self.depth_out(self.depth_blocks(depth))  # [B * N, D, H, W], logits
        return depth.unflatten(0, batch_shape), context.unflatten(0, batch_shape)


class FixedCameraScale(nn.Module):
    """Scale the 27 camera parameters by constants: the same for every batch, camera and rig."""

    scale: Tensor  # [27]

    def __init__(self) -> None:
        super().__init__()
        scale = torch.ones(NUM_CAMERA_PARAMETERS)
        scale[:4] = _PIXEL_SCALE  # fx, fy, cx, cy
        scale[[6, 9]] = _PIXEL_SCALE  # the image augmentation's shift
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, parameters: Tensor) -> Tensor:
        return parameters * self.scale


class DeformableConv(nn.Module):
    """mmcv's deformable convolution, in float32: not every device has a half-precision kernel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # im2col_step must divide the number of images or exceed it; 128 is the public code's.
        self.conv = DeformConv2dPack(
            channels, channels, 3, padding=1, groups=4, im2col_step=128, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.conv(x.float().contiguous()).to(x.dtype)
