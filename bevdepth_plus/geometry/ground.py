"""Scale of the ground plane: how many pixels a metre of road spans, for each pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.canonical import effective_focal
from bevdepth_plus.geometry.pinhole import inverse_intrinsics


def ground_scale(
    cameras: Cameras,
    u: Tensor,  # [W], network pixels
    v: Tensor,  # [H], network pixels
) -> Tensor:
    """Pixels that a metre spans where a pixel's ray meets the plane z = 0 of the ego frame.

    It is the focal length over the ground's depth: 0 at the horizon, negative above it, and smooth
    across. It depends on height, pitch, roll, focal length and augmentation, so what a network
    learns from it for one rig can hold for another.

    Returns:
        float32 ``[B, N, H, W]``.
    """
    intrinsics = cameras.network_intrinsics.float()
    with torch.autocast(u.device.type, enabled=False):
        # Row z of the rotation, over the height: the ground's inverse depth is linear in pixels.
        ego_T_cam = cameras.ego_T_cam.float()
        down = -ego_T_cam[..., 2:3, :3] / ego_T_cam[..., 2:3, 3:]  # [B, N, 1, 3]
        linear = down @ inverse_intrinsics(intrinsics)  # [B, N, 1, 3]
    across, along, offset = linear[..., 0, :, None, None].unbind(-3)
    inverse_depth = across * u + along * v[:, None] + offset  # [B, N, H, W]
    return effective_focal(intrinsics)[..., None, None] * inverse_depth
